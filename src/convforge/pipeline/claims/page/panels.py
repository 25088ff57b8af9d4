"""The pictures of one claim: curves over the epochs, tuning, effects seed by seed, and a legend."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from convforge.pipeline.claims.page import wording
from convforge.pipeline.claims.page.axis import axis_for, interval_of
from convforge.pipeline.claims.page.chart import (
    Chart,
    Scale,
    epochs_scale,
    scale_for,
    whole_ticks,
)
from convforge.pipeline.claims.page.drawing import (
    LINE_HEIGHT,
    Area,
    Drawing,
    Line,
    Mark,
    beside,
    series,
    wrapped,
)
from convforge.pipeline.claims.page.intervals import (
    AXIS_LETTERS,
    SIGNS,
    UNIT,
    draw_field,
    draw_interval,
    draw_meaning,
    draw_numbers,
)
from convforge.pipeline.claims.page.tables import figure_of
from convforge.pipeline.claims.result import ArmRecord, ClaimResult, FigureRecord, RunRecord

#: Pixels of a panel: a telephone shows it as it is, a large screen three beside one another.
WIDTH, HEIGHT = 360.0, 250.0
_LETTERS, _SMALL, _TITLE = 12.0, 11.0, 12.5
_BAND = 0.16
# Where the effects begin, what one has below its title, and the strip of its dots and interval.
# Between the crosses of failed runs.
_FAILED = 9.0
_EFFECTS, _EFFECT, _STRIP = 54.0, 64.0, 34.0
_HOW_TO_READ = (
    "lines: the mean over the seeds",
    "bands: from the least seed to the largest",
    "rings: the chosen learning rate",
    "crosses: runs that failed, or did not get there",
)
_LAST, _LAST_OF = FigureRecord(title="last training error", unit="%"), "training_error"
_SPLITS = {"training_error": "training error", "validation_error": "validation error"}


def draw_panels(result: ClaimResult) -> list[Drawing]:
    """All panels of a claim that there is something to show in."""
    curves = [draw_curves(result, column) for column in _SPLITS]
    tuning = draw_tuning(result)
    return [panel for panel in (*curves, tuning, draw_effects(result)) if panel]


def draw_picture(result: ClaimResult) -> Drawing:
    """The same in one picture, two beside one another, with a legend."""
    panels = [*draw_panels(result), draw_legend(result)]
    return beside(panels, f"{result.title}: its runs", columns=2, gap=16)


def draw_curves(result: ClaimResult, column: str) -> Drawing | None:
    """The error over the epochs: of each arm the mean over the seeds, and from least to largest.

    Where a comparison waits for a training error, its curves are drawn as Krizhevsky (2012,
    figure 1) draws them: on a linear axis, with a line at the error that is waited for.
    """
    curves = {name: _curves(arm, column) for name, arm in result.arms.items()}
    curves = {name: rows for name, rows in curves.items() if rows}
    if not curves:
        return None
    title, target = _SPLITS[column], column == "training_error" and _waits_for_target(result)
    page = Drawing(WIDTH, HEIGHT, f"{result.title}: {title} over the epochs")
    values = [value for rows in curves.values() for row in rows for value in row]
    epochs = max(len(rows[0]) for rows in curves.values())
    y = scale_for(values, linear=target)
    logarithmic = ", logarithmic" if y.logarithmic else ""
    chart = Chart(page, f"{title}{logarithmic}", epochs_scale(epochs), y)
    chart.frame("epoch", whole_ticks(chart.x), "%")
    if target:
        _draw_target(chart, result.protocol.target)
    for name, rows in curves.items():
        _draw_band(chart, rows, *_look(result, name))
    return page


def draw_tuning(result: ClaimResult) -> Drawing | None:
    """What each learning rate gave each arm, by the figure that chose, or else the training error.

    A ring is the chosen one, a cross above a run that failed, or ended before what is waited for.
    """
    runs = {name: [*arm.tuning, *arm.runs] for name, arm in result.arms.items()}
    rates = sorted({run.rate for some in runs.values() for run in some if run.rate})
    figure = result.protocol.tuned_by
    means = {name: _by_rate(some, figure) for name, some in runs.items()}
    values = [mean for some in means.values() for mean in some.values()]
    if len(rates) < 2 or not values:
        return None
    described = figure_of(result, figure) if figure else _LAST
    title = f"{described.title}, by learning rate"
    page = Drawing(WIDTH, HEIGHT, f"{result.title}: {title}")
    chart = Chart(page, title, Scale(rates[0], rates[-1], logarithmic=True), scale_for(values))
    unit = wording.figure_unit(described.unit)
    chart.frame("learning rate", _apart(rates), unit if unit == "%" else "")
    for number, (name, some) in enumerate(means.items()):
        _draw_rates(chart, some, result.arms[name].rate, *_look(result, name))
        for rate in sorted({run.rate for run in runs[name] if run.rate and not _has(run, figure)}):
            x, top = chart.place(rate, chart.y.high)
            page.add(Mark((x, top + _FAILED * number), "cross", _look(result, name)[0]))
    return page


def draw_effects(result: ClaimResult) -> Drawing:
    """The effect of each seed, and below it estimate and interval, for each comparison."""
    found = [interval_of(record) for record in result.comparisons]
    axis = axis_for(found, 22, WIDTH - 16)
    titles = [wrapped(record.title, _LETTERS, WIDTH - 12) for record in result.comparisons]
    heights = [len(title) * _LETTERS * LINE_HEIGHT + _EFFECT for title in titles]
    bottom = _EFFECTS + sum(heights)
    page = Drawing(WIDTH, bottom + 38, f"{result.title}: effects by seed")
    page.write(["effects, seed by seed"], (6, 16), size=_TITLE, bold=True)
    draw_meaning(page, axis, _EFFECTS - 2)
    top = _EFFECTS
    for record, each, title, height in zip(result.comparisons, found, titles, heights, strict=True):
        below = page.write(title, (6, top + 16), size=_LETTERS)
        effect = wording.effect(record.estimate, record.rule, result.figures[record.figure].unit)
        known = record.estimate is not None
        line = f"{SIGNS[record.outcome]} {record.outcome}{f', {effect}' if known else ''}"
        page.write([line], (6, below), size=_SMALL, colour="faint")
        draw_field(page, axis, top + height - _STRIP - 4, top + height - 4)
        for seed in each.seeds:
            page.add(Mark((axis.place(seed), top + height - _STRIP + 4), "dot", "faint", 2.5))
        draw_interval(page, axis, each, record.outcome, top + height - 14)
        top += height
    draw_numbers(page, axis, bottom - 4)
    foot = (WIDTH / 2, bottom + 26)
    page.write([UNIT], foot, size=AXIS_LETTERS, colour="faint", align="middle")
    return page


def arm_keys(result: ClaimResult) -> list[tuple[Drawing, str]]:
    """A sample of each arm's line, and the arm's title."""
    keys = []
    for number, arm in enumerate(result.arms.values()):
        sample = Drawing(36, 12, "")
        colour, dash = series(number)
        sample.add(Line(((0, 6), (36, 6)), colour, 2.5, dash))
        keys.append((sample, arm.title))
    return keys


def draw_legend(result: ClaimResult) -> Drawing:
    """Which line is which arm."""
    titles = [wrapped(arm.title, _LETTERS, WIDTH - 60) for arm in result.arms.values()]
    lines = sum(len(title) for title in titles)
    page = Drawing(WIDTH, 24 + lines * _LETTERS * LINE_HEIGHT + 6 * len(titles) + 70, "legend")
    page.write(["arms"], (6, 16), size=_TITLE, bold=True)
    y = 38.0
    for number, title in enumerate(titles):
        colour, dash = series(number)
        page.add(Line(((6, y - 4), (42, y - 4)), colour, 2.5, dash))
        y = page.write(title, (52, y), size=_LETTERS) + 6
    page.write(_HOW_TO_READ, (6, y), size=_SMALL, colour="faint")
    return page


def _curves(arm: ArmRecord, column: str) -> list[list[float]]:
    """A column of the runs that ended well, as far as all of them go."""
    rows = [run.history.get(column, []) for run in arm.runs if run.status == "FINISHED"]
    length = min((len(row) for row in rows), default=0)
    rows = [row[:length] for row in rows] if length else []
    return [row for row in rows if all(map(math.isfinite, row))]


def _draw_band(
    chart: Chart, rows: Sequence[Sequence[float]], colour: str, dash: tuple[float, ...]
) -> None:
    epochs = list(zip(*rows, strict=True))
    at = [float(number) for number in range(1, len(epochs) + 1)]
    upper = [chart.place(x, max(values)) for x, values in zip(at, epochs, strict=True)]
    lower = [chart.place(x, min(values)) for x, values in zip(at, epochs, strict=True)]
    if len(rows) > 1:
        chart.page.add(Area((*upper, *reversed(lower)), colour, _BAND))
    means = tuple(
        chart.place(x, statistics.fmean(values)) for x, values in zip(at, epochs, strict=True)
    )
    if len(means) == 1:
        chart.page.add(Mark(means[0], "dot", colour))
    else:
        chart.page.add(Line(means, colour, 2.0, dash))


def _waits_for_target(result: ClaimResult) -> bool:
    """Whether a comparison counts until the training error is at the protocol's target."""
    return any("target" in record.figure for record in result.comparisons)


