"""A tracker that is not MLflow has to offer the protocol, and is named in one file."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import convforge.pipeline
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.tracking.client import (
    Figure,
    OnRefusal,
    RefusedError,
    TrackingClient,
    UnreachableError,
)
from convforge.pipeline.tracking.clients import Clients
from convforge.pipeline.tracking.store import Store
from convforge.pipeline.tracking.tracker import Tracker

PIPELINE = Path(convforge.pipeline.__file__).parent
QUIET = Progress(Verbosity.QUIET)


class FolderTracker:
    """Keeps runs in a folder and a dictionary, and gives no answer to the first of some requests.

    Args:
        folder: of the artifacts.
    """

    uri = "folder"
    is_local = True
    figures_a_request = 3

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.labels: dict[str, Any] = {}
        self.figures: list[Figure] = []
        self.status: str | None = None
        self._asked: set[str] = set()

    def _request(self, what: str) -> None:
        self.said.append(what)
        if what not in self._asked:
            self._asked.add(what)
            raise UnreachableError("no answer")

    def prepare(self) -> None:
        self.said.append("prepare")

    def exists(self, run_id: str) -> bool:
        return run_id == "1"

    def begin(
        self, key: str, *, name: str, time: int, tags: Mapping[str, str], completes: str | None
    ) -> tuple[str, bool]:
        self.labels |= {"key": key, "name": name}
        return "1", True

    def label(
        self, run_id: str, params: Mapping[str, Any], tags: Mapping[str, str], refused: OnRefusal
    ) -> None:
        self.labels |= {**params, **tags}

    def describe(self, run_id: str, text: str) -> None:
        self.labels["description"] = text

    def metrics(self, run_id: str, figures: Sequence[Figure], refused: OnRefusal) -> None:
        assert len(figures) <= self.figures_a_request
        self._request("metrics")
        self.figures += figures

    def history(self, run_id: str, name: str) -> dict[int, float]:
        return {each.step: each.value for each in self.figures if each.name == name}

    def dataset(self, run_id: str, content: Mapping[str, Any]) -> None:
        raise RefusedError("data sets are not kept here")

    def artifact(self, run_id: str, path: Path, folder: str) -> None:
        self._request("artifact")
        shutil.copy2(path, self.folder / path.name)

    def model(self, run_id: str, path: Path, known: str | None) -> Iterator[str]:
        yield known or "model 1"
        self._request("model")
        self.labels["model"] = known

    def end(self, run_id: str, status: str, time: int) -> None:
        self._request("end")
        self.status = status

    def reopen(self, run_id: str) -> None:
        self.status = None

    def remove_repeats(self, key: str, run_id: str, model_id: str | None) -> None:
        self.said.append(f"remove what is not {run_id}, {model_id}")

    def adopt(self, key: str, run_id: str) -> None:
        raise AssertionError("this is no sweep")


def test_a_run_reaches_a_tracker_of_another_make_whole_and_once(
    compose: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though requests go unanswered the first time, and one is refused for good."""
    client = FolderTracker(tmp_path)
    typed: TrackingClient = client

    def of(self: Clients, store: Store) -> TrackingClient:
        return typed

    monkeypatch.setattr(Clients, "of", of)
    run_folder = tmp_path / "run"
    (run_folder / "model").mkdir(parents=True)
    (run_folder / "model" / "weights").write_text("w")
    (run_folder / "history.csv").write_text("epoch")
    tracker = Tracker(compose().tracking, run_folder, tmp_path, QUIET, kind="train")
    journal = tracker.journal
    journal.begin(
        name="n", tags={"a": "tag"}, params={"p": 1}, key=tracker.key, store=tracker.store
    )
    tracker.start()
    journal.dataset(name="d", digest="0", source="s", profile={})
    for step in range(5):
        journal.metrics({"loss": 1.0 / (step + 1), "accuracy": float(step)}, step)
    journal.artifact(run_folder / "history.csv")
    journal.model(run_folder / "model")
    journal.end("FINISHED")
    tracker.wake()
    tracker.finish()
    assert client.said[0] == "prepare"
    labels = {"key": tracker.key, "name": "n", "a": "tag", "p": 1, "model": "model 1"}
    assert client.labels == labels
    assert [(each.name, each.step) for each in client.figures] == [
        (name, step) for step in range(5) for name in ("loss", "accuracy")
    ]
    assert (tmp_path / "history.csv").read_text() == "epoch"
    assert client.status == "FINISHED"
    assert client.said[-1] == "remove what is not 1, model 1"
    assert not list((tmp_path / "outputs" / "undelivered").iterdir())


def test_one_file_that_delivers_names_mlflows_client() -> None:
    """So that another tracker is one class and one line; MLflow's pages are MLflow's anyway."""
    naming = [
        path.relative_to(PIPELINE).as_posix()
        for path in sorted(PIPELINE.rglob("*.py"))
        if any(
            isinstance(node, ast.ImportFrom) and (node.module or "").endswith("mlflow_client")
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        )
    ]
    assert naming == ["tracking/clients.py", "tracking/ui_server.py"]
