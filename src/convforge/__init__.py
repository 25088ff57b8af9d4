"""Convolutional networks from a lecture, as Keras layers and as a reproducible pipeline.

The library half (`convforge.layers`, `convforge.optimizers`, `convforge.augment`,
`convforge.models`, `convforge.geometry`) needs Keras and NumPy only. The pipeline half
(`convforge.pipeline`) turns configs and images into tracked runs.

`import convforge` is enough for Keras to load a saved model that uses these layers.
"""

from convforge.keras_registry import register_with_keras

__version__ = "0.1.0"

register_with_keras()
