"""Comparisons of a result: made from its runs, and checked against them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from convforge.errors import InputError
from convforge.pipeline.claims.claim import Comparison
from convforge.pipeline.claims.result import (
    ArmRecord,
    ClaimResult,
    ComparisonRecord,
    FigureRecord,
    RunRecord,
)
from convforge.pipeline.claims.verdict import Value, decide

# The logarithms and quantiles of other processors and versions of SciPy may differ by rounding.
_ROUNDING = 1e-9


def compared(
    arms: Mapping[str, ArmRecord],
    comparison: Comparison | ComparisonRecord,
    smallest_effect: float,
    figure: FigureRecord,
    seeds: Sequence[int],
) -> ComparisonRecord:
    """The comparison's verdict, from the runs of its two arms, paired by seed.

    Args:
        arms: by name, with their runs.
        comparison: its arms, figure and rule.
        smallest_effect: at the scale of the runs.
        figure: the comparison's.
        seeds: of the protocol. One without a run counts as failed.

    Raises:
        InputError: an arm that is not there, or has two runs of one seed or a seed that is not the
            protocol's, or no sound smallest effect.
    """
    names = (comparison.better, comparison.than)
    for name in names:
        if name not in arms:
            raise InputError(f"there is no arm {name!r}: give {', '.join(arms)}")
    better, than = (seed_values(arms[name].runs, comparison.figure, seeds, name) for name in names)
    found = decide(
        better,
        than,
        comparison.rule,
        smallest_effect,
        higher_is_better=figure.higher_is_better,
        resolution=figure.resolution,
        names=names,
    )
    return ComparisonRecord(
        title=comparison.title,
        better=comparison.better,
        than=comparison.than,
        figure=comparison.figure,
        rule=comparison.rule,
        smallest_effect=smallest_effect,
        effects=found.effects,
        estimate=found.estimate,
        interval=found.interval,
        outcome=found.outcome,
        why=found.why,
    )


def seed_values(
    runs: Sequence[RunRecord], figure: str, seeds: Sequence[int], arm: str
) -> list[Value]:
    """The figure of each seed of an arm.

    Raises:
        InputError: two runs of one seed, or a run of a seed that is not among `seeds`.
    """
    by_seed: dict[int, RunRecord] = {}
    for run in runs:
        if run.seed not in seeds:
            raise InputError(f"the arm {arm} has a run of seed {run.seed}, the protocol has not")
        if run.seed in by_seed:
            raise InputError(f"the arm {arm} has two runs of seed {run.seed}: give one")
        by_seed[run.seed] = run
    return [_value(by_seed.get(seed), figure, seed) for seed in seeds]


def _value(run: RunRecord | None, figure: str, seed: int) -> Value:
    if run is None:
        return Value(None, why=f"seed {seed} has no run")
    if run.status == "FAILED":
        return Value(
            None, why=f"seed {seed} failed, {run.why}" if run.why else f"seed {seed} failed"
        )
    if figure not in run.figures:
        return Value(None, why=f"seed {seed} has no {figure}")
    return Value(run.figures[figure], reached=figure not in run.not_reached)


def check(result: ClaimResult) -> None:
    """Whether a result's comparisons and verdict are what its runs give.

    Everything of each comparison is computed again from the runs' figures; numbers may differ by
    rounding.

    Raises:
        InputError: what does not agree, every place of it.
    """
    where = f"claims/{result.claim}/{result.scale}"
    wrong = []
    for number, record in enumerate(result.comparisons):
        if record.figure not in result.figures:
            wrong.append(f"comparison {number}: there is no figure {record.figure!r}")
            continue
        try:
            again = compared(
                result.arms,
                record,
                record.smallest_effect,
                result.figures[record.figure],
                result.protocol.seeds,
            )
        except ValueError as error:
            wrong.append(f"comparison {number}: {error}")
            continue
        wrong += [
            f"comparison {number}: {field} is {getattr(record, field)!r}, "
            f"the runs give {getattr(again, field)!r}"
            for field in ("effects", "estimate", "interval", "outcome", "why")
            if not _agree(getattr(record, field), getattr(again, field))
        ]
    if not 0 <= result.main < len(result.comparisons):
        wrong.append(f"main={result.main}: give a comparison, 0 to {len(result.comparisons) - 1}")
    elif result.outcome != result.comparisons[result.main].outcome:
        wrong.append(
            f"outcome is {result.outcome!r}, the main comparison's is "
            f"{result.comparisons[result.main].outcome!r}"
        )
    if wrong:
        raise InputError("\n".join(f"{where}: {each}" for each in wrong))


def _agree(stored: Any, again: Any) -> bool:
    if isinstance(stored, list | tuple):
        return len(stored) == len(again) and all(map(_agree, stored, again))
    if isinstance(stored, float) and isinstance(again, float):
        return math.isclose(stored, again, rel_tol=_ROUNDING, abs_tol=_ROUNDING)
    return bool(stored == again)
