"""From the specs of a config to a Keras model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import keras

from convforge import layers as lecture
from convforge.models import specs
from convforge.models.summary import LayerError, layer_costs, resolve_classes


def build_model(
    layers: Mapping[str, specs.LayerSpec],
    *,
    image_shape: specs.Shape,
    num_classes: int,
    normalize: specs.Normalize = "none",
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    frozen: Collection[str] = (),
    name: str = "model",
) -> keras.Model:
    """The network that `layers` describe, from raw pixels to its last layer's output.

    Args:
        layers: layer name → spec, in order. The names become the Keras layers' names, since
            checkpoints find weights by them.
        image_shape: height, width, channels; pixels in 0..255.
        num_classes: for fully connected layers with `units: null`.
        normalize: "standardize" subtracts `mean` and divides by `std` inside the model, "center"
            subtracts `mean`, "none" leaves 0..255. Inside, so that a saved model takes the
            pixels of an image file and nobody has to know the training set's statistics.
        mean: of each channel over the training split.
        std: of each channel over the training split.
        frozen: names of layers that are not trained, with the layer that their activation may be.
            Batch normalisation that is not trained uses its moving statistics in training too.
        name: the model's name.

    Returns:
        A functional Keras model `(batch, height, width, channels)` → last layer.

    Raises:
        LayerError: a layer does not fit the map it gets.

    Example:
        >>> from convforge.models.specs import DenseSpec, FlattenSpec
        >>> net = {"flatten": FlattenSpec(), "logits": DenseSpec(units=None)}
        >>> build_model(net, image_shape=(28, 28, 1), num_classes=10).count_params()
        7850
    """
    layer_costs(layers, image_shape=image_shape, num_classes=num_classes)
    inputs = keras.Input(image_shape, name="image")
    outputs = _normalized(inputs, normalize, mean, std)
    held = []
    for layer_name, spec in resolve_classes(layers, num_classes).items():
        for layer in keras_layers(layer_name, spec):
            outputs = layer(outputs)
            held += [layer] if layer_name in frozen else []
    # Once they have their variables, which else would be made trainable.
    for layer in held:
        layer.trainable = False
    return keras.Model(inputs, outputs, name=name)


def with_units(model: keras.Model, mean: Sequence[float], std: Sequence[float]) -> keras.Model:
    """`model` with its outputs times `std` plus `mean`: standardised numbers in their own units.

    Args:
        model: predicts numbers as a loss sees them, `(batch, numbers)`.
        mean: of each number over the training examples.
        std: of each number over the training examples.
    """
    # In half precision a target such as 2000.5 could not be told from 2000.
    units = keras.layers.Rescaling(list(std), list(mean), name="units", dtype="float32")
    return keras.Model(model.input, units(model.output), name=model.name)


def trained_model(model: keras.Model) -> keras.Model:
    """`model` without its last layer, sharing its weights: what a loss is computed on.

    Classification ends with a softmax: cross-entropy (9) from logits stays exact where a
    probability would round to 0 or 1. Regression ends with the targets' units (`with_units`).

    Args:
        model: of `build_model`, or with units.

    Raises:
        LayerError: the last layer is neither.
    """
    last = model.layers[-1]
    if not isinstance(last, keras.layers.Softmax | keras.layers.Rescaling):
        raise LayerError(last.name, "is the last layer, but a net ends with softmax or units")
    return keras.Model(model.input, last.input, name=model.name)


def keras_layers(name: str, spec: specs.LayerSpec) -> list[keras.layers.Layer]:
    """The Keras layer for one spec, and after it one for the activation where it takes one.

    Args:
        name: the layer's name; the activation's is made of it.
        spec: what the config says of it.
    """
    arguments = _arguments(spec)
    kind = arguments.pop("type")
    if not isinstance(spec, specs.ActivatedSpec):
        return [_LAYERS[kind](name=name, **arguments)]
    del arguments["activation"], arguments["num_pieces"]
    if spec.activation == "maxout" and isinstance(spec, specs.LocallyConnected2DSpec):
        linear = _LAYERS[kind](name=name, **{**arguments, "filters": spec.kernels})
        return [linear, lecture.Maxout(spec.num_pieces, name=f"{name}_maxout")]
    if spec.activation == "maxout":
        maxout = _LAYERS[f"maxout_{kind}"]
        return [maxout(name=name, num_pieces=spec.num_pieces, **arguments)]
    if spec.activation == "prelu":
        return [_LAYERS[kind](name=name, **arguments), lecture.PReLU(name=f"{name}_prelu")]
    return [_LAYERS[kind](name=name, activation=spec.activation, **arguments)]


def _arguments(spec: specs.LayerSpec) -> dict[str, Any]:
    """The spec's fields as arguments of its layer."""
    arguments = asdict(spec)
    if isinstance(spec, specs.KernelSpec):
        for field in ("kernel_initializer", "initial_bias", "max_norm"):
            del arguments[field]
        if spec.kernel_initializer is not None:
            arguments["kernel_initializer"] = _initializer(spec.kernel_initializer)
        if spec.use_bias:
            arguments["bias_initializer"] = keras.initializers.Constant(spec.initial_bias)
        if spec.max_norm is not None:
            axes = _inputs_of_one_unit(spec)
            arguments["kernel_constraint"] = keras.constraints.MaxNorm(spec.max_norm, axis=axes)
    return arguments


