"""A study: what is drawn, pruned, remembered and gone on with; without training anything."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from convforge.errors import DivergenceError, InputError, PrunedError
from convforge.pipeline.settings.search import SearchSettings
from convforge.pipeline.sweeps.search_space import SearchSpace
from convforge.pipeline.sweeps.study import Study, StudyTrial, command_of

pytest.importorskip("optuna", reason="not installed: pip install 'convforge[sweep]'")

SPACE = SearchSpace.of(
    OverridesParser.create().parse_overrides(
        ["x=tag(log, interval(0.001, 1.0))", "kind=a,b", "other='of all'"]
    )
)
EPOCHS = 4


def _settings(n_trials: int = 12, n_jobs: int = 1, pruner: str = "median") -> SearchSettings:
    pruners = {
        "median": {"name": "median", "n_startup_trials": 2, "min_epochs": 1},
        "hyperband": {"name": "hyperband", "min_epochs": 1, "reduction_factor": 2},
        "none": {"name": "none"},
    }
    return SearchSettings.parse(
        {
            "n_trials": n_trials,
            "n_jobs": n_jobs,
            "figure": "val_loss",
            "direction": "minimize",
            "seed": 3,
            "sampler": {"name": "tpe", "n_startup_trials": 3},
            "pruner": pruners[pruner],
        }
    )


def _run(folder: Path, number: int, values: dict[str, str], settings: SearchSettings) -> object:
    """A job whose loss is least at x = 0.03 for kind b."""
    trial = StudyTrial(folder, number, settings)
    loss = abs(math.log10(float(values["x"]) / 0.03)) + (values["kind"] == "a")
    for epoch in range(1, EPOCHS + 1):
        if trial.gives_up(epoch, loss + 1 / epoch) and epoch < EPOCHS:
            return PrunedError("worse than others")
    return loss + 1 / EPOCHS


def _search(folder: Path, settings: SearchSettings, most: int = 1000) -> Study:
    """All trials of a study, or as many as are begun before it is killed in the next one."""
    study = Study(folder, settings, SPACE)
    for batch in study.batches():
        for job in batch:
            if most == 0:
                return study
            most -= 1
            study.tell(job.number, _run(folder, job.number, dict(job.values), settings))
    return study


def _record(study: Study) -> list[tuple[object, ...]]:
    return [
        (trial.number, trial.state.name, trial.params, trial.value, trial.intermediate_values)
        for trial in study._study.trials
    ]


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_a_study_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path, pruner: str) -> None:
    settings = _settings(pruner=pruner)
    whole = _record(_search(tmp_path / "whole", settings))
    assert {state for _, state, *_ in whole} == {"COMPLETE", "PRUNED"}
    for before in (1, 4, 9):
        folder = tmp_path / f"stopped-{before}"
        _search(folder, settings, most=before)
        assert _record(_search(folder, settings)) == whole


def test_a_study_may_be_given_more_trials(tmp_path: Path) -> None:
    short = _record(_search(tmp_path / "study", _settings(5)))
    longer = _record(_search(tmp_path / "study", _settings(9)))
    assert (len(short), longer[:5]) == (5, short)
    assert len(longer) == 9


def test_trials_of_a_batch_differ_and_have_numbers_in_a_row(tmp_path: Path) -> None:
    study = Study(tmp_path, _settings(8, n_jobs=4), SPACE)
    sizes = []
    for batch in study.batches():
        assert [job.number for job in batch] == [sum(sizes) + index for index in range(len(batch))]
        assert len({job.values["x"] for job in batch}) == len(batch)
        sizes.append(len(batch))
        for job in batch:
            study.tell(job.number, 1.0)
    assert sizes == [4, 4]


def test_what_is_left_of_a_batch_is_run_alone(tmp_path: Path) -> None:
    settings = _settings(5, n_jobs=5)
    (batch,) = Study(tmp_path, settings, SPACE).batches()
    stopped = Study(tmp_path, settings, SPACE)
    for number in (1, 3):
        stopped.tell(number, 1.0)
    left = list(Study(tmp_path, settings, SPACE).batches())
    assert left == [[batch[0]], [batch[2]], [batch[4]]]


def test_a_trial_that_would_repeat_another_has_its_result_without_a_run(tmp_path: Path) -> None:
    space = SearchSpace.of(OverridesParser.create().parse_overrides(["kind=a,b"]))
    study = Study(tmp_path, _settings(10), space)
    numbers = []
    for batch in study.batches():
        for job in batch:
            numbers.append(job.number)
            study.tell(job.number, 1.0 if job.values["kind"] == "a" else 0.5)
    assert len(numbers) == 2
    assert study.summary() == "10 trials: 2 finished, 8 repeated"
    assert study.best_job() == ["kind=b"]


def test_a_trial_that_fails_costs_the_study_that_trial(tmp_path: Path) -> None:
    study = Study(tmp_path, _settings(4), SPACE)
    results = [
        DivergenceError("the loss is nan"),
        InputError("no memory"),
        PrunedError("worse"),
        0.5,
    ]
    for (job,), result in zip(study.batches(), results, strict=True):
        study.tell(job.number, result)
    assert [state for _, state, *_ in _record(study)] == ["PRUNED", "FAIL", "PRUNED", "COMPLETE"]
    assert study.summary() == "4 trials: 1 finished, 1 pruned, 2 failed"
    assert study.best() == (3, 0.5)


def test_a_study_in_which_nothing_works_says_so(tmp_path: Path) -> None:
    study = Study(tmp_path, _settings(4), SPACE)
    for (job,) in study.batches():
        study.tell(job.number, InputError("damaged"))
        assert study.nothing_works == (job.number > 1)
    assert study.best_job() is None


def test_the_command_of_the_best_job_can_be_pasted() -> None:
    job = SPACE.job({"x": "0.03", "kind": "b"})
    assert command_of(job) == """convforge train 'other='"'"'of all'"'"'' x=0.03 kind=b"""
