"""MLflow's API as requests that may be repeated: what is there already is not logged again."""

from __future__ import annotations

import importlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from convforge.errors import InputError
from convforge.pipeline.filesystem import checksum
from convforge.pipeline.tracking.client import (
    Figure,
    OnRefusal,
    RefusedError,
    UnreachableError,
)
from convforge.pipeline.tracking.experiment_view import DESCRIPTION_TAG, experiment_tags
from convforge.pipeline.tracking.journal import KEY_TAG, PARENT_TAG
from convforge.pipeline.tracking.logged_model import write_mlflow_model
from convforge.pipeline.tracking.sqlite_store import make_store
from convforge.pipeline.tracking.store import (
    RUN_ID,
    Store,
    artifact_location,
    database_file,
    quiet_mlflow,
)

MLFLOW_PARENT = "mlflow.parentRunId"
MODEL = "model"
_DESCRIBED_TAG = "convforge.description"
# What is measured on the test split is the model's.
_TESTED = "test_"
_TESTING = "testing"
# MLflow's own limits.
_PARAM_LENGTH = 6000
_TAG_LENGTH = 8000
_KEY_LENGTH = 250
_LABELS_A_REQUEST = 100
_METRICS_A_REQUEST = 1000
# Codes of answers that the same request would get again.
_REFUSALS = (
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "MALFORMED_REQUEST",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_CONFLICT",
    "RESOURCE_DOES_NOT_EXIST",
    "RESOURCE_LIMIT_EXCEEDED",
)
_REFUSED_UPLOADS = (400, 405, 411, 413, 414, 415, 422)


# What a run imports by and by, found by watching the sending thread of whole runs.
_MODULES = (
    *("mlflow", "mlflow.entities", "mlflow.models", "mlflow.pyfunc"),
    "mlflow.tracking._model_registry.client",
    *("mlflow.store.tracking.rest_store", "mlflow.store.tracking.sqlalchemy_store"),
    *("mlflow.store.tracking.sqlalchemy_workspace_store", "mlflow.store.workspace.utils"),
    *("mlflow.store.artifact.local_artifact_repo", "mlflow.store.artifact.mlflow_artifacts_repo"),
    *("mlflow.store.model_registry.sqlalchemy_store", "mlflow.utils.search_logged_model_utils"),
    *("sqlalchemy.dialects.sqlite", "sqlalchemy.dialects.sqlite.pysqlite"),
    *("alembic.command", "alembic.config"),
)


@contextmanager
def answers() -> Iterator[None]:
    """Whatever MLflow raises inside, as a refusal or as no answer, with a line that says why."""
    try:
        yield
    except (RefusedError, UnreachableError):
        raise
    except Exception as error:
        raise (RefusedError if _is_refusal(error) else UnreachableError)(_why(error)) from error


def _is_refusal(error: Exception) -> bool:
    # Of the model's folder: a card that is damaged stays so.
    if isinstance(error, FileNotFoundError | InputError):
        return True
    code = getattr(error, "error_code", None)
    if code is not None:
        # Not of MLflow's making: what answers at this address may be another server, or a proxy.
        foreign = type(error).__name__ != "RestException" and str(error).startswith("API request")
        return code in _REFUSALS and not foreign
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status in _REFUSED_UPLOADS


def _why(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, InputError):
        return text
    if "mlflow db upgrade" in text:
        return "its tables are an older MLflow's: run `mlflow db upgrade` on this address"
    if "Connection refused" in text:
        return "connection refused"
    if "imed out" in text or "timeout" in text:
        return "no answer in time"
    if found := re.search(r"too many (\d+) error responses", text):
        return f"it answers with error {found[1]}"
    if found := re.search(r"'(\w[^']*)', \w+\([^)]*\)\)+$", text):
        return found[1]
    return text if len(text) <= 160 else f"{text[:157]}..."


def import_mlflow(uri: str) -> None:
    """Import all of MLflow that a run to the store at `uri` needs.

    To be called on the main thread, before anything is traced. Some of these modules parse source,
    as tracing does, and CPython counts the depth of syntax trees for all threads together: both at
    once end in a SystemError, "AST constructor recursion depth mismatch", in either thread.
    """
    quiet_mlflow()
    for module in _MODULES:
        importlib.import_module(module)
    dialect = uri.partition(":")[0].partition("+")[0]
    # A database whose driver is missing is told of when it is used.
    with suppress(ImportError):
        importlib.import_module(f"sqlalchemy.dialects.{dialect}")


