"""A model's whole state in training: weights, optimizer, seed generators and running metrics.

Neither `.keras` nor `.weights.h5` files hold the state of the seed generators, without which
dropout after a resume draws other units.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from convforge.errors import InputError

_MODEL, _OPTIMIZER, _METRICS = "model", "optimizer", "metrics"


def capture(
    model: keras.Model, *, metrics: bool, optimizer: bool = True
) -> dict[str, NDArray[Any]]:
    """Copies of the variables of a compiled model, by group, number and path.

    Args:
        model: in training.
        metrics: also what the metrics have added up since the epoch began.
        optimizer: also the optimizer's, which double the size.
    """
    if keras.backend.backend() == "jax":
        # While `fit` runs, the variables are elsewhere.
        model.jax_state_sync()
    groups = [_MODEL, *([_OPTIMIZER] if optimizer else []), *([_METRICS] if metrics else [])]
    return {
        name: np.array(keras.ops.convert_to_numpy(variable))
        for name, variable in _variables(model).items()
        if _group(name) in groups
    }


def restore(model: keras.Model, arrays: Mapping[str, NDArray[Any]], *, metrics: bool) -> None:
    """Give the variables of `model` the values that `capture` returned.

    Args:
        model: built and compiled as it was then.
        arrays: by the names of `capture`; a group that it left out stays as it is.
        metrics: the metrics' variables, and no others.

    Raises:
        InputError: the model has other variables.
    """
    given = {name: value for name, value in arrays.items() if (_group(name) == _METRICS) == metrics}
    groups = {_group(name) for name in given}
    variables = {
        name: variable for name, variable in _variables(model).items() if _group(name) in groups
    }
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    if shapes != {name: value.shape for name, value in given.items()}:
        raise InputError(
            "the checkpoint is of another model, as another version of convforge or Keras may "
            "build it: begin again with trainer.checkpoint.resume=false"
        )
    for name, variable in variables.items():
        variable.assign(given[name])


def layer_of(name: str) -> str:
    """The layer of a variable, from its name in `capture`.

    Example:
        >>> layer_of("model/3/lecture_cnn/conv1/kernel")
        'conv1'
    """
    return name.split("/")[-2]


def _group(name: str) -> str:
    return name.split("/")[0]


def _variables(model: keras.Model) -> dict[str, Any]:
    groups = {
        _MODEL: model.variables,
        _OPTIMIZER: model.optimizer.variables,
        _METRICS: model.metrics_variables,
    }
    named: dict[str, Any] = {}
    seen: set[int] = set()
    for group, variables in groups.items():
        for number, variable in enumerate(variables):
            if id(variable) not in seen:
                seen.add(id(variable))
                named[f"{group}/{number}/{variable.path}"] = variable
    return named
