"""The committed measurements as tables, sentences and plots of the pages.

A page says where: `<!-- bench: step -->` … `<!-- /bench -->` holds what `block("step", …)` writes.
`make bench-pages` writes all of it again from `results.json`, and a test compares.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import growth
from bounds import verdicts
from measurement import ROOT, Row, written
from sections import SECTIONS

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
#: Below the pages that show it.
PLOT = ROOT / "docs" / "growth.png"
BLOCK = re.compile(r"(<!-- bench: ([\w-]+) -->\n)(.*?)(<!-- /bench -->)", re.S)
NOT_YET = "Not measured yet: `make bench`, then `make bench BENCH='--last --write'`.\n"
_WIDTH = 100
_IMAGENET = 1_281_167

Results = Mapping[str, Any]


def refreshed(text: str, results: Results) -> str:
    """A page's text with its blocks written anew; a sentence without its figures stays."""

    def replaced(match: re.Match[str]) -> str:
        content = block(match[2], results)
        return match[1] + (match[3] if content is None else content) + match[4]

    return BLOCK.sub(replaced, text)


def redraw(results: Results) -> list[Path]:
    """Write all pages and the plots; the files that have changed."""
    changed = []
    for page in PAGES:
        before = page.read_text(encoding="utf-8")
        after = refreshed(before, results)
        if after != before:
            page.write_text(after, encoding="utf-8")
            changed.append(page)
    rows = growing_rows(results)
    if rows:
        draw_growth(rows, PLOT)
        changed.append(PLOT)
    return changed


def block(name: str, results: Results) -> str | None:
    """What stands between a block's marks; None for a sentence whose figures are not there.

    Raises:
        KeyError: there is no such block.
    """
    sections = results.get("sections", {})
    if name in SENTENCES:
        try:
            return textwrap.fill(SENTENCES[name](results), _WIDTH, break_on_hyphens=False) + "\n"
        except KeyError:
            return None
    if name == "machine":
        return _machine(results)
    if name == "bounds":
        return _bounds(sections) if sections else NOT_YET
    if name == "growth-plot":
        return _growth(results)
    if name not in SECTIONS:
        raise KeyError(name)
    return _section(sections[name]) if name in sections else NOT_YET


def table(results: Results) -> str:
    """Everything as one Markdown page: what a run writes."""
    sections = results.get("sections", {})
    parts = ["# Benchmarks\n", _machine(results)]
    for name, section in SECTIONS.items():
        if name in sections:
            parts.append(f"## {section.title}\n\n`{name}`\n\n{_section(sections[name])}")
    parts += ["## Growth\n", _growth(results, plot=False), "## Bounds\n", _bounds(sections)]
    return "\n".join(parts)


def _machine(results: Results) -> str:
    if not results.get("sections"):
        return NOT_YET
    machine, moments = results["machine"], set()
    for section in results["sections"].values():
        if "measured" in section:
            moment = section["measured"]
            quick = ", a smoke run whose figures mean nothing" if moment["quick"] else ""
            moments.add(f"{moment['date']}, commit {moment['commit']}{quick}")
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    lines = [
        f"{machine['cores']} cores of {machine['processor']} ({machine['architecture']}), "
        f"{machine['memory_gb']:g} GiB, {machine['accelerator'] or 'no accelerator'}, "
        f"{machine['system']}, Python {machine['python']}; {versions}. "
        f"Measured {'; '.join(sorted(moments))}. "
        "Medians over rounds that take turns, with the smallest and the largest. Beside: the "
        "median over the rounds of how many times as fast as the arm with 1 ×; of memory, how many "
        "times as large.",
    ]
    return "\n".join(textwrap.fill(line, _WIDTH, break_on_hyphens=False) for line in lines) + "\n"


