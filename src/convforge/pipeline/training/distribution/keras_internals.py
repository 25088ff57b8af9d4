"""All of Keras' insides that training alters, because Keras offers no other way.

Tried on Keras 3.12 to 3.15. A name that a later Keras does not have is an error here and not a
change without effect; tests/distribute/test_keras_internals.py says for each what to do then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras


def replace_moments(
    layer: keras.layers.BatchNormalization, moments: Callable[[Any, Any], tuple[Any, Any]]
) -> None:
    """Let `layer` compute mean and variance of its inputs, given a mask or None, by `moments`."""
    _replace(layer, "_moments", moments)


def replace_call(layer: keras.layers.Layer, call: Callable[..., Any]) -> None:
    """Let this one `layer` compute by `call` instead of its class's.

    A layer of another class would show in the saved model.
    """
    _replace(layer, "call", call)


@contextmanager
def jax_batches_placed_by(place: Callable[[Any], Any]) -> Iterator[None]:
    """Within the block `fit` on JAX has `place` put every batch on its devices.

    Keras divides all batches as it does the first one, and so fails at the last of an epoch if that
    has a number of rows that cannot be divided.
    """
    from keras.src.backend.jax.trainer import JAXEpochIterator

    def iterator(self: Any, distribution: Any) -> Iterator[Any]:
        for batch in self.data_adapter.get_jax_iterator():
            yield place(batch)

    kept = _replace(JAXEpochIterator, "_get_distributed_iterator", iterator)
    try:
        yield
    finally:
        JAXEpochIterator._get_distributed_iterator = kept


def _replace(owner: Any, name: str, value: Any) -> Any:
    """Set the attribute `name`, which must be there; what it was before."""
    before = getattr(owner, name, None)
    if before is None:
        kind = owner if isinstance(owner, type) else type(owner)
        raise NotImplementedError(
            f"Keras {keras.__version__} has no {kind.__name__}.{name}, which this version of "
            "convforge needs: install one that pyproject.toml allows"
        )
    setattr(owner, name, value)
    return before
