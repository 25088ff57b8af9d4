"""A run in a real MLflow store: what training and evaluation leave there."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from convforge.errors import InputError
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.filesystem.lock import BusyError
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.settings.tracking import MLflowTracking
from convforge.pipeline.stages.evaluate import evaluate
from convforge.pipeline.stages.train import train
from convforge.pipeline.tracking.journal import Journal
from convforge.pipeline.tracking.mlflow_client import MLflowStore, open_client
from convforge.pipeline.tracking.replay import Replay
from convforge.pipeline.tracking.store import artifact_location, store_of, tracking_uri
from convforge.serving.predictor import load_predictor

QUIET = Progress(Verbosity.QUIET)
SMALL = (
    "model=lecture_cnn",
    "model.layers.conv1.filters=2",
    "model.layers.conv2.filters=2",
    "model.layers.dense1.units=8",
    "augment=none",
    "optimizer.learning_rate=0.02",
    "trainer.epochs=2",
    "trainer.limit_steps=2",
)


@dataclass
class Tracked:
    """A finished run, and the store that has it."""

    settings: Settings
    root: Path
    client: Any
    state: dict[str, Any]

    @property
    def folder(self) -> Path:
        return self.root / "run"

    @property
    def run(self) -> Any:
        return self.client.get_run(self.state["run_id"])


def _git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    command = ["git", *identity, *arguments]
    done = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _client(root: Path, settings: Settings) -> Any:
    assert isinstance(settings.tracking, MLflowTracking)
    return open_client(tracking_uri(settings.tracking, root), print)


@pytest.fixture(scope="module")
def tracked(
    compose: Callable[..., Settings], digits: Path, tmp_path_factory: pytest.TempPathFactory
) -> Tracked:
    """Trained and evaluated, in a folder under git."""
    root = tmp_path_factory.mktemp("tracked")
    _git(root, "init", "-q")
    _git(root, "commit", "-q", "--allow-empty", "-m", "start")
    settings = compose(*SMALL)
    train(settings, digits, root / "run", root, QUIET)
    evaluate(settings, root / "run", digits, root / "run" / "evaluate", root, QUIET)
    state = json.loads((root / "run" / "run.json").read_text())
    return Tracked(settings, root, _client(root, settings), state)


def test_evaluation_completes_the_run_that_training_opened(tracked: Tracked) -> None:
    experiment = tracked.client.get_experiment_by_name("convforge")
    runs = tracked.client.search_runs([experiment.experiment_id])
    assert [run.info.run_id for run in runs] == [tracked.state["run_id"]]
    assert runs[0].info.status == "FINISHED"
    # By model and data, since nobody gave an override, and the time.
    assert re.fullmatch(r"lecture_cnn-mnist5k \d{4}-\d\d-\d\d \d\d:\d\d", runs[0].info.run_name)
    assert runs[0].data.tags["convforge.evaluated"] == "yes"


def test_the_whole_config_is_in_the_params(tracked: Tracked) -> None:
    params = tracked.run.data.params
    assert params["optimizer.learning_rate"] == "0.02"
    assert params["model.layers.conv1.filters"] == "2"
    assert params["data.split.test"] == "100"
    assert params["seed"] == "0"
    assert not any(key.startswith("tracking") for key in params)


def test_the_figures_of_every_epoch_are_those_of_history_csv(tracked: Tracked) -> None:
    with (tracked.folder / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name in ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"):
        metrics = tracked.client.get_metric_history(tracked.state["run_id"], name)
        assert [metric.step for metric in metrics] == [1, 2]
        assert [metric.value for metric in metrics] == [float(row[name]) for row in rows]


def test_the_test_figures_are_those_of_metrics_json(tracked: Tracked) -> None:
    figures = json.loads((tracked.folder / "evaluate" / "metrics.json").read_text())
    metrics = tracked.run.data.metrics
    assert {name: metrics[name] for name in figures} == figures


def test_the_test_figures_are_the_models_too(tracked: Tracked) -> None:
    """So that MLflow's page of models can be sorted by them."""
    experiment = tracked.client.get_experiment_by_name("convforge").experiment_id
    (model,) = tracked.client.search_logged_models(
        [experiment], order_by=[{"field_name": "metrics.test_accuracy", "ascending": False}]
    )
    assert model.name == "lecture_cnn"
    measured = {metric.key: metric.value for metric in model.metrics}
    figures = tracked.run.data.metrics
    assert measured == {name: figures[name] for name in figures if name.startswith("test_")}
    assert "test_accuracy" in measured


