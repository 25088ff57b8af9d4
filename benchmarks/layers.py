"""What the layers and the optimizer cost beside Keras' own, as ratios of medians.

    KERAS_BACKEND=jax python benchmarks/layers.py     # tensorflow, jax or torch; about a minute

Each pair is timed in turns in one process, forward and backward for layers, compiled as
`model.fit` compiles: XLA on TensorFlow and JAX, none on PyTorch. A ratio above 1 means that
the first of the pair is slower; the bound is what this package promises itself.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from convforge.layers import Conv2D, MaxoutConv2D, PReLU
from convforge.optimizers import MomentumSGD

BACKEND = keras.backend.backend()
RNG = np.random.default_rng(0)

Run = Callable[[], None]


def images(*shape: int) -> Any:
    return keras.ops.convert_to_tensor(RNG.normal(size=shape).astype("float32"))


def forward_and_backward(function: Callable[[Any], Any], inputs: Any, variables: list[Any]) -> Run:
    """One compiled call: Σ function(inputs)² and its gradients by inputs and variables."""

    def scalar(tensor: Any) -> Any:
        return keras.ops.sum(keras.ops.square(function(tensor)))

    return {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[BACKEND](
        scalar, inputs, variables
    )


def _tensorflow(scalar: Callable[[Any], Any], inputs: Any, variables: list[Any]) -> Run:
    import tensorflow as tf

    @tf.function(jit_compile=True)
    def step(tensor: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            value = scalar(tensor)
        return tape.gradient(value, [tensor, *(v.value for v in variables)])

    return lambda: [g.numpy() for g in step(inputs)[-1:]] and None


def _jax(scalar: Callable[[Any], Any], inputs: Any, variables: list[Any]) -> Run:
    import jax

    def stateless(tensor: Any, values: list[Any]) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return scalar(tensor)

    step = jax.jit(jax.grad(stateless, argnums=(0, 1)))
    values = [v.value for v in variables]
    return lambda: jax.block_until_ready(step(inputs, values)) and None


def _torch(scalar: Callable[[Any], Any], inputs: Any, variables: list[Any]) -> Run:
    import torch

    tensor = inputs.clone().requires_grad_(True)
    sources = [tensor, *(v.value for v in variables)]
    return lambda: torch.autograd.grad(scalar(tensor), sources) and None


def of_layer(layer: keras.layers.Layer, inputs: Any) -> Run:
    layer.build(inputs.shape)
    return forward_and_backward(layer, inputs, layer.trainable_variables)


def separate_convolutions(filters: int, size: int, pieces: int, inputs: Any) -> Run:
    """Maxout written naively: a convolution for each piece, then their maximum."""
    convolutions = [keras.layers.Conv2D(filters, size, padding="same") for _ in range(pieces)]
    for convolution in convolutions:
        convolution.build(inputs.shape)

    def largest(tensor: Any) -> Any:
        outputs = convolutions[0](tensor)
        for convolution in convolutions[1:]:
            outputs = keras.ops.maximum(outputs, convolution(tensor))
        return outputs

    return forward_and_backward(
        largest, inputs, [v for c in convolutions for v in c.trainable_variables]
    )


def of_optimizer(optimizer: keras.optimizers.Optimizer) -> Run:
    """One step on the variables of a small AlexNet, about 5 million numbers."""
    shapes = [(11, 11, 3, 96), (5, 5, 48, 256), (3, 3, 256, 384), (2304, 1024), (1024, 1000)]
    variables = [
        keras.Variable(RNG.normal(size=s).astype("float32"), name="kernel") for s in shapes
    ]
    variables += [keras.Variable(np.zeros(s[-1], "float32"), name="bias") for s in shapes]
    gradients = [images(*v.shape) for v in variables]
    optimizer.build(variables)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        step = tf.function(lambda g: optimizer.apply(g, variables), jit_compile=True)
        return lambda: step(gradients) or variables[-1].numpy() is None
    if BACKEND == "jax":
        import jax

        # Buffers are given up to the step, as `fit` does; without that every step copies all.
        apply = jax.jit(optimizer.stateless_apply, donate_argnums=(0, 2))
        state = [[v.value + 0 for v in optimizer.variables], [v.value + 0 for v in variables]]

        def run() -> None:
            state[1], state[0] = apply(state[0], gradients, state[1])
            jax.block_until_ready(state)

        return run
    return lambda: optimizer.apply(gradients, variables)


def pairs() -> dict[str, tuple[Run, Run, str, float]]:
    """Name → (ours, the other, "≤" or "≥", bound on ours / other)."""
    maps = images(32, 32, 32, 32)
    maxout = of_layer(MaxoutConv2D(32, 5, 2, padding=2), maps)
    plain = of_layer(keras.layers.Conv2D(64, 5, padding="same"), maps)
    naive = separate_convolutions(32, 5, 2, maps)
    padded = of_layer(Conv2D(64, 5, padding=2), maps)
    strided = of_layer(Conv2D(64, 5, 2, padding=2), maps)
    strided_same = of_layer(keras.layers.Conv2D(64, 5, 2, padding="same"), maps)
    shared = keras.layers.PReLU(shared_axes=[1, 2])
    return {
        "MaxoutConv2D / plain convolution of as many kernels": (maxout, plain, "≤", 1.10),
        "separate convolutions and maximum / MaxoutConv2D": (naive, maxout, "≥", 1.30),
        "Conv2D padding=2 / Keras' same, stride 1": (padded, plain, "≤", 1.05),
        "Conv2D padding=2 / Keras' same, stride 2": (strided, strided_same, "≤", 1.05),
        "PReLU / Keras' PReLU": (of_layer(PReLU(), maps), of_layer(shared, maps), "≤", 1.05),
        "MomentumSGD / Keras' SGD(momentum)": (
            of_optimizer(MomentumSGD(1e-6)),
            of_optimizer(keras.optimizers.SGD(1e-6, 0.9)),
            "≤",
            1.05,
        ),
    }


def ratio(first: Run, second: Run, rounds: int) -> tuple[float, float, float]:
    """Medians of both in milliseconds and the median of the ratios of neighbouring calls."""
    times: tuple[list[float], list[float]] = ([], [])
    for run in (first, second) * 2:
        run()
    for _ in range(rounds):
        for run, seconds in zip((first, second), times, strict=True):
            begin = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - begin)
    ratios = [one / other for one, other in zip(*times, strict=True)]
    one, other = (1e3 * statistics.median(seconds) for seconds in times)
    return one, other, statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    print(f"{BACKEND}, keras {keras.__version__}, {os.cpu_count()} cores, {platform.machine()}")
    print(f"{'':52}{'ms':>8}{'ms':>8}{'ratio':>8}  bound")
    for name, (first, second, sign, bound) in pairs().items():
        one, other, value = ratio(first, second, rounds)
        met = value <= bound if sign == "≤" else value >= bound
        verdict = "" if met else "  not met"
        print(f"{name:52}{one:8.1f}{other:8.1f}{value:8.2f}  {sign} {bound:.2f}{verdict}")


if __name__ == "__main__":
    main()