def _initializer(value: Any) -> Any:
    if isinstance(value, str):
        return keras.initializers.get(value)
    ((distribution, scale),) = value.items()
    if distribution == "normal":
        return keras.initializers.RandomNormal(stddev=scale)
    return keras.initializers.RandomUniform(-scale, scale)


def _inputs_of_one_unit(spec: specs.KernelSpec) -> int | list[int]:
    """The axes of a layer's kernel over which the weights of one unit extend."""
    if isinstance(spec, specs.FullyConnectedSpec):
        return 0
    return 2 if isinstance(spec, specs.LocallyConnected2DSpec) else [0, 1, 2]


def _normalized(
    inputs: Any, normalize: specs.Normalize, mean: Sequence[float], std: Sequence[float]
) -> Any:
    if normalize == "none":
        return inputs
    # A channel that never varies would be divided by zero; it carries nothing, so it stays.
    divisors = std if normalize == "standardize" else [1.0] * len(mean)
    variance = [value**2 or 1.0 for value in divisors]
    layer = keras.layers.Normalization(mean=list(mean), variance=variance, name="normalize")
    return layer(inputs)


def _prelu(name: str, initial_slope: float) -> keras.layers.Layer:
    return lecture.PReLU(alpha_initializer=initial_slope, name=name)


def _activation(name: str, function: str, num_pieces: int) -> keras.layers.Layer:
    if function == "prelu":
        return lecture.PReLU(name=name)
    if function == "maxout":
        return lecture.Maxout(num_pieces, name=name)
    return keras.layers.Activation(function, name=name)


def _softmax(name: str) -> keras.layers.Layer:
    # In half precision small probabilities would become zero.
    return keras.layers.Softmax(name=name, dtype="float32")


_LAYERS: dict[str, Any] = {
    "conv2d": lecture.Conv2D,
    "maxout_conv2d": lecture.MaxoutConv2D,
    "locally_connected": lecture.LocallyConnected2D,
    "max_pool": lecture.MaxPooling2D,
    "average_pool": lecture.AveragePooling2D,
    "dense": keras.layers.Dense,
    "maxout_dense": lecture.MaxoutDense,
    "activation": _activation,
    "prelu": _prelu,
    "batch_normalization": keras.layers.BatchNormalization,
    "local_response_normalization": lecture.LocalResponseNormalization,
    "dropout": keras.layers.Dropout,
    "flatten": keras.layers.Flatten,
    "softmax": _softmax,
}
