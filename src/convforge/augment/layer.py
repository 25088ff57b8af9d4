"""The same augmentation as a Keras layer, for a model that carries its own."""

import dataclasses
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from convforge.augment.settings import Augmentation, Colour, Crop, Geometry, Reflection

Tensor = Any


@keras.saving.register_keras_serializable(package="convforge")
class Augment(keras.layers.Layer):
    """Augments its input in training, and only resizes it otherwise.

    The layer cannot know which example it sees, so it counts its training calls instead: image k
    of call n gets the parameters of `draw(seed=seed, epoch=n, index=k)`. The count is a weight
    of the layer, saved and restored with the model, so a resumed run goes on with new draws.
    Inside `tf.data` the draws follow the example itself; prefer that where it is possible.

    Input: [B, H, W, C], uint8 or float, grey levels 0 to 255. Output: float32 [B, h, w, C] in the
    same unit, so put normalisation after it.

    Args:
        augmentation: An `Augmentation`.
        output_size: (h, w); by default the input's own size.
        colour_basis: Array [C, C] of `convforge.augment.colour_basis`; needed for colour alone.
        seed: Fixes the draws.

    Example:
        >>> import numpy as np
        >>> from convforge.augment import Augment, Augmentation, settings
        >>> mirror = Augment(Augmentation(reflection=settings.Reflection(probability=1.0)))
        >>> image = np.arange(12, dtype="uint8").reshape(1, 2, 2, 3)
        >>> bool(np.all(np.array(mirror(image, training=True)) == image[:, :, ::-1]))
        True
    """

    def __init__(
        self,
        augmentation: Augmentation | None = None,
        *,
        output_size: tuple[int, int] | None = None,
        colour_basis: ArrayLike | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        # Grey levels do not survive half precision, and the layer learns nothing.
        super().__init__(**{"dtype": "float32", "trainable": False, "autocast": False} | kwargs)
        self.augmentation = augmentation or Augmentation()
        self.output_size = None if output_size is None else (output_size[0], output_size[1])
        self.colour_basis = (
            None if colour_basis is None else np.asarray(colour_basis, dtype="float32")
        )
        self.seed = seed

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Add the count of training calls."""
        self.calls = self.add_weight(
            name="calls", shape=(), dtype="int32", initializer="zeros", trainable=False
        )

    def call(self, images: Tensor, training: bool = False) -> Tensor:
        """Augment, or resize."""
        # Not at the top: the package imports this file as soon as anything imports Keras, and that
        # may be the very files that define these two.
        from convforge.augment import apply, draw

        height, width = images.shape[1:3]
        output_size = self.output_size or (height, width)
        augmentation = self.augmentation if training else Augmentation()
        parameters = draw(
            augmentation,
            seed=self.seed,
            epoch=self.calls.value,
            index=keras.ops.arange(keras.ops.shape(images)[0]),
            image_size=(height, width),
            output_size=output_size,
        )
        if training:
            self.calls.assign_add(1)
        return apply(
            images,
            parameters,
            output_size=output_size,
            fill=self.augmentation.fill,
            fill_value=self.augmentation.fill_value,
            interpolation=self.augmentation.interpolation,
            colour_basis=self.colour_basis if training else None,
        )

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """(B, h, w, C)."""
        return (input_shape[0], *(self.output_size or input_shape[1:3]), input_shape[3])

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


def _read(values: dict[str, Any]) -> Augmentation:
    """An `Augmentation` from nested dicts, with the lists of JSON for its ranges."""
    methods = {"crop": Crop, "reflection": Reflection, "colour": Colour, "geometry": Geometry}
    plain = {
        name: methods[name](
            **{key: tuple(v) if isinstance(v, list) else v for key, v in value.items()}
        )
        if name in methods
        else value
        for name, value in values.items()
    }
    return Augmentation(**plain)
