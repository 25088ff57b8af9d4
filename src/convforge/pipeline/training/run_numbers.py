"""In what numbers runs may differ that one program trains, and what they must have in common.

The numbers are inputs of the program; everything else of a config is compiled into it, or is
nothing to the steps, as how often a checkpoint is saved.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from convforge.augment.settings import METHODS, Augmentation
from convforge.models.specs import DropoutSpec
from convforge.pipeline.settings.optimization import (
    AdamSettings,
    AdamWSettings,
    ConstantSchedule,
    MomentumSGDSettings,
    OptimizerSettings,
    RMSpropSettings,
)
from convforge.pipeline.settings.run import Settings

#: What is said of a number that is there but not 0, which would be another program.
_THERE = "a number"
# Nothing to the training steps: a run's own, whatever the others have.
_OF_THE_HOST = (
    ("tracking",),
    ("evaluate",),
    ("pictures",),
    ("trainer", "checkpoint"),
    ("trainer", "early_stopping"),
    ("trainer", "input_threads"),
    ("trainer", "largest_loss"),
)


def run_numbers(settings: Settings) -> dict[str, float]:
    """The numbers of a run that its program takes as inputs, by their keys in the config.

    They are the seed, ε (of a constant schedule it is in the optimizer's state), the optimizer's
    own numbers, the bound on the gradient, and the rates of dropout. The strengths of the
    augmentation are inputs too, as `strengths_of` gives them.
    """
    numbers: dict[str, float] = {"seed": settings.seed}
    if not isinstance(settings.schedule, ConstantSchedule):
        numbers["optimizer.learning_rate"] = settings.optimizer.learning_rate
    for name in _of_optimizer(settings.optimizer):
        numbers[f"optimizer.{name}"] = getattr(settings.optimizer, name)
    for name, spec in settings.model.layers.items():
        if isinstance(spec, DropoutSpec) and spec.rate:
            numbers[f"model.layers.{name}.rate"] = spec.rate
    return numbers


def _of_optimizer(optimizer: OptimizerSettings) -> Iterator[str]:
    """The names of the optimizer's numbers but ε, and of its bound on the gradient."""
    if isinstance(optimizer, MomentumSGDSettings):
        if optimizer.momentum:
            yield "momentum"
        yield "weight_decay"
    if isinstance(optimizer, AdamWSettings):
        yield "weight_decay"
    if isinstance(optimizer, AdamSettings):
        yield from ("beta_1", "beta_2", "epsilon")
    if isinstance(optimizer, RMSpropSettings):
        yield from ("rho", "epsilon")
    for bound in ("clip_value", "clip_norm", "clip_global_norm"):
        if getattr(optimizer, bound) is not None:
            yield bound


def program_key(settings: Settings) -> str:
    """What runs have in common that one program can train: the config without its numbers."""
    config = settings.model_dump(mode="json", by_alias=True)
    for path in _OF_THE_HOST:
        _put(config, path, None)
    for name in [*run_numbers(settings), "optimizer.learning_rate"]:
        _put(config, tuple(name.split(".")), _THERE)
    if settings.augmentation_in_training.place != "model":
        _put(config, ("augment",), _methods(settings.augment))
    return json.dumps(config, sort_keys=True)


def _methods(augmentation: Augmentation) -> dict[str, Any]:
    """Which methods augment, and how; how much is `strengths_of` the augmentation."""
    geometry = augmentation.geometry
    return {
        "methods": [name for name in METHODS if getattr(augmentation, name).active],
        "reading": augmentation.colour.reading,
        # It decides how many levels of detail are made.
        "smallest": geometry.scale[0] if geometry.active else 1.0,
        "fill": [augmentation.fill, augmentation.fill_value, augmentation.interpolation],
        "size": augmentation.size,
        "place": augmentation.place,
    }


def _put(config: Any, path: tuple[str, ...], value: Any) -> None:
    *way, last = path
    for step in way:
        config = config[step]
    assert last in config, path
    config[last] = value
