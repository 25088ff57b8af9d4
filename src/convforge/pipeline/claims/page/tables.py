"""The tables of the pages: words, row by row, for either kind of page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from convforge.pipeline.claims.figures import FIGURES
from convforge.pipeline.claims.page import wording
from convforge.pipeline.claims.page.intervals import SIGNS
from convforge.pipeline.claims.page.wording import UNKNOWN
from convforge.pipeline.claims.result import (
    ArmRecord,
    ClaimResult,
    FigureRecord,
    Outcome,
    RunRecord,
)


@dataclass(frozen=True)
class Column:
    """A column's name, and whether it holds numbers."""

    name: str
    numbers: bool = False


@dataclass(frozen=True)
class Table:
    """Columns, and rows of as many cells."""

    columns: list[Column]
    rows: list[list[str]]


def verdict(outcome: Outcome) -> str:
    """With its sign, on the same line."""
    return f"{SIGNS[outcome]}\N{NO-BREAK SPACE}{outcome}"


def arm_table(result: ClaimResult) -> Table:
    """What the arms cost, the learning rate of each, and the figures that are compared."""
    figures = list(dict.fromkeys(record.figure for record in result.comparisons))
    columns = [
        Column("arm"),
        Column("parameters", True),
        Column("multiply-adds", True),
        Column("learning rate", True),
        *(Column(_titled(result, figure), True) for figure in figures),
        Column("seeds", True),
    ]
    rows = [
        [
            arm.title,
            f"{arm.parameters:,}",
            f"{arm.multiply_adds:,}",
            _rate(arm.rate),
            *(wording.of_runs(arm.runs, figure) for figure in figures),
            wording.seeds_of(arm),
        ]
        for arm in result.arms.values()
    ]
    return Table(columns, rows)


def comparison_table(result: ClaimResult) -> Table:
    """What was compared and what it gave; of several, "decides" says which is the claim's."""
    several = len(result.comparisons) > 1
    columns = [
        Column("comparison"),
        Column("figure"),
        Column("effect", True),
        Column("95 % interval", True),
        Column("smallest that counts", True),
        Column("verdict"),
    ]
    rows = []
    for number, record in enumerate(result.comparisons):
        figure = result.figures[record.figure]
        notes = ["decides"] if several and number == result.main else []
        if record.published is not None:
            unit = wording.figure_unit(figure.unit)
            notes.append(f"published: {wording.with_unit(wording.number(record.published), unit)}")
        said = verdict(record.outcome)
        rows.append(
            [
                f"{record.title} ({', '.join(notes)})" if notes else record.title,
                figure_of(result, record.figure).title,
                wording.effect(record.estimate, record.rule, figure.unit),
                wording.interval(record, figure.unit),
                wording.smallest(record, figure.unit),
                f"{said}: {record.why}" if record.why else said,
            ]
        )
    return Table(columns, rows)


def effect_table(result: ClaimResult) -> Table:
    """The effect of each seed."""
    seeds = result.protocol.seeds
    columns = [Column("effect"), *(Column(f"seed {seed}", True) for seed in seeds)]
    rows = [
        [
            record.title,
            *(
                wording.effect(each, record.rule, result.figures[record.figure].unit)
                for each in record.effects
            ),
        ]
        for record in result.comparisons
    ]
    return Table(columns, rows)


def run_table(result: ClaimResult) -> Table:
    """Every run, those that chose the learning rates first."""
    figures = list(result.figures)
    chose = result.protocol.tuned_by
    if chose and chose not in figures:
        figures.append(chose)
    columns = [
        Column("arm"),
        Column("for"),
        Column("seed", True),
        Column("learning rate", True),
        *(Column(_titled(result, figure), True) for figure in figures),
        Column("time", True),
        Column("MLflow run"),
    ]
    rows = [
        [
            arm.title,
            purpose,
            str(run.seed),
            _rate(run.rate),
            *(_figure(run, figure) for figure in figures),
            UNKNOWN if run.seconds is None else wording.duration(run.seconds),
            _outcome_of(run),
        ]
        for arm in result.arms.values()
        for purpose, runs in _purposes(arm)
        for run in runs
    ]
    return Table(columns, rows)


