"""Mean and covariance of pixels, gathered image by image and exact in integers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

# Pixels at a time: as many as can be white and the sum of their squares still fit into 32 bits.
_BLOCK = 1 << 16


@dataclass
class PixelStatistics:
    """Running sums of pixels and of their products; sums of several parts can be added."""

    channels: int
    pixels: int = 0
    total: list[int] = field(default_factory=list)
    products: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.total = self.total or [0] * self.channels
        self.products = self.products or [[0] * self.channels for _ in range(self.channels)]

    def add(self, images: NDArray[np.uint8]) -> None:
        """Count in images `(…, channels)`."""
        pixels = images.reshape(-1, self.channels)
        self.pixels += len(pixels)
        for start in range(0, len(pixels), _BLOCK):
            self._add(pixels[start : start + _BLOCK])

    def _add(self, pixels: NDArray[np.uint8]) -> None:
        planes = np.ascontiguousarray(pixels.T).astype(np.uint32)
        total = planes.sum(axis=1, dtype=np.uint32)
        for i in range(self.channels):
            self.total[i] += int(total[i])
            for j in range(i + 1):
                # Faster in integers than by BLAS in float64, and as exact.
                product = int(np.einsum("p,p->", planes[i], planes[j]))
                self.products[i][j] += product
                if i != j:
                    self.products[j][i] += product

    def include(self, other: PixelStatistics) -> None:
        """Count in what `other` counted."""
        self.pixels += other.pixels
        for i in range(self.channels):
            self.total[i] += other.total[i]
            for j in range(self.channels):
                self.products[i][j] += other.products[i][j]

    def mean(self) -> NDArray[np.float64]:
        """Of each channel."""
        return np.array(self.total, np.float64) / max(self.pixels, 1)

    def covariance(self) -> NDArray[np.float64]:
        """Between the channels."""
        n, total = max(self.pixels, 1), self.total
        # In whole numbers to the end: the difference of two large floats would be inexact.
        rows = [
            [(n * product - total[i] * total[j]) / n**2 for j, product in enumerate(row)]
            for i, row in enumerate(self.products)
        ]
        return np.array(rows)