def test_the_data_set_is_named_by_its_digest(tracked: Tracked, digits: Path) -> None:
    digest = Manifest.read(digits).digest
    found = {entry.dataset.name: entry for entry in tracked.run.inputs.dataset_inputs}
    assert set(found) == {"mnist5k", "mnist5k-test"}
    entry = found["mnist5k"]
    assert entry.dataset.digest == digest[:36]
    assert json.loads(entry.dataset.profile)["train"] == 250
    assert [tag.value for tag in entry.tags] == ["training"]
    assert [tag.value for tag in found["mnist5k-test"].tags] == ["testing"]
    assert json.loads(found["mnist5k-test"].dataset.profile)["test"] == 100
    (images,) = json.loads(json.loads(entry.dataset.schema)["mlflow_tensorspec"]["features"])
    assert images["tensor-spec"] == {"dtype": "uint8", "shape": [-1, 28, 28, 1]}
    assert tracked.run.data.tags["convforge.data_digest"] == digest


def test_the_tags_say_where_the_run_comes_from(tracked: Tracked) -> None:
    import convforge

    tags = tracked.run.data.tags
    assert tags["mlflow.source.git.commit"] == _git(tracked.root, "rev-parse", "HEAD")
    assert tags["convforge.version"] == convforge.__version__
    assert tags["mlflow.user"]
    assert "dvc.experiment" not in tags


def test_config_and_pictures_are_where_a_person_looks(tracked: Tracked) -> None:
    run = tracked.state["run_id"]
    top = {item.path for item in tracked.client.list_artifacts(run)}
    assert {"config.yaml", "metrics.json", "predictions.csv", "pictures"} <= top
    pictures = {item.path for item in tracked.client.list_artifacts(run, "pictures")}
    assert pictures == {
        f"pictures/{name}.png"
        for name in (
            "augmented_images",
            "confusion",
            "first_layer_kernels",
            "grad_cam",
            "learning_curves",
            "worst_errors",
        )
    }


def test_the_run_shows_the_data_it_learned_from(tracked: Tracked, digits: Path) -> None:
    run = tracked.state["run_id"]
    names = {item.path for item in tracked.client.list_artifacts(run, "data")}
    sheets = {f"data/contact_sheet_{digit}.png" for digit in range(10)}
    assert names == {"data/card.md", "data/manifest.json", "data/overview.png", *sheets}
    card = Path(tracked.client.download_artifacts(run, "data/card.md"))
    assert Manifest.read(digits).digest in card.read_text(encoding="utf-8")


def test_the_model_that_mlflow_has_predicts_as_the_runs_own(
    tracked: Tracked, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), np.uint8)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(tracked.state["tracking_uri"]))
    address = f"runs:/{tracked.state['run_id']}/{tracked.settings.model.name}"
    answers = mlflow.pyfunc.load_model(address).predict(images, params={"top": 10})
    served = [{each["class"]: each["probability"] for each in row["top"]} for row in answers]
    expected = load_predictor(tracked.folder).outputs(images)
    np.testing.assert_allclose(
        [[answer[digit] for digit in "0123456789"] for answer in served], expected, rtol=1e-6
    )


