"""The parent run of a sweep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from convforge.pipeline.metrics import HEADLINES, higher_is_better
from convforge.pipeline.progress import Progress
from convforge.pipeline.settings.tracking import MLflowTracking
from convforge.pipeline.tracking.journal import FILE_NAME, PARENT_TAG, Journal
from convforge.pipeline.tracking.provenance import provenance_tags
from convforge.pipeline.tracking.replay import SWEEP_TAG
from convforge.pipeline.tracking.tracker import Tracker
from convforge.pipeline.training.resume.resumable import OTHER_CODE_TAG


@contextmanager
def sweep_parent(
    settings: MLflowTracking,
    root: Path,
    folder: Path,
    overrides: Sequence[str],
    jobs: int,
    progress: Progress,
    *,
    key: str,
    has_begun: bool,
    other_code: str | None,
) -> Iterator[None]:
    """A run that the jobs' runs name as their parent, by `key`; ended whatever becomes of them.

    That of a sweep that `has_begun` goes on; with `other_code`, its tag says what has changed.

    Its name is the sweep's overrides; its `best_val_accuracy`, or `best_val_mae` of a regression,
    and the tag `best_run` say which job did best on the validation images, by the jobs' own
    journals in `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tracker = Tracker(settings, folder, root, progress, kind="sweep", key=key)
    journal = tracker.journal
    if has_begun:
        journal.go_on()
    name = settings.run_name or "sweep " + " ".join(overrides)
    tags = {
        **provenance_tags(root),
        SWEEP_TAG: " ".join(overrides),
        "convforge.jobs": str(jobs),
    }
    journal.begin(name=name[:250], tags=tags, params={}, key=tracker.key, store=tracker.store)
    if other_code:
        journal.tags({OTHER_CODE_TAG: other_code})
    tracker.start()
    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        _write_best(journal, folder, tracker.key)
        journal.end(status)
        tracker.finish()


def _write_best(journal: Journal, folder: Path, parent: str) -> None:
    found = [Journal(path.parent) for path in sorted(folder.glob(f"**/{FILE_NAME}"))]
    finished = [
        (str(child.first.content["name"]), child.last_metrics)
        for child in found
        if child.first and _parent(child) == parent and child.status == "FINISHED"
    ]
    for metric in (f"val_{name}" for name in HEADLINES):
        best_of = max if higher_is_better(metric) else min
        scores = [(figures[metric], name) for name, figures in finished if metric in figures]
        if scores:
            score, name = best_of(scores, key=lambda pair: pair[0])
            # By how many jobs have finished, so that a sweep that goes on has a later figure.
            journal.metrics({f"best_{metric}": score}, len(scores))
            journal.tags({"best_run": name})
            return


def _parent(journal: Journal) -> str | None:
    first = journal.first
    return first.content.get("tags", {}).get(PARENT_TAG) if first else None