def _section(section: Mapping[str, Any]) -> str:
    """Its table; what was not measured is in it too."""
    if "not_measured" in section:
        return f"Not measured: {section['not_measured']}.\n"
    lines = [
        "| what | arm | median | smallest … largest | rounds | beside |",
        "|---|---|---|---|---|---|",
    ]
    for row in (Row(**each) for each in section["rows"]):
        first = f"{row.name}, {row.unit}"
        for cells in _cells(row):
            lines.append(f"| {first} | {' | '.join(cells)} |")
            first = ""
    if "failed" in section:
        lines += ["", f"Failed: {section['failed']}."]
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> Iterator[tuple[str, ...]]:
    for arm, values in row.rounds.items():
        beside = ""
        if row.base in row.rounds:
            beside = "1 ×" if arm == row.base else f"{row.times_as_fast(arm, row.base):.2f} ×"
        spread = f"{written(min(values))} … {written(max(values))}"
        yield arm, written(row.median(arm)), spread, str(len(values)), beside
    for arm, why in row.missing.items():
        yield arm, f"not measured: {_cell(why)}", "", "", ""
    for arm, why in row.failed.items():
        yield arm, f"failed: {_cell(why)}", "", "", ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _bounds(sections: Mapping[str, Any]) -> str:
    lines = ["| what | quotient | measured | bound | why |", "|---|---|---|---|---|"]
    for verdict in verdicts(sections, slope_of):
        bound = verdict.bound
        quotient = f"{bound.arm} / {verdict.over}" if bound.arm else "slope"
        if verdict.value is None:
            measured = f"not measured: {_cell(verdict.why)}"
        else:
            measured = f"{verdict.value:.3g}{', **not met**' if verdict.is_broken else ''}"
        row = f"{bound.section}: {verdict.row}".replace("*", "…")
        lines.append(f"| {row} | {quotient} | {measured} | {bound.allowed} | {bound.reason} |")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Growth:
    """What is expected of a row of `growth.py`.

    Attributes:
        axis: what its values are.
        slope: expected on logarithmic axes.
        below: what it means that the slope is smaller.
        above: what it means that the slope is greater.
    """

    axis: str
    slope: float
    below: str
    above: str


_FIXED = "what does not grow weighs most in the small ones"
GROWTH = {
    growth.PREPROCESS: Growth(
        "images", 1, f"{_FIXED}: starting Python, and above some size a process for each core",
        "the index of the images and their hashes no longer fit in the caches",
    ),
    growth.MEMORY: Growth(
        "images", 0, "less is held of more images", "the archive's index and its labels are held",
    ),
    growth.EPOCH: Growth(
        "images", 1, f"{_FIXED}: the turn of an epoch, its figures and its checkpoint",
        "the shuffled images no longer fit in the caches",
    ),
    growth.SIDE: Growth(
        "side of the image", 2, f"{_FIXED}: starting a step's operations, and the optimizer",
        "the fully connected layer grows with the image too, and with it the optimizer's work",
    ),
    growth.ROWS: Growth(
        "images of a batch", 1, f"{_FIXED}: starting a step's operations, and the optimizer",
        "the maps of a large batch no longer fit in the caches",
    ),
    growth.DEPTH: Growth(
        "convolutions", 1,
        f"{_FIXED}: the first convolution on the largest maps, and the fully connected layers",
        "the maps that the gradient needs no longer fit in the caches",
    ),
    growth.RUNS: Growth(
        "runs", 1, f"{_FIXED}: importing Keras and compiling the one program",
        "the runs' threads and states get in each other's way",
    ),
}  # fmt: skip


def growing_rows(results: Results) -> list[Row]:
    """The rows of `growth.py` that have two values or more."""
    section = results.get("sections", {}).get("growth", {})
    rows = [Row(**row) for row in section.get("rows", ())]
    return [row for row in rows if row.name in GROWTH and slope_of(row) is not None]


def points(row: Row) -> list[tuple[float, float]]:
    """Value and median time, in order."""
    return sorted((float(arm), row.median(arm)) for arm in row.rounds)


def slope_of(row: Row) -> float | None:
    """The slope of the straight line through log time over log value, by least squares.

    None where there is no line.
    """
    logs = [(math.log(value), math.log(time)) for value, time in points(row)]
    if len(logs) < 2:
        return None
    middle = sum(x for x, _ in logs) / len(logs)
    height = sum(y for _, y in logs) / len(logs)
    over = sum((x - middle) * (y - height) for x, y in logs)
    return over / sum((x - middle) ** 2 for x, _ in logs)


def last_slope(row: Row) -> float:
    """Between the two largest values."""
    (x, y), (x1, y1) = points(row)[-2:]
    return math.log(y1 / y) / math.log(x1 / x)


def sentence(row: Row) -> str:
    """The slope, and the reason where it is not the expected one."""
    expected, slope = GROWTH[row.name], slope_of(row)
    assert slope is not None
    said = f"slope {slope:.2f}, {last_slope(row):.2f} between the largest two"
    if abs(slope - expected.slope) <= 0.1:
        return f"{said}, as expected ({expected.slope:g})"
    why = expected.below if slope < expected.slope else expected.above
    where = "below" if slope < expected.slope else "above"
    return f"{said}; {where} the expected {expected.slope:g}: {why}"


