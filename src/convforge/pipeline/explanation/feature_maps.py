"""The feature maps of a net's convolutional layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from convforge.layers import Conv2D, LocallyConnected2D, MaxoutConv2D

_CONVOLUTIONS = (
    *(Conv2D, MaxoutConv2D, LocallyConnected2D),
    *(keras.layers.Conv2D, keras.layers.Conv2DTranspose),
    *(keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D),
)
_POOLINGS = (
    *(keras.layers.MaxPooling2D, keras.layers.AveragePooling2D),
    *(keras.layers.GlobalMaxPooling2D, keras.layers.GlobalAveragePooling2D),
)


@dataclass(frozen=True)
class FeatureMaps:
    """A convolutional layer's maps: after its normalisation and activation, before any pooling."""

    #: The layer with the kernels.
    convolution: keras.layers.Layer
    #: Layers of the activation and the normalisation that follow it, which keep the map's size.
    followers: tuple[keras.layers.Layer, ...]

    @property
    def name(self) -> str:
        """Of the convolutional layer."""
        return str(self.convolution.name)

    @property
    def output(self) -> Any:
        """The maps as a tensor of the model, `(batch, rows, columns, channels)`."""
        return (self.followers[-1] if self.followers else self.convolution).output


def find_feature_maps(model: keras.Model) -> list[FeatureMaps]:
    """Those of every convolutional layer, locally connected ones too, from input to output.

    A Maxout unit is one map, after the maximum; batch normalisation, PReLU and other activations
    that follow as layers of their own are part of the maps.

    Example:
        >>> image = keras.Input((8, 8, 1))
        >>> hidden = keras.layers.BatchNormalization()(Conv2D(4, 3, name="conv1")(image))
        >>> model = keras.Model(image, keras.layers.Flatten()(keras.layers.ReLU()(hidden)))
        >>> [(maps.name, maps.output.shape) for maps in find_feature_maps(model)]
        [('conv1', (None, 6, 6, 4))]
    """
    layers = model.layers
    return [
        FeatureMaps(layer, _followers(layer, layers[place + 1 :]))
        for place, layer in enumerate(layers)
        if isinstance(layer, _CONVOLUTIONS)
    ]


def _followers(
    layer: keras.layers.Layer, after: Sequence[keras.layers.Layer]
) -> tuple[keras.layers.Layer, ...]:
    """The layers, one on another, that leave a map of the same height and width."""
    found: list[keras.layers.Layer] = []
    maps = layer.output
    for follower in after:
        chained = follower.input is maps and len(follower.output.shape) == 4
        if not chained or isinstance(follower, (*_CONVOLUTIONS, *_POOLINGS)):
            break
        if follower.output.shape[1:3] != maps.shape[1:3]:
            break
        found.append(follower)
        maps = follower.output
    return tuple(found)


def compute_feature_maps(
    model: keras.Model, found: Sequence[FeatureMaps], images: NDArray[Any]
) -> list[NDArray[np.float32]]:
    """The maps `(n, rows, columns, channels)` of each of `found`, for `images` in 0..255."""
    inner = keras.Model(model.input, [maps.output for maps in found])
    computed = inner(keras.ops.convert_to_tensor(images, "float32"), training=False)
    tensors = computed if isinstance(computed, list | tuple) else [computed]
    return [np.asarray(keras.ops.convert_to_numpy(maps), np.float32) for maps in tensors]


def strongest(maps: NDArray[np.floating[Any]], number: int) -> NDArray[np.intp]:
    """The channels of one image's `maps` `(rows, columns, channels)` of largest mean magnitude.

    Example:
        >>> strongest(np.array([[[0.0, -2.0, 1.0]]]), 2).tolist()
        [1, 2]
    """
    order: NDArray[np.intp] = np.argsort(-np.abs(maps).mean(axis=(0, 1)), kind="stable")
    return order[:number]
