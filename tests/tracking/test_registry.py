"""`convforge register`: versions and aliases of a run's model, in a real store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest

from convforge.pipeline import cli
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.stages.train import train
from convforge.pipeline.tracking.registry import default_name
from convforge.pipeline.tracking.replay import State

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def runs(
    compose: Callable[..., Any], digits: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    """Two runs in one store."""
    root = tmp_path_factory.mktemp("registry")
    settings = compose("model=softmax_linear", "debug=one_step", "tracking=mlflow")
    folders = [root / "one", root / "two"]
    for folder in folders:
        train(settings, digits, folder, root, Progress(Verbosity.QUIET))
    return folders


def registered(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert cli.main(["register", *map(str, arguments)]) == 0
    return capsys.readouterr().out.strip()


def test_each_run_is_a_version_once_and_the_alias_goes_to_the_last_that_asks(
    runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = runs
    name = "softmax_linear-mnist5k"
    said = registered(capsys, one, "--alias", "champion")
    assert said == f"models:/{name}/1, models:/{name}@champion"
    said = registered(capsys, two, "--alias", "champion")
    assert said == f"models:/{name}/2, models:/{name}@champion"
    state = State.read(two)
    client = mlflow.MlflowClient(state.tracking_uri, state.tracking_uri)
    champion = client.get_model_version_by_alias(name, "champion")
    assert (str(champion.version), champion.run_id) == ("2", state.run_id)
    assert registered(capsys, one) == f"models:/{name}/1 (as before)"
    assert len(client.search_model_versions(f"name = '{name}'")) == 2


def test_a_run_is_found_by_its_id_in_the_store_that_the_environment_names(
    runs: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = State.read(runs[0])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(state.tracking_uri))
    assert registered(capsys, state.run_id, "--name", "mine") == "models:/mine/1"


def test_a_model_that_has_not_reached_the_store_says_how_it_will(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    State(key="k", tracking_uri="http://127.0.0.1:1").write(tmp_path)
    assert cli.main(["register", str(tmp_path)]) == 2
    assert "its model has not reached MLflow: `convforge sync`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "name"), [("classification", "net-data"), ("regression", "net-data-regression")]
)
def test_what_predicts_numbers_is_no_version_of_what_names_classes(task: str, name: str) -> None:
    params = {"model.name": "net", "data.name": "data", "task.name": task}
    assert default_name(SimpleNamespace(data=SimpleNamespace(params=params))) == name
