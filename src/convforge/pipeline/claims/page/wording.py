"""Numbers and facts as the pages write them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from convforge.pipeline.claims.claim import Rule
from convforge.pipeline.claims.result import ArmRecord, ComparisonRecord, RunRecord
from convforge.pipeline.report.style import written

UNKNOWN = "–"
_DIGITS = 3
# A figure has the one, an effect the other.
_PERCENT = ("%", "percentage points")


def number(value: float | None, digits: int = _DIGITS) -> str:
    """To so many digits, large ones whole.

    Example:
        >>> number(0.012345), number(-61234.5), number(None)
        ('0.0123', '−61,234', '–')
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if abs(value) >= 10**digits:
        return f"{value:,.0f}".replace("-", "−")
    return written(value, digits)


def with_unit(text: str, unit: str) -> str:
    """A number with its unit, if it has one.

    Example:
        >>> with_unit("3.2", "%"), with_unit("12", "epochs"), with_unit("1", "")
        ('3.2 %', '12 epochs', '1')
    """
    return f"{text} {unit}" if unit and text != UNKNOWN else text


def of_runs(runs: Sequence[RunRecord], figure: str) -> str:
    """Mean ± standard deviation over the runs that have the figure.

    "≥" where a run ended before what the figure waits for: it would have taken longer.
    """
    counted = [run for run in runs if run.status == "FINISHED" and figure in run.figures]
    values = [run.figures[figure] for run in counted]
    if not values:
        return UNKNOWN
    least = "≥ " if any(figure in run.not_reached for run in counted) else ""
    mean = f"{least}{number(statistics.fmean(values))}"
    return f"{mean} ± {number(statistics.stdev(values), 2)}" if len(values) > 1 else mean


def seeds_of(arm: ArmRecord) -> str:
    """How many runs an arm has, and how many of them failed."""
    failed = sum(run.status == "FAILED" for run in arm.runs)
    return f"{len(arm.runs)}, {failed} failed" if failed else str(len(arm.runs))


def effect(value: float | None, rule: Rule, unit: str) -> str:
    """An effect with its sign and unit; a ratio as times.

    Example:
        >>> effect(1.234, "difference", "%"), effect(3.21, "ratio", "epochs")
        ('+1.23 points', '3.21 ×')
    """
    return UNKNOWN if value is None else with_unit(_signed(value, rule), effect_unit(unit, rule))


def effect_unit(unit: str, rule: Rule) -> str:
    """Of an effect on a figure of this unit: that of a difference of two percentages is points."""
    if rule == "ratio":
        return "×"
    return "points" if unit in _PERCENT else unit


def figure_unit(unit: str) -> str:
    """Of the figure itself.

    Example:
        >>> figure_unit("percentage points"), figure_unit("iterations")
        ('%', 'iterations')
    """
    return "%" if unit in _PERCENT else unit


def interval(record: ComparisonRecord, unit: str) -> str:
    """From … to …; an end that is not known is open."""
    low, high = (None if end is None else _signed(end, record.rule) for end in record.interval)
    of = effect_unit(unit, record.rule)
    if low is None and high is None:
        return UNKNOWN
    if high is None:
        return f"{with_unit(str(low), of)} or more"
    if low is None:
        return f"{with_unit(high, of)} or less"
    return with_unit(f"{low} to {high}", of)


def _signed(value: float, rule: Rule) -> str:
    sign = "+" if rule != "ratio" and value > 0 else ""
    return f"{sign}{number(value)}"


def smallest(record: ComparisonRecord, unit: str) -> str:
    """What counts: at least so much, or for equality at most."""
    unit = effect_unit(unit, record.rule)
    size = with_unit(number(record.smallest_effect), unit)
    return f"± {size}" if record.rule == "equivalence" else size


def duration(seconds: float) -> str:
    """In the two largest units that are worth saying.

    Example:
        >>> duration(12.3), duration(95), duration(7265)
        ('12 s', '1 min 35 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def facts(described: Mapping[str, Any]) -> str:
    """What a mapping says, in a line.

    Example:
        >>> facts({"cpu": "AMD EPYC", "cores": 2, "gpu": None, "split": {"test": 1000}})
        'cpu: AMD EPYC, cores: 2, split: (test: 1000)'
    """
    said = []
    for name, value in described.items():
        if isinstance(value, Mapping):
            value = f"({facts(value)})"
        elif isinstance(value, list | tuple):
            value = " × ".join(map(str, value))
        if value not in (None, ""):
            said.append(f"{name.replace('_', ' ')}: {value}")
    return ", ".join(said)
