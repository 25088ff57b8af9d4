"""Losses (9) to (12) against their formulas in float64."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numeric import GRADIENT_ERROR, backend_gradients, relative_error

from convforge.geometry import ArgumentError
from convforge.losses import Hinge, check_hinge_targets

RNG = np.random.default_rng(0)


def float32(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, "float32")


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_keras_cross_entropy_from_logits_is_equation_9(scale: float) -> None:
    logits, classes = scale * RNG.normal(size=(6, 5)), RNG.integers(0, 5, 6)
    one_hot = np.eye(5)[classes]
    expected = np.mean([-np.sum(p * q) for p, q in zip(one_hot, log_softmax(logits), strict=True)])
    dense = keras.losses.CategoricalCrossentropy(from_logits=True)
    sparse = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    np.testing.assert_allclose(float(dense(float32(one_hot), float32(logits))), expected, 1e-5)
    np.testing.assert_allclose(float(sparse(classes, float32(logits))), expected, 1e-5)


def test_keras_squared_and_absolute_error_are_equations_10_and_11() -> None:
    truth, guess = RNG.normal(size=(7, 1)), RNG.normal(size=(7, 1))
    squared = np.sum((truth - guess) ** 2) / 7
    absolute = np.sum(np.abs(truth - guess)) / 7
    arrays = float32(truth), float32(guess)
    np.testing.assert_allclose(float(keras.losses.MeanSquaredError()(*arrays)), squared, 1e-5)
    np.testing.assert_allclose(float(keras.losses.MeanAbsoluteError()(*arrays)), absolute, 1e-5)


@settings(max_examples=10, derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([-1, 1]), st.floats(-5, 5)), min_size=1, max_size=6))
def test_hinge_is_equation_12(pairs: list[tuple[int, float]]) -> None:
    truth, guess = (np.array(column, "float64")[:, None] for column in zip(*pairs, strict=True))
    expected = sum(max(1 - y * p, 0) for y, p in pairs) / len(pairs)
    actual = float(Hinge()(float32(truth), float32(guess)))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def gradient(loss: keras.losses.Loss, truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
    return backend_gradients(lambda values: loss(truth, values), guess, [])[0]


@pytest.mark.parametrize(
    ("loss", "formula"),
    [
        (keras.losses.MeanSquaredError(), lambda y, p: 2 * (p - y) / len(y)),
        (keras.losses.MeanAbsoluteError(), lambda y, p: np.sign(p - y) / len(y)),
        (Hinge(), lambda y, p: np.where(y * p < 1, -y, 0.0) / len(y)),
    ],
    ids=["squared", "absolute", "hinge"],
)
def test_gradients_of_the_regression_losses(loss: Any, formula: Any) -> None:
    truth, guess = RNG.choice([-1.0, 1.0], size=(9, 1)), 2 * RNG.normal(size=(9, 1))
    actual = gradient(loss, float32(truth), guess)
    assert relative_error(actual, formula(truth, guess)) <= GRADIENT_ERROR


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_the_gradient_of_cross_entropy_is_softmax_minus_target(scale: float) -> None:
    logits, classes = scale * RNG.normal(size=(6, 5)), RNG.integers(0, 5, 6)
    expected = (np.exp(log_softmax(logits)) - np.eye(5)[classes]) / 6
    dense = keras.losses.CategoricalCrossentropy(from_logits=True)
    sparse = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for actual in (
        gradient(dense, float32(np.eye(5)[classes]), logits),
        gradient(sparse, classes, logits),
    ):
        assert relative_error(actual, expected) <= GRADIENT_ERROR


def test_hinge_equals_keras_own_for_allowed_targets() -> None:
    truth = float32(RNG.choice([-1, 1], size=(4, 3)))
    guess = float32(RNG.normal(size=(4, 3)))
    expected = float(keras.losses.Hinge()(truth, guess))
    np.testing.assert_allclose(float(Hinge()(truth, guess)), expected, rtol=1e-6)


@pytest.mark.parametrize("bad", [0.0, 2.0, 0.5, np.nan])
def test_hinge_refuses_other_targets_by_value(bad: float) -> None:
    targets = float32([[1.0], [bad]])
    with pytest.raises(ArgumentError, match=rf"hinge targets=\[{bad}\] .* give −1 or 1"):
        check_hinge_targets(targets)
    with pytest.raises(ArgumentError, match=rf"Hinge 'hinge': hinge targets=\[{bad}\]"):
        Hinge()(targets, float32([[1.0], [1.0]]))


def test_training_with_refused_targets_cannot_pass_unnoticed() -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", Hinge())
    inputs = np.ones((4, 2), "float32")
    good, bad = float32([[1], [-1], [1], [-1]]), float32([[1], [0], [1], [-1]])
    assert np.isfinite(model.fit(inputs, good, verbose=0).history["loss"]).all()
    try:
        loss = model.fit(inputs, bad, verbose=0).history["loss"]
    except ArgumentError:
        return  # Where training is not compiled, as on PyTorch, the values can be seen.
    assert np.isnan(loss).all()


def test_hinge_survives_a_saved_model(tmp_path: object) -> None:
    again = keras.losses.deserialize(keras.losses.serialize(Hinge()))
    assert isinstance(again, Hinge)
