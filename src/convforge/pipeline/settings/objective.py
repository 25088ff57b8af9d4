"""`task` and `loss`: what is predicted, and what is minimised."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from convforge.geometry import ArgumentError
from convforge.pipeline.settings.group import Group


class ClassificationTask(Group):
    """Which class is it?"""

    name: Literal["classification"]


class RegressionTask(Group):
    """How much is it? The numbers that the data bring, or that the augmentation drew."""

    name: Literal["regression"]
    drawn: Annotated[list[str], Field(min_length=1)] | None
    standardize: bool


class LossSettings(Group):
    """Equations (9) to (12)."""

    name: Literal["cross_entropy", "mse", "mae", "hinge"]
    #: What the target of an image's class gives away to all classes.
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _of_classes(self) -> Self:
        if self.label_smoothing and self.name != "cross_entropy":
            raise ArgumentError(
                "label_smoothing", self.label_smoothing, f"0, since loss={self.name}"
            )
        return self


TaskSettings: TypeAlias = ClassificationTask | RegressionTask