def open_client(uri: str, warn: Callable[[str], None]) -> Any:
    """An `MlflowClient`; a local database is made where there is none.

    Args:
        uri: of the store.
        warn: told of a half-made database that was put aside.
    """
    import_mlflow(uri)
    import mlflow

    database, artifacts = database_file(uri), artifact_location(uri)
    if database is not None and artifacts is not None:
        make_store(database, artifacts, warn)
    return mlflow.MlflowClient(uri)


def experiment_id(client: Any, name: str, uri: str) -> str:
    """The id of the experiment `name`, made where it is new, with the tags of its pages."""
    from mlflow.exceptions import MlflowException

    tags = experiment_tags()
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location(uri), tags))
        except MlflowException:  # Another job of the sweep was faster.
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    # Those that it has are a person's, or from before.
    for key in tags.keys() - found.tags.keys():
        try:
            client.set_experiment_tag(found.experiment_id, key, tags[key])
        except MlflowException as error:
            if not _is_refusal(error):
                raise
    return str(found.experiment_id)


class MLflowStore:
    """A `TrackingClient` of MLflow.

    Args:
        store: the address, and the experiment that runs belong to.
        warn: told of a half-made database that was put aside.
    """

    def __init__(self, store: Store, warn: Callable[[str], None]) -> None:
        self.store = store
        self._warn = warn
        self._client: Any = None
        self._experiment: str | None = None

    @property
    def uri(self) -> str:
        """The store's address."""
        return self.store.uri

    @property
    def is_local(self) -> bool:
        """Whether no network is between us and it."""
        return self.store.is_local

    @property
    def figures_a_request(self) -> int:
        """MLflow's own limit."""
        return _METRICS_A_REQUEST

    def prepare(self) -> None:
        """Import MLflow, on the main thread."""
        import_mlflow(self.uri)

    @property
    def client(self) -> Any:
        """The client."""
        with answers():
            if self._client is None:
                self._client = open_client(self.store.uri, self._warn)
            return self._client

    @property
    def experiment(self) -> str:
        """The experiment's id."""
        with answers():
            if self._experiment is None:
                self._experiment = experiment_id(self.client, self.store.experiment, self.store.uri)
            return self._experiment

    def exists(self, run_id: str) -> bool:
        """Whether the store has this run."""
        try:
            with answers():
                self.client.get_run(run_id)
        except RefusedError:
            return False
        return True

    def runs_with(self, key: str, tag: str = KEY_TAG) -> list[Any]:
        """All runs that carry `key` as their `tag`."""
        runs: list[Any] = []
        token: str | None = None
        with answers():
            while True:
                page = self.client.search_runs(
                    [self.experiment], f"tags.`{tag}` = '{key}'", page_token=token
                )
                runs += page
                token = page.token
                if not token:
                    return runs

    def begin(
        self, key: str, *, name: str, time: int, tags: Mapping[str, str], completes: str | None
    ) -> tuple[str, bool]:
        """The run with this key, and whether it is new."""
        there = [str(run.info.run_id) for run in self.runs_with(key)]
        if there:
            run_id = completes if completes and completes in there else there[0]
            if completes is None:
                self.reopen(run_id)
            return run_id, False
        # If no answer comes, there may be one all the same.
        try:
            with answers():
                run = self.client.create_run(
                    self.experiment,
                    time,
                    # Its parent comes with its labels.
                    tags={**tags, KEY_TAG: key},
                    run_name=name,
                )
        except RefusedError as error:
            # Without a run nothing can be sent: wait for a better day.
            raise UnreachableError(str(error)) from error
        return str(run.info.run_id), True

    def remove_repeats(self, key: str, run_id: str, model_id: str | None) -> None:
        """Delete the runs and models of requests that were believed lost and sent again."""
        with answers():
            for run in self.runs_with(key):
                if run.info.run_id != run_id:
                    self.client.delete_run(run.info.run_id)
            for model in self._models(run_id) if model_id else []:
                if model.model_id != model_id:
                    self.client.delete_logged_model(model.model_id)

    def adopt(self, key: str, run_id: str) -> None:
        """Make `run_id` the parent of the runs that name `key` and came before it."""
        with answers():
            for child in self.runs_with(key, PARENT_TAG):
                if MLFLOW_PARENT not in child.data.tags:
                    self.client.set_tag(child.info.run_id, MLFLOW_PARENT, run_id)

    def _with_parent(self, tags: Mapping[str, str]) -> Mapping[str, str]:
        """`tags`, and the one by which MLflow finds a run's parent, once the store has it."""
        parent = self._parent_id(tags[PARENT_TAG]) if PARENT_TAG in tags else None
        return {**tags, MLFLOW_PARENT: parent} if parent else tags

    def _parent_id(self, name: str) -> str | None:
        """The run whose key, or whose id, is `name`; None while the store has it not."""
        found = self.runs_with(name)
        if found:
            return str(found[0].info.run_id)
        return name if re.fullmatch(RUN_ID, name) and self.exists(name) else None

    def label(
        self, run_id: str, params: Mapping[str, Any], tags: Mapping[str, str], refused: OnRefusal
    ) -> None:
        """Params and tags, cut to MLflow's limits."""
        from mlflow.entities import Param, RunTag

        short = {key[:_KEY_LENGTH]: str(value)[:_PARAM_LENGTH] for key, value in params.items()}
        labels = self._with_parent(tags)
        texts = {key[:_KEY_LENGTH]: value[:_TAG_LENGTH] for key, value in labels.items()}
        sent = [Param(key, value) for key, value in short.items()]
        for part in _parts(sent):
            _one_by_one(part, lambda some: self._batch(run_id, params=some), refused)
        for part in _parts([RunTag(key, value) for key, value in texts.items()]):
            _one_by_one(part, lambda some: self._batch(run_id, tags=some), refused)

    def _batch(self, run_id: str, **what: Any) -> None:
        with answers():
            self.client.log_batch(run_id, **what)

    def describe(self, run_id: str, text: str) -> None:
        """The description of the run and, once it has one, of its model.

        A tag keeps the digest of the last one written here: another is a person's.
        """
        from mlflow.entities import RunTag

        text = text[:_TAG_LENGTH]
        tags = {DESCRIPTION_TAG: text, _DESCRIBED_TAG: checksum.of_text(text)}
        with answers():
            if _is_free(self.client.get_run(run_id).data.tags):
                self._batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
            for model in self._models(run_id):
                if _is_free(model.tags):
                    self.client.set_logged_model_tags(model.model_id, tags)

    def metrics(self, run_id: str, figures: Sequence[Figure], refused: OnRefusal) -> None:
        """At most `figures_a_request` figures; a store drops rows that it has."""
        from mlflow.entities import Metric

        of_model: dict[str, Any] = {}
        if any(each.name.startswith(_TESTED) for each in figures):
            with answers():
                of_model = self._tested(run_id)
        metrics = [
            Metric(
                each.name,
                each.value,
                each.time,
                each.step,
                **(of_model if each.name.startswith(_TESTED) else {}),
            )
            for each in figures
        ]
        _one_by_one(metrics, lambda some: self._batch(run_id, metrics=some), refused)

    def _tested(self, run_id: str) -> dict[str, Any]:
        """What a figure on the test split belongs to: the run's model, and the data set.

        MLflow's page of models has columns for figures with both, and its API sorts by them.
        """
        model = next((each.model_id for each in self._models(run_id)), None)
        if model is None:
            return {}
        sets = [
            entry.dataset
            for entry in self.client.get_run(run_id).inputs.dataset_inputs
            if any(tag.value == _TESTING for tag in entry.tags)
        ]
        named = {"dataset_name": sets[0].name, "dataset_digest": sets[0].digest} if sets else {}
        return {"model_id": model, **named}

    def history(self, run_id: str, name: str) -> dict[int, float]:
        """The figure's value at each step that the run has."""
        with answers():
            rows = self.client.get_metric_history(run_id, name)
            return {row.step: row.value for row in rows}

    def dataset(self, run_id: str, content: Mapping[str, Any]) -> None:
        """A store has each name and digest once."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=content["name"],
            # MLflow keeps 36 characters; the whole digest is among the run's tags.
            digest=content["digest"][:36],
            source_type="local",
            source=json.dumps({"uri": content["source"]}),
            profile=json.dumps(content["profile"]),
            schema=_dataset_schema(content["profile"]),
        )
        # A journal from before there were two has none.
        tags = [InputTag("mlflow.data.context", content.get("context", "training"))]
        inputs = [DatasetInput(dataset, tags)]
        try:
            with answers():
                self.client.log_inputs(run_id, inputs)
        except UnreachableError as error:
            if "UNIQUE constraint" not in str(error.__cause__):
                raise
            # Another job has entered the same data set between MLflow's look and its insertion.
            with answers():
                self.client.log_inputs(run_id, inputs)

    def artifact(self, run_id: str, path: Path, folder: str) -> None:
        """A file; it overwrites itself."""
        with answers():
            if not path.is_file():
                raise RefusedError(f"{path} is gone")
            self.client.log_artifact(run_id, str(path), folder or None)

    def model(self, run_id: str, path: Path, known: str | None) -> Iterator[str]:
        """Log the model in the folder `path`; yields its id before anything is uploaded to it.

        Not by MLflow's `log_model`, which makes another model when it is called again, and keeps
        store and run for the whole process.
        """
        with answers():
            from mlflow.entities import LoggedModelOutput
            from mlflow.models import Model

            if not path.is_dir():
                raise RefusedError(f"{path} is gone")
            model = self._logged_model(run_id, known)
            yield model.model_id
            if not any(
                output.model_id == model.model_id
                for output in self.client.get_run(run_id).outputs.model_outputs
            ):
                self.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
            with tempfile.TemporaryDirectory() as folder:
                local = Path(folder) / MODEL
                described = Model(
                    artifact_path=model.artifact_location,
                    model_uuid=model.model_id,
                    run_id=run_id,
                    model_id=model.model_id,
                )
                write_mlflow_model(path, local, described)
                self.client.log_model_artifacts(model.model_id, str(local))
            self.client.finalize_logged_model(model.model_id, "READY")

    def _logged_model(self, run_id: str, known: str | None) -> Any:
        there = self._models(run_id)
        for model in there:
            if model.model_id == known:
                return model
        if there:
            return there[0]
        params = self.client.get_run(run_id).data.params
        return self.client.create_logged_model(
            self.experiment,
            name=params.get("model.name", MODEL),
            source_run_id=run_id,
            params=params,
        )

    def _models(self, run_id: str) -> list[Any]:
        # A run has one or two: the second is a lost request's.
        return list(
            self.client.search_logged_models([self.experiment], f"source_run_id = '{run_id}'")
        )

    def end(self, run_id: str, status: str, time: int) -> None:
        """The run has ended; one that had ended before, as a tested one, keeps its duration."""
        with answers():
            if self.client.get_run(run_id).info.status == "RUNNING":
                self.client.set_terminated(run_id, status, time)
            else:
                self.client.update_run(run_id, status)

    def reopen(self, run_id: str) -> None:
        """The run goes on."""
        with answers():
            self.client.update_run(run_id, status="RUNNING")


def _dataset_schema(profile: Mapping[str, Any]) -> str | None:
    """The shapes and types of images and labels, as MLflow shows them."""
    from mlflow.data.schema import TensorDatasetSchema
    from mlflow.types import Schema, TensorSpec

    if "image" not in profile:
        return None
    images = TensorSpec(np.dtype("uint8"), (-1, *profile["image"]), "image")
    labels = TensorSpec(np.dtype("int64"), (-1,), "class")
    targets = Schema([labels]) if profile.get("classes") else None
    return json.dumps(TensorDatasetSchema(Schema([images]), targets).to_dict())


def _is_free(tags: Mapping[str, str]) -> bool:
    """Whether no person has described what has these `tags`."""
    there = tags.get(DESCRIPTION_TAG, "")
    return not there or checksum.of_text(there) == tags.get(_DESCRIBED_TAG)


def _parts(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), _LABELS_A_REQUEST):
        yield items[start : start + _LABELS_A_REQUEST]


def _one_by_one(
    items: Sequence[Any], send: Callable[[Sequence[Any]], None], refused: OnRefusal
) -> None:
    """Send `items` together; where the store refuses them, each alone, so that the good arrive."""
    if not items:
        return
    try:
        send(items)
    except RefusedError as error:
        if len(items) == 1:
            refused(items[0].key, str(error))
            return
        for item in items:
            _one_by_one([item], send, refused)