def overrides_table(result: ClaimResult) -> Table:
    """What sets up each arm."""
    columns = [Column("arm"), Column("overrides")]
    rows = [[arm.title, " ".join(arm.overrides)] for arm in result.arms.values()]
    return Table(columns, rows)


def verdict_table(results: Sequence[ClaimResult], scales: Sequence[str]) -> Table:
    """The verdict of each claim at each scale."""
    titles = {result.claim: result.title for result in results}
    by_place = {(result.claim, str(result.scale)): result.outcome for result in results}
    columns = [Column("claim"), *(Column(scale) for scale in scales)]
    rows = [
        [
            title,
            *(
                verdict(by_place[name, scale]) if (name, scale) in by_place else "not run"
                for scale in scales
            ),
        ]
        for name, title in titles.items()
    ]
    return Table(columns, rows)


def facts(result: ClaimResult) -> list[tuple[str, str]]:
    """What one must know to judge or to repeat it; the command stands apart."""
    protocol = result.protocol
    commit = protocol.commit or "outside Git"
    said = [
        ("protocol", f"{', '.join(protocol.files)} at commit {commit}"),
        ("seeds", f"{len(protocol.seeds)} an arm: {_listed(protocol.seeds)}"),
        ("learning rates", _tuning(result)),
        ("data", wording.facts(result.data)),
        ("hardware", wording.facts(result.hardware)),
        (
            "time",
            f"{wording.duration(result.wall_seconds)}; "
            f"the runs together {wording.duration(result.run_seconds)}",
        ),
        ("finished", result.finished),
        ("versions", wording.facts(result.versions)),
        ("MLflow", f"parent run {result.parent_run_id}" if result.parent_run_id else ""),
    ]
    return [(name, text) for name, text in said if text]


def failures(result: ClaimResult) -> list[str]:
    """The runs that failed, those of an arm with one learning rate and one reason together."""
    seeds: dict[tuple[str, float | None, str], list[int]] = {}
    for arm in result.arms.values():
        for run in (*arm.tuning, *arm.runs):
            if run.status == "FAILED":
                reason = run.why or "no reason given"
                seeds.setdefault((arm.title, run.rate, reason), []).append(run.seed)
    return [
        f"{title}{'' if rate is None else f', learning rate {rate:g}'}, "
        f"{'seed' if len(some) == 1 else 'seeds'} {_listed(some)}: {reason}"
        for (title, rate, reason), some in seeds.items()
    ]


def is_censored(result: ClaimResult) -> bool:
    """Whether a run ended before it reached what its figure waits for."""
    return any(run.not_reached for arm in result.arms.values() for run in arm.runs)


def _tuning(result: ClaimResult) -> str:
    protocol = result.protocol
    if not protocol.rates:
        return "each arm has its own"
    rates = ", ".join(f"{rate:g}" for rate in protocol.rates)
    if protocol.tuned_by is None:
        return f"all of {rates}"
    figure = figure_of(result, protocol.tuned_by).title
    return f"of {rates}, the best by {figure} with seeds {_listed(protocol.tuning_seeds)}"


def _purposes(arm: ArmRecord) -> list[tuple[str, list[RunRecord]]]:
    return [("tuning", arm.tuning), ("comparison", arm.runs)]


def _figure(run: RunRecord, figure: str) -> str:
    value = wording.number(run.figures.get(figure), 4)
    return f"≥ {value}" if figure in run.not_reached else value


def _outcome_of(run: RunRecord) -> str:
    if run.status == "FAILED":
        return f"failed: {run.why or 'no reason given'}"
    return run.run_id or UNKNOWN


def _rate(rate: float | None) -> str:
    return UNKNOWN if rate is None else f"{rate:g}"


def figure_of(result: ClaimResult, name: str) -> FigureRecord:
    """What a figure is: that which chose the learning rates is not among the compared ones."""
    known = result.figures.get(name) or FIGURES.get(name)
    return known or FigureRecord(title=name.replace("_", " "), unit="")


def _titled(result: ClaimResult, name: str) -> str:
    figure = figure_of(result, name)
    unit = wording.figure_unit(figure.unit)
    return f"{figure.title}, {unit}" if unit and unit not in figure.title else figure.title


def _listed(numbers: Sequence[int]) -> str:
    """Example: 0, 1, 2."""
    return ", ".join(map(str, numbers))
