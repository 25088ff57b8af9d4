"""A run that was stopped and goes on ends as one that was never stopped, bit for bit."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from mlflow import MlflowClient
from omegaconf import OmegaConf

import convforge
from convforge.pipeline import cli
from convforge.pipeline.progress import Progress, Task, Verbosity
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.stages.train import dump, train
from convforge.pipeline.tracking.journal import PARENT_TAG
from convforge.pipeline.training.resume import code_fingerprint
from convforge.pipeline.training.resume.resumable import (
    ResumableRun,
    resumable_run,
    resumable_sweep,
    source_of_stopped_run,
)
from convforge.serving.predictor import load_predictor

QUIET = Progress(Verbosity.QUIET)
# Batch normalisation, dropout, momentum, a schedule, augmentation and shuffling: all have a state.
NET = (
    "model.layers.conv1.filters=4",
    "model.layers.conv2.filters=4",
    "model.layers.prelu1.type=batch_normalization",
    "model.layers.dense1.units=16",
    "trainer.epochs=3",
    "trainer.checkpoint.seconds=0",
)
# Where it matters what is said and recorded, and not by how much a net has to remember.
LINEAR = (
    "model=softmax_linear",
    "augment=none",
    "trainer.epochs=3",
    "trainer.checkpoint.seconds=0",
)
STEPS = 5  # Of an epoch: 250 digits in batches of 50.


class StoppedProgress(Progress):
    """Sends a signal to this process after so many iterations."""

    def __init__(self, after: int, verbosity: Verbosity = Verbosity.QUIET) -> None:
        super().__init__(verbosity)
        self._left = after

    def task(self, *arguments: Any, **options: Any) -> Any:
        manager = super().task(*arguments, **options)
        progress = self

        class Counting:
            def __enter__(self) -> Task:
                task = manager.__enter__()
                advance = task.advance

                def counted(steps: int = 1, figures: str = "") -> None:
                    advance(steps, figures)
                    progress._left -= 1
                    if not progress._left:
                        os.kill(os.getpid(), signal.SIGTERM)

                task.advance = counted  # type: ignore[method-assign]
                return task

            def __exit__(self, *error: Any) -> Any:
                return manager.__exit__(*error)

        return Counting()


def history(run: Path) -> list[dict[str, str]]:
    """Every figure but the time."""
    with (run / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: row[name] for name in row if name != "epoch_seconds"} for row in rows]


def weights(run: Path, name: str = "model") -> list[np.ndarray]:
    return [np.asarray(weight) for weight in load_predictor(run / name).model.weights]


def same(run: Path, other: Path) -> bool:
    pairs = [
        zip(weights(run, name), weights(other, name), strict=True) for name in ("model", "best")
    ]
    equal = all(np.array_equal(one, two) for pair in pairs for one, two in pair)
    return equal and history(run) == history(other)


@pytest.fixture(scope="module")
def settings(compose: Callable[..., Settings]) -> Settings:
    return compose(*NET, "tracking=none")


@pytest.fixture(scope="module")
def linear(compose: Callable[..., Settings]) -> Settings:
    return compose(*LINEAR, "tracking=none")


@pytest.fixture(scope="module")
def whole(settings: Settings, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    train(settings, digits, folder / "run", folder, QUIET)
    return folder / "run"


def test_a_run_stopped_three_times_ends_with_the_weights_and_figures_of_one_never_stopped(
    settings: Settings, digits: Path, tmp_path: Path, whole: Path
) -> None:
    """After the first epoch's last iteration, in the second epoch, before the end."""
    for iterations in (STEPS, 2, 2 * STEPS - 3):
        with pytest.raises(KeyboardInterrupt):
            train(settings, digits, tmp_path / "run", tmp_path, StoppedProgress(iterations))
        shutil.rmtree(tmp_path / "run")  # As DVC does before it runs the stage again.
    train(settings, digits, tmp_path / "run", tmp_path, QUIET)
    assert same(tmp_path / "run", whole)
    assert not list((tmp_path / "outputs" / "unfinished").glob("[!.]*")), "it has ended well"


