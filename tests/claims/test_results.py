"""The results in Git: what they say follows from their runs, and from a protocol in Git."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from convforge.pipeline.claims.claim import (
    Claim,
    Scale,
    digest_of,
    read_protocol,
)
from convforge.pipeline.claims.comparison import check
from convforge.pipeline.claims.figures import FIGURES
from convforge.pipeline.claims.jobs import TUNING_SEED
from convforge.pipeline.claims.records import chosen_rates, largest_rates
from convforge.pipeline.claims.result import FOLDER, ClaimResult, read_results

ROOT = Path(__file__).resolve().parents[2]
RESULTS = [
    pytest.param(result, id=f"{result.claim}-{result.scale}")
    for result in read_results(ROOT / FOLDER)
]


def _git(*arguments: str) -> str | None:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else None


@pytest.mark.parametrize("result", RESULTS)
def test_its_verdicts_are_what_its_runs_and_its_protocol_give(result: ClaimResult) -> None:
    check(result, read_protocol(ROOT, result.claim, result.scale))


@pytest.mark.parametrize("result", RESULTS)
def test_its_figures_are_those_of_the_code(result: ClaimResult) -> None:
    for name, figure in result.figures.items():
        known = FIGURES[name]
        assert (figure.title, figure.unit) == (known.title, known.unit)
        assert figure.higher_is_better == known.higher_is_better


@pytest.mark.parametrize("result", RESULTS)
def test_its_learning_rates_are_those_that_its_tuning_runs_choose(result: ClaimResult) -> None:
    if result.protocol.tuned_by is not None:
        tuning = {name: arm.tuning for name, arm in result.arms.items()}
        chosen = chosen_rates(tuning, result.protocol.tuned_by)
        assert {name: arm.rate for name, arm in result.arms.items() if arm.rate} == chosen
    for arm in result.arms.values():
        assert arm.runs
        if arm.rate is not None:
            assert {run.rate for run in arm.runs} == {arm.rate}
            # Every arm had the same choice, by the same seed, which no compared run has.
            assert [run.rate for run in arm.tuning] == result.protocol.rates
            assert {run.seed for run in arm.tuning} == {TUNING_SEED}
        elif arm.tuning:
            again = largest_rates(arm.tuning, result.protocol.seeds)
            assert [run.figures for run in arm.runs] == [run.figures for run in again]


@pytest.mark.parametrize("result", RESULTS)
def test_no_test_image_was_seen_to_choose(result: ClaimResult) -> None:
    for arm in result.arms.values():
        for run in arm.tuning:
            assert not {"test_error", "gap"} & set(run.figures)


@pytest.mark.parametrize("result", RESULTS)
def test_its_protocol_was_in_git_before_it_ran(result: ClaimResult) -> None:
    commit = result.protocol.commit
    assert commit is not None
    if _git("cat-file", "-e", commit) is None:
        pytest.skip("this copy has not the history of Git")
    claim, scale = (_git("show", f"{commit}:{file}") for file in result.protocol.files)
    assert claim is not None
    assert scale is not None
    parts = Claim.model_validate(yaml.safe_load(claim)), Scale.model_validate(yaml.safe_load(scale))
    assert digest_of(*parts) == result.protocol.digest
