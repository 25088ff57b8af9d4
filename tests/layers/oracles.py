"""The layers' formulas in float64 with SciPy and NumPy loops, none of it the package's code."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.signal import convolve2d, correlate2d

Sides = tuple[tuple[int, int], tuple[int, int]]


def zero_pad(images: np.ndarray, sides: Sides, value: float = 0.0) -> np.ndarray:
    return np.pad(images, ((0, 0), *sides, (0, 0)), constant_values=value)


def convolution(
    images: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    strides: tuple[int, int] = (1, 1),
    sides: Sides = ((0, 0), (0, 0)),
    groups: int = 1,
    mode: str = "cross_correlation",
) -> np.ndarray:
    """Equation (3): SciPy on each channel, summed over channels, every stride-th place kept."""
    slide = convolve2d if mode == "convolution" else correlate2d
    padded = zero_pad(images, sides)
    filters, depth = kernel.shape[-1], kernel.shape[2]
    maps = []
    for image, c in product(padded, range(filters)):
        first = c // (filters // groups) * depth
        channels = [
            slide(image[:, :, first + n], kernel[:, :, n, c], mode="valid") for n in range(depth)
        ]
        maps.append(sum(channels)[:: strides[0], :: strides[1]])
    outputs = np.stack(maps).reshape(len(images), filters, *maps[0].shape)
    outputs = outputs.transpose(0, 2, 3, 1)
    return outputs if bias is None else outputs + bias


def windows(size: int, window: int, stride: int) -> list[slice]:
    return [slice(start, start + window) for start in range(0, size - window + 1, stride)]


def pooling(
    images: np.ndarray,
    pool: tuple[int, int],
    strides: tuple[int, int],
    sides: Sides,
    kind: str,
) -> np.ndarray:
    """A loop over windows. `kind`: "max", "average" without padding, "average_padded" with."""
    padded = zero_pad(images, sides, 0.0 if kind == "average_padded" else np.nan)
    reduce = {"max": np.nanmax, "average": np.nanmean, "average_padded": np.mean}[kind]
    rows = windows(padded.shape[1], pool[0], strides[0])
    columns = windows(padded.shape[2], pool[1], strides[1])
    return np.stack(
        [np.stack([reduce(padded[:, r, c], axis=(1, 2)) for c in columns], 1) for r in rows], 1
    )


def response_normalization(
    images: np.ndarray, size: int, alpha: float, beta: float, k: float, region: str
) -> np.ndarray:
    outputs = np.empty_like(images)
    radius = size // 2
    for b, y, x, c in np.ndindex(images.shape):
        if region == "across_channels":
            near = images[b, y, x, max(c - radius, 0) : c + radius + 1]
        else:
            rows = slice(max(y - radius, 0), y + radius + 1)
            near = images[b, rows, max(x - radius, 0) : x + radius + 1, c]
        outputs[b, y, x, c] = images[b, y, x, c] / (k + alpha * np.sum(near**2)) ** beta
    return outputs


def local_convolution(
    images: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray,
    *,
    window: tuple[int, int],
    strides: tuple[int, int],
    sides: Sides,
) -> np.ndarray:
    padded = zero_pad(images, sides)
    rows = windows(padded.shape[1], window[0], strides[0])
    columns = windows(padded.shape[2], window[1], strides[1])
    outputs = np.empty((len(images), len(rows), len(columns), kernel.shape[-1]))
    for (y, r), (x, c) in product(enumerate(rows), enumerate(columns)):
        patches = padded[:, r, c].reshape(len(images), -1)
        outputs[:, y, x] = patches @ kernel[y, x] + bias[y, x]
    return outputs


def largest_adjacent(values: np.ndarray, num_pieces: int) -> np.ndarray:
    """Maxout's grouping by an explicit loop over units."""
    units = values.shape[-1] // num_pieces
    return np.stack(
        [values[..., u * num_pieces : (u + 1) * num_pieces].max(-1) for u in range(units)], -1
    )
