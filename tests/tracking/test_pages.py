"""What MLflow's pages show at the first look: columns, charts, descriptions, the machine's load."""

from __future__ import annotations

import base64
import json
import shutil
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_ui import running_ui, wait_until

from convforge.pipeline import cli
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.stages.evaluate import evaluate
from convforge.pipeline.stages.train import RunLabel, train
from convforge.pipeline.tracking import system_metrics as machine
from convforge.pipeline.tracking.description import COMMAND_TAG, RunDescription, figures_of_epoch
from convforge.pipeline.tracking.experiment_view import (
    DESCRIPTION_TAG,
    VIEW_TAG,
    charts,
    experiment_tags,
    view,
)
from convforge.pipeline.tracking.journal import SYSTEM, Journal
from convforge.pipeline.tracking.mlflow_client import MLflowStore, experiment_id, open_client
from convforge.pipeline.tracking.replay import Replay, State
from convforge.pipeline.tracking.store import Store
from convforge.pipeline.tracking.ui_app import create_app, entry_page

QUIET = Progress(Verbosity.QUIET)
COMMAND = "convforge train model=softmax_linear"
# What the first look at a classifier's experiment has, from left to right.
COLUMNS = ("test_accuracy", "val_accuracy", "test_loss", "val_loss", "Duration", "trainer.epochs")


def saved_view(tag: str) -> dict[str, Any]:
    """The state in a tag, read as MLflow's page reads it."""
    saved = json.loads(tag)
    assert isinstance(saved["name"], str)
    assert isinstance(saved["createdAt"], int)
    kind, state = saved["state"].split(";")
    assert kind == "deflate"
    return json.loads(zlib.decompress(base64.b64decode(state)))  # type: ignore[no-any-return]


