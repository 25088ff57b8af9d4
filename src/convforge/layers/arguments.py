"""Types of what users give to layers; those of windows are in `convforge.geometry`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import keras

Shape: TypeAlias = tuple[int | None, ...]
DataFormat: TypeAlias = Literal["channels_last", "channels_first"]

#: A name, what Keras serializes it as, a function, or an object of its class.
InitializerLike: TypeAlias = (
    str | Mapping[str, Any] | Callable[..., Any] | keras.initializers.Initializer
)
RegularizerLike: TypeAlias = (
    str | Mapping[str, Any] | Callable[..., Any] | keras.regularizers.Regularizer | None
)
ConstraintLike: TypeAlias = (
    str | Mapping[str, Any] | Callable[..., Any] | keras.constraints.Constraint | None
)
ActivationLike: TypeAlias = str | Mapping[str, Any] | Callable[..., Any] | None
