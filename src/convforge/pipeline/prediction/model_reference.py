"""Which model is meant: a folder or file here, or one that MLflow keeps."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convforge.errors import InputError
from convforge.pipeline.composition import compose_config, settings_of
from convforge.pipeline.credentials import TRACKING_URI
from convforge.pipeline.project import project_root
from convforge.pipeline.tracking.registry import model_of
from convforge.pipeline.tracking.store import given_uri, store_of, use_store

_RUN_ID = re.compile("[0-9a-f]{32}")
_ADDRESS = re.compile("(runs|models):/")
# A run's model, whatever it is called there.
_OF_RUN = re.compile(f"runs:/({_RUN_ID.pattern})(/model)?")


@contextmanager
def model_folder(reference: str) -> Iterator[Path]:
    """The path of a model, downloaded for as long as the block lasts where MLflow keeps it.

    Args:
        reference: the folder of a run or a model, a `.keras` file with its card beside it, the id
            of a run, `runs:/…`, or `models:/NAME/VERSION` or `models:/NAME@ALIAS`.

    Raises:
        InputError: MLflow has no such model, or cannot be asked.
    """
    address = _address(reference)
    if address is None:
        yield Path(reference)
        return
    with tempfile.TemporaryDirectory(prefix="convforge-") as folder:
        yield _download(address, reference, Path(folder))


def _address(reference: str) -> str | None:
    """As MLflow writes it; None for a path."""
    if _ADDRESS.match(reference):
        return reference
    if _RUN_ID.fullmatch(reference) and not Path(reference).exists():
        return f"runs:/{reference}"
    return None


def _download(address: str, reference: str, folder: Path) -> Path:
    uri = store_uri()
    use_store(uri)
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        run = _OF_RUN.fullmatch(address)
        if run:
            client = mlflow.MlflowClient()
            address = f"models:/{model_of(client, client.get_run(run[1]))}"
        return Path(mlflow.artifacts.download_artifacts(address, dst_path=str(folder)))
    except (MlflowException, OSError) as error:
        said = str(error).strip().splitlines()
        raise InputError(f"{reference} is not in {uri}: {said[0] if said else error!r}") from error


def store_uri() -> str:
    """The address of MLFLOW_TRACKING_URI's store, or of the project's.

    Raises:
        InputError: neither names one.
    """
    given = os.environ.get(TRACKING_URI)
    if given:
        return given_uri(given, TRACKING_URI, Path.cwd())
    root = project_root()
    store = store_of(settings_of(compose_config(root, [])).tracking, root)
    if store is None:
        raise InputError(f"tracking=none keeps no models: give {TRACKING_URI}, or a path")
    return store.uri