@pytest.mark.integration
def test_a_run_does_not_decide_where_the_next_one_goes(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path
) -> None:
    """In one process, two projects have two stores."""
    settings = compose("model=softmax_linear", "augment=none", "debug=one_step", "tracking=mlflow")
    for name in ("one", "other"):
        train(settings, digits, tmp_path / name / "run", tmp_path / name, QUIET)
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert (tmp_path / "one" / "mlflow.db").is_file()
    assert (tmp_path / "other" / "mlflow.db").is_file()


@pytest.mark.integration
def test_an_evaluation_that_finds_no_run_opens_one_of_its_own_and_says_so(
    tracked: Tracked, digits: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(tracked.folder, run)
    figures = evaluate(tracked.settings, run, digits, run / "evaluate", tmp_path, Progress())
    unknown = tracked.state["run_id"]
    assert f"does not know the training run {unknown}" in capfd.readouterr().err
    client = _client(tmp_path, tracked.settings)
    experiment = client.get_experiment_by_name("convforge")
    (new,) = client.search_runs([experiment.experiment_id])
    assert new.info.run_id != unknown
    assert new.data.metrics["test_accuracy"] == figures["test_accuracy"]


@pytest.mark.integration
def test_a_training_that_fails_leaves_its_run_as_failed(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path
) -> None:
    """A shard is damaged in the middle, which shows while it is read."""
    data = tmp_path / "data"
    shutil.copytree(digits, data)
    (shard,) = data.glob("train-*.tfrecord")
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 0xFF
    shard.write_bytes(content)
    settings = compose(*SMALL)
    with pytest.raises(InputError, match="is damaged, prepare the data again"):
        train(settings, data, tmp_path / "run", tmp_path, QUIET)
    state = json.loads((tmp_path / "run" / "run.json").read_text())
    run = _client(tmp_path, settings).get_run(state["run_id"])
    assert run.info.status == "FAILED"
    *_, last = Journal(tmp_path / "run").events()
    assert (last.kind, last.content) == ("end", {"status": "FAILED"})


@pytest.mark.integration
def test_an_interrupted_training_leaves_its_run_as_killed(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path
) -> None:
    class Interrupted(Progress):
        def say(self, message: str) -> None:
            if message.startswith("epoch"):
                raise KeyboardInterrupt

    settings = compose(*SMALL)
    with pytest.raises(KeyboardInterrupt):
        train(settings, digits, tmp_path / "run", tmp_path, Interrupted(Verbosity.QUIET))
    state = json.loads((tmp_path / "run" / "run.json").read_text())
    assert _client(tmp_path, settings).get_run(state["run_id"]).info.status == "KILLED"


def test_a_name_and_tags_given_to_a_run_are_its_own(
    compose: Callable[..., Settings], tmp_path: Path
) -> None:
    """And params beyond MLflow's limits are cut instead of refused."""
    settings = compose("tracking.experiment=other")
    assert isinstance(settings.tracking, MLflowTracking)
    journal = Journal(tmp_path)
    tags = {"a": "tag", "long": "x" * 9000}
    params = {"long": "x" * 9000, "k" * 300: 1, **{f"layer{i}.units": i for i in range(150)}}
    journal.begin(name="a name", tags=tags, params=params, key="key")
    journal.metrics({"loss": 0.5}, step=1)
    delivery = _delivery(journal, settings, tmp_path)
    _deliver(delivery)
    run = _client(tmp_path, settings).get_run(delivery.state.run_id)
    assert run.info.run_name == "a name"
    assert run.data.tags["a"] == "tag"
    assert run.data.params["long"] == "x" * 6000
    assert run.data.params["k" * 250] == "1"
    assert len(run.data.params) == 152


def _delivery(journal: Journal, settings: Settings, root: Path) -> Replay:
    store = store_of(settings.tracking, root)
    assert store is not None
    return Replay(journal, MLflowStore(store, print), warn=QUIET.warn, say=QUIET.say)


def _deliver(delivery: Replay) -> None:
    while delivery.send():
        pass


def test_events_are_delivered_once_each(compose: Callable[..., Settings], tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin(name="n", tags={}, params={}, key="key")
    delivery = _delivery(journal, compose(), tmp_path)
    for step in (1, 2, 3):
        journal.metrics({"loss": 1 / step}, step)
        _deliver(delivery)
    history = _client(tmp_path, compose()).get_metric_history(delivery.state.run_id, "loss")
    assert [metric.step for metric in history] == [1, 2, 3]
    assert json.loads((tmp_path / "run.json").read_text())["delivered"] == 4


def test_another_process_goes_on_where_delivery_stopped(
    compose: Callable[..., Settings], tmp_path: Path
) -> None:
    """As `run.json` is there for."""
    journal = Journal(tmp_path)
    journal.begin(name="n", tags={}, params={}, key="key")
    for step in (1, 2):
        delivery = _delivery(journal, compose(), tmp_path)
        _deliver(delivery)
        delivery.release()
        journal.metrics({"loss": 0.5}, step)
    delivery = _delivery(journal, compose(), tmp_path)
    _deliver(delivery)
    client = _client(tmp_path, compose())
    (run,) = client.search_runs([client.get_experiment_by_name("convforge").experiment_id])
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 0.5), (2, 0.5)]


