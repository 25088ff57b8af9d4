"""`convforge claim` as a person types it, in a project of its own with a repository of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from convforge.pipeline.claims.claim import read_protocol
from convforge.pipeline.claims.comparison import check
from convforge.pipeline.claims.result import read_result, result_path
from convforge.pipeline.cli import main

TRIAL = """
title: A net with a hidden layer errs less
sentence: "…"
slide: "…"
sources: []
method: "…"
model: softmax_linear
arms:
  plain: {title: linear}
  slow: {title: one step, overrides: [trainer.limit_steps=1]}
tuned_by: validation_error
comparisons:
  - {title: More steps err less, better: plain, than: slow, figure: gap, smallest_effect: 1.0}
scales:
  digits:
    instead: [data.split.validation=50, data.split.test=100, augment=none, trainer.epochs=1]
    seeds: 2
    rates: [0.02, 0.01]
"""


def _git(project: Path, *arguments: str) -> str:
    words = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    done = subprocess.run(words, cwd=project, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def trial(project: Path, train_in_process: None) -> Path:
    """A claim of eight small runs, not committed."""
    _git(project, "init", "-q")
    _git(project, "add", "conf")
    _git(project, "commit", "-qm", "configs")
    (project / "conf" / "claim" / "trial.yaml").write_text(TRIAL)
    return project


def _finished(project: Path) -> set[str]:
    return {path.parent.name for path in project.glob("outputs/sweeps/*/*/history.csv")}


@pytest.mark.integration
def test_the_test_images_wait_for_the_protocol_to_be_committed(
    trial: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["claim", "trial"]) == 2
    said = capsys.readouterr().err
    assert "conf/claim/trial.yaml is not committed as it is: commit it" in said
    path = result_path(trial, "trial", "digits")
    assert not path.exists()
    assert _finished(trial) == {"0", "1", "2", "3"}
    assert not list(trial.glob("outputs/sweeps/*/*/evaluate"))

    _git(trial, "add", "conf")
    _git(trial, "commit", "-qm", "a protocol")
    assert main(["claim", "trial"]) == 0
    said = capsys.readouterr().err
    assert said.count("has finished in") == 4, "those that chose are not run again"
    result = read_result(path)
    assert result.protocol.commit == _git(trial, "rev-parse", "HEAD")
    assert _finished(trial) == {str(number) for number in range(8)}
    check(result, read_protocol(trial, "trial", "digits"))
    run = result.arms["plain"].runs[0]
    assert run.figures["gap"] == pytest.approx(
        run.figures["test_error"] - run.figures["training_error"]
    )
    assert run.run_id
    assert not list(trial.glob("outputs/sweeps/*/*/pictures"))


@pytest.mark.slow
def test_to_tune_only_leaves_the_test_images_alone(trial: Path) -> None:
    _git(trial, "add", "conf")
    _git(trial, "commit", "-qm", "a protocol")
    assert main(["claim", "trial", "--tune-only", "tracking=none"]) == 0
    assert not result_path(trial, "trial", "digits").exists()
    assert main(["claim", "trial", "tracking=none"]) == 0
    result = read_result(result_path(trial, "trial", "digits"))
    assert len(list(trial.glob("outputs/sweeps/*"))) == 1
    assert result.arms["plain"].runs[0].run_id is None


@pytest.mark.integration
def test_a_claim_that_tunes_nothing_runs_each_seed_once(trial: Path) -> None:
    """As those of the papers' nets by their own recipes."""
    protocol = TRIAL.replace("validation_error", "null").replace("    rates: [0.02, 0.01]\n", "")
    (trial / "conf" / "claim" / "trial.yaml").write_text(protocol)
    _git(trial, "add", "conf")
    _git(trial, "commit", "-qm", "a protocol")
    assert main(["claim", "trial", "tracking=none"]) == 0
    result = read_result(result_path(trial, "trial", "digits"))
    assert _finished(trial) == {"0", "1", "2", "3"}
    assert {arm: (len(ran.tuning), len(ran.runs)) for arm, ran in result.arms.items()} == {
        "plain": (0, 2),
        "slow": (0, 2),
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["relu", "trainer.epochs=1"], "trainer.epochs=1 is not allowed: a claim's protocol"),
        (["relu", "hydra/sweeper=optuna"], "hydra/sweeper=optuna is not allowed"),
        (["relu", "scale=digits", "scale=cpu"], "give one scale"),
        (["rely"], "did you mean relu?"),
        (["scale=cpu"], "give its name first"),
    ],
)
def test_what_would_change_the_protocol_is_refused_in_one_line(
    project: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["claim", *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_arms_that_are_the_same_net_are_refused(
    trial: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = trial / "conf" / "claim" / "trial.yaml"
    file.write_text(file.read_text().replace("limit_steps=1", "limit_steps=null"))
    assert main(["claim", "trial"]) == 2
    assert "arms.slow of the claim trial is the same as plain" in capsys.readouterr().err


def test_without_a_name_the_claims_are_listed(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["claim"]) == 0
    assert "overlapping_pooling" in capsys.readouterr().out
