"""The gradient of a score, by the backend that Keras runs on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from convforge.errors import InputError

_BACKENDS = ("tensorflow", "jax", "torch")


def has_gradients() -> bool:
    """Whether the backend has any; NumPy's and OpenVINO's only predict."""
    return keras.backend.backend() in _BACKENDS


def gradient(score: Callable[[Any], Any], at: Any) -> Any:
    """∂score/∂x at the tensor `at`, of its shape.

    Args:
        score: of a tensor, one number, by Keras' layers and operations.
        at: where.

    Raises:
        InputError: the backend has no gradients.
    """
    backend = keras.backend.backend()
    if not has_gradients():
        raise InputError(
            f"KERAS_BACKEND={backend} has no gradients: Grad-CAM needs {', '.join(_BACKENDS)}"
        )
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(at)
            value = score(at)
        return tape.gradient(value, at)
    if backend == "jax":
        import jax

        return jax.grad(score)(at)
    import torch

    with torch.enable_grad():
        at = at.detach().requires_grad_()
        return torch.autograd.grad(score(at), at)[0]