def test_two_senders_do_not_deliver_one_journal_at_once(
    compose: Callable[..., Settings], tmp_path: Path
) -> None:
    journal = Journal(tmp_path)
    journal.begin(name="n", tags={}, params={}, key="key")
    first, second = (_delivery(journal, compose(), tmp_path) for _ in range(2))
    assert first.send()
    with pytest.raises(BusyError):
        second.send()
    first.release()
    assert not second.send()


def test_a_step_that_a_resumed_run_repeats_is_there_once(
    compose: Callable[..., Settings], tmp_path: Path
) -> None:
    """Resumed from before what was delivered, at another time, with another duration."""
    journal = Journal(tmp_path)
    journal.begin(name="n", tags={}, params={}, key="key")
    journal.metrics({"loss": 0.5, "epoch_seconds": 1.0}, step=1)
    journal.metrics({"loss": 0.25, "epoch_seconds": 1.0}, step=2)
    delivery = _delivery(journal, compose(), tmp_path)
    _deliver(delivery)
    delivery.release()
    lines = journal.path.read_text().splitlines(keepends=True)
    journal.path.write_text("".join(lines[:2]))
    (tmp_path / "run.json").unlink()
    journal.metrics({"loss": 0.25, "epoch_seconds": 7.0}, step=2)
    journal.metrics({"loss": 0.125, "epoch_seconds": 7.0}, step=3)
    again = _delivery(journal, compose(), tmp_path)
    _deliver(again)
    assert again.state.run_id == delivery.state.run_id
    client = _client(tmp_path, compose())
    for name, values in (("loss", [0.5, 0.25, 0.125]), ("epoch_seconds", [1.0, 1.0, 7.0])):
        history = client.get_metric_history(again.state.run_id, name)
        assert [(metric.step, metric.value) for metric in history] == list(
            zip((1, 2, 3), values, strict=True)
        )


def test_what_the_store_refuses_for_good_is_told_and_recorded_and_stops_nothing(
    compose: Callable[..., Settings], tmp_path: Path
) -> None:
    told: list[str] = []
    journal = Journal(tmp_path)
    journal.begin(name="n", tags={}, params={"a": 1, "not $ allowed": 2}, key="key")
    journal.metrics({"loss": 0.5, "not $ allowed": 1.0}, step=1)
    (tmp_path / "gone.png").touch()
    journal.artifact(tmp_path / "gone.png")
    (tmp_path / "gone.png").unlink()
    journal.metrics({"loss": 0.25}, step=2)
    journal.end("FINISHED")
    store = store_of(compose().tracking, tmp_path)
    assert store is not None
    delivery = Replay(journal, MLflowStore(store, print), warn=told.append, say=told.append)
    _deliver(delivery)
    run = _client(tmp_path, compose()).get_run(delivery.state.run_id)
    assert run.data.params == {"a": "1"}
    assert run.data.metrics == {"loss": 0.25}
    assert run.info.status == "FINISHED"
    assert len(told) == 2 + 1
    assert sum("not $ allowed" in line for line in told) == 2
    assert sum("gone.png" in line for line in told) == 1
    assert len(json.loads((tmp_path / "run.json").read_text())["refused"]) == 3


