"""What a search may choose from: the choices and intervals of Hydra's overrides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from convforge.errors import InputError

# Of a number drawn from an interval: the run's name shows them.
_DIGITS = 6


@dataclass(frozen=True)
class Choices:
    """One of several values, without an order.

    Args:
        values: as one writes them in an override.
    """

    values: tuple[str, ...]

    @property
    def ends(self) -> tuple[str, ...]:
        """The values to try before a search begins: if these are allowed, all are."""
        return self.values

    def suggest(self, trial: Any, key: str) -> str:
        """What Optuna's `trial` has for `key`, as one writes it."""
        return str(trial.suggest_categorical(key, self.values))


@dataclass(frozen=True)
class Numbers:
    """A number from `low` to `high`, both included; whole if these are.

    Args:
        low: the smallest.
        high: the largest.
        step: from one to the next; None for all between.
        log: whether each power of ten is as likely as the others.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False

    @property
    def ends(self) -> tuple[str, ...]:
        """The values to try before a search begins."""
        return tuple(dict.fromkeys((_written(self.low), _written(self.high))))

    def suggest(self, trial: Any, key: str) -> str:
        """What Optuna's `trial` has for `key`, as one writes it."""
        if isinstance(self.low, int):
            step = self.step or 1
            return str(trial.suggest_int(key, self.low, self.high, step=step, log=self.log))
        value = trial.suggest_float(key, self.low, self.high, step=self.step, log=self.log)
        return f"{value:.{_DIGITS}g}"


Domain: TypeAlias = Choices | Numbers


@dataclass(frozen=True)
class SearchSpace:
    """What each key that is searched may be, and the other overrides.

    Args:
        domains: by key, with its prefix, such as `+`.
        written: the values as the user gave them, by key.
        fixed: the overrides that all trials share.
    """

    domains: Mapping[str, Domain]
    written: Mapping[str, str]
    fixed: Sequence[str]

    @classmethod
    def of(cls, overrides: Sequence[Override]) -> SearchSpace:
        """The space of parsed `overrides`; of a key that is given twice the last one counts.

        Raises:
            InputError: an interval or a range without values, or a tag that has no meaning.
        """
        domains: dict[str, Domain] = {}
        written: dict[str, str] = {}
        fixed: dict[str, str] = {}
        for override in overrides:
            key = override.get_key_element()
            for earlier in (domains, written, fixed):
                earlier.pop(key, None)
            if override.is_sweep_override():
                domains[key] = _domain(override)
                written[key] = str(override.input_line).partition("=")[2]
            elif override.is_delete():
                fixed[key] = str(override.input_line)
            else:
                fixed[key] = f"{key}={override.get_value_element_as_str()}"
        return cls(domains, written, list(fixed.values()))

    def job(self, values: Mapping[str, str]) -> list[str]:
        """The overrides of one job, with these values of the keys that are searched."""
        return [*self.fixed, *(f"{key}={value}" for key, value in values.items())]

    def probes(self) -> list[list[str]]:
        """Jobs that show what is wrong before a search begins: each value once, or both ends."""
        first = {key: domain.ends[0] for key, domain in self.domains.items()}
        others = [
            {**first, key: value}
            for key, domain in self.domains.items()
            for value in domain.ends[1:]
        ]
        return [self.job(values) for values in (first, *others)]


def _domain(override: Override) -> Domain:
    if override.is_interval_sweep():
        return _interval(override)
    if override.is_range_sweep():
        return _range(override)
    return Choices(tuple(override.sweep_string_iterator()))


def _interval(override: Override) -> Numbers:
    given = override.value()
    assert isinstance(given, IntervalSweep)
    low, high = given.start, given.end
    assert low is not None
    assert high is not None
    if given.tags - {"log"}:
        tags = ", ".join(sorted(given.tags - {"log"}))
        raise InputError(f"{override.input_line}: the tag {tags} is not known; there is log")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"{override.input_line}: give the smaller end first, and two that differ")
    if "log" in given.tags and low <= 0:
        raise InputError(f"{override.input_line}: with log both ends must be above 0")
    if not (isinstance(low, int) and isinstance(high, int)):
        low, high = float(low), float(high)
    return Numbers(low, high, log="log" in given.tags)


def _range(override: Override) -> Domain:
    given = override.value()
    assert isinstance(given, RangeSweep)
    if given.step == 0:
        raise InputError(f"{override.input_line}: the step must not be 0")
    values = sorted(given.range())
    if not values:
        raise InputError(f"{override.input_line} has no values")
    if len(values) == 1:
        return Choices((_written(values[0]),))
    return Numbers(values[0], values[-1], step=abs(given.step))


def _written(value: float) -> str:
    # With its point, so that a key whose numbers are whole refuses an interval of others.
    return str(value)
