"""Comparisons of a result: made from its runs, and checked against these and the protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from convforge.errors import InputError
from convforge.pipeline.claims.claim import Comparison, Protocol
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
# Of a comparison: what was fixed before its runs, but for the smallest effect, and what was found.
_FIXED = ("title", "better", "than", "published", "figure", "rule")
_FOUND = ("effects", "estimate", "interval", "outcome", "why")


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
    names = (comparison.better, comparison.than or "published")
    better, than = (
        _values_of(name, arms, comparison, seeds) for name in (comparison.better, comparison.than)
    )
    found = decide(
        better,
        than,
        comparison.rule,
        smallest_effect,
        higher_is_better=figure.higher_is_better,
        resolution=figure.resolution,
        step_factor=figure.step_factor,
        names=names,
    )
    return ComparisonRecord(
        title=comparison.title,
        better=comparison.better,
        than=comparison.than,
        published=comparison.published,
        figure=comparison.figure,
        rule=comparison.rule,
        smallest_effect=smallest_effect,
        effects=found.effects,
        estimate=found.estimate,
        interval=found.interval,
        outcome=found.outcome,
        why=found.why,
    )


def _values_of(
    name: str | None,
    arms: Mapping[str, ArmRecord],
    comparison: Comparison | ComparisonRecord,
    seeds: Sequence[int],
) -> list[Value]:
    """Of an arm, or of what was published: the same for every seed."""
    if name is None:
        return [Value(comparison.published)] * len(seeds)
    if name not in arms:
        raise InputError(f"there is no arm {name!r}: give {', '.join(arms)}")
    return seed_values(arms[name].runs, comparison.figure, seeds, name)


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


def check(result: ClaimResult, protocol: Protocol | None = None) -> None:
    """Whether a result's comparisons and verdict are what its runs and its protocol give.

    Everything of each comparison is computed again from the runs' figures; numbers may differ by
    rounding.

    Args:
        result: as it was read.
        protocol: of its claim at its scale. Without it, what was to be compared, and the smallest
            effect, are taken from the result.

    Raises:
        InputError: what does not agree, every place of it.
    """
    wrong = [
        *(_against_protocol(result, protocol) if protocol else []),
        *(
            f"comparison {number}: {each}"
            for number, record in enumerate(result.comparisons)
            for each in _against_runs(result, record)
        ),
    ]
    if not 0 <= result.main < len(result.comparisons):
        wrong.append(f"main={result.main}: give a comparison, 0 to {len(result.comparisons) - 1}")
    elif result.outcome != result.comparisons[result.main].outcome:
        said = result.comparisons[result.main].outcome
        wrong.append(f"outcome is {result.outcome!r}, the main comparison's is {said!r}")
    if wrong:
        where = f"claims/{result.claim}/{result.scale}"
        raise InputError("\n".join(f"{where}: {each}" for each in wrong))


def _against_runs(result: ClaimResult, record: ComparisonRecord) -> list[str]:
    if record.figure not in result.figures:
        return [f"there is no figure {record.figure!r}"]
    figure, seeds = result.figures[record.figure], result.protocol.seeds
    try:
        again = compared(result.arms, record, record.smallest_effect, figure, seeds)
    except InputError as error:
        return [str(error)]
    return _different(record, again, _FOUND, "the runs give")


def _against_protocol(result: ClaimResult, protocol: Protocol) -> list[str]:
    stored = {
        "claim": result.claim,
        "scale": result.scale,
        "digest": result.protocol.digest,
        "seeds": result.protocol.seeds,
        "main": result.main,
        "comparisons": len(result.comparisons),
    }
    fixed = {
        "claim": protocol.name,
        "scale": protocol.scale,
        "digest": protocol.digest,
        "seeds": protocol.seeds,
        "main": protocol.main_comparison,
        "comparisons": len(protocol.comparisons),
    }
    wrong = [
        f"{name} is {stored[name]!r}, the protocol's is {fixed[name]!r}"
        for name in fixed
        if stored[name] != fixed[name]
    ]
    pairs = zip(result.comparisons, protocol.comparisons, strict=False)
    for number, (record, comparison) in enumerate(pairs):
        smallest = comparison.smallest(protocol.scale)
        if record.smallest_effect != smallest:
            wrong.append(
                f"comparison {number}: smallest_effect is {record.smallest_effect!r}, "
                f"the protocol's is {smallest!r}"
            )
        wrong += [
            f"comparison {number}: {each}"
            for each in _different(record, comparison, _FIXED, "the protocol's is")
        ]
    return wrong


def _different(record: Any, again: Any, fields: Sequence[str], whose: str) -> list[str]:
    return [
        f"{field} is {getattr(record, field)!r}, {whose} {getattr(again, field)!r}"
        for field in fields
        if not _agree(getattr(record, field), getattr(again, field))
    ]


def _agree(stored: Any, again: Any) -> bool:
    if isinstance(stored, list | tuple):
        return len(stored) == len(again) and all(map(_agree, stored, again))
    if isinstance(stored, float) and isinstance(again, float):
        return math.isclose(stored, again, rel_tol=_ROUNDING, abs_tol=_ROUNDING)
    return bool(stored == again)
