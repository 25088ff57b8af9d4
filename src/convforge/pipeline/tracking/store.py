"""Where MLflow keeps runs: which store, and creating it once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from convforge.errors import InputError
from convforge.pipeline.project import workspace_root
from convforge.pipeline.settings.tracking import MLflowTracking, TrackingSettings, refused_store

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
_SQLITE = "sqlite:///"
_ENVIRONMENT = {
    # No telemetry and no chatter.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "ALEMBIC_LOGGING_LEVEL": "ERROR",
    # Without it the client asks git, and warns where there is none.
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # The client's own are 120 s and 7 tries with pauses: 4 minutes for a server that is down. The
    # sender tries again itself, and knows what was sent.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT": "30",
}


@dataclass(frozen=True)
class Store:
    """An MLflow store, and the experiment in it that the runs belong to."""

    uri: str
    experiment: str

    @property
    def is_local(self) -> bool:
        """Whether no network is between us and it."""
        return database_file(self.uri) is not None


def store_of(settings: TrackingSettings, root: Path) -> Store | None:
    """The store that the config names, or None where nothing is tracked.

    Raises:
        InputError: MLFLOW_TRACKING_URI names one that MLflow does not know.
    """
    if not isinstance(settings, MLflowTracking):
        return None
    return Store(tracking_uri(settings, root), settings.experiment)


def quiet_mlflow() -> None:
    """Set what MLflow reads from the environment, where the user has not set it."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def tracking_uri(settings: MLflowTracking, root: Path) -> str:
    """The config's store, MLFLOW_TRACKING_URI's, or `mlflow.db` in the project.

    A relative SQLite path counts from the project's folder, wherever the process runs.

    Raises:
        InputError: MLFLOW_TRACKING_URI names a store that MLflow does not know.
    """
    given = settings.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{DATABASE}"
    allowed = None if settings.uri else refused_store(given)
    if allowed:
        raise InputError(f"MLFLOW_TRACKING_URI={given!r} is not allowed: give {allowed}")
    return resolved(given, root)


def resolved(uri: str, root: Path) -> str:
    """`uri`, with a relative SQLite path counted from the project's folder."""
    path = uri.removeprefix(_SQLITE)
    if path == uri or Path(path).is_absolute():
        return uri
    return f"{_SQLITE}{(workspace_root(root) / path).as_posix()}"


def database_file(uri: str) -> Path | None:
    """The file of a SQLite store, or None for a server."""
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None


def artifact_location(uri: str) -> str | None:
    """A folder beside a local database; a server knows its own."""
    database = database_file(uri)
    return (database.parent / ARTIFACTS).as_uri() if database else None
