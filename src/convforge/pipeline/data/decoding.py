"""From the config to what is wanted of pixels."""

from __future__ import annotations

from convforge.pipeline.settings.data import DataSettings
from convforge.serving.decode import Decoding


def decoding_of(settings: DataSettings) -> Decoding:
    """What the config wants of the pixels."""
    size = settings.size
    return Decoding(
        channels=settings.channels,
        size=None if size is None else (size[0], size[1]),
        geometry=settings.geometry,
        background=settings.background,
        max_pixels=settings.max_pixels,
    )