class Pages:
    """A run that was trained and evaluated, its store, and what there is of both."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = State.read(root / "run")
        self.client = open_client(str(self.state.tracking_uri), print)
        self.run = self.client.get_run(self.state.run_id)


@pytest.fixture(scope="module")
def tested(
    compose: Callable[..., Settings], digits: Path, tmp_path_factory: pytest.TempPathFactory
) -> Pages:
    root = tmp_path_factory.mktemp("pages")
    settings = compose(
        "model=softmax_linear",
        "augment=none",
        "trainer.epochs=2",
        "trainer.limit_steps=2",
        "tracking.system_metrics_seconds=0.1",
    )
    train(settings, digits, root / "run", root, QUIET, RunLabel("a name", {}, COMMAND))
    (root / "run" / "pictures").mkdir()  # Of which none need be drawn.
    evaluate(settings, root / "run", digits, root / "run" / "evaluate", root, QUIET)
    return Pages(root)


@pytest.mark.integration
def test_an_experiment_has_a_view_of_the_figures_that_matter(tested: Pages) -> None:
    tags = tested.client.get_experiment(tested.run.info.experiment_id).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert tags[DESCRIPTION_TAG].startswith("Networks for images")
    state = saved_view(tags[VIEW_TAG])
    assert state == view()
    known = {
        *(f"metrics.`{name}`" for name in tested.run.data.metrics),
        *(f"params.`{name}`" for name in tested.run.data.params),
    }
    shown = [name for name in state["columnOrder"] if name in known or name == "duration"]
    assert set(shown) - {"duration"} <= set(state["selectedColumns"])
    assert [name.split("`")[-2] if "`" in name else "Duration" for name in shown] == [
        *COLUMNS,
        "model.name",
        "data.name",
        "optimizer.learning_rate",
    ]
    # The page does not show the columns of a view with a key that it does not know.
    assert state["orderByKey"] == "attributes.start_time"
    assert {"searchFilter", "startTime", "lifecycleFilter", "datasetsFilter"} <= state.keys()


@pytest.mark.integration
def test_training_and_validation_share_a_chart_and_no_chart_is_a_point(tested: Pages) -> None:
    shown = [chart for chart in charts()["compareRunCharts"] if not chart["deleted"]]
    hidden = [chart for chart in charts()["compareRunCharts"] if chart["deleted"]]
    together = [chart["selectedMetricKeys"] for chart in shown]
    assert ["loss", "val_loss"] in together
    assert ["accuracy", "val_accuracy"] in together
    assert {chart["metricSectionId"] for chart in (*shown, *hidden)} <= {
        section["uuid"] for section in charts()["compareRunSections"]
    }
    in_lines = {name for names in together for name in names}
    # The page makes a chart of its own for a figure of which no chart is the first.
    known = {chart["metricKey"] for chart in (*shown, *hidden)}
    assert tested.run.data.metrics.keys() - known == {
        name for name in tested.run.data.metrics if name.startswith(machine.PREFIX)
    }
    for name in in_lines & tested.run.data.metrics.keys():
        assert len(tested.client.get_metric_history(tested.run.info.run_id, name)) > 1
    for name in {chart["metricKey"] for chart in hidden} - in_lines:
        assert len(tested.client.get_metric_history(tested.run.info.run_id, name)) <= 1


@pytest.mark.integration
def test_what_a_person_has_set_of_an_experiment_stays_and_the_rest_is_added(tested: Pages) -> None:
    uri, client = str(tested.state.tracking_uri), tested.client
    mine = {DESCRIPTION_TAG: "mine", "mlflow.experimentKind": "finetuning"}
    there = client.create_experiment("there", tags=mine)
    for _ in range(2):
        assert experiment_id(client, "there", uri) == there
        tags = client.get_experiment(there).tags
        assert mine.items() <= tags.items()
        assert saved_view(tags[VIEW_TAG]) == view()
        client.set_experiment_tag(there, DESCRIPTION_TAG, "")
        mine[DESCRIPTION_TAG] = ""


def test_the_tags_of_an_experiment_fit_into_mlflows() -> None:
    assert all(len(value) < 5000 for value in experiment_tags().values())


@pytest.mark.integration
def test_a_run_says_what_it_is_what_it_reached_and_how_to_repeat_it(
    tested: Pages, digits: Path
) -> None:
    text = tested.run.data.tags[DESCRIPTION_TAG]
    figures = json.loads((tested.root / "run" / "evaluate" / "metrics.json").read_text())
    first, table, weights, artifacts, repeat, command = text.strip().split("\n\n")
    assert first == (
        f"**Test accuracy {figures['test_accuracy']:.2%}**: **softmax\\_linear**, 7,850 "
        "parameters, on **mnist5k**, 10 classes, 28×28×1 pixels, 250 train, 50 validation, "
        "100 test."
    )
    assert [row.count("|") for row in table.splitlines()] == [5] * 4
    assert f"| {figures['test_loss']:.4f} |" in table.splitlines()[-1]
    assert weights == "Weights of epoch 2, the last; 2 epochs asked for."
    assert "`pictures/`" in artifacts
    assert repeat == "To repeat it:"
    assert command == "```console\nconvforge train model=softmax_linear\n```"
    (model,) = tested.client.search_logged_models([tested.run.info.experiment_id])
    assert model.tags[DESCRIPTION_TAG] == text


def test_a_description_of_numbers_has_no_accuracy_and_strange_names_stay_text(
    digits: Path,
) -> None:
    manifest = Manifest.read(digits).model_copy(update={"name": "a|*b*"})
    text = RunDescription(
        "net",
        1,
        manifest,
        1,
        tags={COMMAND_TAG: "dvc repro", "mlflow.source.git.commit": "f" * 40},
        weights="weights of epoch 1, the last",
        figures={"mae": 3.5, "val_mae": 4.25, "test_mae": 5.0, "test_rmse": 6.0, "loss": 0.5},
    ).text
    assert text.startswith("**Test mean absolute error 5**: **net**, 1 parameter, on **a\\|\\*b\\*")
    assert "| mean absolute error | 3.5 | 4.25 | 5 |" in text
    assert "| root mean square error |  |  | 6 |" in text
    assert "accuracy" not in text
    assert text.endswith("```console\ngit checkout ffffffff\ndvc repro\n```\n")
    assert "Not tested yet." in RunDescription("net", 1, manifest, 1, {}, weights="w").text


def test_the_figures_are_those_of_the_weights_epoch(tmp_path: Path) -> None:
    history = tmp_path / "history.csv"
    assert figures_of_epoch(history, 1) == {}
    history.write_text("epoch,loss\n1,0.5\n2,0.25\n")
    assert figures_of_epoch(history, 1) == {"epoch": 1.0, "loss": 0.5}
    assert figures_of_epoch(history, None)["loss"] == 0.25


def _delivered(journal: Journal, uri: str) -> tuple[Any, str]:
    store = MLflowStore(Store(uri, "pages"), print)
    delivery = Replay(journal, store, warn=pytest.fail, say=print)
    while delivery.send():
        pass
    delivery.release()
    assert delivery.state.run_id is not None
    return store.client, delivery.state.run_id


@pytest.mark.integration
def test_a_later_description_replaces_an_earlier_one_but_not_a_persons(
    tested: Pages, tmp_path: Path
) -> None:
    journal = Journal(tmp_path)
    journal.begin(name="n", tags={}, params={}, key="key")
    for text in ("begun", "ended"):
        journal.description(text)
        client, run = _delivered(journal, str(tested.state.tracking_uri))
        assert client.get_run(run).data.tags[DESCRIPTION_TAG] == text
    client.set_tag(run, DESCRIPTION_TAG, "a person's")
    journal.description("tested")
    _delivered(journal, str(tested.state.tracking_uri))
    assert client.get_run(run).data.tags[DESCRIPTION_TAG] == "a person's"


@pytest.mark.integration
def test_a_run_has_lasted_as_long_as_its_training(tested: Pages) -> None:
    """However much later it is tested."""
    *_, end = Journal(tested.root / "run").events()
    assert end.content == {"status": "FINISHED"}
    assert (tested.run.info.status, tested.run.info.end_time) == ("FINISHED", end.time)


@pytest.mark.integration
def test_the_models_figures_name_the_data_that_they_were_measured_on(tested: Pages) -> None:
    (model,) = tested.client.search_logged_models([tested.run.info.experiment_id])
    sets = {(metric.dataset_name, metric.dataset_digest) for metric in model.metrics}
    (entry,) = (
        each.dataset
        for each in tested.run.inputs.dataset_inputs
        if each.dataset.name == "mnist5k-test"
    )
    assert sets == {("mnist5k-test", entry.digest)}


@pytest.mark.integration
def test_a_registered_model_and_its_version_are_described(
    tested: Pages, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["register", str(tested.root / "run"), "--name", "mine"]) == 0
    assert "convforge predict models:/mine@ALIAS" in (
        tested.client.get_registered_model("mine").description
    )
    version = tested.client.get_model_version("mine", "1")
    assert version.description == tested.run.data.tags[DESCRIPTION_TAG]
    (model,) = tested.client.search_logged_models([tested.run.info.experiment_id])
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "mine", "version": 1}]


@pytest.mark.integration
def test_the_machines_load_is_among_a_runs_figures_beside_those_of_its_epochs(
    tested: Pages,
) -> None:
    names = {name for name in tested.run.data.metrics if name.startswith(machine.PREFIX)}
    assert {
        "system/cpu_utilization_percentage",
        "system/system_memory_usage_megabytes",
        "system/disk_usage_percentage",
    } <= names
    rows = tested.client.get_metric_history(
        tested.run.info.run_id, "system/system_memory_usage_megabytes"
    )
    assert [row.step for row in rows] == list(range(len(rows)))
    assert all(row.value > 0 for row in rows)
    journal = Journal(tested.root / "run")
    assert journal.last_system_step == len(rows) - 1
    assert set(journal.recorded_metrics()) == {1, 2}
    assert "loss" in journal.last_metrics
    assert not [thread for thread in threading.enumerate() if thread.name == machine.THREAD]


@contextmanager
def _measured(folder: Path, warn: Callable[[str], None]) -> Iterator[Journal]:
    journal = Journal(folder)
    with machine.system_metrics(journal, 0.01, warn):
        yield journal


def test_a_run_that_goes_on_counts_the_points_on_and_nothing_follows_its_end(
    tmp_path: Path,
) -> None:
    counts = []
    for _ in range(2):
        with _measured(tmp_path, pytest.fail) as journal:
            before = journal.last_system_step
            wait_until(lambda: journal.last_system_step > before + 1, "no point")  # noqa: B023
        journal.end("FINISHED")
        counts.append(journal.count())
    time.sleep(0.05)
    assert journal.count() == counts[-1]
    assert journal.status == "FINISHED"
    steps = [event.content["step"] for event in journal.events() if event.kind == SYSTEM]
    assert steps == list(range(len(steps)))


def test_what_cannot_be_measured_or_written_is_told_once_and_stops_no_run(
    tmp_path: Path,
) -> None:
    told: list[str] = []
    (tmp_path / "no folder").touch()
    with _measured(tmp_path / "no folder", told.append):
        wait_until(lambda: bool(told), "not told")
    assert len(told) == 1
    assert "no system metrics any more" in told[0]


def test_the_page_that_leads_to_mlflows_keeps_what_a_person_chose_and_is_no_way_in() -> None:
    page = entry_page("1")
    (line,) = (line for line in page.splitlines() if line.strip().startswith("const given"))
    given = json.loads(line.split("=", 1)[1].strip().rstrip(";"))
    assert given["storage"]["mlflow.workflowType_v1"] == "machine_learning"
    assert given["storage"][given["view_key"]] == view()
    assert "getItem(key) === null" in page
    strange = entry_page("1</script><script>alert(1)//")
    assert strange.count("</script>") == page.count("</script>") == 1


def test_mlflows_application_has_the_page() -> None:
    from mlflow.server import app

    create_app()
    answer = app.test_client().get("/convforge/7")
    assert answer.status_code == 200
    assert '"experiment": "7"' in answer.text


@pytest.mark.slow
def test_the_pages_open_in_a_browser_and_show_the_figures_at_the_first_look(
    tested: Pages, project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: `.[docs]`")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on the PATH")
    from mlflow_server import free_port

    port = free_port()
    store = f"tracking.uri='{tested.state.tracking_uri}'"
    with (
        running_ui(project, port, store),
        tempfile.TemporaryDirectory() as profile,
        playwright.sync_playwright() as driver,
    ):
        wait_until(lambda: "http://" in (project / "out").read_text(), "no address")
        (line,) = (project / "out").read_text().splitlines()
        # The same is a server to whoever does not run it.
        server = f"http://127.0.0.1:{port}"
        assert cli.main(["ui", f"tracking.uri={server}"]) == 0
        said = capfd.readouterr().out
        assert said.startswith(f"the runs are at {server}/#/experiments/1/runs?viewStateShareKey=")
        context = driver.chromium.launch_persistent_context(
            profile,
            executable_path=browser,
            args=["--no-sandbox", "--headless=new", "--disable-gpu"],
            viewport={"width": 1600, "height": 900},
        )
        page = context.pages[0]
        page.set_default_timeout(120_000)  # A machine with other work takes its time.
        page.goto(line.removeprefix("MLflow: ").partition(" ")[0])
        for column in (*COLUMNS, "model.name", "data.name"):
            page.get_by_role("columnheader", name=column).first.wait_for()
        accuracy = tested.run.data.metrics["test_accuracy"]
        page.get_by_text(f"{accuracy:g}", exact=True).first.wait_for()
        page.get_by_role("link", name="a name").click()
        page.get_by_text("To repeat it").first.wait_for(state="attached")
        page.get_by_role("tab", name="Model metrics").click()
        page.get_by_text("loss vs val_loss").wait_for()
        page.get_by_text("accuracy vs val_accuracy").wait_for()
        assert page.get_by_text("test_accuracy").count() == 0
        # The pages for language models have others.
        assert page.get_by_text("Evaluation runs").count() == 0
        page.get_by_role("tab", name="System metrics").click()
        page.get_by_text("cpu_utilization_percentage").first.wait_for()
        page.get_by_role("link", name="Models", exact=True).click()
        page.get_by_text("mnist5k-test").first.wait_for()
        # With a state of their own a person sees the view as a shared one, and keeps theirs.
        page.evaluate("localStorage.removeItem('convforge.entered.1')")
        page.goto(line.removeprefix("MLflow: ").partition(" ")[0])
        page.get_by_text("You're viewing a shared view").wait_for()
        page.get_by_role("columnheader", name="test_accuracy").first.wait_for()
        context.close()
