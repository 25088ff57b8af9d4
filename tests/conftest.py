"""What the tests of the pipeline share: a small archive of real digits and a project around it."""

from __future__ import annotations

import gc
import io
import logging
import os
import shutil
import signal
import socket
import sys
import weakref
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Before anything imports TensorFlow or MLflow.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
# As the pipeline imports it, also where a test module imports TensorFlow first.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DVC_NO_ANALYTICS"] = "1"
os.environ["COLUMNS"] = "200"
# A shell starts what runs in the background with Ctrl-C ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
# What a person's shell may say must not decide where a test keeps its runs.
for name in (
    "CONVFORGE_COORDINATOR",
    "CONVFORGE_PROCESSES",
    "CONVFORGE_RANK",
    "CONVFORGE_SWEPT_KEYS",
    "CONVFORGE_VERBOSITY",
    "DVC_EXP_NAME",
    "DVC_ROOT",
    "FORCE_COLOR",
    "MLFLOW_RUN_ID",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_USERNAME",
    "MYSQL_PWD",
    "PGPASSWORD",
):
    os.environ.pop(name, None)

REPOSITORY = Path(__file__).resolve().parents[1]
BUNDLED = REPOSITORY / "data" / "mnist-5k.zip"
PER_CLASS = 40
#: The splits of the small archive: 250 digits to train, 50 to validate, 100 to test.
SMALL = ("data.split.validation=50", "data.split.test=100")


# The files that take longest: each runs on one worker, and should not be the last to start.
LONGEST = (
    "pipeline/test_repro.py",
    "data/test_stream.py",
    "test_resume.py",
    "test_cli.py",
    "test_training.py",
    "test_configs.py",
    "tracking/test_runs.py",
    "tracking/test_sweeps.py",
    "models/test_classics.py",
    "data/test_interrupted_preparation.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files of `LONGEST`."""
    order = {str(REPOSITORY / "tests" / name): rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(str(item.path), len(order)))


def pytest_collection_finish() -> None:
    """Let the collector of garbage pass by what the test modules have imported, TensorFlow's too.

    Each run of the pipeline clears Keras' session, which collects: 0.3 s, of which most went there.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def no_network() -> None:
    """Refuses every connection that leaves the machine, in this process."""
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = address[0]
            assert host in ("127.0.0.1", "::1", "localhost"), f"a test connects to {host}"
        connect(self, address)

    socket.socket.connect = local_only  # type: ignore[method-assign]


@pytest.fixture(scope="session")
def digits_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 real digits of each class, as the bundled archive holds them."""
    assert BUNDLED.is_file(), "data/mnist-5k.zip is missing: run `dvc pull data.dvc`"
    small = tmp_path_factory.mktemp("digits") / "mnist-5k.zip"
    with zipfile.ZipFile(BUNDLED) as source, zipfile.ZipFile(small, "w") as target:
        taken: dict[str, int] = {}
        for name in sorted(source.namelist()):
            label = name.split("/")[0]
            if name.endswith(".png") and taken.get(label, 0) < PER_CLASS:
                taken[label] = taken.get(label, 0) + 1
                target.writestr(zipfile.ZipInfo(name), source.read(name))
    assert sorted(taken.values()) == [PER_CLASS] * 10
    return small


def make_project(folder: Path, archive: Path) -> Path:
    """A folder with a copy of `conf/` and with `archive` as its data."""
    shutil.copytree(REPOSITORY / "conf", folder / "conf")
    (folder / "data").mkdir()
    shutil.copy2(archive, folder / "data" / "mnist-5k.zip")
    return folder


@pytest.fixture
def project(tmp_path: Path, digits_archive: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own, and the current folder."""
    folder = make_project(tmp_path / "project", digits_archive)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(autouse=True)
def own_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test's runs go where an earlier one's went: MLflow keeps its store in the environment."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def train_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put back what `convforge train` changes in its process.

    Hydra's logging closes every handler it finds; absl's would close pytest's own output with it.
    """
    monkeypatch.setattr(sys, "argv", ["convforge"])
    monkeypatch.setattr(logging, "_handlerList", [])
    monkeypatch.setattr(logging, "_handlers", weakref.WeakValueDictionary())
    for name in ("HYDRA_FULL_ERROR", "CONVFORGE_SWEPT_KEYS", "CONVFORGE_VERBOSITY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def shared_project(tmp_path_factory: pytest.TempPathFactory, digits_archive: Path) -> Path:
    """One project for the tests that only read it."""
    return make_project(tmp_path_factory.mktemp("shared") / "project", digits_archive)


@pytest.fixture(scope="session")
def compose(shared_project: Path) -> Callable[..., Any]:
    """Settings for the small archive, with overrides."""
    from convforge.pipeline.composition import compose_config, settings_of

    def composed(*overrides: str) -> Any:
        return settings_of(compose_config(shared_project, [*SMALL, *overrides]))

    return composed


@pytest.fixture(scope="session")
def digits(shared_project: Path, compose: Callable[..., Any]) -> Path:
    """The small archive, prepared; fits every config that `compose` gives with `data=mnist5k`."""
    from convforge.pipeline.progress import Progress, Verbosity
    from convforge.pipeline.stages.preprocess import prepared

    return prepared(compose().data, shared_project, Progress(Verbosity.QUIET))


@pytest.fixture(scope="session")
def measured(
    compose: Callable[..., Any],
    digits_archive: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., tuple[Any, Path]]:
    """Digits with a table of numbers: how bright each is, and whether brighter than the mean."""
    import numpy as np
    from PIL import Image

    from convforge.pipeline.progress import Progress, Verbosity
    from convforge.pipeline.stages.preprocess import prepared

    folder = tmp_path_factory.mktemp("measured")
    with zipfile.ZipFile(digits_archive) as archive:
        names = archive.namelist()
        brightness = {
            name: float(np.asarray(Image.open(io.BytesIO(archive.read(name)))).mean())
            for name in names
        }
    middle = np.mean(list(brightness.values()))
    rows = [f"{name},{value},{1 if value > middle else -1}" for name, value in brightness.items()]
    (folder / "table.csv").write_text("\n".join(["file,brightness,bright", *rows]))

    def settings(column: str, *overrides: str) -> tuple[Any, Path]:
        composed = compose(
            *("data=table", f"data.path={folder / 'table.csv'}", f"data.images={digits_archive}"),
            *("data.class_column=null", f"data.target_columns=[{column}]", "data.channels=1"),
            *("data.size=[28,28]", "model=softmax_linear", "augment=none", "task=regression"),
            *("tracking=none", "trainer.epochs=20", *overrides),
        )
        return composed, prepared(composed.data, folder, Progress(Verbosity.QUIET))

    return settings


@pytest.fixture(scope="session")
def trained(
    compose: Callable[..., Any], digits: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a baseline's run, good enough to tell digits apart."""
    from convforge.pipeline.progress import Progress, Verbosity
    from convforge.pipeline.stages.train import train

    root = tmp_path_factory.mktemp("trained")
    settings = compose("model=softmax_linear", "augment=none", "tracking=none", "trainer.epochs=8")
    train(settings, digits, root / "run", root, Progress(Verbosity.QUIET))
    return root / "run"
