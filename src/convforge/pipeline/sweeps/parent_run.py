"""The parent run of a sweep, and what it says of the jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from convforge.pipeline.metrics import higher_is_better
from convforge.pipeline.progress import Progress
from convforge.pipeline.settings.tracking import MLflowTracking
from convforge.pipeline.sweeps.results import (
    JobResult,
    judged_by,
    ranked,
    read_results,
    write_tables,
)
from convforge.pipeline.tracking.description import COMMAND_TAG
from convforge.pipeline.tracking.journal import Journal
from convforge.pipeline.tracking.provenance import provenance_tags
from convforge.pipeline.tracking.replay import SWEEP_TAG
from convforge.pipeline.tracking.tracker import Tracker
from convforge.pipeline.training.resume.resumable import OTHER_CODE_TAG, ResumableRun


@dataclass(frozen=True)
class SweepSummary:
    """What is to be said of a sweep's jobs.

    Args:
        title: its overrides, in one line.
        command: that repeats it.
        swept: the choices of each key that has any, as given.
        count: of jobs.
        figure: that a search goes by; None without one.
    """

    title: str
    command: str
    swept: Mapping[str, str]
    count: int
    figure: str | None = None

    def write(
        self, folder: Path, parent: str | None
    ) -> tuple[list[Path], str | None, list[JobResult]]:
        """Table and picture of the jobs in `folder`, those of `parent` alone where there is one.

        Returns:
            The files, the figure that the jobs are ranked by, and the jobs, the best first.
        """
        results = read_results(folder, list(self.swept), parent)
        figure = judged_by(results, self.figure)
        results = ranked(results, figure)
        if not results:
            return [], figure, results
        keys = list(self.swept)
        files = write_tables(results, folder, keys=keys, figure=figure, command=self.command)
        return [*files, *_drawn(results, keys, figure, folder)], figure, results


def _drawn(
    results: list[JobResult], keys: list[str], figure: str | None, folder: Path
) -> list[Path]:
    """The picture, where there is something to compare."""
    there = [job for job in results if figure in job.figures and len(job.values) == len(keys)]
    several = [key for key in keys if len({job.values[key] for job in there}) > 1]
    if figure is None or not several:
        return []
    # Late: it brings Matplotlib.
    from convforge.pipeline.report.sweep import Point, draw_sweep

    points = [
        Point(job.values, job.figures[figure], whole=job.status == "FINISHED") for job in there
    ]
    path = folder / "jobs.png"
    draw_sweep(points, several, figure, path, higher=higher_is_better(figure))
    return [path]


@contextmanager
def sweep_parent(
    settings: MLflowTracking,
    root: Path,
    sweep: ResumableRun,
    out: Path,
    summary: SweepSummary,
    progress: Progress,
) -> Iterator[None]:
    """A run that the jobs' runs name as their parent, by the sweep's key; ended whatever comes.

    That of a sweep that has begun goes on; where its code has changed, a tag says what.

    It has the swept keys as params, the command that repeats the sweep as a tag, and at its end the
    table of the jobs with a picture. Its `best_val_accuracy`, `best_val_mae` of a regression, or
    the best of a search's figure, and the tags `best_run` and `best_run_id` say which job did best
    on the validation images, by the jobs' own journals in `out`.
    """
    out.mkdir(parents=True, exist_ok=True)
    tracker = Tracker(settings, out, root, progress, kind="sweep", key=sweep.key)
    journal = tracker.journal
    if sweep.has_begun:
        journal.go_on()
    name = settings.run_name or f"sweep {summary.title}"
    tags = {
        **provenance_tags(root),
        SWEEP_TAG: summary.title,
        COMMAND_TAG: summary.command,
        "convforge.jobs": str(summary.count),
    }
    # A prefix such as + is no part of a parameter's name.
    params = {key.lstrip("+~"): choices for key, choices in summary.swept.items()}
    journal.begin(name=name[:250], tags=tags, params=params, key=tracker.key, store=tracker.store)
    if sweep.other_code:
        journal.tags({OTHER_CODE_TAG: sweep.other_code})
    tracker.start()
    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        _sum_up(journal, summary, out, tracker.key)
        journal.end(status)
        tracker.finish()


def _sum_up(journal: Journal, summary: SweepSummary, out: Path, key: str) -> None:
    files, figure, results = summary.write(out, key)
    finished = [job for job in results if job.status == "FINISHED"]
    if figure is not None:
        best = finished[0]
        # By how many jobs have finished, so that a sweep that goes on has a later figure.
        journal.metrics({f"best_{figure}": best.figures[figure]}, len(finished))
        journal.tags({"best_run": best.name})
        if best.run_id:
            journal.tags({"best_run_id": best.run_id})
    for file in files:
        journal.artifact(file, anew=True)
