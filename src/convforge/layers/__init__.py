"""The lecture's layers that Keras lacks or computes differently, for any Keras model.

Where Keras' own layer does the lecture's job, use it: Dense, Dropout, BatchNormalization,
Flatten, Softmax.
"""

from convforge.layers.convolution import Conv2D
from convforge.layers.local import LocallyConnected2D
from convforge.layers.maxout import Maxout, MaxoutConv2D, MaxoutDense, from_strided_pieces
from convforge.layers.normalization import LocalResponseNormalization
from convforge.layers.pooling import AveragePooling2D, MaxPooling2D
from convforge.layers.prelu import PReLU

__all__ = [
    "AveragePooling2D",
    "Conv2D",
    "LocalResponseNormalization",
    "LocallyConnected2D",
    "MaxPooling2D",
    "Maxout",
    "MaxoutConv2D",
    "MaxoutDense",
    "PReLU",
    "from_strided_pieces",
]
