"""Where events wait until they are delivered.

The journal of every tracked run, and the files that it names, lie in a folder of their own below
`outputs/undelivered/` until the store has them: DVC empties a stage's folder before it runs the
stage, and an evaluation empties its own.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from math import inf
from pathlib import Path

from convforge.pipeline.progress import Progress
from convforge.pipeline.project import workspace_root
from convforge.pipeline.tracking.clients import Clients
from convforge.pipeline.tracking.journal import FILE_NAME, Journal
from convforge.pipeline.tracking.old_credentials import take_from_journal
from convforge.pipeline.tracking.queue import Queue
from convforge.pipeline.tracking.replay import RUN_FILE, Replay, State
from convforge.pipeline.tracking.store import Store

_FOLDER = Path("outputs") / "undelivered"
_ORIGIN = "run-folder.txt"
# How long `sync` waits for journals that another process is delivering.
_BUSY_SECONDS = 30.0
#: DVC's: what is in it must stay as the stage left it.
_DVC_FOLDER = "build"


def outbox(root: Path) -> Path:
    """The folder of all that waits: the workspace's, from inside a queued experiment too."""
    return workspace_root(root) / _FOLDER


def open_journal(root: Path, run_folder: Path, name: str) -> Journal:
    """The journal called `name` in the outbox, of the run in `run_folder`; it may be there."""
    folder = outbox(root) / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _ORIGIN).write_text(str(run_folder.resolve()), encoding="utf-8")
    return Journal(folder, run_folder)


def settle(journal: Journal, delivery: Replay, run_folder: Path) -> None:
    """Leave journal and `run.json` in the run's own folder, and in the outbox what still waits."""
    if not journal.path.is_file():
        return  # Another sender was faster.
    if run_folder.is_dir() and run_folder != journal.folder:
        journal.leave_in(run_folder)
        State.read(journal.folder).write(run_folder)
    if delivery.is_complete and journal.folder.parent.name == _FOLDER.name:
        # Out of sight first: who looks for a lock in a folder makes the folder.
        gone = journal.folder.rename(journal.folder.with_name(f".{journal.folder.name}"))
        delivery.release()
        shutil.rmtree(gone, ignore_errors=True)


def waiting(root: Path) -> list[Journal]:
    """The journals in the outbox that no living process writes, oldest first."""
    return _oldest_first(Journal(path.parent) for path in outbox(root).glob(f"[!.]*/{FILE_NAME}"))


def _oldest_first(journals: Iterator[Journal]) -> list[Journal]:
    begun = [(journal.first, journal) for journal in journals if not journal.has_writer()]
    begun = [(first, journal) for first, journal in begun if first and first.content.get("uri")]
    return [
        journal for _, journal in sorted(begun, key=lambda pair: pair[0].time if pair[0] else 0)
    ]


def deliveries(
    journals: Sequence[Journal],
    clients: Clients,
    progress: Progress,
    uri: str | None = None,
) -> list[Replay]:
    """One for each journal, to the store that it names, or to `uri`."""
    found = []
    for journal in journals:
        take_from_journal(journal)
        first = journal.first
        if first is None:
            continue  # Another sender was faster, and has removed it since.
        store = Store(uri or first.content["uri"], first.content["experiment"])
        found.append(Replay(journal, clients.of(store), warn=progress.warn, say=progress.say))
    return found


def tidy(root: Path) -> Callable[[Replay], None]:
    """What is done with a delivery of an earlier run, once nothing of it is left."""

    def done(delivery: Replay) -> None:
        journal = delivery.journal
        origin = journal.folder / _ORIGIN
        folder = Path(origin.read_text(encoding="utf-8")) if origin.is_file() else journal.folder
        if folder.is_relative_to((root / _DVC_FOLDER).resolve()):
            folder = journal.folder
        settle(journal, delivery, folder)
        delivery.release()

    return done


def sync(
    root: Path, folders: Sequence[Path], progress: Progress, uri: str | None = None
) -> dict[str, int]:
    """Deliver what waits: everything, or the runs in `folders`.

    Returns:
        How many events still wait, by the address of the store that does not take them.
    """
    journals = waiting(root)
    if folders:
        keys = {journal.key for journal in _below(folders)}
        there = {journal.key for journal in journals}
        dvcs = (root / _DVC_FOLDER).resolve()
        journals = [
            *(journal for journal in journals if journal.key in keys),
            # A folder that was brought here without its outbox, as from another machine.
            *(
                journal
                for journal in _oldest_first(_below(folders))
                if journal.key not in there and not journal.folder.resolve().is_relative_to(dvcs)
            ),
        ]
    line = deliveries(journals, Clients(progress.warn), progress, uri)
    queue = Queue(line, progress, hurried=True, done=tidy(root))
    end = time.monotonic() + _BUSY_SECONDS
    runs, events = len(line), sum(delivery.waiting for delivery in line)
    with progress.task("deliver", unit="events", total=events) as task:
        while True:
            if queue.advance():
                task.advance(queue.sent)
            elif queue.pause < inf and time.monotonic() < end:
                time.sleep(queue.pause)
            else:
                break
    left: dict[str, int] = {}
    for delivery in line:
        if delivery.journal.path.is_file() and delivery.waiting:
            left[delivery.uri] = left.get(delivery.uri, 0) + delivery.waiting
        delivery.release()
    progress.detail(f"{runs} runs, {events} events, {sum(left.values())} of them still wait")
    return left


def _below(folders: Sequence[Path]) -> Iterator[Journal]:
    for folder in folders:
        for path in sorted(folder.rglob(FILE_NAME)):
            if (path.parent / RUN_FILE).is_file() or Journal(path.parent).key:
                yield Journal(path.parent)
