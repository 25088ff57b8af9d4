"""`task` and `loss`: what is predicted, and what is minimised."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

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


TaskSettings: TypeAlias = ClassificationTask | RegressionTask