def _growth(results: Results, *, plot: bool = True) -> str:
    rows = growing_rows(results)
    if not rows:
        return NOT_YET
    lines = [f"![Time against size, on logarithmic axes]({PLOT.name})", ""] if plot else []
    for row in rows:
        line = f"- **{row.name}**: {sentence(row)}."
        lines.append(textwrap.fill(line, _WIDTH, subsequent_indent="  ", break_on_hyphens=False))
    return "\n".join(lines) + "\n"


def draw_growth(rows: list[Row], path: Path) -> None:
    """A panel for each row, both axes logarithmic, the expected slope beside the measured one."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    from convforge.pipeline.report.figure import picture
    from convforge.pipeline.report.style import BLUE, FAINT, ORANGE, WIDTH

    columns = 3
    lines = math.ceil(len(rows) / columns)
    with picture(path, WIDTH, 300 * lines + 30) as figure:
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for panel, row in zip(panels, rows, strict=False):
            expected, found = GROWTH[row.name], points(row)
            values, times = [value for value, _ in found], [time for _, time in found]
            (last, height) = found[-1]
            steep = [height * (value / last) ** expected.slope for value in values]
            panel.plot(
                values,
                steep,
                color=FAINT,
                linestyle="--",
                label=f"expected, slope {expected.slope:g}",
            )
            arms = sorted(row.rounds, key=float)
            low = [row.median(arm) - min(row.rounds[arm]) for arm in arms]
            high = [max(row.rounds[arm]) - row.median(arm) for arm in arms]
            panel.errorbar(
                values,
                times,
                yerr=[low, high],
                color=BLUE,
                ecolor=ORANGE,
                marker="o",
                capsize=3,
                label=f"measured, slope {slope_of(row):.2f}",
            )
            panel.set_xscale("log")
            panel.set_yscale("log")
            panel.set_title(row.name, weight="bold")
            panel.set_xlabel(expected.axis)
            panel.set_ylabel(row.unit)
            panel.xaxis.set_major_locator(FixedLocator(values))
            panel.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:,.0f}"))
            panel.xaxis.set_minor_locator(NullLocator())
            low_end, high_end = min([*steep, *times]), max(times)
            # A decade at the least, or what hardly grows looks steep.
            panel.set_ylim(min(low_end / 1.5, high_end / 7), high_end * 1.5)
            panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            panel.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:,g}"))
            panel.yaxis.set_minor_locator(NullLocator())
            panel.grid(True)
            panel.legend(loc="lower right", fontsize=8)
        for panel in panels[len(rows) :]:
            panel.set_visible(False)


def _median(sections: Mapping[str, Any], section: str, row: str, arm: str) -> float:
    """Of the row whose name begins so.

    Raises:
        KeyError: it was not measured.
    """
    for each in sections[section].get("rows", ()):
        found = Row(**each)
        if found.name.startswith(row) and found.rounds.get(arm):
            return found.median(arm)
    raise KeyError(row)


def _cores(results: Results) -> str:
    return f"{results['machine']['cores']} cores of {results['machine']['processor']}"


def _served(results: Results) -> str:
    sections = results["sections"]
    one, eight, theirs, theirs_of_eight = (
        written(_median(sections, "serve", f"{clients} client", arm))
        for arm in ("ours, file", "MLflow's Keras flavour, pixels")
        for clients in (1, 8)
    )
    return (
        f"On {_cores(results)} it answers {one} such requests a second to one client and "
        f"{eight} to eight, where the same net under MLflow's own Keras flavour answers {theirs} "
        f"and {theirs_of_eight} (`python benchmarks/serve.py`)."
    )


def _prepared(results: Results) -> str:
    sections = results["sections"]
    rate = _median(sections, "preprocess", "photographs", "convforge")
    alone = _median(sections, "preprocess", "time of the main process", "convforge") / 1e6
    cifar = _median(sections, "preprocess", "CIFAR-10", "convforge")
    two, sixteen, many = (
        written(_IMAGENET * max(2 / rate / cores, alone) / 60) for cores in (2, 16, 64)
    )
    return (
        f"ImageNet's {_IMAGENET:,} photographs, at the {written(rate)} images a second that "
        f"{_cores(results)} brought to shards of 256×256 (`benchmarks/preprocess.py`), take "
        f"{two} minutes on 2 cores, and in proportion {sixteen} on 16 and {many} on 64, where the "
        f"disk keeps up; CIFAR-10's 60,000 JPEG took {written(60_000 / cifar)} seconds."
    )


#: Sentences of the README.
SENTENCES: Mapping[str, Callable[[Results], str]] = {
    "served": _served,
    "prepared": _prepared,
}