@pytest.mark.slow
@pytest.mark.parametrize("place", ["model", "step"])
def test_a_stopped_run_that_augments_elsewhere_goes_on_exactly_too(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path, place: str
) -> None:
    settings = compose(*NET, "tracking=none", f"augment.place={place}", "trainer.epochs=2")
    train(settings, digits, tmp_path / "whole", tmp_path, QUIET)
    with pytest.raises(KeyboardInterrupt):
        train(settings, digits, tmp_path / "run", tmp_path, StoppedProgress(STEPS + 2))
    train(settings, digits, tmp_path / "run", tmp_path, QUIET)
    assert same(tmp_path / "run", tmp_path / "whole")


@pytest.mark.slow
def test_a_damaged_newest_checkpoint_costs_an_iteration_and_no_exactness(
    settings: Settings, digits: Path, tmp_path: Path, whole: Path, capfd: Any
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(settings, digits, tmp_path / "run", tmp_path, StoppedProgress(STEPS + 2))
    newest = sorted((tmp_path / "outputs" / "unfinished").glob("*/newest/*"))[-1]
    (newest / "arrays.npz").write_bytes(b"")
    train(settings, digits, tmp_path / "run", tmp_path, QUIET)
    assert f"{newest.name} is damaged" in capfd.readouterr().err
    assert same(tmp_path / "run", whole)


def test_a_stopped_run_of_adam_that_ends_early_goes_on_exactly_too(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path
) -> None:
    config = (*LINEAR, "tracking=none", "optimizer=adam", "trainer.epochs=9")
    ending = ("trainer.early_stopping.patience=1", "trainer.early_stopping.min_delta=0.5")
    settings = compose(*config, *ending)
    train(settings, digits, tmp_path / "whole", tmp_path, QUIET)
    epochs = len(history(tmp_path / "whole"))
    assert 2 <= epochs < 9
    with pytest.raises(KeyboardInterrupt):
        train(settings, digits, tmp_path / "run", tmp_path, StoppedProgress(STEPS + 2))
    train(settings, digits, tmp_path / "run", tmp_path, QUIET)
    assert same(tmp_path / "run", tmp_path / "whole")


# Parts of a batch, weights of another model, of classes, and a layer that is held.
VOCABULARY = (
    *("trainer.batch_size=25", "trainer.accumulate=2", "trainer.start_from=source/model"),
    *("trainer.freeze=[conv1]", "loss.class_weights=balanced"),
)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["input", "step"])
def test_a_stopped_run_in_parts_from_anothers_weights_goes_on_exactly_without_them(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path, whole: Path, place: str
) -> None:
    shutil.copytree(whole, tmp_path / "source")
    settings = compose(*NET, "tracking=none", f"augment.place={place}", *VOCABULARY)
    train(settings, digits, tmp_path / "whole", tmp_path, QUIET)
    assert not same(tmp_path / "whole", whole)
    for iterations in (STEPS + 2, STEPS):
        with pytest.raises(KeyboardInterrupt):
            train(settings, digits, tmp_path / "run", tmp_path, StoppedProgress(iterations))
        shutil.rmtree(tmp_path / "run")
        shutil.rmtree(tmp_path / "source", ignore_errors=True)
    train(settings, digits, tmp_path / "run", tmp_path, QUIET)
    assert same(tmp_path / "run", tmp_path / "whole")
    reports = [(tmp_path / run / "started_from.json").read_text() for run in ("run", "whole")]
    assert reports[0] == reports[1]


