"""A net that tells digits, as a run leaves it and as MLflow keeps it."""

from __future__ import annotations

import base64
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.stages.train import train
from convforge.pipeline.tracking.logged_model import write_mlflow_model


@pytest.fixture(scope="session")
def trained(
    compose: Callable[..., Any], digits: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a run, good enough to tell a three from a seven."""
    root = tmp_path_factory.mktemp("served")
    settings = compose("model=softmax_linear", "augment=none", "tracking=none", "trainer.epochs=12")
    train(settings, digits, root / "run", root, Progress(Verbosity.QUIET))
    return root / "run"


@pytest.fixture(scope="session")
def logged(trained: Path) -> Path:
    """The same as an MLflow model."""
    from mlflow.models import Model

    target = trained.parent / "logged"
    write_mlflow_model(trained / "model", target, Model())
    return target


@pytest.fixture(scope="session")
def files(digits_archive: Path) -> dict[str, bytes]:
    """The PNG of one digit of each class."""
    with zipfile.ZipFile(digits_archive) as archive:
        names = sorted(archive.namelist(), reverse=True)
        return {name[0]: archive.read(name) for name in names}


@pytest.fixture(scope="session")
def encoded(files: dict[str, bytes]) -> dict[str, str]:
    """The same in base64."""
    return {digit: base64.b64encode(content).decode() for digit, content in files.items()}
