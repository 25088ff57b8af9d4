"""Grad-CAM: the places of an image that a class's score goes by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from convforge.errors import InputError
from convforge.pipeline.explanation.feature_maps import FeatureMaps
from convforge.pipeline.explanation.gradient import gradient


def grad_cam(
    model: keras.Model,
    maps: FeatureMaps,
    images: NDArray[Any],
    outputs: Sequence[int] | NDArray[np.integer[Any]],
    *,
    both_signs: bool = False,
) -> NDArray[np.float32]:
    """How much each place of a layer's feature maps speaks for an output.

        α_k = 1 / (H·W) · Σ_{i,j} ∂y / ∂A^k[i, j]
        L[i, j] = max(0, Σ_k α_k · A^k[i, j])

    with the feature maps A^k of one convolutional layer, k = 1..K, of H × W places each, and y the
    score of a class before the softmax (8), or a predicted number. Behind a global average pooling
    and one fully connected layer, α_k is that layer's weight divided by H·W: the class activation
    map of Zhou et al. 2016.

    Args:
        model: ends with a softmax, or with what it predicts.
        maps: of the layer to look at; of the last convolution as a rule.
        images: `(n, height, width, channels)`, pixels in 0..255.
        outputs: for each image the number of its class, or of the number that is predicted.
        both_signs: keep the sum without the maximum: below zero are the places that speak against
            the output, Grad-CAM's counterfactual explanation (section 3.3). For a predicted number,
            which may be low for a reason.

    Returns:
        `(n, H, W)`, in units of the score.

    Raises:
        InputError: the backend has no gradients, or a way from image to output leads round the
            maps.

    References:
        Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra 2017, "Grad-CAM: Visual Explanations from
        Deep Networks via Gradient-based Localization", equations (1) and (2).
    """
    last = model.layers[-1]
    scores = last.input if isinstance(last, keras.layers.Softmax) else model.output
    before = keras.Model(model.input, maps.output)
    try:
        after = keras.Model(maps.output, scores)
    except ValueError as error:  # Keras': the graph is disconnected.
        raise InputError(
            f"Grad-CAM needs a layer that all of the net goes through: {maps.name} is none"
        ) from error
    chosen = keras.ops.one_hot(np.asarray(outputs), scores.shape[-1])

    def score(tensor: Any) -> Any:
        said = keras.ops.cast(after(tensor, training=False), "float32")
        # Images do not mix outside of training: the gradient of the sum is that of each.
        return keras.ops.sum(said * chosen)

    tensor = before(keras.ops.convert_to_tensor(images, "float32"), training=False)
    slopes = np.asarray(keras.ops.convert_to_numpy(gradient(score, tensor)), np.float32)
    activations = np.asarray(keras.ops.convert_to_numpy(tensor), np.float32)
    weights = slopes.mean(axis=(1, 2), keepdims=True)
    summed: NDArray[np.float32] = (weights * activations).sum(axis=3)
    return summed if both_signs else np.maximum(summed, 0)
