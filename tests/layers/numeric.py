"""How the tests measure: the backend's gradients, finite differences, and relative error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

# JAX compiles every operation anew for every shape: a fifth of the examples takes longer.
EXAMPLES = 5 if keras.backend.backend() == "jax" else 24

FORWARD_ERROR = 1e-5
GRADIENT_ERROR = 1e-4


def relative_error(actual: Any, expected: Any) -> float:
    """The largest difference beside the largest expected value."""
    actual, expected = map(keras.ops.convert_to_numpy, (actual, expected))
    assert actual.shape == expected.shape, f"{actual.shape} is not {expected.shape}"
    scale = max(np.abs(expected).max(initial=0), 1e-6)
    return float(np.abs(actual - expected).max(initial=0) / scale)


def set_weights(layer: keras.layers.Layer, *weights: np.ndarray) -> None:
    layer.set_weights([np.asarray(weight, "float32") for weight in weights])


def backend_gradients(
    function: Callable[..., Any], inputs: np.ndarray, variables: Sequence[keras.Variable]
) -> list[np.ndarray]:
    """∂function/∂inputs and ∂function/∂variables by the backend; `function` gives a scalar."""
    name = keras.backend.backend()
    gradients = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[name]
    arrays = gradients(function, inputs.astype("float32"), list(variables))
    return [keras.ops.convert_to_numpy(array) for array in arrays]


def _tensorflow(function: Any, inputs: np.ndarray, variables: list[Any]) -> list[Any]:
    import tensorflow as tf

    tensor = tf.convert_to_tensor(inputs)
    sources = [tensor, *(variable.value for variable in variables)]
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        scalar = function(tensor)
    return tape.gradient(scalar, sources, unconnected_gradients="zero")


def _jax(function: Any, inputs: np.ndarray, variables: list[Any]) -> list[Any]:
    import jax

    def scalar(tensor: Any, values: list[Any]) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return function(tensor)

    tensor, values = jax.jit(jax.grad(scalar, argnums=(0, 1)))(inputs, [v.value for v in variables])
    return [tensor, *values]


def _torch(function: Any, inputs: np.ndarray, variables: list[Any]) -> list[Any]:
    import torch

    tensor = keras.ops.convert_to_tensor(inputs).requires_grad_()  # On Keras' device.
    sources = [tensor, *(variable.value for variable in variables)]
    gradients = torch.autograd.grad(function(tensor), sources, allow_unused=True)
    return [
        np.zeros(source.shape) if gradient is None else gradient
        for source, gradient in zip(sources, gradients, strict=True)
    ]


def finite_differences(
    function: Callable[..., float], arrays: Sequence[np.ndarray], step: float = 1e-6
) -> list[np.ndarray]:
    """Central differences of a float64 oracle with respect to each of `arrays`."""
    arrays = [np.array(array, "float64") for array in arrays]
    gradients = [np.zeros_like(array) for array in arrays]
    for array, gradient in zip(arrays, gradients, strict=True):
        for index in np.ndindex(array.shape):
            value = array[index]
            array[index] = value + step
            above = function(*arrays)
            array[index] = value - step
            below = function(*arrays)
            array[index] = value
            gradient[index] = (above - below) / (2 * step)
    return gradients


def assert_gradients_match(
    layer: keras.layers.Layer, oracle: Callable[..., np.ndarray], inputs: np.ndarray
) -> None:
    """Gradients of Σ r·layer(x) against finite differences of `oracle(x, *weights)`."""
    weights = [np.asarray(weight, "float64") for weight in layer.get_weights()]
    expected_output = oracle(inputs, *weights)
    probe = np.random.default_rng(7).normal(size=expected_output.shape)
    probe_tensor = keras.ops.convert_to_tensor(probe.astype("float32"))

    def scalar(tensor: Any) -> Any:
        return keras.ops.sum(layer(tensor) * probe_tensor)

    actual = backend_gradients(scalar, inputs, layer.trainable_variables)
    expected = finite_differences(
        lambda x, *w: float(np.sum(oracle(x, *w) * probe)), [inputs, *weights]
    )
    for got, want in zip(actual, expected, strict=True):
        assert relative_error(got, want) <= GRADIENT_ERROR
