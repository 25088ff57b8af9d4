"""What a tracker has to offer for runs to be sent to it.

Journal, outbox, replay, queue and uploader know no more of a tracker than this. Another one is a
class with these methods, named in `clients.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class UnreachableError(Exception):
    """No answer, or one that says nothing about the request: try again later."""


class RefusedError(Exception):
    """The store does not want this, however often it is sent."""


#: What was refused, and why.
OnRefusal = Callable[[str, str], None]


@dataclass(frozen=True)
class Figure:
    """One value of a metric: when, in milliseconds since 1970, and at which step."""

    name: str
    value: float
    time: int
    step: int


class TrackingClient(Protocol):
    """A store of runs, opened at the first request.

    Every request may be sent again, since who sent it may be killed before the answer: what is
    there already is not logged twice. Each raises `UnreachableError`, or `RefusedError` where it is
    not given a function to be told by.
    """

    @property
    def uri(self) -> str:
        """The store's address, without credentials."""

    @property
    def is_local(self) -> bool:
        """Whether no network is between us and it."""

    @property
    def figures_a_request(self) -> int:
        """How many figures `metrics` takes at once."""

    def prepare(self) -> None:
        """Import all that a run needs; called on the main thread, before anything is traced."""

    def exists(self, run_id: str) -> bool:
        """Whether the store has this run."""

    def begin(
        self, key: str, *, name: str, time: int, tags: Mapping[str, str], completes: str | None
    ) -> tuple[str, bool]:
        """The run with this key: the one that is there, running again, or a new one.

        Args:
            key: what the run is called in every store.
            name: for people.
            time: at which it began, in milliseconds since 1970.
            tags: of a new run.
            completes: the ended run that is only added to; its id, or "" where it has none.

        Returns:
            Its id in this store, and whether it is new.
        """

    def label(
        self, run_id: str, params: Mapping[str, Any], tags: Mapping[str, str], refused: OnRefusal
    ) -> None:
        """Params and tags; a tag `PARENT_TAG` makes the run a child of the run with that key."""

    def describe(self, run_id: str, text: str) -> None:
        """What the run and its model are, in Markdown; what a person has written there stays."""

    def metrics(self, run_id: str, figures: Sequence[Figure], refused: OnRefusal) -> None:
        """At most `figures_a_request` figures."""

    def history(self, run_id: str, name: str) -> dict[int, float]:
        """The figure's value at each step that the run has."""

    def dataset(self, run_id: str, content: Mapping[str, Any]) -> None:
        """The data set that the run uses: its name, digest, source, profile and context."""

    def artifact(self, run_id: str, path: Path, folder: str) -> None:
        """A file; it overwrites itself."""

    def model(self, run_id: str, path: Path, known: str | None) -> Iterator[str]:
        """The model in the folder `path`; yields its id before anything is uploaded to it.

        Args:
            run_id: of the run that trained it.
            path: of the model's folder.
            known: the id that an earlier try has yielded.
        """

    def end(self, run_id: str, status: str, time: int) -> None:
        """The run has ended: FINISHED, FAILED or KILLED."""

    def reopen(self, run_id: str) -> None:
        """The run goes on."""

    def remove_repeats(self, key: str, run_id: str, model_id: str | None) -> None:
        """Delete the runs and models of requests that were believed lost and sent again."""

    def adopt(self, key: str, run_id: str) -> None:
        """Make `run_id` the parent of the runs that name `key` and came before it."""
