"""MLflow's registry of models: which run's model has which version and alias."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convforge.errors import InputError
from convforge.pipeline.settings.tracking import ALIAS, MODEL_NAME
from convforge.pipeline.tracking.experiment_view import DESCRIPTION_TAG
from convforge.pipeline.tracking.journal import KEY_TAG
from convforge.pipeline.tracking.replay import RUN_FILE, State
from convforge.pipeline.tracking.store import RUN_ID, Store, check_there, first_line, quiet_mlflow

_VERSIONS_TAG = "mlflow.modelVersions"


@dataclass(frozen=True)
class Version:
    """One of the versions of a registered model."""

    name: str
    number: int
    is_new: bool

    def __str__(self) -> str:
        return f"models:/{self.name}/{self.number}"


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
        if re.fullmatch(RUN_ID, reference):
            return reference, None
        raise InputError(f"{reference} is neither the folder nor the id of a run")
    if not (folder / RUN_FILE).is_file():
        raise InputError(f"{reference} is not the folder of a tracked run: no {RUN_FILE} in it")
    state = State.read(folder)
    if state.run_id is not None and state.model_id is not None:
        return state.run_id, state.tracking_uri
    # What is delivered later leaves no mark in a folder that is DVC's.
    run_id = state.tracking_uri and _run_with(state.tracking_uri, state.key)
    if not run_id:
        raise InputError(
            f"{reference}: its model has not reached MLflow: `convforge sync` sends it"
        )
    return run_id, state.tracking_uri


def _run_with(uri: str, key: str | None) -> str | None:
    """The id of the run that the store knows by `key`."""
    with suppress(InputError), asking(uri) as client:
        experiments = [each.experiment_id for each in client.search_experiments()]
        found = client.search_runs(experiments, f"tags.`{KEY_TAG}` = '{key}'")
        return str(found[0].info.run_id) if found else None
    return None


def check_names(name: str | None, alias: str | None) -> None:
    """Refuse what MLflow would.

    Raises:
        InputError: naming the option.
    """
    if name is not None and not re.search(MODEL_NAME, name):
        raise InputError(f"--name={name} is not allowed: give a name without spaces, / and :")
    if alias is not None and not re.search(ALIAS, alias):
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


def default_name(run: Any) -> str:
    """What a run's model is called where nobody says otherwise: the network and the data.

    With "-regression" where it predicts numbers, since a name has one champion.
    """
    params = run.data.params
    task = "-regression" if params.get("task.name") == "regression" else ""
    return f"{params.get('model.name')}-{params.get('data.name')}{task}"


@contextmanager
def asking(uri: str) -> Iterator[Any]:
    """A client of the store at `uri`; what it cannot answer is an InputError.

    Raises:
        InputError: see above, or the store is a file that is not there.
    """
    check_there(uri)
    quiet_mlflow()
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        # With its address, so that no later run of this process goes there by default.
        yield mlflow.MlflowClient(uri, uri)
    # The client's own, and those of requests and of files.
    except (MlflowException, OSError) as error:
        raise InputError(f"{uri}: {first_line(error)}") from error


def version_with(client: Any, name: str, alias: str) -> Any | None:
    """The version of the registered model `name` that has the alias; None where there is none."""
    found = client.search_registered_models(f"name = '{name}'")
    number = found[0].aliases.get(alias) if found else None
    return client.get_model_version(name, number) if number else None


def add_version(client: Any, run: Any, name: str, alias: str | None) -> Version:
    """Make the run's model a version of `name`, unless it is one, and give it the alias.

    Raises:
        InputError: the run has no model.
    """
    model = model_of(client, run)
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name, description=_what_it_is(name, run.data.params))
    versions = client.search_model_versions(f"name = '{name}'")
    known = [version for version in versions if version.run_id == run.info.run_id]
    version = known[0] if known else _create_version(client, name, run, model)
    if alias:
        client.set_registered_model_alias(name, alias, version.version)
    return Version(name, int(version.version), not known)


def _create_version(client: Any, name: str, run: Any, model: str) -> Any:
    # A database is asked here, where MLflow would look for `models:/…` in whatever store is this
    # process's default; a server looks in its own.
    is_database = Store(client.tracking_uri, "").is_database
    source = client.get_logged_model(model).artifact_location if is_database else f"models:/{model}"
    version = client.create_model_version(
        name,
        source,
        run.info.run_id,
        # A model's own page has it too, and what is known later goes there.
        description=run.data.tags.get(DESCRIPTION_TAG),
        model_id=model,
    )
    _name_in_model(client, model, version)
    return version


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
    with asking(uri) as client:
        run = client.get_run(run_id)
        return add_version(client, run, name or default_name(run), alias)


def _name_in_model(client: Any, model: str, version: Any) -> None:
    """What MLflow's pages of models go by, as its own `register_model` leaves it."""
    there = json.loads(client.get_logged_model(model).tags.get(_VERSIONS_TAG, "[]"))
    named = {"name": version.name, "version": int(version.version)}
    client.set_logged_model_tags(model, {_VERSIONS_TAG: json.dumps([*there, named])})


def _what_it_is(name: str, params: Mapping[str, str]) -> str:
    """The description of a registered model: what all its versions are, and how one is used."""
    network, data = params.get("model.name"), params.get("data.name")
    return f"""\
**{network}** for **{data}**, trained by convforge. Each version is the model of one run, and \
described as that.

```console
convforge predict models:/{name}@ALIAS IMAGE
convforge export models:/{name}@ALIAS --to onnx
mlflow models serve -m models:/{name}@ALIAS --env-manager local -p 5001
```

It takes image files, or pixels 0..255, and normalises them itself.
"""
