"""A net that tells digits as MLflow keeps it, and digits to send to it."""

from __future__ import annotations

import base64
import zipfile
from pathlib import Path

import pytest

from convforge.pipeline.tracking.logged_model import write_mlflow_model


@pytest.fixture(scope="session")
def logged(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as an MLflow model."""
    from mlflow.models import Model

    target = tmp_path_factory.mktemp("logged") / "model"
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
