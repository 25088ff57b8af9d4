"""MomentumSGD against trajectories computed by hand in float64 and other libraries' rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convforge.geometry import ArgumentError
from convforge.layers import Conv2D, PReLU
from convforge.optimizers import NO_DECAY, MomentumSGD

RNG = np.random.default_rng(0)
START = np.array([1.0, -2.0, 0.5])
TARGET = np.array([0.2, 0.3, -0.1])


def gradient(weights: np.ndarray) -> np.ndarray:
    """Of L = ½‖ω − target‖²."""
    return weights - TARGET


def trajectory(
    steps: int,
    *,
    rate: Callable[[int], float] = lambda step: 0.1,
    momentum: float = 0.9,
    decay: float = 0.0005,
) -> np.ndarray:
    """Equations (15) and (16), term by term, in float64."""
    weights, velocity, path = START.copy(), np.zeros(3), []
    for step in range(steps):
        epsilon = rate(step)
        velocity = momentum * velocity - decay * epsilon * weights - epsilon * gradient(weights)
        weights = weights + velocity
        path.append(weights)
    return np.array(path)


def run(optimizer: keras.optimizers.Optimizer, steps: int, name: str = "kernel") -> np.ndarray:
    variable = keras.Variable(START.astype("float32"), name=name)
    path = []
    for _ in range(steps):
        value = keras.ops.convert_to_numpy(variable)
        step = keras.ops.convert_to_tensor((value - TARGET).astype("float32"))
        optimizer.apply([step], [variable])
        path.append(keras.ops.convert_to_numpy(variable))
    return np.array(path)


@settings(max_examples=10, derandomize=True, deadline=None)
@given(st.floats(0.01, 0.3), st.floats(0, 0.95), st.floats(0, 0.5))
def test_the_path_is_equations_15_and_16(rate: float, momentum: float, decay: float) -> None:
    expected = trajectory(12, rate=lambda step: rate, momentum=momentum, decay=decay)
    actual = run(MomentumSGD(rate, momentum, decay), 12)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_one_weight_by_hand() -> None:
    # v = −0.25·0.5·1 − 0.5·1 = −0.625; ω = 0.375
    # v = 0.5·(−0.625) − 0.25·0.5·0.375 − 0.5·1 = −0.859375; ω = −0.484375
    weight = keras.Variable([1.0], name="kernel")
    optimizer = MomentumSGD(0.5, 0.5, 0.25)
    for expected in (0.375, -0.484375):
        optimizer.apply([keras.ops.ones(1)], [weight])
        assert keras.ops.convert_to_numpy(weight).item() == expected


def test_without_momentum_and_decay_it_is_equation_14() -> None:
    expected, weights = [], START
    for _ in range(5):
        weights = weights - 0.1 * gradient(weights)
        expected.append(weights)
    np.testing.assert_allclose(run(MomentumSGD(0.1, 0.0, 0.0), 5), expected, rtol=1e-5)


def test_defaults_are_the_lectures() -> None:
    config = MomentumSGD().get_config()
    assert (config["momentum"], config["weight_decay"]) == (0.9, 0.0005)


def test_it_equals_an_l2_penalty_of_half_the_decay_with_plain_momentum() -> None:
    def train(optimizer: keras.optimizers.Optimizer, penalty: Any) -> list[np.ndarray]:
        keras.utils.set_random_seed(1)
        dense = keras.layers.Dense(2, kernel_regularizer=penalty)
        model = keras.Sequential([keras.Input((3,)), dense])
        model.compile(optimizer, "mse")
        inputs = RNG.normal(size=(8, 3)).astype("float32")
        model.fit(inputs * 0 + 1, inputs[:, :2] * 0, epochs=10, verbose=0)
        return model.get_weights()

    ours = train(MomentumSGD(0.05, 0.9, 0.1), None)
    theirs = train(keras.optimizers.SGD(0.05, 0.9), keras.regularizers.L2(0.05))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_keras_own_weight_decay_is_another_rule() -> None:
    coupled = run(MomentumSGD(0.1, 0.9, 0.5), 10)
    decoupled = run(keras.optimizers.SGD(0.1, 0.9, weight_decay=0.5), 10)
    assert np.abs(coupled - decoupled).max() > 0.05


# Its optimizers load Triton where PyTorch is built for CUDA, which ends a process with TensorFlow
# in it. test_backends.py runs these tests in a process of PyTorch's own.
beside_pytorch = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="PyTorch's optimizer, in PyTorch's own process"
)


def pytorch_path(rates: list[float]) -> np.ndarray:
    import torch

    weights = torch.tensor(START, requires_grad=True)
    optimizer = torch.optim.SGD([weights], lr=rates[0], momentum=0.9, weight_decay=0.05)
    path = []
    for rate in rates:
        optimizer.param_groups[0]["lr"] = rate
        weights.grad = weights.detach() - torch.tensor(TARGET)
        optimizer.step()
        path.append(weights.detach().numpy().copy())
    return np.array(path)


@beside_pytorch
def test_a_constant_rate_gives_pytorchs_sgd() -> None:
    expected = pytorch_path([0.1] * 12)
    np.testing.assert_allclose(run(MomentumSGD(0.1, 0.9, 0.05), 12), expected, 1e-4, 1e-5)


@beside_pytorch
def test_a_changing_rate_parts_from_pytorchs_sgd_whose_velocity_leaves_it_out() -> None:
    rates = [0.1] * 4 + [0.01] * 4
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([3], [0.1, 0.01])
    actual = run(MomentumSGD(schedule, 0.9, 0.05), 8)
    expected = trajectory(8, rate=lambda step: rates[step], decay=0.05)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    difference = np.abs(actual - pytorch_path(rates))
    assert difference[:4].max() < 1e-5
    assert difference[4:].max() > 0.01


@pytest.mark.parametrize("name", ["bias", "alpha", "gamma", "beta"])
def test_biases_slopes_and_normalisation_are_exempt_by_rule(name: str) -> None:
    exempt = trajectory(8, decay=0.0)
    np.testing.assert_allclose(run(MomentumSGD(0.1, 0.9, 0.5), 8, name), exempt, 1e-4, 1e-5)
    literal = run(MomentumSGD(0.1, 0.9, 0.5, no_decay=()), 8, name)
    np.testing.assert_allclose(literal, trajectory(8, decay=0.5), 1e-4, 1e-5)


def test_more_variables_are_exempt_by_a_pattern_of_their_path() -> None:
    optimizer = MomentumSGD(0.1, 0.9, 0.5, no_decay=(*NO_DECAY, "embed"))
    np.testing.assert_allclose(run(optimizer, 8, "embedding"), trajectory(8, decay=0.0), 1e-4, 1e-5)


def test_keras_own_way_to_exempt_works_and_is_saved() -> None:
    kernels = [keras.Variable(START.astype("float32"), name=f"kernel{i}") for i in range(3)]
    optimizer = MomentumSGD(0.1, 0.0, 0.5)
    optimizer.exclude_from_weight_decay(var_list=[kernels[0]], var_names=["1$"])
    optimizer.apply([keras.ops.zeros(3)] * 3, kernels)
    for kernel, shrink in zip(kernels, (1, 1, 0.95), strict=True):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(kernel), shrink * START, rtol=1e-6)
    assert MomentumSGD.from_config(optimizer.get_config()).no_decay == optimizer.no_decay
    with pytest.raises(ValueError, match="'momentum_sgd': exempt variables before the first step"):
        optimizer.exclude_from_weight_decay(var_names=["kernel2"])


def small_net() -> keras.Model:
    keras.utils.set_random_seed(2)
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            Conv2D(3, 3, name="conv1"),
            keras.layers.BatchNormalization(name="norm1"),
            PReLU(name="act1"),
            keras.layers.Flatten(),
            keras.layers.Dense(1, name="fc10"),
        ]
    )


def test_in_a_net_with_zero_gradients_only_the_kernels_decay() -> None:
    model = small_net()
    optimizer = MomentumSGD(0.1, 0.0, 0.5, decay_factors={"fc10/kernel": 2.0})
    before = {v.path: keras.ops.convert_to_numpy(v).copy() for v in model.trainable_variables}
    zeros = [keras.ops.zeros(v.shape) for v in model.trainable_variables]
    optimizer.apply(zeros, model.trainable_variables)
    for variable in model.trainable_variables:
        shrink = 0.0
        if variable.path.endswith("kernel"):
            shrink = 0.1 * 0.5 * (2 if "fc10" in variable.path else 1)
        expected = before[variable.path] * (1 - shrink)
        actual = keras.ops.convert_to_numpy(variable)
        np.testing.assert_allclose(actual, expected, rtol=1e-6, err_msg=variable.path)


def test_learning_rate_factors_scale_the_step_of_the_first_pattern_that_fits() -> None:
    factors = {"bias$": 2.0, "b": 100.0}
    actual = run(MomentumSGD(0.05, 0.9, 0.0, learning_rate_factors=factors), 8, "bias")
    np.testing.assert_allclose(actual, trajectory(8, decay=0.0), rtol=1e-4, atol=1e-5)


def test_factors_scale_the_decay_with_the_rate_as_in_cuda_convnet() -> None:
    optimizer = MomentumSGD(
        0.05, 0.9, 0.1, learning_rate_factors={"kernel": 2.0}, decay_factors={"kernel": 3.0}
    )
    np.testing.assert_allclose(run(optimizer, 8), trajectory(8, decay=0.3), rtol=1e-4, atol=1e-5)


def test_a_factor_that_fits_no_variable_is_refused() -> None:
    optimizer = MomentumSGD(learning_rate_factors={"biases": 2.0})
    with pytest.raises(ArgumentError, match=r"learning_rate_factors='biases' .* variables .*bias"):
        optimizer.build([keras.Variable([1.0], name="bias")])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"momentum": 1.0}, "momentum=1.0"),
        ({"momentum": -0.1}, "momentum=-0.1"),
        ({"weight_decay": -1e-4}, "weight_decay=-0.0001"),
        ({"weight_decay": None}, "weight_decay=None"),
        ({"no_decay": ["("]}, r"no_decay='\('"),
        ({"decay_factors": {"kernel": -1.0}}, "decay_factors={'kernel': -1.0}"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ArgumentError, match=f"MomentumSGD 'momentum_sgd': {named}"):
        MomentumSGD(**arguments)


@pytest.mark.parametrize(
    ("schedule", "rate"),
    [
        (
            keras.optimizers.schedules.ExponentialDecay(0.2, 4, 0.5),
            lambda step: 0.2 * 0.5 ** (step / 4),
        ),
        (
            keras.optimizers.schedules.CosineDecay(0.2, 10),
            lambda step: 0.1 * (1 + np.cos(np.pi * step / 10)),
        ),
        # AlexNet's: divided by 10, here after 5 steps.
        (
            keras.optimizers.schedules.PiecewiseConstantDecay([4], [0.2, 0.02]),
            lambda step: 0.2 if step < 5 else 0.02,
        ),
    ],
    ids=["exponential", "cosine", "steps"],
)
def test_a_schedule_sets_the_rate_of_each_step(schedule: Any, rate: Callable[[int], float]) -> None:
    actual = run(MomentumSGD(schedule, 0.9, 0.05), 8)
    np.testing.assert_allclose(actual, trajectory(8, rate=rate, decay=0.05), rtol=1e-4, atol=1e-5)


def test_the_rate_can_be_set_between_steps() -> None:
    optimizer, weight = MomentumSGD(0.1, 0.0, 0.0), keras.Variable([1.0], name="kernel")
    for rate, expected in ((0.1, 0.9), (0.5, 0.4)):
        optimizer.learning_rate = rate
        optimizer.apply([keras.ops.ones(1)], [weight])
        np.testing.assert_allclose(keras.ops.convert_to_numpy(weight), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("clipping", "clipped"),
    [
        ({"clipvalue": 2.0}, ([2.0, -2.0], [1.0])),
        ({"clipnorm": 2.5}, ([1.5, -2.0], [1.0])),
        # The norm of all three is √(9 + 16 + 1).
        ({"global_clipnorm": 1.0}, (np.array([3.0, -4.0]) / np.sqrt(26), [1 / np.sqrt(26)])),
    ],
)
def test_each_kind_of_clipping_shortens_the_gradients(
    clipping: dict[str, float], clipped: tuple[Any, Any]
) -> None:
    weights = [keras.Variable([1.0, 1.0], name="kernel"), keras.Variable([1.0], name="kernel")]
    optimizer = MomentumSGD(0.1, 0.9, 0.5, **clipping)
    optimizer.apply([keras.ops.array([3.0, -4.0]), keras.ops.array([1.0])], weights)
    for weight, gradient in zip(weights, clipped, strict=True):
        expected = 1 - 0.1 * (np.array(gradient) + 0.5)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(weight), expected, rtol=1e-5)


def test_memory_in_another_order_changes_nothing() -> None:
    # Transposed tensors are views on PyTorch, whose fused step would walk them in the wrong order.
    start, slope = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4))
    expected = start - 0.1 * (slope + 0.5 * start)
    for turn_weight in (False, True):
        for turn_gradient in (False, True):
            values = [
                keras.ops.transpose(keras.ops.convert_to_tensor(array.T.astype("float32").copy()))
                if turn
                else keras.ops.convert_to_tensor(array.astype("float32"))
                for array, turn in ((start, turn_weight), (slope, turn_gradient))
            ]
            weight = keras.Variable(values[0], name="kernel")
            MomentumSGD(0.1, 0.9, 0.5).apply([values[1]], [weight])
            actual = keras.ops.convert_to_numpy(weight)
            np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_clipping_acts_on_the_gradient_before_the_decay() -> None:
    weight = keras.Variable([10.0], name="kernel")
    optimizer = MomentumSGD(0.1, 0.9, 0.5, clipnorm=1.0)
    optimizer.apply([keras.ops.array([100.0])], [weight])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(weight), 10 - 0.1 * (1 + 0.5 * 10))


def test_config_round_trips_everything_and_keras_does_not_decay_a_second_time() -> None:
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 100)
    optimizer = MomentumSGD(
        schedule,
        0.8,
        0.01,
        no_decay=["bias$"],
        learning_rate_factors={"bias$": 2.0},
        decay_factors={"kernel$": 0.5},
        clipvalue=0.5,
        name="sgd_of_the_lecture",
    )
    config = optimizer.get_config()
    again = MomentumSGD.from_config(dict(config))  # Keras replaces the schedule in its argument.
    assert again.get_config() == config
    assert again.weight_decay is None
    assert config["weight_decay"] == 0.01
    deserialized = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert deserialized.get_config() == config


def test_a_saved_model_goes_on_as_if_never_saved(tmp_path: Any) -> None:
    inputs = RNG.normal(size=(8, 6, 6, 2)).astype("float32")
    targets = RNG.normal(size=(8, 1)).astype("float32")
    model = small_net()
    model.compile(MomentumSGD(0.01, learning_rate_factors={"bias$": 2.0}), "mse")
    model.fit(inputs, targets, epochs=3, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for one in (model, again):
        one.fit(inputs, targets, epochs=3, shuffle=False, verbose=0)
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


def test_mixed_precision_trains_with_loss_scaling() -> None:
    inputs = RNG.normal(size=(16, 6, 6, 2)).astype("float32")
    targets = inputs.mean(axis=(1, 2, 3))[:, None]
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = small_net()
        model.compile(MomentumSGD(0.005), "mse")
        losses = model.fit(inputs, targets, epochs=15, verbose=0).history["loss"]
    finally:
        keras.config.set_dtype_policy("float32")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert losses[-1] < losses[0]


def apply(
    optimizer: keras.optimizers.Optimizer, gradients: list[Any], variables: list[Any]
) -> None:
    """One step, on JAX by the function without side effects that `fit` uses there."""
    if keras.backend.backend() != "jax":
        optimizer.apply(gradients, variables)
        return
    if not optimizer.built:
        optimizer.build(variables)
    state = [variable.value for variable in optimizer.variables]
    values, state = optimizer.stateless_apply(state, gradients, [v.value for v in variables])
    for variable, value in zip((*variables, *optimizer.variables), (*values, *state), strict=True):
        variable.assign(value)


def test_loss_scaling_keeps_the_path_and_skips_a_step_that_overflows() -> None:
    weight = keras.Variable(START.astype("float32"), name="kernel")
    inner = MomentumSGD(0.1, 0.9, 0.05)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=8.0)
    path, scales = [], []
    for step in range(7):
        value = keras.ops.convert_to_numpy(weight)
        scale = float(optimizer.scale_loss(keras.ops.ones(())))
        slope = scale * (value - TARGET)
        if step in (2, 3):
            slope[1] = np.inf if step == 2 else np.nan
        apply(optimizer, [keras.ops.convert_to_tensor(slope.astype("float32"))], [weight])
        path.append(keras.ops.convert_to_numpy(weight).copy())
        scales.append(scale)
    assert scales == [8, 8, 8, 4, 2, 2, 2]
    assert int(optimizer.iterations) == 5
    np.testing.assert_array_equal(path[2], path[1])
    np.testing.assert_array_equal(path[3], path[1])
    taken = path[:2] + path[4:]
    np.testing.assert_allclose(taken, trajectory(5, decay=0.05), rtol=1e-4, atol=1e-5)


def test_a_batch_that_overflows_in_half_precision_leaves_the_net_as_it_was() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = small_net()
    finally:
        keras.config.set_dtype_policy("float32")
    optimizer = keras.optimizers.LossScaleOptimizer(MomentumSGD(0.005), initial_scale=64.0)
    model.compile(optimizer, "mse")
    inputs = RNG.normal(size=(8, 6, 6, 2)).astype("float32")
    before = [keras.ops.convert_to_numpy(v).copy() for v in model.trainable_variables]
    model.fit(inputs, np.full((8, 1), 1e6, "float32"), batch_size=8, verbose=0)
    after = map(keras.ops.convert_to_numpy, model.trainable_variables)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (int(optimizer.iterations), float(optimizer.dynamic_scale)) == (0, 32.0)
    model.fit(inputs, np.ones((8, 1), "float32"), batch_size=8, verbose=0)
    assert (int(optimizer.iterations), float(optimizer.dynamic_scale)) == (1, 32.0)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="PyTorch's compiler")
def test_a_compiled_step_is_the_same_step() -> None:
    import torch

    weight = keras.Variable([1.0], name="kernel")
    optimizer = MomentumSGD(0.5, 0.5, 0.25)
    optimizer.build([weight])
    # The compiler traces as it does for `fit`, and then runs what it traced as it is.
    step = torch.compile(lambda slope: optimizer.apply([slope], [weight]), backend="aot_eager")
    for expected in (0.375, -0.484375):
        step(torch.ones(1))
        assert keras.ops.convert_to_numpy(weight).item() == expected


def test_gradient_accumulation_averages_over_the_steps() -> None:
    weight = keras.Variable([1.0], name="kernel")
    optimizer = MomentumSGD(0.1, 0.9, 0.5, gradient_accumulation_steps=2)
    for value in (1.0, 3.0):
        optimizer.apply([keras.ops.array([value])], [weight])
    expected = 1 - 0.1 * (2 + 0.5 * 1)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(weight), expected, rtol=1e-6)
