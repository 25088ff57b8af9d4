"""Where MLflow keeps runs: which store, and creating it once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from convforge.errors import InputError
from convforge.pipeline.credentials import (
    TRACKING_URI,
    redacted_uri,
    take_credentials,
    take_from_environment,
)
from convforge.pipeline.project import workspace_root
from convforge.pipeline.settings.tracking import MLflowTracking, TrackingSettings, refused_store

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
#: What MLflow calls a run.
RUN_ID = "[0-9a-f]{32}"
_SQLITE = "sqlite:///"
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_ENVIRONMENT = {
    # No telemetry and no chatter.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "ALEMBIC_LOGGING_LEVEL": "ERROR",
    # Without it the client asks git, and warns where there is none.
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
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
    def is_database(self) -> bool:
        """Whether it is reached without a server of MLflow's between."""
        return self.uri.partition(":")[0].partition("+")[0].lower() in _DATABASES

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


def first_line(error: Exception) -> str:
    """What MLflow, or what it asks, says of an error before it goes into details."""
    said = str(error).strip().splitlines()
    return said[0] if said else repr(error)


def use_store(uri: str) -> None:
    """Make the store at `uri` the one that MLflow's own functions ask.

    Raises:
        InputError: it is a file that is not there, which MLflow would make.
    """
    check_there(uri)
    quiet_mlflow()
    import mlflow

    mlflow.set_tracking_uri(uri)


def check_there(uri: str) -> None:
    """Refuse a file that MLflow would make.

    Raises:
        InputError: `uri` is a database's file that is not there.
    """
    database = database_file(uri)
    if database is not None and not database.is_file():
        raise InputError(f"{uri} does not exist: nothing was tracked there yet")


def tracking_uri(settings: MLflowTracking, root: Path) -> str:
    """The config's store, MLFLOW_TRACKING_URI's, or `mlflow.db` in the project.

    A relative SQLite path counts from the project's folder, wherever the process runs.

    Raises:
        InputError: MLFLOW_TRACKING_URI names a store that MLflow does not know.
    """
    take_from_environment()
    given = settings.uri or os.environ.get(TRACKING_URI) or f"{_SQLITE}{DATABASE}"
    return given_uri(given, TRACKING_URI, root)


def given_uri(uri: str, name: str, root: Path) -> str:
    """The store that `uri`, given as `name`, stands for; its credentials go to the environment.

    Raises:
        InputError: MLflow knows no such store, or its driver would not find the credentials.
    """
    clean = take_credentials(uri, name)
    allowed = refused_store(clean)
    if allowed:
        raise InputError(f"{name}={redacted_uri(uri)!r} is not allowed: give {allowed}")
    return resolved(clean, root)


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
