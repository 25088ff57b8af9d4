"""Which model is meant: a folder or file here, or one that MLflow keeps."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from convforge.errors import InputError
from convforge.pipeline.composition import compose_config, settings_of
from convforge.pipeline.credentials import TRACKING_URI
from convforge.pipeline.project import expanded, project_root
from convforge.pipeline.run_folder import newest_run
from convforge.pipeline.tracking.registry import model_of
from convforge.pipeline.tracking.store import RUN_ID, first_line, given_uri, store_of, use_store

_ADDRESS = re.compile("(runs|models):/")
# By its version or an alias; else `models:/` stands before the model's own id.
_VERSION = re.compile("models:/[^/@]+[/@][^/@]+")
# A run's model, whatever it is called there.
_OF_RUN = re.compile(f"runs:/({RUN_ID})(/model)?")


@contextmanager
def model_folder(reference: str, uri: str | None = None) -> Iterator[Path]:
    """The path of a model, downloaded for as long as the block lasts where MLflow keeps it.

    Args:
        reference: the folder of a run or a model, a `.keras` file with its card beside it, the id
            of a run, `runs:/…`, or `models:/NAME/VERSION` or `models:/NAME@ALIAS`.
        uri: of the store that MLflow keeps it in; None is that of `store_uri`.

    Raises:
        InputError: MLflow has no such model, or cannot be asked; there is no such path.
    """
    address = address_of(reference)
    if address is None:
        path = expanded(reference)
        if not is_there(path):
            raise InputError(
                f"{reference} is neither a path nor the id of a run, runs:/… or models:/…"
            )
        if newest := newest_run(path):
            raise InputError(f"{reference} is neither a run nor a model{newest}")
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="convforge-") as folder:
        yield _download(address, reference, Path(folder), uri or store_uri())


def is_there(path: str | Path) -> bool:
    """Whether there is such a file or folder; no name that no file could have is an error."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def address_of(reference: str) -> str | None:
    """As MLflow writes it; None for a path."""
    if _ADDRESS.match(reference):
        return reference
    if re.fullmatch(RUN_ID, reference) and not is_there(reference):
        return f"runs:/{reference}"
    return None


def _download(address: str, reference: str, folder: Path, uri: str) -> Path:
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
        raise InputError(f"{reference} is not in {uri}: {first_line(error)}") from error


class Identity(NamedTuple):
    """What a model is called that stays the same when an alias moves, and the run that made it."""

    name: str
    run_id: str | None


def identity_in_store(address: str, uri: str) -> Identity:
    """Which model `address` of `address_of` stands for just now.

    Its name is the id of the run that made it, where it has one and is that run's only model.

    Raises:
        InputError: the store has no such model, or cannot be asked.
    """
    run = _OF_RUN.fullmatch(address)
    if run:
        return Identity(run[1], run[1])
    if _VERSION.fullmatch(address) is None:
        run = re.match(f"runs:/({RUN_ID})/", address)
        return Identity(address, run[1] if run else None)
    use_store(uri)
    import mlflow
    from mlflow.exceptions import MlflowException

    client = mlflow.MlflowClient()
    name, sign, version = re.split("([/@])", address.removeprefix("models:/"), maxsplit=1)
    try:
        if sign == "@":
            found = client.get_model_version_by_alias(name, version)
        elif version == "latest":
            versions = client.search_model_versions(f"name = '{name}'")
            if not versions:
                raise InputError(f"the model {name} has no version")
            found = max(versions, key=lambda each: int(each.version))
        else:
            found = client.get_model_version(name, version)
    except (MlflowException, OSError) as error:
        raise InputError(f"it is not in {uri}: {first_line(error)}") from error
    return Identity(found.run_id or f"models:/{name}/{found.version}", found.run_id or None)


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
