"""The append-only record of a run, in its own folder.

Training writes here and nowhere else, so no server can slow it or lose anything of it. Whoever
delivers reads from the first event that was not delivered yet.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE_NAME = "journal.jsonl"


@dataclass(frozen=True)
class Event:
    """One thing that happened: its `kind`, what belongs to it, and when (Unix milliseconds)."""

    kind: str
    content: dict[str, Any]
    time: int


class Journal:
    """The events of one run, one JSON object a line, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / FILE_NAME

    def append(self, kind: str, content: Mapping[str, Any]) -> None:
        """Write one event; it is in the file when this returns."""
        event = {"kind": kind, "time": time.time_ns() // 1_000_000, **content}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")

    def begin(self, *, name: str, tags: Mapping[str, str], params: Mapping[str, Any]) -> None:
        """The run starts."""
        self.append("begin", {"name": name, "tags": dict(tags), "params": dict(params)})

    def dataset(self, *, name: str, digest: str, source: str, profile: Mapping[str, Any]) -> None:
        """The data set that the run uses."""
        content = {"name": name, "digest": digest, "source": source, "profile": dict(profile)}
        self.append("dataset", content)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Figures of one epoch."""
        self.append("metrics", {"values": dict(values), "step": step})

    def artifact(self, path: Path, folder: str = "") -> None:
        """A file of the run, to be kept under `folder`."""
        self.append("artifact", {"path": self._relative(path), "folder": folder})

    def model(self, path: Path, signature: Mapping[str, Any]) -> None:
        """The folder of the trained model."""
        self.append("model", {"path": self._relative(path), "signature": dict(signature)})

    def _relative(self, path: Path) -> str:
        """Relative to the journal, since a run's folder may be copied or moved."""
        return path.resolve().relative_to(self.folder.resolve()).as_posix()

    def end(self, status: str) -> None:
        """The run ends: FINISHED, FAILED or KILLED."""
        self.append("end", {"status": status})

    def events(self, start: int = 0) -> Iterator[Event]:
        """The events from number `start` on."""
        if not self.path.is_file():
            return
        with self.path.open(encoding="utf-8") as file:
            for number, line in enumerate(file):
                if number >= start:
                    event = json.loads(line)
                    yield Event(event.pop("kind"), event, event.pop("time"))
