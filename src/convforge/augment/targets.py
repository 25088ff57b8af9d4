"""Drawn parameters as labels, for a net that learns to see them: how far an image was turned, say.

Every draw is known exactly, so it can be the label of the image that it made. `TARGETS` lists the
parameters that may be asked for, `check_targets` refuses those that the settings never draw, and
`target_values` reads them from what `draw` returned. No Keras is needed here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from convforge.augment.settings import Augmentation
from convforge.augment.values import Tensor
from convforge.geometry import ArgumentError


@dataclass(frozen=True)
class Target:
    """One number per image that an augmentation draws.

    Attributes:
        unit: of the label, such as "degrees".
        meaning: what a positive or large value looks like.
        key: the setting under `augment` that makes it vary, such as "geometry.rotation".
        parameter: its entry in what `draw` returns.
        column: its place along that entry's last axis, or None where the entry is (batch,).
    """

    unit: str
    meaning: str
    key: str
    parameter: str
    column: int | None = None


#: Every parameter that may be a label, by its name. Colours are none: they say nothing of geometry.
TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        "rotation": Target(
            "degrees", "counter-clockwise as seen", "geometry.rotation", "rotation"
        ),
        "shear": Target(
            "degrees", "vertical lines lean to the right at their top", "geometry.shear", "shear"
        ),
        "scale": Target("factor", "above 1 the content is larger", "geometry.scale", "scale"),
        "translation_right": Target(
            "pixels", "the content lies further right", "geometry.translation", "translation", 0
        ),
        "translation_down": Target(
            "pixels", "the content lies further down", "geometry.translation", "translation", 1
        ),
        "reflected": Target("1 or 0", "1 is mirrored", "reflection.probability", "reflected"),
        "crop_top": Target("share of the height", "cut off at the top", "crop.scale", "crop", 0),
        "crop_left": Target("share of the width", "cut off at the left", "crop.scale", "crop", 1),
        "crop_height": Target("share of the height", "kept", "crop.scale", "crop", 2),
        "crop_width": Target("share of the width", "kept", "crop.scale", "crop", 3),
    }
)  # fmt: skip

_VARIES: Mapping[str, Callable[[Augmentation], bool]] = MappingProxyType(
    {
        "geometry.rotation": lambda a: a.geometry.rotation > 0 and a.geometry.active,
        "geometry.shear": lambda a: a.geometry.shear > 0 and a.geometry.active,
        "geometry.scale": lambda a: a.geometry.scale != (1.0, 1.0) and a.geometry.active,
        "geometry.translation": lambda a: a.geometry.translation > 0 and a.geometry.active,
        "reflection.probability": lambda a: 0 < a.reflection.probability < 1,
        "crop.scale": lambda a: a.crop.active,
    }
)


def check_targets(
    targets: Sequence[str], augmentation: Augmentation, *, argument: str = "targets"
) -> tuple[str, ...]:
    """The names in `targets`, if each of them is drawn by `augmentation`.

    Args:
        targets: names from `TARGETS`, each once; none at all is fine.
        augmentation: the settings that will draw them.
        argument: what the error calls `targets`, such as the full key of a config.

    Raises:
        ArgumentError: A name is unknown or given twice, or its method is off, so that every
            label would be the same.

    Example:
        >>> from convforge.augment.settings import Geometry
        >>> check_targets(["rotation"], Augmentation(geometry=Geometry(rotation=30.0)))
        ('rotation',)
        >>> check_targets(["rotation"], Augmentation(), argument="task.targets")
        Traceback (most recent call last):
        ...
        convforge.geometry.ArgumentError: task.targets='rotation' is not allowed: give a parameter \
that varies: augment.geometry.rotation keeps this one fixed
    """
    for number, name in enumerate(targets):
        if name not in TARGETS:
            raise ArgumentError(argument, name, f"some of {', '.join(TARGETS)}")
        if name in targets[:number]:
            raise ArgumentError(argument, list(targets), "each name once")
        key = TARGETS[name].key
        if not _VARIES[key](augmentation):
            allowed = f"a parameter that varies: augment.{key} keeps this one fixed"
            raise ArgumentError(argument, name, allowed)
    return tuple(targets)


def target_values(parameters: Mapping[str, Tensor], targets: Sequence[str], ops: Any) -> Tensor:
    """The drawn values of `targets`, float32 (batch, len(targets)), in the units of `TARGETS`.

    Args:
        parameters: what `draw` returned.
        targets: names from `TARGETS`, at least one; the columns come in their order.
        ops: the namespace that `draw` used.

    Example:
        >>> import numpy as np
        >>> from convforge.augment import draw, numpy_ops
        >>> from convforge.augment.settings import Geometry
        >>> turn = Augmentation(geometry=Geometry(rotation=30.0, translation=0.1))
        >>> at = dict(index=np.arange(4), image_size=(32, 32), output_size=(32, 32), ops=numpy_ops)
        >>> drawn = draw(turn, seed=0, epoch=0, **at)
        >>> labels = target_values(drawn, ["rotation", "translation_down"], numpy_ops)
        >>> labels.shape, bool(np.all(labels[:, 0] == drawn["rotation"]))
        ((4, 2), True)
    """

    def value(target: Target) -> Tensor:
        entry = parameters[target.parameter]
        return entry if target.column is None else entry[:, target.column]

    return ops.stack([value(TARGETS[name]) for name in targets], axis=-1)
