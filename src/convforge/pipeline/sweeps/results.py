"""What the jobs of a sweep gave, read from their folders: a table and a picture."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from convforge.pipeline.metrics import HEADLINES, higher_is_better
from convforge.pipeline.run_folder import RunFolder
from convforge.pipeline.stages.train import why_pruned
from convforge.pipeline.sweeps.plan import key_of
from convforge.pipeline.tracking.journal import FILE_NAME, PARENT_TAG, Journal
from convforge.pipeline.tracking.replay import State

# Of an epoch, what says nothing of how good the net is.
_NOT_SHOWN = {"learning_rate", "epoch_seconds"}
_NOT_SHOWN_OF_TEST = {"test_images"}


@dataclass(frozen=True)
class JobResult:
    """What has become of one job.

    Args:
        folder: of the job, below the sweep's.
        name: of its run.
        values: of the swept keys, as one writes them.
        status: FINISHED, PRUNED, FAILED or KILLED.
        epochs: how many it has done.
        figures: of the last of them, and on the test images where it was evaluated.
        seconds: from its begin to its end, without the time for which it was stopped.
        run_id: in the store, once that has it.
    """

    folder: str
    name: str
    values: Mapping[str, str]
    status: str
    epochs: int
    figures: Mapping[str, float]
    seconds: float | None
    run_id: str | None


def read_results(folder: Path, keys: Sequence[str], parent: str | None) -> list[JobResult]:
    """The jobs below `folder` that have begun; of `parent` alone, where there is one."""
    found = []
    for path in sorted(folder.glob(f"**/{FILE_NAME}"), key=_numerically):
        journal, out = Journal(path.parent), path.parent
        first = journal.first
        # An evaluation's journal completes a run that has its own.
        if first is None or "completes" in first.content:
            continue
        if parent is None or first.content.get("tags", {}).get(PARENT_TAG) == parent:
            found.append(_result(folder, out, journal, keys))
    return found


def _numerically(path: Path) -> tuple[Any, ...]:
    return tuple(
        (not part.isdecimal(), int(part) if part.isdecimal() else part) for part in path.parts
    )


def _result(folder: Path, out: Path, journal: Journal, keys: Sequence[str]) -> JobResult:
    assert journal.first is not None
    steps = journal.recorded_metrics()
    status = journal.status or "KILLED"
    return JobResult(
        folder=out.relative_to(folder).as_posix(),
        name=str(journal.first.content["name"]),
        values=_values(out, keys),
        status="PRUNED" if why_pruned(out) else status,
        epochs=max(steps, default=0),
        figures={**_shown(journal.last_metrics, _NOT_SHOWN), **_tested(out)},
        seconds=run_seconds(journal),
        run_id=State.read(out).run_id,
    )


def _values(out: Path, keys: Sequence[str]) -> dict[str, str]:
    """What Hydra has recorded of the job's overrides."""
    record = out / ".hydra" / "overrides.yaml"
    if not record.is_file():
        return {}
    given = {key_of(item): item.partition("=")[2] for item in OmegaConf.load(record)}
    return {key: given[key] for key in keys if key in given}


def _shown(figures: Mapping[str, float], hidden: set[str]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if name not in hidden}


def _tested(out: Path) -> dict[str, float]:
    metrics = RunFolder(out).evaluation.metrics
    if not metrics.is_file():
        return {}
    return _shown(json.loads(metrics.read_text(encoding="utf-8")), _NOT_SHOWN_OF_TEST)


def run_seconds(journal: Journal) -> float | None:
    """From a run's begin to its end, without the time for which it was stopped; None before."""
    events = list(journal.events())
    if events[-1].kind != "end":
        return None
    stopped = sum(
        after.time - before.time for before, after in pairwise(events) if after.kind == "resume"
    )
    return (events[-1].time - events[0].time - stopped) / 1000


def judged_by(results: Sequence[JobResult], figure: str | None) -> str | None:
    """The figure that says which job is the best: a search's, or what people ask for first.

    It is None where no job has one.
    """
    names = [figure] if figure else [f"val_{name}" for name in HEADLINES]
    done = [result for result in results if result.status == "FINISHED"]
    return next((name for name in names if any(name in job.figures for job in done)), None)


def ranked(results: Sequence[JobResult], figure: str | None) -> list[JobResult]:
    """The jobs that finished, the best first, then the others as they were begun."""

    def rank(result: JobResult) -> tuple[bool, float]:
        has = result.status == "FINISHED" and figure in result.figures
        if not has or figure is None:
            return (True, 0.0)
        value = result.figures[figure]
        return (False, -value if higher_is_better(figure) else value)

    return sorted(results, key=rank)


def write_tables(
    results: Sequence[JobResult],
    folder: Path,
    *,
    keys: Sequence[str],
    figure: str | None,
    command: str,
) -> list[Path]:
    """`jobs.csv` and `jobs.md` in `folder`: a row for each job, the best first.

    Returns:
        The files written.
    """
    first = [figure] if figure else []
    names = dict.fromkeys([*first, *(name for job in results for name in job.figures)])
    head = ["job", *keys, *names, "status", "epochs", "seconds", "run_id", "name"]
    rows = [
        [
            job.folder,
            *(job.values.get(key, "") for key in keys),
            *(job.figures.get(name, "") for name in names),
            job.status,
            job.epochs,
            "" if job.seconds is None else round(job.seconds, 1),
            job.run_id or "",
            job.name,
        ]
        for job in results
    ]
    table, page = folder / "jobs.csv", folder / "jobs.md"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([head, *rows])
    by = f"The best first, by `{figure}` after the last epoch. " if figure else ""
    lines = [
        "# The jobs of this sweep",
        "",
        f"{by}To repeat it:",
        "",
        f"    {command}",
        "",
        # The name repeats the values.
        _line(head[:-1]),
        _line(["---"] * (len(head) - 1)),
        *(_line([_cell(value) for value in row[:-1]]) for row in rows),
    ]
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [table, page]


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
