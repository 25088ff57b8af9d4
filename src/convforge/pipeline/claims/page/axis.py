"""The axis that all effects share: in units of the smallest that counts, 0 where there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from convforge.pipeline.claims.claim import Rule
from convforge.pipeline.claims.result import ComparisonRecord

# Nothing is drawn beyond; an arrow says that it is there.
_FARTHEST = 100.0
_TICKS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
# What is seen below and above zero at least, and beyond the outermost effect.
_LEAST, _ROOM = (1.6, 2.3), 1.15


def scaled(value: float, rule: Rule, smallest: float) -> float:
    """An effect in units of the smallest that counts: d / m, of a ratio log r / log m.

    Example:
        >>> scaled(-1.5, "difference", 0.5), scaled(4.0, "ratio", 2.0)
        (-3.0, 2.0)
    """
    if rule != "ratio":
        return value / smallest
    return math.log(value) / math.log(smallest) if value > 0 else -math.inf


@dataclass(frozen=True)
class Interval:
    """A comparison on the shared axis; None for what is not known."""

    estimate: float | None
    low: float | None
    high: float | None
    seeds: tuple[float, ...]

    @property
    def known(self) -> list[float]:
        """All that is to be seen."""
        ends = (self.estimate, self.low, self.high)
        return [each for each in (*ends, *self.seeds) if each is not None]


def interval_of(record: ComparisonRecord) -> Interval:
    """What a comparison found, in units of its smallest effect that counts."""

    def place(value: float | None) -> float | None:
        return None if value is None else scaled(value, record.rule, record.smallest_effect)

    low, high = record.interval
    seeds = tuple(each for each in map(place, record.effects) if each is not None)
    return Interval(place(record.estimate), place(low), place(high), seeds)


@dataclass(frozen=True)
class Axis:
    """Effects from `low` to `high`, in pixels from `left` to `right`.

    From −1 to 1 it is linear; beyond, logarithmic, so that an effect of forty times the smallest
    and one of two are both seen.
    """

    low: float
    high: float
    left: float
    right: float

    def place(self, effect: float) -> float:
        """The pixel of an effect; that of the axis' end for what lies beyond."""
        start, end = _spread(self.low), _spread(self.high)
        share = (_spread(min(max(effect, self.low), self.high)) - start) / (end - start)
        return self.left + share * (self.right - self.left)

    @property
    def ticks(self) -> list[float]:
        """Effects to be written below."""
        both = (*(-tick for tick in reversed(_TICKS)), 0.0, *_TICKS)
        return [tick for tick in both if self.low <= tick <= self.high]


def axis_for(intervals: Sequence[Interval], left: float, right: float) -> Axis:
    """An axis on which all of them are seen."""
    known = [each for interval in intervals for each in interval.known]
    low, high = (
        max(least, min(_FARTHEST, _ROOM * max((sign * each for each in known), default=0.0)))
        for sign, least in zip((-1, 1), _LEAST, strict=True)
    )
    return Axis(-low, high, left, right)


def _spread(effect: float) -> float:
    if abs(effect) <= 1:
        return effect
    return math.copysign(1 + math.log(abs(effect)), effect)
