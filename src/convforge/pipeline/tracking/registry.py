"""MLflow's registry of models: which run's model has which version and alias."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convforge.errors import InputError
from convforge.pipeline.tracking.replay import RUN_FILE, State
from convforge.pipeline.tracking.store import use_store

_RUN_ID = re.compile("[0-9a-f]{32}")
# MLflow refuses others in a name or an alias.
_NAME = re.compile(r"[^/:\s]{1,250}")
_ALIAS = re.compile(r"(?!v\d+$|latest$)[\w-]{1,250}")


@dataclass(frozen=True)
class Version:
    """One of the versions of a registered model."""

    name: str
    number: int
    is_new: bool


def find_run(reference: str) -> tuple[str, str | None]:
    """The id of a run and the store that has it, None where the reference does not say.

    Args:
        reference: the folder of a run, or the id of one.

    Raises:
        InputError: there is no such folder, or its run was not tracked or is not delivered yet.
    """
    folder = Path(reference)
    try:
        is_folder = folder.is_dir()
    except OSError as error:  # A name that is too long.
        raise InputError(f"{reference}: {error.strerror}") from error
    if not is_folder:
        if _RUN_ID.fullmatch(reference):
            return reference, None
        raise InputError(f"{reference} is neither the folder nor the id of a run")
    if not (folder / RUN_FILE).is_file():
        raise InputError(f"{reference} is not the folder of a tracked run: no {RUN_FILE} in it")
    state = State.read(folder)
    if state.run_id is None or state.model_id is None:
        raise InputError(
            f"{reference}: its model has not reached MLflow: `convforge sync` sends it"
        )
    return state.run_id, state.tracking_uri


def check_names(name: str | None, alias: str | None) -> None:
    """Refuse what MLflow would.

    Raises:
        InputError: naming the option.
    """
    if name is not None and not _NAME.fullmatch(name):
        raise InputError(f"--name={name} is not allowed: give a name without spaces, / and :")
    if alias is not None and not _ALIAS.fullmatch(alias):
        raise InputError(
            f"--alias={alias} is not allowed: give letters, digits, _ and -, but not latest or v1"
        )


def model_of(client: Any, run: Any) -> str:
    """The id of the model that an MLflow run has left.

    Raises:
        InputError: it has left none.
    """
    models = client.search_logged_models(
        [run.info.experiment_id], f"source_run_id = '{run.info.run_id}'"
    )
    if not models:
        raise InputError(f"the run {run.info.run_id} has no model")
    return str(models[0].model_id)


def register(run_id: str, uri: str, name: str | None, alias: str | None) -> Version:
    """Make the run's model a version of `name`, unless it is one, and give it the alias.

    Args:
        run_id: of the run.
        uri: of the store that has it.
        name: of the registered model; None is the network's and the data's.
        alias: moved from the version that has it; None for none.

    Raises:
        InputError: the store has no such run, the run has no model, or no registry.
    """
    use_store(uri)
    import mlflow
    from mlflow.exceptions import MlflowException

    client = mlflow.MlflowClient()
    try:
        run = client.get_run(run_id)
        model, params = model_of(client, run), run.data.params
        name = name or f"{params.get('model.name')}-{params.get('data.name')}"
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        versions = client.search_model_versions(f"name = '{name}'")
        known = [version for version in versions if version.run_id == run_id]
        version = (
            known[0]
            if known
            else client.create_model_version(name, f"models:/{model}", run_id, model_id=model)
        )
        if alias:
            client.set_registered_model_alias(name, alias, version.version)
    except MlflowException as error:
        raise InputError(f"{uri}: {str(error).splitlines()[0]}") from error
    return Version(name, int(version.version), not known)
