"""What the layers and the optimizer cost beside Keras' own, as ratios of medians.

    python benchmarks/layers.py                       # every backend, some four minutes
    KERAS_BACKEND=jax python benchmarks/layers.py     # one backend

Each pair is timed in turns in one process, forward and backward for layers, compiled as
`model.fit` compiles: XLA on TensorFlow and JAX, none on PyTorch. A ratio above 1 means that
the first of the pair is slower; the bound is what this package promises itself.

Where a bound is not met, and why (profiles on two cores of an AMD EPYC):

- `MomentumSGD` with decay, TensorFlow: XLA compiles the step of either optimizer to two loops over
  memory, one that writes the velocity and one that writes ω. Keras' SGD moves 3 + 3 arrays through
  them, equation (15) 4 + 3, since its velocity reads ω: 7 / 6 = 1.17. Without decay there is no
  difference. JAX compiles the same, beside a cost of its own that is larger; PyTorch's fused
  kernel moves 5 arrays.
- Separate convolutions, JAX: the compiled program holds the 4 × 3 narrow convolutions as written,
  and they take as long for a multiply-add as the 3 wide ones (25 and 24 ms for 64 → 16 × 4), so
  that fusing them by hand gains nothing. Neither does it where each piece has filters enough:
  with 32 or 96 of them two convolutions cost TensorFlow what one of 64 or 192 does, or less.
- `Conv2D` with padding 2 and stride 2, TensorFlow: XLA pads inside the convolution, but its
  gradient is computed for the padded map of 36 × 36 and then cut to 32 × 32, where "same" computes
  32 × 32. `keras.ops.conv` takes no other padding; on JAX the layer calls JAX' own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

from convforge.layers import Conv2D, MaxoutConv2D, PReLU
from convforge.optimizers import MomentumSGD
from convforge.pipeline.machine import processor

BACKENDS = ("tensorflow", "jax", "torch")
BACKEND = keras.backend.backend()
RNG = np.random.default_rng(0)
BATCH = 32

Run = Callable[[], None]
#: Size of the map, its channels, filters, kernel, pieces.
Maxout = tuple[int, int, int, int, int]
MAXOUT: tuple[Maxout, ...] = (
    (32, 32, 32, 5, 2),
    (16, 64, 16, 3, 4),
    (32, 3, 96, 8, 2),  # The first layer of the Maxout paper's CIFAR-10 net.
)


def images(*shape: int) -> Any:
    return keras.ops.convert_to_tensor(RNG.normal(size=shape).astype("float32"))


def forward_and_backward(function: Callable[[Any], Any], inputs: Any, variables: list[Any]) -> Run:
    """One compiled call: Σ function(inputs)² and its gradients by variables and inputs."""

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

    variables = [v for c in convolutions for v in c.trainable_variables]
    return forward_and_backward(largest, inputs, variables)


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
    import torch

    return torch.no_grad()(lambda: optimizer.apply(gradients, variables))  # As `fit` does.


def fused_against_plain(shape: Maxout) -> tuple[Run, Run]:
    size, channels, filters, kernel, pieces = shape
    maps = images(BATCH, size, size, channels)
    ours = MaxoutConv2D(filters, kernel, pieces, padding="same")
    plain = keras.layers.Conv2D(filters * pieces, kernel, padding="same")
    return of_layer(ours, maps), of_layer(plain, maps)


def separate_against_fused(shape: Maxout) -> tuple[Run, Run]:
    size, channels, filters, kernel, pieces = shape
    maps = images(BATCH, size, size, channels)
    ours = MaxoutConv2D(filters, kernel, pieces, padding="same")
    naive = separate_convolutions(filters, kernel, pieces, maps)
    return naive, of_layer(ours, maps)


def padded_against_same(stride: int) -> tuple[Run, Run]:
    maps = images(BATCH, 32, 32, 32)
    same = keras.layers.Conv2D(64, 5, stride, padding="same")
    return of_layer(Conv2D(64, 5, stride, padding=2), maps), of_layer(same, maps)


def prelu_against_keras() -> tuple[Run, Run]:
    maps = images(BATCH, 32, 32, 32)
    return of_layer(PReLU(), maps), of_layer(keras.layers.PReLU(shared_axes=[1, 2]), maps)


def step_against_keras(decay: float) -> tuple[Run, Run]:
    ours = MomentumSGD(1e-6, weight_decay=decay)
    return of_optimizer(ours), of_optimizer(keras.optimizers.SGD(1e-6, 0.9))


def pairs() -> list[tuple[str, Callable[[], tuple[Run, Run]], str, float]]:
    """Name, what makes (ours, the other), "≤" or "≥", bound on ours / other."""

    def of(shape: Maxout) -> str:
        size, channels, filters, kernel, pieces = shape
        return f"{channels}→{filters}×{pieces}, {kernel}×{kernel} on {size}×{size}"

    return [
        *(
            (f"MaxoutConv2D / plain, {of(shape)}", partial(fused_against_plain, shape), "≤", 1.10)
            for shape in MAXOUT
        ),
        *(
            (
                f"separate + max / MaxoutConv2D, {of(shape)}",
                partial(separate_against_fused, shape),
                "≥",
                1.30,
            )
            for shape in MAXOUT
        ),
        ("Conv2D padding=2 / same, stride 1", partial(padded_against_same, 1), "≤", 1.05),
        ("Conv2D padding=2 / same, stride 2", partial(padded_against_same, 2), "≤", 1.05),
        ("PReLU / Keras' PReLU", prelu_against_keras, "≤", 1.05),
        ("MomentumSGD / SGD(momentum)", partial(step_against_keras, 0.0005), "≤", 1.05),
        ("MomentumSGD, no decay / SGD(momentum)", partial(step_against_keras, 0.0), "≤", 1.05),
    ]


def ratio(first: Run, second: Run, rounds: int) -> tuple[float, float, float]:
    """Medians of both in milliseconds and the median of the ratios of neighbouring calls."""
    times: tuple[list[float], list[float]] = ([], [])
    for run in (first, second) * 2:
        run()
    for number in range(rounds):
        turns = list(zip((first, second), times, strict=True))
        for run, seconds in turns if number % 2 else reversed(turns):
            begin = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - begin)
    ratios = [one / other for one, other in zip(*times, strict=True)]
    one, other = (1e3 * statistics.median(seconds) for seconds in times)
    return one, other, statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--only", default="", help="of the pairs those with this in their name")
    arguments = parser.parse_args()
    if "KERAS_BACKEND" not in os.environ:
        for name in BACKENDS:
            environment = {**os.environ, "KERAS_BACKEND": name, "TF_CPP_MIN_LOG_LEVEL": "3"}
            subprocess.run([sys.executable, *sys.argv], env=environment, check=True)
        return
    versions = f"{BACKEND} {__import__(BACKEND).__version__}, keras {keras.__version__}"
    machine = f"{os.cpu_count()} × {processor()}, load {os.getloadavg()[0]:.1f}"
    print(f"\n{versions}, {machine}, {arguments.rounds} rounds")
    print(f"{'':56}{'ms':>8}{'ms':>8}{'ratio':>8}  bound")
    for name, make, sign, bound in pairs():
        if arguments.only not in name:
            continue
        one, other, value = ratio(*make(), arguments.rounds)
        met = value <= bound if sign == "≤" else value >= bound
        verdict = "" if met else "  not met"
        line = f"{name:56}{one:8.1f}{other:8.1f}{value:8.2f}  {sign} {bound:.2f}{verdict}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
