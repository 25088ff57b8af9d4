"""From a run's journal to a store: each event once, however often the process is killed."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convforge.pipeline.credentials import separate
from convforge.pipeline.filesystem.atomic_file import write_text
from convforge.pipeline.filesystem.lock import BusyError, hold
from convforge.pipeline.tracking.client import Figure, RefusedError, TrackingClient
from convforge.pipeline.tracking.journal import METRICS, SYSTEM, Event, Journal

if TYPE_CHECKING:
    from filelock import FileLock

RUN_FILE = "run.json"
_LOCK = ".delivery.lock"
SWEEP_TAG = "convforge.sweep"
_FIGURES = (METRICS, SYSTEM)


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
        client: of the store.
        warn: told what the store refuses.
        say: told what a person should know.
    """

    def __init__(
        self,
        journal: Journal,
        client: TrackingClient,
        *,
        warn: Callable[[str], None],
        say: Callable[[str], None],
    ) -> None:
        self.journal = journal
        self.client = client
        self.state = State.read(journal.folder)
        self._warn, self._say = warn, say
        self._lock: FileLock | None = None
        self._checked = False
        # Figures that the run had before this object sent it any, by name and step; one that this
        # object has created had none.
        self._had: dict[str, dict[int, float]] = {}
        self._created = False
        self._first: Event | None = None

    @property
    def uri(self) -> str:
        """The store's address."""
        return self.client.uri

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
            self._allowed("its status", lambda: self.client.reopen(self._run))
            self.state.closed = None
        if events[0].kind in _FIGURES:
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
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _take(self) -> None:
        if self._lock is not None:
            return
        if not self.journal.path.is_file():
            raise BusyError  # Delivered by another, and removed.
        self._lock = hold(self.journal.folder / _LOCK)
        if not self.journal.path.is_file():
            self.release()
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
            has_figures = event.kind in _FIGURES
            figures += len(event.content["values"]) if has_figures else 0
            if events and (not has_figures or figures > self.client.figures_a_request):
                break
            events.append(event)
            if not has_figures:
                break
        return events

    def _check(self) -> None:
        """Start over where the store has lost the run, as a database made anew."""
        if self.state.run_id and not self.client.exists(self.state.run_id):
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
        key, tags = content["key"], content["tags"]
        self.state.run_id, is_new = self.client.begin(
            key, name=content["name"], time=event.time, tags=tags, completes=self._completes
        )
        if is_new:
            self._created = True
            self._tell_of_own_run()
        self.state.key = key
        self.state.write(self.journal.folder)
        self.client.label(self._run, content["params"], tags, self._refuse)

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
        self.client.label(self._run, {}, event.content["tags"], self._refuse)

    def _description(self, event: Event) -> None:
        self._allowed(
            "its description", lambda: self.client.describe(self._run, event.content["text"])
        )

    def _dataset(self, event: Event) -> None:
        self._allowed("the data set", lambda: self.client.dataset(self._run, event.content))

    def _metrics(self, events: list[Event]) -> None:
        figures = [
            Figure(name, value, event.time, event.content["step"])
            for event in events
            for name, value in event.content["values"].items()
            if self._is_new(name, event.content["step"], value)
        ]
        self.client.metrics(self._run, figures, self._refuse)

    def _is_new(self, name: str, step: int, value: float) -> bool:
        """Whether the run lacks the figure; a resumed run repeats steps, at another time."""
        if self._created:
            return True
        if name not in self._had:
            self._had[name] = self.client.history(self._run, name)
        known = self._had[name]
        return step not in known or (self._completes is not None and known[step] != value)

    def _artifact(self, event: Event) -> None:
        path = self.journal.folder / event.content["path"]
        self._allowed(
            event.content["path"],
            lambda: self.client.artifact(self._run, path, event.content["folder"]),
        )

    def _model(self, event: Event) -> None:
        path = self.journal.folder / event.content["path"]

        def log() -> None:
            steps = self.client.model(self._run, path, self.state.model_id)
            for model_id in steps:
                self.state.model_id = model_id
                self.state.write(self.journal.folder)

        self._allowed("the model", log)

    def _resume(self, event: Event) -> None:
        self._allowed("its status", lambda: self.client.reopen(self._run))

    def _end(self, event: Event) -> None:
        self._terminate(event.content["status"], event.time)

    def _terminate(self, status: str, time: int) -> None:
        self._allowed("its status", lambda: self.client.end(self._run, status, time))
        first = self._first or self.journal.first
        if self._completes is not None or first is None:
            return
        self.client.remove_repeats(str(first.content["key"]), self._run, self.state.model_id)
        if SWEEP_TAG in first.content["tags"]:
            self.client.adopt(str(first.content["key"]), self._run)

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
    "description": Replay._description,
    "dataset": Replay._dataset,
    "artifact": Replay._artifact,
    "model": Replay._model,
    "resume": Replay._resume,
    "end": Replay._end,
}
