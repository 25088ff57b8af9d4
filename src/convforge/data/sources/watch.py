"""Telling how much of a source was read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

#: Called with a share from 0 to 1.
Watch: TypeAlias = Callable[[float], None]


def ignore(share: float) -> None:
    """Nobody watches."""
