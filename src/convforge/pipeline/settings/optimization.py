"""`optimizer` and `schedule`: equations (14) to (16), Keras' own, and ε over the epochs."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from convforge.geometry import ArgumentError
from convforge.pipeline.settings.group import Group
from convforge.pipeline.settings.patterns import check_patterns


class _GradientDescent(Group):
    """ε, and bounds on the gradient; at most one bound."""

    learning_rate: Annotated[float, Field(gt=0)]
    clip_value: Annotated[float, Field(gt=0)] | None
    clip_norm: Annotated[float, Field(gt=0)] | None
    clip_global_norm: Annotated[float, Field(gt=0)] | None

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        bounds = (self.clip_value, self.clip_norm, self.clip_global_norm)
        if sum(bound is not None for bound in bounds) > 1:
            allowed = "one of clip_value, clip_norm and clip_global_norm, and null for the others"
            raise ArgumentError("clip_value", self.clip_value, allowed)
        return self


class SGDSettings(_GradientDescent):
    """Equation (14)."""

    name: Literal["sgd"]


_Share: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
_Positive: TypeAlias = Annotated[float, Field(gt=0)]


class AdamSettings(_GradientDescent):
    """Keras' own."""

    name: Literal["adam"]
    beta_1: _Share
    beta_2: _Share
    epsilon: _Positive


class AdamWSettings(AdamSettings):
    """Keras' own, whose decay does not pass through the gradient's moments."""

    name: Literal["adamw"]  # type: ignore[assignment]
    weight_decay: Annotated[float, Field(ge=0)]
    no_decay: list[str]

    @model_validator(mode="after")
    def _patterns(self) -> Self:
        check_patterns("no_decay", self.no_decay)
        return self


class KerasSGDSettings(_GradientDescent):
    """Keras' own, whose decay does not pass through the velocity."""

    name: Literal["keras_sgd"]
    momentum: _Share
    weight_decay: Annotated[float, Field(ge=0)]
    no_decay: list[str]

    @model_validator(mode="after")
    def _patterns(self) -> Self:
        check_patterns("no_decay", self.no_decay)
        return self


class RMSpropSettings(_GradientDescent):
    """Keras' own."""

    name: Literal["rmsprop"]
    rho: _Share
    momentum: _Share
    epsilon: _Positive


Factors: TypeAlias = dict[str, Annotated[float, Field(ge=0)]]


class MomentumSGDSettings(_GradientDescent):
    """Equations (15) and (16); which variables the patterns fit is known once there are some."""

    name: Literal["momentum_sgd"]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    no_decay: list[str]
    learning_rate_factors: Factors
    decay_factors: Factors

    @model_validator(mode="after")
    def _patterns(self) -> Self:
        for argument in ("no_decay", "learning_rate_factors", "decay_factors"):
            check_patterns(argument, getattr(self, argument))
        return self


class ConstantSchedule(Group):
    """ε stays."""

    name: Literal["constant"]


class CosineSchedule(Group):
    """ε rises over the warm-up, then falls along half a cosine."""

    name: Literal["cosine"]
    warmup_epochs: Annotated[float, Field(ge=0, le=1_000_000)]
    final_fraction: Annotated[float, Field(ge=0, le=1)]


class StepSchedule(Group):
    """ε is multiplied by `factor` at each of `at_epochs`."""

    name: Literal["step"]
    at_epochs: Annotated[list[Annotated[float, Field(gt=0, le=1_000_000)]], Field(min_length=1)]
    factor: Annotated[float, Field(gt=0, le=1)]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if sorted(self.at_epochs) != self.at_epochs:
            raise ArgumentError("at_epochs", self.at_epochs, "epochs in rising order")
        return self


OptimizerSettings: TypeAlias = (
    SGDSettings
    | MomentumSGDSettings
    | KerasSGDSettings
    | AdamSettings
    | AdamWSettings
    | RMSpropSettings
)
ScheduleSettings: TypeAlias = ConstantSchedule | CosineSchedule | StepSchedule
