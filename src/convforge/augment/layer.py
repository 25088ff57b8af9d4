"""The same augmentation as a Keras layer, for a model that carries its own."""

import dataclasses
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from convforge.augment.settings import METHODS, Augmentation
from convforge.augment.values import Size, Tensor
from convforge.augment.window import centre_window
from convforge.geometry import ArgumentError

Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable(package="convforge")
class Augment(keras.layers.Layer):
    """Augments its input in training; otherwise only resizes it, or takes its centre window.

    Called with the numbers of the examples and of the epoch, `layer(images, index=…, epoch=…)`,
    it draws exactly what `draw(seed=seed, epoch=epoch, index=index)` does, wherever that runs; in
    a functional model they are inputs beside the images. Called with the images alone it cannot
    know which examples it sees, and counts its training calls instead: image k of call n gets the
    parameters of epoch n and index k. Then its draws depend on the order of the examples. The
    count is a weight of the layer, saved and restored with the model, so that a resumed run goes
    on with new draws.

    With ω the drawn matrix of an image, I its pixels:

        O[y, x] = clip(I[ω · (x, y, 1)] + basis · α, 0, 255)

    Shapes:
        in `(batch, height, width, channels)`, uint8 or float, grey levels 0 to 255; out float32
        `(batch, height', width', channels)` in the same unit, so put normalisation after it.

    Args:
        augmentation: an `Augmentation`.
        output_size: (height', width'); by default that of the augmentation, else the input's own.
            With an `augmentation.size`, images that are not augmented show their centre window
            instead of being resized, and images that have this size already stay as they are.
        colour_basis: array (channels, channels) of `convforge.augment.colour_basis`; needed where
            the augmentation alters colours, and not used otherwise.
        seed: fixes the draws.
        **kwargs: of `keras.layers.Layer`: `name`, `dtype`. Default float32: grey levels do not
            survive half precision.

    Raises:
        ArgumentError: the augmentation alters colours, and there is no basis to do it by; or it has
            another size than `output_size`.

    Example:
        >>> import numpy as np
        >>> from convforge.augment import Augment, Augmentation, settings
        >>> mirror = Augment(Augmentation(reflection=settings.Reflection(probability=1.0)))
        >>> image = np.arange(12, dtype="uint8").reshape(1, 2, 2, 3)
        >>> bool(np.all(np.array(mirror(image, training=True)) == image[:, :, ::-1]))
        True

    References:
        Krizhevsky, Sutskever, Hinton 2012, section 4.1.
    """

    def __init__(
        self,
        augmentation: Augmentation | None = None,
        *,
        output_size: Size | None = None,
        colour_basis: ArrayLike | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        # The layer learns nothing.
        super().__init__(**{"dtype": "float32", "trainable": False, "autocast": False} | kwargs)
        self.augmentation = augmentation or Augmentation()
        if self.augmentation.colour.active and colour_basis is None:
            allowed = "an array of convforge.augment.colour_basis, since colour.strength is above 0"
            raise ArgumentError("colour_basis", None, allowed, owner=f"Augment {self.name!r}")
        size = output_size or self.augmentation.size
        self.output_size = None if size is None else (size[0], size[1])
        if self.augmentation.size not in (None, self.output_size):
            allowed = f"None, or {self.augmentation.size} as the augmentation's size"
            raise ArgumentError("output_size", output_size, allowed, owner=f"Augment {self.name!r}")
        self.colour_basis = (
            None if colour_basis is None else np.asarray(colour_basis, dtype="float32")
        )
        self.seed = seed

    def build(self, images_shape: Shape, index_shape: Any = None, epoch_shape: Any = None) -> None:
        """Add the count of training calls, where it is needed."""
        self.calls: Any = None
        if index_shape is None:
            self.calls = self.add_weight(
                name="calls", shape=(), dtype="int32", initializer="zeros", trainable=False
            )

    def call(
        self, images: Tensor, index: Tensor = None, epoch: Tensor = None, training: bool = False
    ) -> Tensor:
        """Augment, or resize.

        Args:
            images: (batch, height, width, channels).
            index: numbers of the examples, integers (batch,); None counts calls instead.
            epoch: number of the epoch, an integer or integers (batch,); goes with `index`.
            training: whether to augment.
        """
        if (index is None) != (epoch is None):
            # A plain one: Keras adds the call's arguments to it, and makes others RuntimeErrors.
            raise ValueError(f"Augment {self.name!r}: give index and epoch, or neither")
        if not training:
            return self._resized(images)
        counts = index is None
        augmented = _draw_and_apply(
            images,
            self.augmentation,
            seed=self.seed,
            epoch=self.calls.value if counts else epoch,
            index=keras.ops.arange(keras.ops.shape(images)[0]) if counts else index,
            output_size=self.output_size,
            colour_basis=self.colour_basis,
        )
        if counts:
            self.calls.assign_add(1)
        return augmented

    def _resized(self, images: Tensor) -> Tensor:
        if self.output_size in (None, tuple(images.shape[1:3])):
            return keras.ops.cast(images, "float32")
        if self.augmentation.size is not None:
            return keras.ops.cast(centre_window(images, self.augmentation.size), "float32")
        whole = Augmentation(interpolation=self.augmentation.interpolation)
        index = keras.ops.zeros_like(images[:, 0, 0, 0], dtype="int32")
        return _draw_and_apply(
            images, whole, seed=0, epoch=0, index=index, output_size=self.output_size
        )

    def compute_output_shape(
        self, images_shape: Shape, index_shape: Any = None, epoch_shape: Any = None
    ) -> Shape:
        """(batch, height', width', channels)."""
        return (images_shape[0], *(self.output_size or images_shape[1:3]), images_shape[3])

    def get_config(self) -> dict[str, Any]:
        """The arguments, as plain values."""
        basis = self.colour_basis
        return {
            **super().get_config(),
            "augmentation": dataclasses.asdict(self.augmentation),
            "output_size": self.output_size,
            "colour_basis": None if basis is None else basis.tolist(),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Augment":
        """The layer of a saved configuration."""
        return cls(**{**config, "augmentation": _read(config["augmentation"])})


def _draw_and_apply(*arguments: Any, **options: Any) -> Tensor:
    # Not at the top: the package imports this file as soon as anything imports Keras, and that may
    # be the very file that defines this.
    from convforge.augment.warp import draw_and_apply

    return draw_and_apply(*arguments, **options)


def _read(values: dict[str, Any]) -> Augmentation:
    """An `Augmentation` from nested dicts, with the lists of JSON for its ranges."""

    def plain(value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    read: dict[str, Any] = {name: plain(value) for name, value in values.items()}
    for name, method in METHODS.items():
        read[name] = method(**{key: plain(value) for key, value in values[name].items()})
    return Augmentation(**read)