@pytest.mark.slow
def test_a_stopped_run_goes_on_without_its_source_and_begins_anew_from_another(
    compose: Callable[..., Settings], linear: Settings, digits: Path, tmp_path: Path, capfd: Any
) -> None:
    for seed in (0, 1):
        other = linear.model_copy(update={"seed": seed})
        train(other, digits, tmp_path / f"source{seed}", tmp_path, QUIET)
    source = (tmp_path / "source0").rename(tmp_path / "source")
    started = (*LINEAR, "tracking=none", "trainer.start_from=source", *VOCABULARY[:2])
    settings = compose(*started, "loss.class_weights=balanced")
    train(settings, digits, tmp_path / "whole", tmp_path, QUIET)

    def stop(iterations: int) -> str:
        with pytest.raises(KeyboardInterrupt):
            train(settings, digits, tmp_path / "run", tmp_path, StoppedProgress(iterations, said))
        return str(capfd.readouterr().err)

    said = Verbosity.NORMAL
    assert "starts from source (weights of epoch 3, the last): 2 of 2 variables" in stop(STEPS + 2)
    kept = source.rename(tmp_path / "elsewhere")
    assert "starts from" not in stop(1), "the checkpoint has them"
    (tmp_path / "source1").rename(source)
    anew = stop(2)
    assert re.search("begins anew: the weights of trainer.start_from [0-9a-f]{12} → ", anew)
    assert "starts from source (weights of epoch 3" in anew
    shutil.rmtree(source)
    kept.rename(source)
    train(settings, digits, tmp_path / "run", tmp_path, Progress())
    assert "goes on after epoch 1 of 3 and 3 of 5 iterations" in capfd.readouterr().err
    assert same(tmp_path / "run", tmp_path / "whole")