def _draw_target(chart: Chart, target: float) -> None:
    if not chart.y.low <= target <= chart.y.high:
        return
    ends = chart.place(chart.x.low, target), chart.place(chart.x.high, target)
    chart.page.add(Line(ends, "ink", 1.0, (5, 3)))
    label, place = f"{target:g}%", (ends[1][0] - 2, ends[1][1] - 5)
    chart.page.write([label], place, size=_SMALL, align="end")


def _by_rate(runs: Sequence[RunRecord], figure: str | None) -> Mapping[float, float]:
    """The mean of the figure, None for the last training error, at each learning rate."""
    values: dict[float, list[float]] = {}
    for run in runs:
        if run.rate and _has(run, figure):
            values.setdefault(run.rate, []).append(_value(run, figure))
    return {rate: statistics.fmean(values[rate]) for rate in sorted(values)}


def _draw_rates(
    chart: Chart,
    means: Mapping[float, float],
    chosen: float | None,
    colour: str,
    dash: tuple[float, ...],
) -> None:
    """An arm's means by learning rate."""
    points = tuple(chart.place(rate, mean) for rate, mean in means.items())
    if len(points) > 1:
        chart.page.add(Line(points, colour, 2.0, dash))
    for rate, place in zip(means, points, strict=True):
        ring = rate == chosen
        chart.page.add(Mark(place, "ring" if ring else "dot", colour, 5.0 if ring else 3.0))


def _has(run: RunRecord, figure: str | None) -> bool:
    reached = run.status == "FINISHED" and figure not in run.not_reached
    return reached and math.isfinite(_value(run, figure))


def _value(run: RunRecord, figure: str | None) -> float:
    if figure is None:
        return (run.history.get(_LAST_OF) or [math.nan])[-1]
    return run.figures.get(figure, math.nan)


def _apart(rates: Sequence[float]) -> list[float]:
    """Rates whose labels stand clear of one another on a logarithmic axis."""
    least = math.log(rates[-1] / rates[0]) / 7
    shown = [rates[0]]
    for rate in rates[1:]:
        if math.log(rate / shown[-1]) >= least:
            shown.append(rate)
    return shown


def _look(result: ClaimResult, arm: str) -> tuple[str, tuple[float, ...]]:
    return series(list(result.arms).index(arm))
