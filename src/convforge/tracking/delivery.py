"""From the journal to MLflow."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import convforge
from convforge.settings import MLflowTracking
from convforge.tracking.journal import Event, Journal
from convforge.tracking.store import (
    artifact_location,
    database_file,
    quiet_mlflow,
    tracking_uri,
)

RUN_FILE = "run.json"
# MLflow's own limits.
_PARAM_LENGTH = 6000
_KEY_LENGTH = 250


class Delivery:
    """Brings the events of one run's journal to MLflow, each once and in order.

    What was delivered is kept in `run.json` beside the journal: the run's id and the number of
    events, so that another process can go on where one stopped.

    Args:
        journal: of the run.
        settings: the store.
        root: the project's folder.
        run_id: an existing run to complete, or None to open one with the first event.
    """

    def __init__(
        self, journal: Journal, settings: MLflowTracking, root: Path, run_id: str | None = None
    ) -> None:
        self._journal = journal
        self._settings = settings
        self._uri = tracking_uri(settings, root)
        state = read_state(journal.folder)
        known = state.get("tracking_uri") == self._uri
        self._delivered = int(state["delivered"]) if known else 0
        self.run_id = state["run_id"] if known else run_id
        self._client: Any = None

    def deliver(self) -> None:
        """Send all events that were not sent yet."""
        for event in self._journal.events(self._delivered):
            _HANDLERS[event.kind](self, event)
            self._delivered += 1
            self._remember()

    def _remember(self) -> None:
        state = {"run_id": self.run_id, "tracking_uri": self._uri, "delivered": self._delivered}
        text = json.dumps(state, indent=2) + "\n"
        (self._journal.folder / RUN_FILE).write_text(text, encoding="utf-8")

    @property
    def client(self) -> Any:
        """An `MlflowClient` of the store, made at the first use."""
        if self._client is None:
            self._client = open_client(self._uri)
        return self._client

    def _begin(self, event: Event) -> None:
        content = event.content
        if self.run_id is None or not self._exists(self.run_id):
            experiment = experiment_id(self.client, self._settings.experiment, self._uri)
            run = self.client.create_run(experiment, event.time, run_name=content["name"])
            self.run_id = run.info.run_id
        self._log_labels(content["params"], content["tags"])

    def _log_labels(self, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        from mlflow.entities import Param, RunTag

        self.client.log_batch(
            self.run_id,
            params=[
                Param(key[:_KEY_LENGTH], str(value)[:_PARAM_LENGTH])
                for key, value in params.items()
            ],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )

    def _exists(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        return True

    def _dataset(self, event: Event) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        content = event.content
        dataset = Dataset(
            name=content["name"],
            # MLflow keeps 36 characters; the whole digest is among the run's tags.
            digest=content["digest"][:36],
            source_type="local",
            source=json.dumps({"uri": content["source"]}),
            profile=json.dumps(content["profile"]),
        )
        tags = [InputTag("mlflow.data.context", "training")]
        self.client.log_inputs(self.run_id, [DatasetInput(dataset, tags)])

    def _metrics(self, event: Event) -> None:
        from mlflow.entities import Metric

        step = event.content["step"]
        values: Mapping[str, float] = event.content["values"]
        metrics = [Metric(key, value, event.time, step) for key, value in values.items()]
        self.client.log_batch(self.run_id, metrics=metrics)

    def _artifact(self, event: Event) -> None:
        path = self._journal.folder / event.content["path"]
        self.client.log_artifact(self.run_id, str(path), event.content["folder"] or None)

    def _model(self, event: Event) -> None:
        import mlflow

        signature = mlflow.models.ModelSignature.from_dict(event.content["signature"])
        with (
            _default_store(self._uri),
            mlflow.start_run(run_id=self.run_id),
            warnings.catch_warnings(),
        ):
            # It asks for an input example, which makes logging fail or run the model.
            warnings.simplefilter("ignore", UserWarning)
            mlflow.pyfunc.log_model(
                name="model",
                loader_module="convforge.serving",
                data_path=str(self._journal.folder / event.content["path"]),
                signature=signature,
                pip_requirements=[f"convforge=={convforge.__version__}"],
            )

    def _end(self, event: Event) -> None:
        self.client.set_terminated(self.run_id, event.content["status"], event.time)


_HANDLERS: dict[str, Callable[[Delivery, Event], None]] = {
    "begin": Delivery._begin,
    "dataset": Delivery._dataset,
    "metrics": Delivery._metrics,
    "artifact": Delivery._artifact,
    "model": Delivery._model,
    "end": Delivery._end,
}


@contextmanager
def _default_store(uri: str) -> Iterator[None]:
    """`uri` as the store of MLflow's fluent API, which keeps it for the whole process."""
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before or "")
        if before is None:
            os.environ.pop("MLFLOW_TRACKING_URI", None)


def read_state(folder: Path) -> dict[str, Any]:
    """What `run.json` in a run's folder says: `run_id`, `tracking_uri`, `delivered`; or nothing."""
    path = folder / RUN_FILE
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def open_client(uri: str) -> Any:
    """An `MlflowClient`; a local database is created by one process at a time.

    Several processes that create one SQLite store at once destroy it.
    """
    quiet_mlflow()
    import mlflow
    from filelock import FileLock

    database = database_file(uri)
    if database is None:
        return mlflow.MlflowClient(uri)
    with FileLock(database.with_name(f"{database.name}.lock")):
        client = mlflow.MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


def experiment_id(client: Any, name: str, uri: str) -> str:
    """The id of the experiment `name`, made where it is new."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location(uri)))
        except MlflowException:  # Another job of the sweep was faster.
            found = client.get_experiment_by_name(name)
    return str(found.experiment_id)
