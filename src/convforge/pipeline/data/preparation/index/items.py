"""An item as the index takes it in and gives it out."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """One item as its source enters it."""

    name: str
    size: int = 0
    locator: bytes = b""
    given: str | None = None
    label: str | None = None
    targets: tuple[float, ...] | None = None
    problem: str | None = None


class Stored(NamedTuple):
    """What is needed to read one item."""

    id: int
    size: int
    locator: bytes


class InspectedItem(NamedTuple):
    """What reading an item told of it: all that is known, or the problem."""

    id: int
    hash: bytes | None = None
    format: str | None = None
    height: int | None = None
    width: int | None = None
    problem: str | None = None


class ItemCounts(NamedTuple):
    """How many items a source has."""

    found: int
    bad: int
    """Left out for a problem."""
    dropped: int
    """Good, and in no split."""


class ShardRow(NamedTuple):
    """One item of a shard."""

    id: int
    size: int
    locator: bytes
    label: str
    targets: bytes | None
    position: int
