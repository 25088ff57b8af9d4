"""`task` and `loss`: what is predicted, and what is minimised."""

from __future__ import annotations

from math import inf
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, field_validator, model_validator

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
    #: By the name of a class, or by its number; a class that is not named has 1.
    class_weights: Literal["balanced"] | dict[str, float] | None = None

    @field_validator("class_weights", mode="before")
    @classmethod
    def _weigh_something(cls, weights: Any) -> Any:
        given = weights.values() if isinstance(weights, dict) else ()
        if weights not in (None, "balanced") and not (given and all(map(_is_weight, given))):
            allowed = "null, balanced, or {CLASS: weight} with numbers ≥ 0"
            raise ArgumentError("class_weights", weights, allowed)
        return weights

    @model_validator(mode="after")
    def _of_classes(self) -> Self:
        if self.label_smoothing and self.name != "cross_entropy":
            raise ArgumentError(
                "label_smoothing", self.label_smoothing, f"0, since loss={self.name}"
            )
        return self


def _is_weight(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value < inf


TaskSettings: TypeAlias = ClassificationTask | RegressionTask
