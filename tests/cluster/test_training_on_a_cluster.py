"""`distribute=ray`: what Ray Train starts trains to the same weights, whatever is killed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from jobs import SMALL, changed, difference, with_normalization, write_configs
from own_network import run_alone, unavailable

from convforge.errors import InputError, UnfinishedError
from convforge.pipeline import cli
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.settings.distribution import RayDistribution
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.tracking.journal import Journal
from convforge.pipeline.training.distribution.ray_train import RayPart, check_devices, result_of
from convforge.pipeline.training.resume.code_fingerprint import code_fingerprint

_WHY_NOT = unavailable()
HERE = Path(__file__).parent
EPOCHS = 12
TWO = {
    "name": "ray",
    "address": "127.0.0.1:6379",
    "count": 2,
    "cpus_per_process": 1,
    "gpus_per_process": 0,
    "retries": 1,
    "patience": 10,
}


@pytest.mark.slow
@pytest.mark.skipif(_WHY_NOT is not None, reason=str(_WHY_NOT))
def test_ray_trains_to_the_same_weights_whatever_is_killed(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path
) -> None:
    kept = {"seconds": 0, "keep": 2, "monitor": None, "resume": True}
    run = with_normalization(
        compose(*SMALL), trainer={"epochs": EPOCHS, "checkpoint": kept}, distribute=TWO
    )
    alone = changed(run, distribute={"name": "none"}, trainer={"epochs": 1})
    configs = {
        "run": run,
        "short": changed(run, trainer={"epochs": 1}),
        "alone": alone,
        "mistake": changed(run, trainer={"checkpoint": {**kept, "monitor": "precision"}}),
        "diverging": changed(run, optimizer={"learning_rate": 1e6}),
        "crowded": changed(run, distribute={**TWO, "count": 4}),
    }
    folder = write_configs(tmp_path / "project", configs)
    (folder / "conf").mkdir()
    (folder / "conf" / "config.yaml").touch()
    command = [sys.executable, str(HERE / "train_on_nodes.py"), str(folder), str(digits)]
    done = run_alone(command, HERE, timeout=1500, KERAS_BACKEND="jax", RAY_ADDRESS="")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])

    statuses = {name: [status for status, _ in runs] for name, runs in told.items()}
    assert statuses == {
        **{"run": [0], "short": [0], "alone": [0], "mistake": [2], "crowded": [2]},
        "diverging": [2],
        **{"first killed": [0], "second killed": [0]},
        **{"driver killed": [-9, 0], "interrupted": [130, 0], "terminated": [130]},
    }
    said = {name: "\n".join(text for _, text in runs) for name, runs in told.items()}
    assert all("Traceback" not in text for text in said.values())
    assert "trainer.checkpoint.monitor=precision is not allowed" in said["mistake"]
    assert "lost" not in said["mistake"], "a mistake is not tried again"
    assert "lower optimizer.learning_rate" in said["diverging"]
    assert (folder / "out" / "diverging" / "last_good" / "model.keras").is_file()
    assert [event.content for event in Journal(folder / "out" / "diverging").events()][-1] == {
        "status": "FAILED"
    }
    assert "goes on after" not in said["run"], "the one to compare with was never stopped"
    assert "the cluster has 2 CPU and distribute.count=4 needs 4" in said["crowded"]
    for name in ("first killed", "second killed"):
        assert said[name].count("all begin again from the last checkpoint") == 1
    killed = ("first killed", "second killed", "driver killed", "interrupted")
    for name in killed:
        assert "goes on after epoch" in said[name], name
        history = (folder / "out" / name / "history.csv").read_text().splitlines()
        assert [row.split(",")[0] for row in history[1:]] == [str(1 + i) for i in range(EPOCHS)]
    apart = {name: difference(folder / "out" / "run", folder / "out" / name) for name in killed}
    by_one = difference(folder / "out" / "short", folder / "out" / "alone")
    print(f"\n{len(killed)} kills, {len(killed)} resumed, weights apart: {apart}")
    print(f"2 processes by Ray Train and 1 process: weights {by_one:.1e} apart")
    assert set(apart.values()) == {0.0}
    assert by_one < 2e-6
    assert [path.name for path in (folder / "outputs").iterdir()] == ["unfinished"]


def test_a_batch_that_the_processes_cannot_share_is_refused(
    compose: Callable[..., Settings],
) -> None:
    with pytest.raises(InputError, match=r"batch_size=50 is not allowed: give 48 or 52"):
        compose("distribute=ray", "distribute.count=2", "distribute.gpus_per_process=2")


def test_a_machine_with_another_project_or_other_code_is_refused(tmp_path: Path) -> None:
    def never(progress: Progress) -> None:
        raise AssertionError

    here = code_fingerprint("jax")
    with pytest.raises(InputError, match=r"has no folder .*/missing: the project must lie on"):
        RayPart(never, tmp_path / "missing", str(tmp_path), here, Verbosity.QUIET, None, 5)()
    file = "convforge/layers/prelu.py"
    other = here | {"keras": "3.0", file: "0"}
    told = rf"other code, keras 3.0 → {here['keras']}, {file} 0 → {here[file]}: install the same"
    with pytest.raises(InputError, match=told):
        RayPart(never, tmp_path, str(tmp_path), other, Verbosity.QUIET, None, 5)()


def test_a_machine_without_the_accelerators_that_were_asked_for_is_refused(
    compose: Callable[..., Settings],
) -> None:
    gpus = ("distribute=ray", "distribute.gpus_per_process=1", "trainer.batch_size=48")
    asked = compose(*gpus).distribute
    assert isinstance(asked, RayDistribution)
    with pytest.raises(InputError, match=r"distribute.gpus_per_process=1, but on .* JAX finds "):
        check_devices(asked)


class _Failing:
    """A trainer that ends as Ray Train's does when its processes have failed so."""

    def __init__(self, *failures: Exception) -> None:
        self._failures = dict(enumerate(failures))

    def fit(self) -> None:
        from ray.train import WorkerGroupError

        raise WorkerGroupError("as told", self._failures)


def test_a_bug_in_one_process_is_not_mistaken_for_a_lost_one(
    compose: Callable[..., Settings],
) -> None:
    """It would be tried again as often as `distribute.retries` says."""
    train = pytest.importorskip("ray.train")
    gone = pytest.importorskip("ray.exceptions").ActorDiedError()
    left = UnfinishedError("another process has ended")
    asked = compose("distribute=ray").distribute
    with pytest.raises(train.WorkerGroupError):
        result_of(_Failing(left, TypeError("a bug")), asked)
    with pytest.raises(InputError, match="a mistake"):
        result_of(_Failing(left, InputError("a mistake")), asked)
    with pytest.raises(UnfinishedError, match="lost rank 1 of 2 processes"):
        result_of(_Failing(left, gone), asked)


@pytest.mark.usefixtures("train_in_process")
def test_tensorflow_cannot_train_on_a_cluster(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    small = ["data.split.validation=50", "data.split.test=100"]
    assert cli.main(["train", "-q", "distribute=ray", *small]) == 2
    said = capfd.readouterr().err
    assert "distribute=ray is not allowed with KERAS_BACKEND=tensorflow" in said
    assert "Traceback" not in said