def test_a_line_that_a_killed_process_left_half_written_is_not_read_and_cut_off(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path)
    journal.metrics({"loss": 0.5}, step=1)
    journal.metrics({"loss": 0.25}, step=2)
    whole = journal.path.read_bytes()
    for length in range(len(whole) + 1):
        journal.path.write_bytes(whole[:length])
        there = [event.content["step"] for event in journal.events()]
        assert there == [1, 2][: whole[:length].count(b"\n")]
        journal.metrics({"loss": 0.125}, step=3)
        assert [event.content["step"] for event in journal.events()] == [*there, 3]


def test_a_journal_has_one_writer(tmp_path: Path) -> None:
    first, second = Journal(tmp_path), Journal(tmp_path)
    assert not first.has_writer()
    first.metrics({"loss": 0.5}, step=1)
    assert second.has_writer()
    with pytest.raises(InputError, match="another process writes"):
        second.metrics({"loss": 0.5}, step=2)
    first.end("FINISHED")
    assert [path.name for path in tmp_path.iterdir()] == ["journal.jsonl"]
    assert not second.has_writer()
    second.metrics({"loss": 0.5}, step=2)
    assert first.has_writer()


def test_a_journal_keeps_its_events_in_order_and_its_paths_relative(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert list(journal.events()) == []
    (tmp_path / "pictures").mkdir()
    journal.metrics({"loss": 0.5}, step=1)
    journal.artifact(tmp_path / "pictures" / "a.png", "pictures")
    journal.end("FINISHED")
    kinds = [event.kind for event in Journal(tmp_path).events()]
    assert kinds == ["metrics", "artifact", "end"]
    (artifact,) = (event for event in journal.events(1) if event.kind == "artifact")
    assert artifact.content == {"path": "pictures/a.png", "folder": "pictures"}
    times = [event.time for event in journal.events()]
    assert times == sorted(times)


def test_the_store_is_the_projects_wherever_the_process_runs(
    compose: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def uri(**changes: Any) -> str:
        tracking = compose().tracking.model_copy(update=changes)
        assert isinstance(tracking, MLflowTracking)
        return tracking_uri(tracking, tmp_path)

    assert uri() == f"sqlite:///{tmp_path}/mlflow.db"
    assert uri(uri="sqlite:///runs/my.db") == f"sqlite:///{tmp_path}/runs/my.db"
    assert uri(uri="sqlite:////elsewhere/my.db") == "sqlite:////elsewhere/my.db"
    assert uri(uri="http://127.0.0.1:5000") == "http://127.0.0.1:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:6000")
    assert uri() == "http://127.0.0.1:6000"
    assert uri(uri="sqlite:///my.db") == f"sqlite:///{tmp_path}/my.db"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    # A queued experiment of DVC's runs in a copy, and names the workspace.
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "workspace"))
    assert uri() == f"sqlite:///{tmp_path}/workspace/mlflow.db"


def test_artifacts_lie_beside_a_local_store_and_are_left_to_a_server(tmp_path: Path) -> None:
    location = artifact_location(f"sqlite:///{tmp_path}/mlflow.db")
    assert location == (tmp_path / "mlartifacts").as_uri()
    assert artifact_location("http://127.0.0.1:5000") is None
