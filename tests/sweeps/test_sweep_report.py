"""The table and the picture of a sweep's jobs, from what the jobs have left in their folders."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convforge.pipeline.report import sweep as pictures
from convforge.pipeline.report.sweep import Point, draw_sweep
from convforge.pipeline.stages.train import PRUNED_TAG
from convforge.pipeline.sweeps.parent_run import SweepSummary
from convforge.pipeline.tracking.journal import PARENT_TAG, Journal
from convforge.pipeline.tracking.replay import State

SUMMARY = SweepSummary(
    "model=a,b", "convforge train -m model=a,b 'x=1,2|3'", {"model": "a,b", "+x": "1,2|3"}, 4
)


def _job(
    folder: Path, overrides: list[str], losses: list[float], status: str | None, parent: str = "p"
) -> Journal:
    (folder / ".hydra").mkdir(parents=True)
    record = "".join(f"- {json.dumps(item)}\n" for item in overrides)
    (folder / ".hydra" / "overrides.yaml").write_text(record)
    journal = Journal(folder)
    name = " ".join(overrides)
    journal.begin(name=name, tags={PARENT_TAG: parent}, params={}, key=folder.name)
    for epoch, loss in enumerate(losses, 1):
        figures = {"val_loss": loss, "val_accuracy": 1 - loss, "learning_rate": 0.1}
        journal.metrics(figures, epoch)
    if status == "PRUNED":
        journal.tags({PRUNED_TAG: "worse"})
    if status is not None:
        journal.end("KILLED" if status == "PRUNED" else status)
    State(key=folder.name, run_id=f"run-{folder.name}").write(folder)
    return journal


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    _job(tmp_path / "0", ["model=a", "+x=1"], [0.5, 0.4], "FINISHED")
    _job(tmp_path / "1", ["model=b", "+x=1"], [0.6], "PRUNED")
    _job(tmp_path / "2", ["model=a", "+x=2|3"], [0.3, 0.2], "FINISHED")
    _job(tmp_path / "10", ["model=b", "+x=2|3"], [], "FAILED")
    _job(tmp_path / "9", ["model=b", "+x=4"], [0.1], None).release()
    _job(tmp_path / "other", ["model=b", "+x=1"], [0.01], "FINISHED", parent="another sweep")
    tested = tmp_path / "2" / "evaluate"
    tested.mkdir()
    (tested / "metrics.json").write_text('{"test_accuracy": 0.75, "test_images": 100}')
    journal = Journal(tested)
    journal.begin(name="test", tags={PARENT_TAG: "p"}, params={}, key="2", completes="run-2")
    journal.end("FINISHED")
    return tmp_path


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "jobs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_has_a_row_for_each_job_the_best_first(sweep: Path) -> None:
    files, figure, _ = SUMMARY.write(sweep, "p")
    assert figure == "val_accuracy"
    assert [file.name for file in files] == ["jobs.csv", "jobs.md", "jobs.png"]
    rows = _rows(sweep)
    shown = [(row["job"], row["status"], row["model"], row["+x"], row["epochs"]) for row in rows]
    assert shown == [
        ("2", "FINISHED", "a", "2|3", "2"),
        ("0", "FINISHED", "a", "1", "2"),
        ("1", "PRUNED", "b", "1", "1"),
        ("9", "KILLED", "b", "4", "1"),
        ("10", "FAILED", "b", "2|3", "0"),
    ]
    assert [row["test_accuracy"] for row in rows] == ["0.75", "", "", "", ""]
    assert [row["run_id"] for row in rows] == ["run-2", "run-0", "run-1", "run-9", "run-10"]
    assert [bool(row["seconds"]) for row in rows] == [True, True, True, False, True]
    assert "learning_rate" not in rows[0]
    page = (sweep / "jobs.md").read_text()
    assert f"\n    {SUMMARY.command}\n" in page
    (row,) = [line for line in page.splitlines() if "run-10" in line]
    assert "2\\|3" in row, "it is one cell"


def test_a_search_is_judged_by_its_own_figure(sweep: Path) -> None:
    _, figure, jobs = SweepSummary("", "", SUMMARY.swept, 4, figure="val_loss").write(sweep, "p")
    assert (figure, jobs[0].folder, jobs[0].figures["val_loss"]) == ("val_loss", "2", 0.2)


def test_a_sweep_in_which_nothing_finished_has_a_table_and_no_best(tmp_path: Path) -> None:
    _job(tmp_path / "0", ["model=a"], [0.5], "FAILED")
    files, figure, _ = SUMMARY.write(tmp_path, "p")
    assert figure is None
    assert [file.name for file in files] == ["jobs.csv", "jobs.md"]
    assert SUMMARY.write(tmp_path, "another")[0] == []


def test_the_time_for_which_a_job_was_stopped_does_not_count(tmp_path: Path) -> None:
    journal = _job(tmp_path / "0", ["model=a"], [0.5], "KILLED")
    lines = [json.loads(line) for line in journal.path.read_text().splitlines()]
    begun = lines[0]["time"]
    lines[-1]["time"] = begun + 10_000
    lines += [
        {"kind": "resume", "time": begun + 500_000},
        {"kind": "end", "time": begun + 505_000, "status": "FINISHED"},
    ]
    journal.path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    SUMMARY.write(tmp_path, "p")
    assert _rows(tmp_path)[0]["seconds"] == "15.0"


def test_a_sweep_that_goes_on_delivers_its_table_again(tmp_path: Path) -> None:
    table = tmp_path / "jobs.csv"
    for status in ("KILLED", "FINISHED"):
        table.write_text(status)
        journal = Journal(tmp_path)
        journal.go_on()
        journal.begin(name="sweep", tags={}, params={}, key="p")
        journal.artifact(table, anew=True)
        journal.end(status)
    kinds = [event.kind for event in Journal(tmp_path).events()]
    assert kinds == ["begin", "artifact", "end", "resume", "artifact", "end"]


def _points(*keys: str) -> list[Point]:
    draw = random.Random(0)
    values = {
        "rate": lambda: f"{10 ** draw.uniform(-4, 0):.4g}",
        "model": lambda: draw.choice(["maxout_cnn", "prelu_cnn"]),
        "batch": lambda: str(draw.choice([25, 50])),
    }
    return [
        Point({key: values[key]() for key in keys}, draw.random(), draw.random() > 0.3)
        for _ in range(12)
    ]


@pytest.mark.parametrize(
    ("keys", "higher"),
    [
        (("rate",), False),
        (("model",), True),
        (("rate", "model"), False),
        (("rate", "model", "batch"), True),
    ],
)
def test_the_picture_is_not_blank(tmp_path: Path, keys: tuple[str, ...], higher: bool) -> None:
    draw_sweep(_points(*keys), keys, "val_$_loss", tmp_path / "jobs.png", higher=higher)
    with Image.open(tmp_path / "jobs.png") as picture:
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 50


def test_an_axis_fits_its_values() -> None:
    wide = pictures._Scale.of(["0.1", "0.001", "0.01"])
    assert (wide.log, wide.names, wide.few) == (True, None, True)
    assert [wide.share(value) for value in ("0.001", "0.01", "0.1")] == pytest.approx([0, 0.5, 1])
    near = pictures._Scale.of(["16", "32", "64"])
    assert (near.log, near.share("32")) == (False, pytest.approx(1 / 3))
    assert pictures._Scale.of(["b", "a", "1"]).names == ["1", "a", "b"]
    assert pictures._Scale.of(["nan", "1"]).names == ["1", "nan"]
    assert not pictures._Scale.of(["0.0123457", "0.5"]).few, "no room for such a label"


def test_one_that_went_wrong_does_not_make_the_others_look_the_same() -> None:
    points = [Point({}, value, whole=True) for value in (0.1, 0.2, 0.3, 50.0)]
    assert pictures._spread(points, higher=False) == pytest.approx((0.1, 0.4))
