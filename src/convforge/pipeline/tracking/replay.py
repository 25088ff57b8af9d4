"""From a run's journal to MLflow: each event once, however often the process is killed."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from convforge.pipeline.credentials import separate
from convforge.pipeline.filesystem.atomic_file import write_text
from convforge.pipeline.tracking.journal import PARENT_TAG, Event, Journal
from convforge.pipeline.tracking.mlflow_client import (
    METRICS_A_REQUEST,
    MLFLOW_PARENT,
    MLflowStore,
    RefusedError,
    UnreachableError,
)

RUN_FILE = "run.json"
_LOCK = ".delivery.lock"
SWEEP_TAG = "convforge.sweep"


class BusyError(Exception):
    """Another process delivers this journal."""


@dataclass
class State:
    """What `run.json` says: how much of a journal is in which store, under what id."""

    key: str | None = None
    run_id: str | None = None
    tracking_uri: str | None = None
    delivered: int = 0
    #: The status that the run was given, since its journal ends without one.
    closed: str | None = None
    model_id: str | None = None
    #: What the store did not take, and why.
    refused: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> State:
        """The state beside a journal; a new one where there is none."""
        path = folder / RUN_FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return cls()
        if content.get("tracking_uri"):  # Once it was kept with its credentials.
            content["tracking_uri"] = separate(content["tracking_uri"]).uri
        names = {item.name for item in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in content.items() if name in names})

    def write(self, folder: Path) -> None:
        """Replace the file at once: it is never half there."""
        write_text(folder / RUN_FILE, json.dumps(dataclasses.asdict(self), indent=2) + "\n")


class Replay:
    """Brings the events of one run's journal to a store, in order.

    What was delivered is kept in `run.json` beside the journal. A process killed after it has sent
    and before it has remembered sends again, and nothing is logged twice: the run is looked for by
    its key before it is created, figures keep their time, files overwrite themselves, and the model
    is looked for too.

    Args:
        journal: of the run.
        remote: the store.
        warn: told what the store refuses.
        say: told what a person should know.
    """

    def __init__(
        self,
        journal: Journal,
        remote: MLflowStore,
        *,
        warn: Callable[[str], None],
        say: Callable[[str], None],
    ) -> None:
        self.journal = journal
        self.remote = remote
        self.state = State.read(journal.folder)
        self._warn, self._say = warn, say
        self._lock = FileLock(journal.folder / _LOCK, thread_local=False)
        self._checked = False
        # Figures that the run had before this object sent it any, by name and step; one that this
        # object has created had none.
        self._had: dict[str, dict[int, float]] = {}
        self._created = False
        self._first: Event | None = None

    @property
    def uri(self) -> str:
        """The store's address."""
        return self.remote.store.uri

    @property
    def waiting(self) -> int:
        """Events that are not in the store yet."""
        state = State.read(self.journal.folder)
        sent = state.delivered if state.tracking_uri == self.uri else 0
        return max(0, self.journal.count() - sent)

    @property
    def is_complete(self) -> bool:
        """Whether nothing is to be sent any more, now or later."""
        return self.journal.status is not None and not self.waiting

    def send(self) -> bool:
        """Send the next events: one, or as many figures as fit in a request.

        Returns:
            Whether there were any.

        Raises:
            BusyError: another process is at it.
            UnreachableError: the store does not answer.
        """
        self._take()
        events = self._next()
        if not events:
            return self._close()
        if not self._checked:
            self._check()
            events = self._next()
        if self.state.closed:
            self._allowed("its status", lambda: self.remote.reopen(self._run))
            self.state.closed = None
        if events[0].kind == "metrics":
            self._metrics(events)
        else:
            handler = _HANDLERS.get(events[0].kind)
            if handler is None:
                self._refuse(f"event {self.state.delivered + 1}", f"a {events[0].kind} line")
            else:
                handler(self, events[0])
        self.state.delivered += len(events)
        self.state.write(self.journal.folder)
        return True

    def release(self) -> None:
        """Let another process deliver."""
        self._lock.release()

    def _take(self) -> None:
        if self._lock.is_locked:
            return
        try:
            if not self.journal.path.is_file():
                raise BusyError  # Delivered by another, and removed.
            self._lock.acquire(blocking=False)
        except Timeout:
            raise BusyError from None
        if not self.journal.path.is_file():
            self._lock.release()
            shutil.rmtree(self.journal.folder, ignore_errors=True)
            raise BusyError
        self.state = State.read(self.journal.folder)
        self._first = self.journal.first
        if self.state.tracking_uri != self.uri:
            self.state = State(key=self.journal.key, tracking_uri=self.uri)
        self._checked = False

    def _next(self) -> list[Event]:
        events: list[Event] = []
        figures = 0
        for event in self.journal.events(self.state.delivered):
            figures += len(event.content["values"]) if event.kind == "metrics" else 0
            if events and (event.kind != "metrics" or figures > METRICS_A_REQUEST):
                break
            events.append(event)
            if event.kind != "metrics":
                break
        return events

    def _check(self) -> None:
        """Start over where the store has lost the run, as a database made anew."""
        if self.state.run_id and not self.remote.exists(self.state.run_id):
            self.state = State(key=self.journal.key, tracking_uri=self.uri)
            self._had = {}
        self._checked = True

    @property
    def _run(self) -> str:
        assert self.state.run_id is not None
        return self.state.run_id

    @property
    def _completes(self) -> str | None:
        """The id of the ended run that these events complete, or "" or None."""
        first = self._first or self.journal.first
        return first.content.get("completes") if first else None

    def _begin(self, event: Event) -> None:
        content = event.content
        key, tags = content["key"], dict(content["tags"])
        if PARENT_TAG in tags:
            parent = self.remote.parent_id(tags[PARENT_TAG])
            tags |= {MLFLOW_PARENT: parent} if parent else {}
        there = [run.info.run_id for run in self.remote.runs_with(key)]
        if there:
            self.state.run_id = self._completes if self._completes in there else there[0]
            if self._completes is None:
                self.remote.reopen(self._run)
        else:
            try:
                self.state.run_id = self.remote.create(key, content["name"], event.time, tags)
            except RefusedError as error:
                # Without a run nothing can be sent: wait for a better day.
                raise UnreachableError(str(error)) from error
            self._created = True
            self._tell_of_own_run()
        self.state.key = key
        self.state.write(self.journal.folder)
        self.remote.label(self._run, content["params"], tags, self._refuse)

    def _tell_of_own_run(self) -> None:
        if self._completes is None:
            return
        why = (
            f"the store does not know the training run {self._completes}"
            if self._completes
            else "the training was not tracked"
        )
        self._say(f"{why}; the evaluation is a run of its own, {self._run}")

    def _tags(self, event: Event) -> None:
        self.remote.label(self._run, {}, event.content["tags"], self._refuse)

    def _dataset(self, event: Event) -> None:
        self._allowed("the data set", lambda: self.remote.dataset(self._run, event.content))

    def _metrics(self, events: list[Event]) -> None:
        from mlflow.entities import Metric

        figures = [
            Metric(name, value, event.time, event.content["step"])
            for event in events
            for name, value in event.content["values"].items()
            if self._is_new(name, event.content["step"], value)
        ]
        self.remote.metrics(self._run, figures, self._refuse)

    def _is_new(self, name: str, step: int, value: float) -> bool:
        """Whether the run lacks the figure; a resumed run repeats steps, at another time."""
        if self._created:
            return True
        if name not in self._had:
            self._had[name] = self.remote.history(self._run, name)
        known = self._had[name]
        return step not in known or (self._completes is not None and known[step] != value)

    def _artifact(self, event: Event) -> None:
        path = self.journal.folder / event.content["path"]
        self._allowed(
            event.content["path"],
            lambda: self.remote.artifact(self._run, path, event.content["folder"]),
        )

    def _model(self, event: Event) -> None:
        path = self.journal.folder / event.content["path"]

        def log() -> None:
            steps = self.remote.model(
                self._run, path, event.content["signature"], self.state.model_id
            )
            for model_id in steps:
                self.state.model_id = model_id
                self.state.write(self.journal.folder)

        self._allowed("the model", log)

    def _resume(self, event: Event) -> None:
        self._allowed("its status", lambda: self.remote.reopen(self._run))

    def _end(self, event: Event) -> None:
        self._terminate(event.content["status"], event.time)

    def _terminate(self, status: str, time: int) -> None:
        self._allowed("its status", lambda: self.remote.terminate(self._run, status, time))
        first = self._first or self.journal.first
        if self._completes is not None or first is None:
            return
        self.remote.remove_others(str(first.content["key"]), self._run)
        if self.state.model_id:
            self.remote.remove_other_models(self._run, self.state.model_id)
        if SWEEP_TAG in first.content["tags"]:
            self.remote.adopt(str(first.content["key"]), self._run)

    def _close(self) -> bool:
        """A run whose process died without a word is not running any more."""
        if (
            self.state.run_id is None
            or self.state.closed
            or self._completes is not None
            or self.journal.has_writer()
            or self.journal.status is not None
        ):
            return False
        *_, last = self.journal.events()
        self._check()
        if self.state.run_id is None:
            return True
        self._terminate("KILLED", last.time)
        self.state.closed = "KILLED"
        self.state.write(self.journal.folder)
        return True

    def _allowed(self, what: str, send: Callable[[], None]) -> None:
        try:
            send()
        except RefusedError as error:
            self._refuse(what, str(error))

    def _refuse(self, what: str, why: str) -> None:
        line = f"{what}: {why}"
        if line not in self.state.refused:
            self.state.refused.append(line)
            self._warn(f"tracking: {self.uri} does not take {line}")


_HANDLERS: Mapping[str, Callable[[Replay, Event], Any]] = {
    "begin": Replay._begin,
    "tags": Replay._tags,
    "dataset": Replay._dataset,
    "artifact": Replay._artifact,
    "model": Replay._model,
    "resume": Replay._resume,
    "end": Replay._end,
}
