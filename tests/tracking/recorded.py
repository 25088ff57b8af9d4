"""A made-up run, and what of it is missing, doubled or wrong in a store."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.settings.tracking import MLflowTracking
from convforge.pipeline.tracking.journal import Event
from convforge.pipeline.tracking.mlflow_client import KEY_TAG, open_client
from convforge.pipeline.tracking.tracker import Tracker
from convforge.serving.model_card import CARD, ModelCard, write_card

NAMES = ("loss", "accuracy", "val_loss", "val_accuracy", "epoch_seconds")
_CARD = ModelCard(
    name="net", classes=["no", "yes"], image_shape=[2, 2, 1], data_digest="f" * 64, version="0"
)


class Said(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__(Verbosity.QUIET)
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)

    def warn(self, message: str) -> None:
        self.lines.append(f"warning: {message}")

    @property
    def warnings(self) -> list[str]:
        return [line for line in self.lines if line.startswith("warning")]


def tracking(uri: str, patience: float = 2.0) -> MLflowTracking:
    """Settings for the store at `uri`."""
    return MLflowTracking(
        name="mlflow",
        uri=uri,
        experiment="outages",
        run_name=None,
        parent_run=None,
        patience=patience,
    )


def start_run(root: Path, name: str, uri: str, progress: Progress, patience: float) -> Tracker:
    """A run that has begun: 120 params, a data set, a file."""
    folder = root / "runs" / name
    folder.mkdir(parents=True)
    tracker = Tracker(tracking(uri, patience), folder, root, progress, kind="train")
    journal = tracker.journal
    params = {f"layer{number}.units": number for number in range(120)}
    journal.begin(
        name=name, tags={"who": name}, params=params, key=tracker.key, store=tracker.store
    )
    journal.dataset(name="digits", digest="f" * 64, source="data", profile={"train": 5})
    (folder / "config.yaml").write_text(f"name: {name}\n")
    journal.artifact(folder / "config.yaml")
    tracker.start()
    return tracker


def write_epochs(tracker: Tracker, epochs: int, pause: Callable[[], None] = lambda: None) -> None:
    """Five figures an epoch; one in ten of the losses is the same as before."""
    for epoch in range(1, epochs + 1):
        values = {
            name: math.sin(epoch // 10 + place if name == "loss" else epoch * (place + 1))
            for place, name in enumerate(NAMES)
        }
        tracker.journal.metrics(values, epoch)
        tracker.wake()
        pause()


def end_run(tracker: Tracker, folder: Path, status: str = "FINISHED") -> None:
    """Pictures, a model, the end."""
    (folder / "pictures").mkdir()
    for name in ("curves", "kernels"):
        (folder / "pictures" / f"{name}.png").write_bytes(name.encode() * 1000)
        tracker.journal.artifact(folder / "pictures" / f"{name}.png", "pictures")
    (folder / "model").mkdir()
    (folder / "model" / "model.keras").write_bytes(b"weights" * 5000)
    write_card(folder / "model" / CARD, _CARD)
    tracker.journal.model(folder / "model")
    tracker.journal.end(status)
    tracker.finish()


def whole_run(
    root: Path, name: str, uri: str, *, epochs: int = 30, patience: float = 2.0
) -> tuple[str, Said]:
    """All of it at once; its key, and what was said."""
    said = Said()
    tracker = start_run(root, name, uri, said, patience)
    write_epochs(tracker, epochs)
    end_run(tracker, root / "runs" / name)
    return tracker.key, said


def differences(database: str, artifacts: Path, events: list[Event]) -> list[str]:
    """How the run in the store differs from the journal's `events`."""
    return list(_differences(open_client(database, print), artifacts, events))


def _differences(client: Any, artifacts: Path, events: list[Event]) -> Iterator[str]:
    begin = events[0].content
    experiment = client.get_experiment_by_name("outages")
    if experiment is None:
        yield "no experiment"
        return
    runs = client.search_runs([experiment.experiment_id], f"tags.`{KEY_TAG}` = '{begin['key']}'")
    if len(runs) != 1:
        yield f"{len(runs)} runs"
        return
    run = runs[0]
    yield from _not_equal(
        "params", run.data.params, {k: str(v) for k, v in begin["params"].items()}
    )
    for name, value in begin["tags"].items():
        yield from _not_equal(name, run.data.tags.get(name), value)
    yield from _not_equal("start", run.info.start_time, events[0].time)
    yield from _not_equal("status", run.info.status, events[-1].content["status"])
    yield from _not_equal("end", run.info.end_time, events[-1].time)
    figures = [event for event in events if event.kind == "metrics"]
    names = {name for event in figures for name in event.content["values"]}
    for name in names:
        rows = client.get_metric_history(run.info.run_id, name)
        there = Counter((row.step, row.value, row.timestamp) for row in rows)
        expected = Counter(
            (event.content["step"], event.content["values"][name], event.time)
            for event in figures
            if name in event.content["values"]
        )
        yield from (f"{name} lacks {row}" for row in expected - there)
        yield from (f"{name} has {row} too" for row in there - expected)
    yield from _not_equal("data sets", len(run.inputs.dataset_inputs), 1)
    folder = _place(run.info.artifact_uri, artifacts)
    expected_files = {
        f"{event.content['folder']}/{Path(event.content['path']).name}".lstrip("/")
        for event in events
        if event.kind == "artifact"
    }
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    yield from _not_equal("files", files, expected_files)
    if (folder / "pictures" / "curves.png").is_file():
        content = (folder / "pictures" / "curves.png").read_bytes()
        yield from _not_equal("curves.png", content == b"curves" * 1000, True)
    if any(event.kind == "model" for event in events):
        yield from _model(client, run, artifacts, experiment.experiment_id)


def _place(location: str, artifacts: Path) -> Path:
    """The folder of `location`, which a server gives relative to its own."""
    if location.startswith("file://"):
        return Path(location.removeprefix("file://"))
    return artifacts / location.removeprefix("mlflow-artifacts:/").lstrip("/")


def _model(client: Any, run: Any, artifacts: Path, experiment: str) -> Iterator[str]:
    models = client.search_logged_models([experiment], f"source_run_id = '{run.info.run_id}'")
    outputs = [output.model_id for output in run.outputs.model_outputs]
    yield from _not_equal("models", [model.model_id for model in models], outputs)
    yield from _not_equal("models", len(models), 1)
    for model in models:
        yield from _not_equal("model", str(model.status), "READY")
        place = _place(model.artifact_location, artifacts)
        weights = [path.read_bytes() for path in place.rglob("model.keras")]
        yield from _not_equal("weights", weights == [b"weights" * 5000], True)
        yield from _not_equal("MLmodel", (place / "MLmodel").is_file(), True)


def _not_equal(what: str, there: Any, expected: Any) -> Iterator[str]:
    if there != expected:
        yield f"{what}: {str(there)[:200]} instead of {str(expected)[:200]}"
