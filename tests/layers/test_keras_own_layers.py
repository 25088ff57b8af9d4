"""What Keras' own layers do of the lecture: batch normalisation, softmax (8), dropout, (5)-(7)."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
from numeric import FORWARD_ERROR, GRADIENT_ERROR, backend_gradients, relative_error

RNG = np.random.default_rng(0)


def by_batch(images: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> tuple[np.ndarray, ...]:
    """(I − mean) / √(variance + ε)·γ + β per channel, mean and variance of this batch."""
    mean, variance = images.mean(axis=(0, 1, 2)), images.var(axis=(0, 1, 2))
    return (images - mean) / np.sqrt(variance + 1e-3) * gamma + beta, mean, variance


def test_batch_normalization_uses_the_batch_in_training_and_running_averages_after() -> None:
    layer = keras.layers.BatchNormalization(momentum=0.8, epsilon=1e-3)
    layer.build((None, 3, 4, 5))
    gamma, beta = RNG.normal(size=5), RNG.normal(size=5)
    layer.set_weights([np.float32(gamma), np.float32(beta), np.zeros(5), np.ones(5)])
    running_mean, running_variance = np.zeros(5), np.ones(5)
    for number in range(4):
        images = RNG.normal(loc=number, scale=1 + number, size=(6, 3, 4, 5))
        expected, mean, variance = by_batch(images, gamma, beta)
        actual = layer(images.astype("float32"), training=True)
        assert relative_error(actual, expected) <= FORWARD_ERROR
        # Keras' momentum weighs the old average; PyTorch's 0.1 is Keras' 0.9.
        running_mean = 0.8 * running_mean + 0.2 * mean
        running_variance = 0.8 * running_variance + 0.2 * variance
        assert relative_error(layer.moving_mean, running_mean) <= FORWARD_ERROR
        assert relative_error(layer.moving_variance, running_variance) <= FORWARD_ERROR
    images = RNG.normal(size=(1, 3, 4, 5))
    expected = (images - running_mean) / np.sqrt(running_variance + 1e-3) * gamma + beta
    assert relative_error(layer(images.astype("float32")), expected) <= FORWARD_ERROR


@pytest.mark.backends
def test_batch_normalization_is_pytorchs_but_for_the_convention_of_the_averages() -> None:
    import torch

    images = RNG.normal(loc=2.0, size=(6, 3, 4, 5)).astype("float32")
    ours = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
    theirs = torch.nn.BatchNorm2d(5, eps=1e-5, momentum=0.1, device="cpu")
    expected = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    actual = ours(images, training=True)
    assert relative_error(actual, expected.detach().numpy().transpose(0, 2, 3, 1)) <= FORWARD_ERROR
    assert relative_error(ours.moving_mean, theirs.running_mean.numpy()) <= FORWARD_ERROR
    # PyTorch averages the unbiased variance, over n − 1 of the n = 72 values.
    added = keras.ops.convert_to_numpy(ours.moving_variance) - 0.9
    assert relative_error(added * 72 / 71, theirs.running_var.numpy() - 0.9) <= FORWARD_ERROR


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
def test_softmax_is_equation_8_stable_and_its_rows_sum_to_one(scale: float) -> None:
    logits = np.float32(scale * RNG.normal(size=(7, 10)))
    actual = keras.ops.convert_to_numpy(keras.layers.Softmax()(logits))
    np.testing.assert_allclose(actual.sum(axis=-1), 1, rtol=1e-6)
    np.testing.assert_allclose(actual, softmax(logits.astype("float64")), rtol=1e-5, atol=1e-7)


def test_softmax_of_equal_logits_is_equal_however_large_they_are() -> None:
    for value in (-1e4, 0.0, 1e4):
        rows = keras.ops.convert_to_numpy(keras.layers.Softmax()(np.full((2, 4), value, "float32")))
        np.testing.assert_array_equal(rows, 0.25)


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_dropout_drops_with_its_rate_and_keeps_the_mean(rate: float) -> None:
    layer = keras.layers.Dropout(rate, seed=3)
    ones = np.ones((1, 1000), "float32")
    draws = np.concatenate(
        [keras.ops.convert_to_numpy(layer(ones, training=True)) for _ in range(100)]
    )
    dropped = draws == 0
    np.testing.assert_allclose(draws[~dropped], 1 / (1 - rate), rtol=1e-6)
    # Of n draws the share that is dropped spreads by √(p·(1 − p) / n): five times that at most.
    spread = np.sqrt(rate * (1 - rate))
    assert abs(dropped.mean() - rate) < 5 * spread / np.sqrt(dropped.size)
    assert np.abs(dropped.mean(axis=0) - rate).max() < 5 * spread / np.sqrt(100)
    assert np.abs(dropped.mean(axis=1) - rate).max() < 5 * spread / np.sqrt(1000)
    assert abs(draws.mean() - 1) < 5 * spread / (1 - rate) / np.sqrt(draws.size)
    # Neither elements nor draws repeat one another.
    assert abs(np.corrcoef(dropped[:-1].ravel(), dropped[1:].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(dropped[:, :-1].ravel(), dropped[:, 1:].ravel())[0, 1]) < 0.02


def test_dropout_does_nothing_at_inference() -> None:
    images = np.float32(RNG.normal(size=(2, 3, 4, 5)))
    kept = keras.layers.Dropout(0.5)(images, training=False)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(kept), images)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Equation (5) without overflow: e^x / (1 + e^x) where x is negative."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


@pytest.mark.parametrize(
    ("name", "formula", "slope"),
    [
        ("sigmoid", sigmoid, lambda x: sigmoid(x) * sigmoid(-x)),
        ("tanh", np.tanh, lambda x: 4 * sigmoid(2 * x) * sigmoid(-2 * x)),
        ("relu", lambda x: np.maximum(x, 0), lambda x: (x > 0).astype(float)),
    ],
)
def test_activations_and_their_slopes_are_equations_5_to_7_up_to_large_inputs(
    name: str,
    formula: Callable[[np.ndarray], np.ndarray],
    slope: Callable[[np.ndarray], np.ndarray],
) -> None:
    values = np.array([-1e4, -50.0, -3.0, -0.5, 0.25, 3.0, 50.0, 1e4])
    layer = keras.layers.Activation(name)
    assert relative_error(layer(values.astype("float32")), formula(values)) <= FORWARD_ERROR
    gradients = backend_gradients(lambda x: keras.ops.sum(layer(x)), values, [])
    assert np.isfinite(gradients[0]).all()
    assert relative_error(gradients[0], slope(values)) <= GRADIENT_ERROR