@pytest.mark.integration
def test_other_settings_begin_anew_and_the_changed_keys_are_named(
    compose: Callable[..., Settings], linear: Settings, digits: Path, tmp_path: Path, capfd: Any
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(linear, digits, tmp_path / "run", tmp_path, StoppedProgress(2))
    other = compose(*LINEAR, "tracking=none", "trainer.epochs=1", "optimizer.momentum=0.5")
    train(other, digits, tmp_path / "run", tmp_path, Progress())
    said = capfd.readouterr().err
    assert "optimizer.momentum 0.9 → 0.5, trainer.epochs 3 → 1" in said
    assert "goes on" not in said
    train(linear, digits, tmp_path / "run", tmp_path, Progress())
    assert "goes on after epoch 0 of 3 and 2 of 5 iterations" in capfd.readouterr().err
    assert not list((tmp_path / "outputs" / "unfinished").glob("[!.]*"))


def test_a_second_run_into_the_same_folder_is_refused_and_one_beside_it_is_not(
    linear: Settings, digits: Path, tmp_path: Path
) -> None:
    digest = json.loads((digits / "manifest.json").read_text())["digest"]
    of = (linear, digest, "tensorflow")
    with resumable_run(*of, tmp_path / "run", tmp_path, QUIET) as first:
        with pytest.raises(ValueError, match="another run is writing"):
            train(linear, digits, tmp_path / "run", tmp_path, QUIET)
        with resumable_run(*of, tmp_path / "beside", tmp_path, QUIET) as second:
            assert first.folder != second.folder


class StoppedError(Exception):
    """As a bug would."""


def stopped_run(
    settings: Settings,
    root: Path,
    digest: str = "data",
    progress: Progress = QUIET,
    source: str | None = None,
) -> ResumableRun:
    """A run that stops at its first checkpoint, with an error that says nothing of its config."""
    found = []
    try:
        of = (settings, digest, "jax", root / "run", root, progress, source)
        with resumable_run(*of) as run:
            (run.folder / "newest").mkdir(exist_ok=True)
            found.append(run)
            raise StoppedError
    except StoppedError:
        return found[0]


def test_a_stopped_run_is_found_again_unless_the_config_says_not_to_resume(
    compose: Callable[..., Settings], settings: Settings, tmp_path: Path
) -> None:
    anew = compose(*NET, "tracking=none", "trainer.checkpoint.resume=false")
    found = [stopped_run(wanted, tmp_path) for wanted in (settings, settings, anew)]
    assert [run.has_begun for run in found] == [False, True, False]
    assert found[0].key == found[1].key != found[2].key


def test_other_data_begin_anew(settings: Settings, tmp_path: Path, capfd: Any) -> None:
    """Weights that have seen two data sets belong to neither."""
    found = [
        stopped_run(settings, tmp_path, digest, Progress()) for digest in ("one", "one", "other")
    ]
    assert [run.has_begun for run in found] == [False, True, False]
    assert found[0].key == found[1].key != found[2].key
    assert "this one begins anew: data one → other" in capfd.readouterr().err


def test_another_source_of_weights_begins_anew(
    settings: Settings, tmp_path: Path, capfd: Any
) -> None:
    found = [
        stopped_run(settings, tmp_path, progress=Progress(), source=source)
        for source in ("one", "one", "other", None)
    ]
    assert [run.has_begun for run in found] == [False, True, False, False]
    said = capfd.readouterr().err
    assert "this one begins anew: the weights of trainer.start_from one → other" in said


def test_a_stopped_run_knows_its_source_once_it_has_a_checkpoint(
    compose: Callable[..., Settings], settings: Settings, tmp_path: Path
) -> None:
    run = stopped_run(settings, tmp_path, source="one")
    of = (settings, "data", "jax", tmp_path)
    assert source_of_stopped_run(*of) is None
    (run.folder / "newest" / "00000-000000").mkdir()
    assert source_of_stopped_run(*of) == "one"
    assert source_of_stopped_run(compose(*NET, "seed=1"), *of[1:]) is None
    assert source_of_stopped_run(settings, "other", *of[2:]) is None


@pytest.fixture
def changed_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    """Makes a later run find other code: a copy of the package in which a file has changed."""

    def change() -> None:
        folder = tmp_path / "convforge"
        shutil.copytree(Path(convforge.__file__).parent, folder)
        with (folder / "layers" / "prelu.py").open("a", encoding="utf-8") as file:
            file.write("\n# changed\n")
        monkeypatch.setattr(convforge, "__file__", str(folder / "__init__.py"))

    return change


@pytest.mark.integration
def test_other_code_begins_anew_and_the_changed_file_is_named(
    linear: Settings,
    digits: Path,
    tmp_path: Path,
    changed_code: Callable[[], None],
    capfd: Any,
) -> None:
    train(linear, digits, tmp_path / "whole", tmp_path, QUIET)
    with pytest.raises(KeyboardInterrupt):
        train(linear, digits, tmp_path / "run", tmp_path, StoppedProgress(STEPS + 2))
    changed_code()
    train(linear, digits, tmp_path / "run", tmp_path, Progress())
    said = capfd.readouterr().err
    assert "goes on" not in said.replace("other_code goes on", "")
    assert re.search(
        r"a stopped run had other code, and this one begins anew: "
        r"convforge/layers/prelu\.py [0-9a-f]{16} → [0-9a-f]{16} \(.* keeps it",
        said,
    )
    assert same(tmp_path / "run", tmp_path / "whole"), "by the code's comment"


def test_another_version_of_a_package_begins_anew_and_is_named(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    def stopped() -> bool:
        return stopped_run(settings, tmp_path, progress=Progress()).has_begun

    assert [stopped(), stopped()] == [False, True]
    for package in ("keras", "jaxlib", "numpy"):
        with monkeypatch.context() as patched:
            real = code_fingerprint._version
            patched.setattr(
                code_fingerprint,
                "_version",
                lambda name, real=real, other=package: "0.1" if name == other else real(name),
            )
            assert not stopped()
        assert f"{package} {real(package)} → 0.1" in capfd.readouterr().err
    assert stopped(), "with the packages of the beginning it goes on"


@pytest.mark.integration
def test_it_goes_on_with_other_code_where_the_config_says_so_and_is_tagged(
    compose: Callable[..., Settings],
    linear: Settings,
    digits: Path,
    tmp_path: Path,
    changed_code: Callable[[], None],
    capfd: Any,
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(linear, digits, tmp_path / "run", tmp_path, StoppedProgress(STEPS + 2))
    changed_code()
    forced = compose(*LINEAR, "tracking=none", "trainer.checkpoint.resume=other_code")
    with pytest.raises(KeyboardInterrupt):
        train(forced, digits, tmp_path / "run", tmp_path, StoppedProgress(1))
    assert "goes on with other code than it began with: convforge/layers/prelu.py" in (
        capfd.readouterr().err
    )
    # The code is that of the last stop now, and the tag stays.
    train(linear, digits, tmp_path / "run", tmp_path, Progress())
    assert "goes on after epoch 1" in capfd.readouterr().err
    events = [json.loads(line) for line in (tmp_path / "run" / "journal.jsonl").open()]
    tags = {key: tag for event in events for key, tag in event.get("tags", {}).items()}
    assert tags["convforge.resumed_with_other_code"].startswith("convforge/layers/prelu.py ")


def test_a_checkpoint_of_before_there_were_fingerprints_is_told_of_and_not_used(
    settings: Settings, tmp_path: Path, capfd: Any
) -> None:
    run = stopped_run(settings, tmp_path)
    record = json.loads((run.folder / "run.json").read_text())
    old = run.folder.rename(run.folder.with_name(run.folder.name.split("-")[0]))
    del record["code"], record["other_code"]
    (old / "run.json").write_text(json.dumps({**record, "version": "0.1.0"}))
    with resumable_run(settings, "data", "jax", tmp_path / "run", tmp_path, Progress()) as anew:
        assert not anew.has_begun
    said = capfd.readouterr().err
    assert "other code, and this one begins anew: code of convforge 0.1.0, not kept" in said


def test_the_code_that_is_compared_is_what_dvc_trains_again_for() -> None:
    """All that `dvc.yaml` lists for train, but what names files, and what lies beside a model."""
    root = Path(__file__).resolve().parents[1]
    deps = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]["train"]["deps"]
    listed = {
        file.relative_to(root / "src").as_posix()
        for place in map(root.joinpath, deps)
        if place.is_relative_to(root / "src")
        for file in ([place] if place.suffix else place.rglob("*.py"))
    }
    of_no_weight = {
        "convforge/pipeline/run_folder.py",
        "convforge/pipeline/data/reading/samples.py",
        *_of_serving(listed),
    }
    assert listed - set(code_fingerprint.source_checksums()) == of_no_weight


def _of_serving(files: set[str]) -> set[str]:
    return {f for f in files if "/serving/" in f} - {"convforge/serving/decode.py"}


def test_a_package_that_is_not_installed_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(code_fingerprint, "version", missing)
    for backend in ("tensorflow", "jax", "torch", None):
        assert set(code_fingerprint.package_versions(backend).values()) == {"none"}


def stopped_sweep(job: Settings, out: Path) -> ResumableRun:
    """A sweep of one job that stops with an error that says nothing of its config."""
    out.mkdir()
    found = []
    try:
        with resumable_sweep([job], ["seed=0"], out, out.parent, Progress()) as sweep:
            found.append(sweep)
            raise StoppedError
    except StoppedError:
        return found[0]


def test_a_sweep_goes_on_with_other_code_where_the_config_says_so_and_is_tagged(
    compose: Callable[..., Settings],
    settings: Settings,
    tmp_path: Path,
    changed_code: Callable[[], None],
    capfd: Any,
) -> None:
    first, second = (stopped_sweep(settings, tmp_path / name) for name in ("one", "two"))
    assert second == ResumableRun(first.folder, first.key, has_begun=True)
    changed_code()
    forced = compose(*NET, "tracking=none", "trainer.checkpoint.resume=other_code")
    third, fourth = (stopped_sweep(forced, tmp_path / name) for name in ("three", "four"))
    assert (third.key, third.has_begun) == (first.key, True)
    assert third.other_code is not None
    assert third.other_code.startswith("convforge/layers/prelu.py ")
    assert fourth.other_code == third.other_code, "it stays no exact one"
    assert capfd.readouterr().err.count("warning: goes on with other code") == 1


def test_a_sweep_that_other_code_has_begun_begins_anew_and_the_changed_file_is_named(
    settings: Settings, tmp_path: Path, changed_code: Callable[[], None], capfd: Any
) -> None:
    first = stopped_sweep(settings, tmp_path / "one")
    changed_code()
    second = stopped_sweep(settings, tmp_path / "two")
    assert second.key != first.key
    assert (second.folder, second.has_begun) == (tmp_path / "two", False)
    assert re.search(
        r"a stopped sweep had other code, and this one begins anew: convforge/layers/prelu\.py "
        r".*one keeps its jobs",
        capfd.readouterr().err,
    )


def test_what_is_done_before_the_first_step_is_said_once(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path, capfd: Any
) -> None:
    settings = compose("tracking=none", "debug=one_step", "model=softmax_linear", "augment=none")
    train(settings, digits, tmp_path / "run", tmp_path, Progress())
    said = capfd.readouterr().err.splitlines()
    assert said[:2] == ["building the network", "train: compiling the first step"]
    assert not any("validating" in line for line in said), "that is for a terminal's bar"


@pytest.mark.parametrize("used", ["last", "best"])
def test_the_best_epoch_is_kept_by_the_figure_that_the_config_names(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path, used: str
) -> None:
    """`model/` has the weights that the config says, those of the others lie beside it."""
    # The rate rises to what no net learns by, and the loss with it.
    config = (*LINEAR, "tracking=none", "optimizer.learning_rate=100", "schedule=cosine")
    config = (*config, "schedule.warmup_epochs=3", f"trainer.checkpoint.weights={used}")
    run = tmp_path / "run"
    train(compose(*config, "trainer.checkpoint.monitor=val_loss"), digits, run, tmp_path, QUIET)
    losses = [float(row["val_loss"]) for row in history(run)]
    best = 1 + losses.index(min(losses))
    assert best < 3, "the last is not the best"
    other = {"last": "best", "best": "last"}[used]
    cards = {name: load_predictor(run / name).card.weights for name in ("model", other)}
    said = {
        "last": "weights of epoch 3, the last",
        "best": f"weights of epoch {best}, the best by val_loss",
    }
    assert cards == {"model": said[used], other: said[other]}
    assert not all(
        np.array_equal(one, two) for one, two in zip(weights(run), weights(run, other), strict=True)
    )
    events = [json.loads(line) for line in (run / "journal.jsonl").open()]
    tags = [event["tags"] for event in events if event["kind"] == "tags"]
    assert {"convforge.weights": said[used]} in tags


def test_a_figure_that_no_epoch_has_is_refused(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path
) -> None:
    settings = compose(*LINEAR, "tracking=none", "trainer.checkpoint.monitor=speed")
    with pytest.raises(ValueError, match=r"monitor=speed is not allowed: give one of loss, acc"):
        train(settings, digits, tmp_path / "run", tmp_path, QUIET)


@pytest.mark.integration
def test_a_sweep_that_was_stopped_goes_on_with_the_jobs_it_has_left(
    project: Path, train_in_process: None, capfd: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    from convforge.pipeline.sweeps import jobs

    sweep = ["train", "-m", *LINEAR, "data.split.validation=50", "data.split.test=100"]
    sweep += ["trainer.epochs=1", "optimizer.momentum=0.5,0.9"]
    with monkeypatch.context() as patched:
        stopped = iter([QUIET, StoppedProgress(2)])
        patched.setattr(jobs, "progress_of_sweep", lambda: next(stopped))
        assert cli.main(sweep) == 130
    capfd.readouterr()
    assert cli.main(sweep) == 0
    said = capfd.readouterr().err
    assert "optimizer.momentum=0.5 has finished in" in said
    assert "goes on after epoch 0 of 1 and 2 of 5 iterations" in said
    assert len(list((project / "outputs" / "sweeps").iterdir())) == 1
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    experiment = client.get_experiment_by_name("convforge").experiment_id
    runs = client.search_runs([experiment])
    assert sorted(run.info.run_name.split(" ")[0] for run in runs) == [
        "optimizer.momentum=0.5", "optimizer.momentum=0.9", "sweep"
    ]  # fmt: skip
    assert {run.info.status for run in runs} == {"FINISHED"}
    children = [run for run in runs if PARENT_TAG in run.data.tags]
    assert len({run.data.tags["mlflow.parentRunId"] for run in children}) == 1
    assert not list((project / "outputs" / "unfinished").glob("[!.]*"))


# Killing real processes.

_STAGES = ("train", "evaluate")
# A training that has ended well would begin anew; an evaluation comes to the same again.
_MOST_ESCAPES = {"train": 1, "evaluate": 10}


def _write_params(settings: Settings, folder: Path) -> Path:
    path = folder / "params.yaml"
    path.write_text(OmegaConf.to_yaml(OmegaConf.create(dump(settings))), encoding="utf-8")
    return path


class Pipeline:
    """Train and evaluate as DVC runs them, in a folder of its own."""

    def __init__(self, settings: Settings, data: Path, folder: Path, backend: str) -> None:
        self.folder = folder
        self.run = folder / "build" / "train"
        folder.mkdir()
        (folder / "conf").mkdir()
        (folder / "conf" / "config.yaml").touch()
        params = ["--params", str(_write_params(settings, folder)), "--data", str(data)]
        self.commands = {
            "train": [*params, "--out", str(self.run)],
            "evaluate": [*params, "--run", str(self.run), "--out", str(folder / "build/evaluate")],
        }
        self.environment = {**os.environ, "KERAS_BACKEND": backend}

    def start(self, stage: str) -> subprocess.Popen[str]:
        """The stage's process; as DVC does, without what an earlier one left."""
        if stage == "train":
            shutil.rmtree(self.run, ignore_errors=True)
        return subprocess.Popen(
            [sys.executable, "-m", f"convforge.pipeline.stages.{stage}", *self.commands[stage]],
            cwd=self.folder,
            env=self.environment,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> None:
        error = process.communicate()[1]
        assert process.returncode == 0, error

    @property
    def checkpoints(self) -> list[str]:
        return [str(path) for path in self.folder.glob("outputs/unfinished/*/newest/*")]

    def logged(self) -> dict[str, list[tuple[int, float]]]:
        """The figures of the one run that MLflow has, step by step."""
        client = MlflowClient(f"sqlite:///{self.folder}/mlflow.db")
        experiment = client.get_experiment_by_name("convforge").experiment_id
        (run,) = client.search_runs([experiment])
        assert run.info.status == "FINISHED"
        return {
            name: sorted(
                (metric.step, metric.value)
                for metric in client.get_metric_history(run.info.run_id, name)
            )
            for name in run.data.metrics
            # How busy the machine was, and how fast, is another matter.
            if name != "epoch_seconds" and not name.startswith("system/")
        }


def _kill(pipeline: Pipeline, stage: str, chance: random.Random, seconds: float) -> bool:
    """Start a stage that takes `seconds` and kill it somewhere; False where it was faster."""
    process = pipeline.start(stage)
    before = pipeline.checkpoints
    if stage == "train" and chance.random() < 0.8:
        while process.poll() is None and pipeline.checkpoints == before:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.4))
    else:
        time.sleep(chance.uniform(0, seconds))
    ended = process.poll() is not None
    if not ended:
        process.send_signal(chance.choice([signal.SIGKILL] * 4 + [signal.SIGTERM, signal.SIGINT]))
    error = process.communicate()[1]
    assert process.returncode in (0, 130, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT), error
    return process.returncode != 0


def _differences(killed: Pipeline, whole: Pipeline) -> list[str]:
    found = [] if same(killed.run, whole.run) else ["weights or history"]
    if killed.logged() != whole.logged():
        found.append(f"MLflow: {killed.logged()} instead of {whole.logged()}")
    figures = [
        (pipeline.folder / "build/evaluate/metrics.json").read_text()
        for pipeline in (killed, whole)
    ]
    return found if figures[0] == figures[1] else [*found, "metrics.json"]


def _run_with_kills(
    settings: Settings, data: Path, folder: Path, backend: str, kills: int, seed: int
) -> None:
    whole, killed = (
        Pipeline(settings, data, folder / name, backend) for name in ("whole", "killed")
    )
    seconds = {}
    for stage in _STAGES:
        started = time.monotonic()
        whole.finish(whole.start(stage))
        seconds[stage] = 0.8 * (time.monotonic() - started)
    chance = random.Random(seed)
    count = dict.fromkeys(_STAGES, 0)
    for stage, share in zip(_STAGES, (kills - kills // 5, kills // 5), strict=True):
        escaped = 0
        while count[stage] < share and escaped < _MOST_ESCAPES[stage]:
            if _kill(killed, stage, chance, seconds[stage]):
                count[stage] += 1
            else:  # Faster than when it was timed.
                escaped += 1
                seconds[stage] *= 0.8
        killed.finish(killed.start(stage))
    differences = _differences(killed, whole)
    print(f"\n{backend}: {sum(count.values())} kills, {sum(count.values())} resumed,", end=" ")
    print(f"{len(differences)} differences ({count})")
    assert differences == []
    assert sum(count.values()) >= kills, "the seed must kill often enough"


@pytest.mark.slow
def test_a_process_that_is_stopped_and_started_again_with_other_code_trains_all_epochs_by_it(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path
) -> None:
    """Its weights are those of the new code alone."""
    settings = compose(*NET, "model.activation=prelu", "tracking=none", "trainer.epochs=8")
    stopped, whole = (
        Pipeline(settings, digits, tmp_path / name, "tensorflow") for name in ("stopped", "whole")
    )
    source = tmp_path / "src"
    shutil.copytree(Path(convforge.__file__).parent, source / "convforge")
    for pipeline in (stopped, whole):
        pipeline.environment["PYTHONPATH"] = str(source)
    process = stopped.start("train")
    while len(stopped.checkpoints) < 2:
        assert process.poll() is None, "it ended before it could be stopped"
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 130
    prelu = source / "convforge" / "layers" / "prelu.py"
    code = prelu.read_text(encoding="utf-8")
    assert code.count("        return keras.ops.relu(inputs) - ") == 1
    prelu.write_text(code.replace("return keras.ops.relu(inputs) - ", "return 2 * inputs - "))
    process = stopped.start("train")
    error = process.communicate()[1]
    assert process.returncode == 0, error
    assert "this one begins anew: convforge/layers/prelu.py " in error
    assert "goes on after" not in error
    whole.finish(whole.start("train"))
    assert same(stopped.run, whole.run)


@pytest.mark.slow
def test_a_process_that_is_killed_on_its_way_out_has_one_run(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path
) -> None:
    """Nobody was told that the run had ended: the same command ends the same one."""
    pipeline = Pipeline(compose(*NET, "trainer.epochs=1"), digits, tmp_path / "run", "tensorflow")

    def records() -> list[Path]:
        return list(pipeline.folder.glob("outputs/unfinished/*/run.json"))

    process = pipeline.start("train")
    while not any('"ended"' in path.read_text() for path in records()):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    pipeline.finish(pipeline.start("train"))
    assert pipeline.logged(), "of the one run that there is"
    assert records() == []


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_killed_processes_in_parts_from_anothers_weights_end_as_one_that_is_not(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path, whole: Path, backend: str
) -> None:
    settings = compose(*NET, *VOCABULARY, f"trainer.start_from={whole}", "trainer.epochs=8")
    _run_with_kills(settings, digits, tmp_path, backend, kills=10, seed=11)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "feed"), [("tensorflow", "stream"), ("jax", "stream"), ("jax", "device")]
)
def test_processes_that_are_killed_at_random_moments_end_as_one_that_is_not(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path, backend: str, feed: str
) -> None:
    settings = compose(*NET, "trainer.epochs=8", f"trainer.feed={feed}")
    _run_with_kills(settings, digits, tmp_path, backend, kills=25, seed=7)
