"""The append-only record of a run.

Training writes here and nowhere else, so no server can slow it or lose anything of it. Whoever
delivers reads from the first event that was not delivered yet.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from convforge.errors import InputError
from convforge.pipeline.filesystem.lock import BusyError, hold, is_held
from convforge.pipeline.tracking.store import Store

FILE_NAME = "journal.jsonl"
_LOCK = ".journal.lock"
# Longer than anybody holds it to see whether the writer lives.
_LOCK_SECONDS = 2.0
#: The tag of a run with its key.
KEY_TAG = "convforge.key"
#: The kinds of events with figures: of the epochs and the test split, and of the machine.
METRICS, SYSTEM = "metrics", "system_metrics"
#: The tag of a run that names the run it is a part of, by key.
PARENT_TAG = "convforge.parent"


@dataclass(frozen=True)
class Event:
    """One thing that happened: its `kind`, what belongs to it, and when (Unix milliseconds)."""

    kind: str
    content: dict[str, Any]
    time: int


class Journal:
    """The events of one run, one JSON object a line, in `folder`.

    A process may die in the middle of a line: what stands after the last line's end is not read,
    and cut off before anything is appended.

    Args:
        folder: of the journal.
        run_folder: of the files that it names, where that is another one. They are kept beside the
            journal too, so that nobody who empties `run_folder` takes what was not delivered yet.
    """

    def __init__(self, folder: Path, run_folder: Path | None = None) -> None:
        self.folder = folder
        self.path = folder / FILE_NAME
        self._run_folder = run_folder or folder
        self._lock: FileLock | None = None
        # The machine's figures come from a thread of their own.
        self._appending = threading.Lock()
        self._repeated: set[str] = set()

    @property
    def key(self) -> str | None:
        """What the run is called in every store, or None where it has not begun."""
        first = self.first
        return first.content.get("key") if first else None

    @property
    def first(self) -> Event | None:
        """The event that began it."""
        return next(self.events(), None)

    @property
    def status(self) -> str | None:
        """How it ended: FINISHED, FAILED or KILLED; None while nobody has said so."""
        last = deque(self.events(), maxlen=1)
        return str(last[0].content["status"]) if last and last[0].kind == "end" else None

    @property
    def last_metrics(self) -> Mapping[str, float]:
        """The figures of the last epoch, or none."""
        return next(reversed(self.recorded_metrics().values()), {})

    @property
    def last_tags(self) -> Mapping[str, str]:
        """The tags that were set after its begin, the last value of each."""
        found: dict[str, str] = {}
        for event in self.events():
            if event.kind == "tags":
                found |= event.content["tags"]
        return found

    def go_on(self) -> None:
        """Continue what an earlier process has begun: it will repeat events, which are not added.

        A run that had ended, but not well, is a running one again.
        """
        events = list(self.events())
        status = self.status
        if status not in (None, "FINISHED"):
            self.append("resume", {})
        self._repeated = {_identity(event.kind, event.content) for event in events} - {
            _identity("resume", {})
        }
        if status != "FINISHED":
            self._repeated -= {_identity("end", {})}

    def recorded_metrics(self) -> dict[int, dict[str, float]]:
        """The figures that there are, by step."""
        there = (event.content for event in self.events() if event.kind == METRICS)
        return {content["step"]: content["values"] for content in there}

    @property
    def last_system_step(self) -> int:
        """The step of the machine's last figures, or -1."""
        return max((it.content["step"] for it in self.events() if it.kind == SYSTEM), default=-1)

    def append(self, kind: str, content: Mapping[str, Any]) -> None:
        """Write one event; a killed process does not lose it once this has returned.

        Raises:
            InputError: another process writes this journal.
        """
        with self._appending:
            self._append(kind, content)

    def _append(self, kind: str, content: Mapping[str, Any]) -> None:
        self._hold()
        if _identity(kind, content) in self._repeated:
            return
        event = {"kind": kind, "time": time.time_ns() // 1_000_000, **content}
        with self.path.open("ab+") as file:
            _cut_torn_line(file)
            file.write(json.dumps(event).encode() + b"\n")

    def _hold(self) -> None:
        if self._lock is not None:
            return
        try:
            self._lock = hold(self.folder / _LOCK, seconds=_LOCK_SECONDS)
        except BusyError:
            raise InputError(f"{self.folder}: another process writes this run's journal") from None

    def release(self) -> None:
        """Nothing more is to be written by this process, for now."""
        if self._lock is not None:
            # Who waits for it notices that the file has gone, and makes another.
            (self.folder / _LOCK).unlink(missing_ok=True)
            self._lock.release()
            self._lock = None

    def has_writer(self) -> bool:
        """Whether a living process, this one included, is writing it."""
        if self._lock is not None or not self.path.is_file():
            return self._lock is not None
        return is_held(self.folder / _LOCK)

    def begin(
        self,
        *,
        name: str,
        tags: Mapping[str, str],
        params: Mapping[str, Any],
        key: str,
        store: Store | None = None,
        completes: str | None = None,
    ) -> None:
        """The run starts.

        Args:
            name: for people.
            tags: short texts about the run.
            params: its config.
            key: what the run is called in every store.
            store: where its events are to be delivered.
            completes: these events belong to a run that has ended already; its id there, or "".
        """
        content = {"key": key, "name": name}
        content |= {"uri": store.uri, "experiment": store.experiment} if store else {}
        content |= {} if completes is None else {"completes": completes}
        self.append("begin", {**content, "tags": dict(tags), "params": dict(params)})

    def dataset(
        self,
        *,
        name: str,
        digest: str,
        source: str,
        profile: Mapping[str, Any],
        context: str = "training",
    ) -> None:
        """The data set that the run uses, and what for: "training" or "testing"."""
        content = {"name": name, "digest": digest, "source": source, "profile": dict(profile)}
        self.append("dataset", {**content, "context": context})

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Figures of one epoch."""
        self.append(METRICS, {"values": dict(values), "step": step})

    def system_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Figures of the machine; `step` counts them."""
        self.append(SYSTEM, {"values": dict(values), "step": step})

    def tags(self, tags: Mapping[str, str]) -> None:
        """What is known of the run only now."""
        self.append("tags", {"tags": dict(tags)})

    def description(self, text: str) -> None:
        """What the run is, in Markdown; the last one counts."""
        self.append("description", {"text": text})

    def artifact(self, path: Path, folder: str = "", *, anew: bool = False) -> None:
        """A file of the run, to be kept under `folder`; `anew` where it may have changed since."""
        content = {"path": self._keep(path, shutil.copy2), "folder": folder}
        if anew:
            self._repeated.discard(_identity("artifact", content))
        self.append("artifact", content)

    def model(self, path: Path) -> None:
        """The folder of the trained model."""
        self.append("model", {"path": self._keep(path, _link)})

    def _keep(self, path: Path, copy: Callable[[Path, Path], object]) -> str:
        """`path` relative to the journal, since a run's folder may be copied or moved."""
        name = path.resolve().relative_to(self._run_folder.resolve()).as_posix()
        if self._run_folder != self.folder:
            for source in [path] if path.is_file() else sorted(path.rglob("*")):
                if source.is_file():
                    target = self.folder / name / source.relative_to(path)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    copy(source, target)
        return name

    def end(self, status: str) -> None:
        """The run ends: FINISHED, FAILED or KILLED."""
        self.append("end", {"status": status})
        self.release()

    def leave_in(self, folder: Path) -> None:
        """Have the journal in `folder` too, as it grows where the file system can, else as is."""
        target = folder / FILE_NAME
        if target.exists() and not target.samefile(self.path):
            target.unlink()
        if not target.exists():
            _link(self.path, target)

    def events(self, start: int = 0) -> Iterator[Event]:
        """The events from number `start` on."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                if not line.endswith(b"\n"):
                    return
                if number >= start:
                    yield _event(line)

    def count(self) -> int:
        """How many events there are."""
        return sum(1 for _ in self.events())


def _identity(kind: str, content: Mapping[str, Any]) -> str:
    """The same for an event and its repetition; a run begins and ends once."""
    by = {"begin": (), "end": (), "artifact": ("path", "folder"), "model": ("path",)}
    names = by.get(kind, sorted(content))
    return json.dumps([kind, *(content[name] for name in names)])


def _event(line: bytes) -> Event:
    try:
        event = json.loads(line)
        return Event(event.pop("kind"), event, event.pop("time"))
    except (ValueError, LookupError, AttributeError):  # A disk's fault; those after it are good.
        return Event("damaged", {"line": line[:80].decode(errors="replace")}, 0)


def _cut_torn_line(file: Any) -> None:
    size = file.seek(0, os.SEEK_END)
    if not size:
        return
    file.seek(size - 1)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.seek(0, os.SEEK_END)


def _link(source: Path, target: Path) -> None:
    """`source` at `target` too; a copy where the file system has no hard links."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
