"""From the folders of runs to figures, learning rates and largest rates."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from convforge.pipeline.claims.figures import Curves, figures_of
from convforge.pipeline.claims.records import chosen_rates, largest_rates
from convforge.pipeline.claims.result import RunRecord


def _run(folder: Path, training: list[float], validation: list[float]) -> Path:
    folder.mkdir(parents=True)
    with (folder / "history.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "accuracy", "val_accuracy"])
        writer.writerows(
            [epoch, 1 - one / 100, 1 - other / 100]
            for epoch, (one, other) in enumerate(zip(training, validation, strict=True), 1)
        )
    return folder


def test_iterations_to_the_target_lie_on_the_line_between_two_epochs() -> None:
    curves = Curves([70.0, 30.0, 10.0], [])
    # From 70 in the middle of the first epoch, step 50, to 30 at 150: 50 is half way.
    assert curves.steps_to(50, 100, 90) == (pytest.approx(100), True)
    # From a guess, 90 at step 0, to 70 at 50.
    assert curves.steps_to(80, 100, 90) == (pytest.approx(25), True)
    assert curves.steps_to(70, 100, 90) == (pytest.approx(50), True)
    assert curves.steps_to(5, 100, 90) == (300, False)


def test_a_run_that_is_below_the_target_from_the_start_is_not_faster_than_its_first_epoch() -> None:
    steps, reached = Curves([5.0, 5.0], []).steps_to(95, 100, 90)
    assert reached
    assert 0 <= steps <= 50


def test_the_test_error_is_there_once_the_test_images_were_seen(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", [50.0, 20.0], [60.0, 40.0])
    figures, missed = figures_of(run, ["test_error"], target=10, steps_per_epoch=7, classes=10)
    assert "test_error" not in figures
    assert figures["validation_error"] == pytest.approx(40)
    assert figures["steps_to_target"] == 14
    assert missed == ["steps_to_target"]
    (run / "evaluate").mkdir()
    (run / "evaluate" / "metrics.json").write_text(json.dumps({"test_error": 0.25}))
    figures, _ = figures_of(run, ["test_error"], target=30, steps_per_epoch=7, classes=10)
    assert figures["test_error"] == 25


def _tuning(rate: float, value: float, *, missed: bool = False, failed: bool = False) -> RunRecord:
    return RunRecord(
        seed=1000,
        rate=rate,
        status="FAILED" if failed else "FINISHED",
        figures={} if failed else {"steps_to_target": value, "last_training_error": 100 * rate},
        not_reached=["steps_to_target"] if missed else [],
    )


def test_the_learning_rate_with_the_lowest_figure_is_chosen() -> None:
    runs = {
        "fast": [_tuning(0.1, 300), _tuning(0.2, 200), _tuning(0.3, 250)],
        "equal": [_tuning(0.2, 300), _tuning(0.1, 300)],
        "diverged": [_tuning(0.1, 300), _tuning(0.2, 0, failed=True)],
        # The end of a run is no number of iterations: the training error decides between two.
        "late": [_tuning(0.3, 900, missed=True), _tuning(0.2, 900, missed=True)],
        "one": [_tuning(0.1, 900, missed=True), _tuning(0.2, 950)],
        "none": [_tuning(0.1, 0, failed=True)],
    }
    chosen = {"fast": 0.2, "equal": 0.1, "diverged": 0.1, "late": 0.2, "one": 0.2}
    assert chosen_rates(runs, "steps_to_target") == chosen


def test_the_largest_rate_of_a_seed_is_that_or_more_at_the_end_of_those_tried() -> None:
    def run(seed: int, rate: float, *, reached: bool) -> RunRecord:
        missed = [] if reached else ["steps_to_target"]
        return RunRecord(seed=seed, rate=rate, status="FINISHED", not_reached=missed, seconds=2.0)

    runs = [
        *(run(0, rate, reached=rate < 1) for rate in (0.1, 0.3, 1.0)),
        *(run(1, rate, reached=True) for rate in (0.1, 0.3, 1.0)),
        *(run(2, rate, reached=False) for rate in (0.1, 0.3, 1.0)),
    ]
    first, second, third = largest_rates(runs, [0, 1, 2])
    assert (first.figures["largest_rate"], first.not_reached) == (0.3, [])
    assert (second.figures["largest_rate"], second.not_reached) == (1.0, ["largest_rate"])
    assert (third.status, third.why) == ("FAILED", "no learning rate reaches the target")
    assert first.seconds == 6
