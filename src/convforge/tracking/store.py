"""Where MLflow keeps runs: which store, and creating it once."""

from __future__ import annotations

import os
from pathlib import Path

from convforge.settings import MLflowTracking

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
_SQLITE = "sqlite:///"


def quiet_mlflow() -> None:
    """Say no to MLflow's telemetry and to its chatter before it is imported."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("ALEMBIC_LOGGING_LEVEL", "ERROR")
    # Without it the client asks git, and warns where there is none.
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")


def store_root(root: Path) -> Path:
    """The folder of the default store: the workspace's, from inside a queued experiment too.

    DVC runs `--queue` and `--temp` experiments in a copy below `.dvc/tmp/exps`, which it deletes;
    it names the workspace in DVC_ROOT.
    """
    return Path(os.environ.get("DVC_ROOT") or root).resolve()


def tracking_uri(settings: MLflowTracking, root: Path) -> str:
    """The config's store, MLFLOW_TRACKING_URI's, or `mlflow.db` in the project.

    A relative SQLite path counts from the project's folder, wherever the process runs.
    """
    given = settings.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{DATABASE}"
    path = given.removeprefix(_SQLITE)
    if path == given or Path(path).is_absolute():
        return given
    return f"{_SQLITE}{(store_root(root) / path).as_posix()}"


def database_file(uri: str) -> Path | None:
    """The file of a SQLite store, or None for a server."""
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None


def artifact_location(uri: str) -> str | None:
    """A folder beside a local database; a server knows its own."""
    database = database_file(uri)
    return (database.parent / ARTIFACTS).as_uri() if database else None
