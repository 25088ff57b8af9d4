"""A model whose numbers are inputs of the program that is compiled from it (JAX).

What the layers and the optimizer read as a Python number is, while a step is traced, a tracer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import jax
import keras
import numpy as np

from convforge.augment.parameters import strengths_of
from convforge.optimizers import MomentumSGD
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.training.augmentation_placement import StepAugmented
from convforge.pipeline.training.optimization import learning_rate
from convforge.pipeline.training.run_numbers import run_numbers

if TYPE_CHECKING:
    # It brings TensorFlow, which an accelerator need not have.
    from convforge.pipeline.training.feed import Feed

# What the averages of Adam and RMSprop keep of themselves.
_AVERAGES = ("optimizer.beta_1", "optimizer.beta_2", "optimizer.rho")


def numbers_of(model: keras.Model, settings: Settings) -> dict[str, Any]:
    """The numbers of the run that `model` was built for: arrays, as its program takes them."""
    numbers = {key: _array(key, number) for key, number in run_numbers(settings).items()}
    if isinstance(model, StepAugmented):
        numbers["augment"] = strengths_of(model.augmentation)
    return numbers


def _array(key: str, number: float) -> Any:
    if key in _AVERAGES:
        # 1 − 0.999 of 32 bits has five digits; of 64 it has all that 32 can hold.
        return np.asarray([number, 1.0 - number], np.float32)
    return np.asarray(number, np.int32 if key == "seed" else np.float32)


class _Share:
    """What an average keeps at each step, traced, with what is left of 1.

    Args:
        kept_and_rest: an array of two.
    """

    def __init__(self, kept_and_rest: Any) -> None:
        self._kept, self._rest = kept_and_rest

    def __jax_array__(self) -> Any:
        return self._kept

    def __rsub__(self, whole: float) -> Any:
        assert whole == 1
        return self._rest


@contextmanager
def traced_numbers(model: keras.Model, feed: Feed, numbers: Mapping[str, Any]) -> Iterator[None]:
    """Within the block `model` trains with `numbers` instead of those that it was built with.

    Args:
        model: compiled; what `with_augmentation` gave.
        feed: of the run that it was built for.
        numbers: tracers, as `numbers_of` gives the arrays.
    """
    with ExitStack() as stack:
        for key, number in numbers.items():
            for thing, name, value in _replaced(model, feed, key, number):
                stack.enter_context(_attribute(thing, name, value))
        yield


def _replaced(
    model: keras.Model, feed: Feed, key: str, number: Any
) -> Iterator[tuple[Any, str, Any]]:
    """What reads the number, from which attribute, and what it is to find there."""
    # Half precision wraps the optimizer.
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    match key.split("."):
        case ["seed"]:
            # Dropout has it in its state.
            if isinstance(model, StepAugmented):
                yield model, "seed", number
            yield from ((each, "seed", number) for each in model.layers if each.name == "augment")
        case ["augment"]:
            yield model, "strengths", number
        case ["optimizer", "learning_rate"]:
            asked, steps = feed.settings, feed.steps_per_epoch
            epochs = asked.trainer.epochs
            schedule = learning_rate(asked.schedule, number, epochs=epochs, steps_per_epoch=steps)
            yield optimizer, "_learning_rate", schedule
        case ["optimizer", "weight_decay"] if isinstance(optimizer, MomentumSGD):
            yield optimizer, "coupled_decay", number
        case ["optimizer", "clip_value" | "clip_norm" | "clip_global_norm" as bound]:
            yield optimizer, "_clip_gradients", _clipping(bound, number)
        case ["optimizer", name]:
            yield optimizer, name, _Share(number) if key in _AVERAGES else number
        case ["model", "layers", name, "rate"]:
            layer = _layer(model, name)
            yield layer, "call", _dropout(layer, number)


@contextmanager
def _attribute(thing: Any, name: str, value: Any) -> Iterator[None]:
    """Past Keras' own `__setattr__`, which would follow what it is given."""
    attributes = vars(thing)
    there, before = name in attributes, attributes.get(name)
    attributes[name] = value
    try:
        yield
    finally:
        if there:
            attributes[name] = before
        else:
            del attributes[name]


def _layer(model: keras.Model, name: str) -> keras.layers.Layer:
    inner = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    (found,) = (layer for part in (model, *inner) for layer in part.layers if layer.name == name)
    return found


def _dropout(layer: keras.layers.Dropout, rate: Any) -> Callable[..., Any]:
    """Its `call`, with the draws of Keras, which compares a rate with 0 and 1 first."""

    def call(inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        kept = jax.random.bernoulli(layer.seed_generator.next(), p=1.0 - rate, shape=inputs.shape)
        # Half precision divided by a number of 32 bits is no half precision any more.
        share = (1.0 - rate).astype(inputs.dtype)
        return jax.numpy.where(kept, inputs / share, jax.numpy.zeros_like(inputs))

    return call


def _clipping(bound: str, most: Any) -> Callable[[list[Any]], list[Any]]:
    """What Keras' `_clip_gradients` computes, which compares the bound with 0 first.

    Args:
        bound: which one, as the config calls it.
        most: its value.
    """
    ops = keras.ops

    def shortened(gradients: list[Any]) -> list[Any]:
        length = ops.sqrt(sum(ops.sum(ops.square(each)) for each in gradients))
        # No number where the length is not finite, as Keras' for all gradients together.
        scale = ops.minimum(1.0, most / length) + (length - length)
        return [each * scale for each in gradients]

    match bound:
        case "clip_value":
            return lambda gradients: [ops.clip(each, -most, most) for each in gradients]
        case "clip_norm":
            return lambda gradients: [shortened([each])[0] for each in gradients]
        case _:
            return shortened
