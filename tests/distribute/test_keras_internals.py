"""What training alters inside Keras is there, and Keras calls it. Where not, do what is said here.

A new Keras that fails one of these: raise or keep the upper bound of `keras` in pyproject.toml, and
follow the failure's message. `pytest tests/distribute -m ""` then says whether devices still train
as one.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from convforge.pipeline.training.distribution import keras_internals

FILE = keras_internals.__file__


def test_this_keras_is_one_that_was_tried() -> None:
    assert keras_internals.__doc__ is not None
    tried = re.search(r"Tried on Keras (\d+)\.(\d+) to (\d+)\.(\d+)\.", keras_internals.__doc__)
    assert tried is not None
    first, last = (tuple(map(int, tried.groups()[at : at + 2])) for at in (0, 2))
    here = tuple(map(int, keras.__version__.split(".")[:2]))
    assert first <= here <= last, (
        f'Keras {keras.__version__} has not been tried: run pytest tests/distribute -m "", mend '
        f"what fails, and write the version into the head of {FILE}"
    )


def test_batch_normalization_takes_mean_and_variance_from_what_replaces_its_own() -> None:
    layer = keras.layers.BatchNormalization(center=False, scale=False, epsilon=1e-12)
    layer.build((None, 2))
    seen: list[Any] = []

    def moments(inputs: Any, mask: Any) -> tuple[Any, Any]:
        seen.append(mask)
        return keras.ops.full((2,), 1.0), keras.ops.full((2,), 4.0)

    keras_internals.replace_moments(layer, moments)
    outputs = keras.ops.convert_to_numpy(layer(np.full((3, 2), 5, np.float32), training=True))
    np.testing.assert_allclose(outputs, 2.0, rtol=1e-5)
    assert seen == [None], (
        "BatchNormalization no longer asks _moments(inputs, mask): find in its call() what "
        f"computes mean and variance, replace that in replace_moments of {FILE}, and compare with "
        "test_the_moments_of_batch_normalization_are_those_of_float64_to_a_millionth"
    )


def test_a_layer_computes_by_the_call_that_replaces_its_own() -> None:
    layer = keras.layers.Dropout(0.5)

    def doubled(inputs: Any, training: bool = False) -> Any:
        return inputs * 2

    keras_internals.replace_call(layer, doubled)
    outputs = keras.ops.convert_to_numpy(layer(np.ones((3, 2), np.float32), training=True))
    assert (outputs == 2).all(), (
        "Layer.__call__ no longer takes `call` from the instance: draw dropout's mask of the whole "
        "batch in a subclass, and give its config the plain class's name where a model is saved "
        f"(replace_call of {FILE})"
    )


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
def test_jax_fits_batches_are_placed_by_what_replaces_its_own_and_only_in_the_block() -> None:
    from keras.src.backend.jax.trainer import JAXEpochIterator

    before = JAXEpochIterator._get_distributed_iterator
    data = np.arange(5, dtype=np.float32)[:, None]
    with keras_internals.jax_batches_placed_by(lambda batch: len(batch[0])):
        batches = JAXEpochIterator(x=data, y=data, batch_size=2)
        told = (
            "JAXEpochIterator no longer takes its batches from _get_distributed_iterator: see "
            "whether fit under keras.distribution.DataParallel now divides an epoch's last, "
            "smaller batch itself; then delete jax_batches_placed_by, else replace what takes them "
            f"now, in {FILE}"
        )
        assert list(batches._get_distributed_iterator(None)) == [2, 2, 1], told
    assert JAXEpochIterator._get_distributed_iterator is before


@pytest.mark.parametrize(
    ("replace", "name"),
    [
        (keras_internals.replace_moments, "Changed._moments"),
        (keras_internals.replace_call, "Changed.call"),
    ],
)
def test_a_name_that_is_no_longer_there_is_an_error_and_not_a_change_without_effect(
    replace: Callable[[Any, Any], None], name: str
) -> None:
    class Changed:
        """As of a later Keras."""

    with pytest.raises(NotImplementedError, match=rf"Keras .* has no {re.escape(name)}"):
        replace(Changed(), print)
