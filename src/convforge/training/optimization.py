"""The optimizer and the learning rate's schedule that a config asks for."""

from __future__ import annotations

from typing import Any

import keras

from convforge.optimizers import MomentumSGD
from convforge.settings import (
    ConstantSchedule,
    CosineSchedule,
    OptimizerSettings,
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
    if isinstance(settings, SGDSettings):
        return keras.optimizers.SGD(rate)
    return MomentumSGD(
        learning_rate=rate, momentum=settings.momentum, weight_decay=settings.weight_decay
    )


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
