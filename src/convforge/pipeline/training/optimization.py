"""The optimizer and the learning rate's schedule that a config asks for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import keras

from convforge.errors import InputError
from convforge.geometry import ArgumentError
from convforge.optimizers import MomentumSGD
from convforge.pipeline.settings.optimization import (
    AdamSettings,
    AdamWSettings,
    ConstantSchedule,
    CosineSchedule,
    KerasSGDSettings,
    MomentumSGDSettings,
    OptimizerSettings,
    RMSpropSettings,
    ScheduleSettings,
    SGDSettings,
)


def make_optimizer(
    settings: OptimizerSettings,
    schedule: ScheduleSettings,
    *,
    epochs: int,
    steps_per_epoch: int,
) -> keras.optimizers.Optimizer:
    """The optimizer, its learning rate following `schedule` over the run's steps."""
    rate = learning_rate(
        schedule, settings.learning_rate, epochs=epochs, steps_per_epoch=steps_per_epoch
    )
    bound = _clipping(settings)
    match settings:
        case MomentumSGDSettings():
            return MomentumSGD(
                learning_rate=rate,
                momentum=settings.momentum,
                weight_decay=settings.weight_decay,
                no_decay=settings.no_decay,
                learning_rate_factors=settings.learning_rate_factors,
                decay_factors=settings.decay_factors,
                **bound,
            )
        case KerasSGDSettings():
            return keras.optimizers.SGD(
                rate,
                settings.momentum,
                # 0 would be multiplied and subtracted all the same.
                weight_decay=settings.weight_decay or None,
                **bound,
            )
        case AdamWSettings():
            return keras.optimizers.AdamW(
                rate,
                settings.weight_decay,
                settings.beta_1,
                settings.beta_2,
                settings.epsilon,
                **bound,
            )
        case AdamSettings():
            return keras.optimizers.Adam(
                rate, settings.beta_1, settings.beta_2, settings.epsilon, **bound
            )
        case RMSpropSettings():
            return keras.optimizers.RMSprop(
                rate, settings.rho, settings.momentum, settings.epsilon, **bound
            )
        case SGDSettings():
            return keras.optimizers.SGD(rate, **bound)


def _clipping(settings: OptimizerSettings) -> dict[str, Any]:
    """Keras' argument for the bound on the gradient that is set, or nothing."""
    bounds = {
        "clipvalue": settings.clip_value,
        "clipnorm": settings.clip_norm,
        "global_clipnorm": settings.clip_global_norm,
    }
    return {name: bound for name, bound in bounds.items() if bound is not None}


def build_optimizer(
    optimizer: keras.optimizers.Optimizer, variables: Sequence[Any], settings: OptimizerSettings
) -> None:
    """Make the optimizer's own variables now, so that a mistake shows before the first step.

    Raises:
        InputError: a factor's pattern is found in no variable's name.
    """
    if isinstance(settings, AdamWSettings | KerasSGDSettings):
        # Keras' own patterns are searched in names such as kernel:0 on TensorFlow.
        kept = re.compile("|".join(settings.no_decay) or "(?!)")
        optimizer.exclude_from_weight_decay([each for each in variables if kept.search(each.path)])
    try:
        optimizer.build(variables)
    except ArgumentError as error:
        message = f"optimizer.{error.argument}={error.value!r} is not allowed: give {error.allowed}"
        raise InputError(message) from error


def learning_rate(
    schedule: ScheduleSettings, rate: float, *, epochs: int, steps_per_epoch: int
) -> Any:
    """ε as a number or as a Keras schedule of the step."""
    if isinstance(schedule, ConstantSchedule):
        return rate
    if isinstance(schedule, CosineSchedule):
        warmup = min(round(schedule.warmup_epochs * steps_per_epoch), epochs * steps_per_epoch - 1)
        return keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=rate / warmup if warmup else rate,
            decay_steps=epochs * steps_per_epoch - warmup,
            alpha=schedule.final_fraction,
            warmup_target=rate if warmup else None,
            warmup_steps=warmup,
        )
    boundaries = [round(epoch * steps_per_epoch) for epoch in schedule.at_epochs]
    values = [rate * schedule.factor**power for power in range(len(boundaries) + 1)]
    return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, values)
