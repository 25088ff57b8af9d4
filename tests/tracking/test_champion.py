"""A model that beats the champion on the same images takes its alias, in a real store."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections.abc import Callable, Mapping, Sequence
from math import comb
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from convforge.errors import InputError
from convforge.pipeline import cli
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.stages.evaluate import evaluate
from convforge.pipeline.stages.train import train
from convforge.pipeline.tracking.champion import TEST_DIGEST_TAG, challenge, challenge_in_time
from convforge.pipeline.tracking.mlflow_client import open_client
from convforge.pipeline.tracking.paired_test import compare_errors, compare_right
from convforge.pipeline.tracking.replay import State
from convforge.pipeline.tracking.store import Store

QUIET = Progress(Verbosity.QUIET)
NAME = "net-digits"


@pytest.mark.parametrize(("n10", "n01"), [(9, 1), (5, 5), (0, 3), (1, 0), (30, 12)])
def test_the_p_value_of_right_and_wrong_is_the_binomial_sum(n10: int, n01: int) -> None:
    both = [True] * 40 + [False] * 7
    challenger = np.array([True] * n10 + [False] * n01 + both)
    champion = np.array([False] * n10 + [True] * n01 + both)
    found = compare_right(challenger, champion)
    n = n10 + n01
    assert (found.n10, found.n01) == (n10, n01)
    assert found.p_value == pytest.approx(sum(comb(n, k) for k in range(n10, n + 1)) / 2**n)


def test_models_that_are_right_on_the_same_images_are_equal() -> None:
    right = np.array([True, False, True])
    assert compare_right(right, right).p_value == 1


def test_the_p_value_of_errors_is_the_share_of_all_exchanges_that_are_as_good() -> None:
    """Of few images all 2ⁿ exchanges of the two errors are gone through."""
    champion, challenger = np.array([3.0, 4.0, 2.0, 5.0, 1.0]), np.array([1.0, 1.0, 1.5, 2.0, 1.2])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 5)).reshape(5, -1).T
    seen = (challenger - champion).mean()
    share = np.mean((signs * (challenger - champion)).mean(axis=1) <= seen + 1e-12)
    found = compare_errors(challenger, champion)
    assert found.p_value == pytest.approx(share)
    assert (found.n10, found.n01) == (4, 1)


def test_to_be_a_little_closer_mostly_and_far_off_sometimes_is_not_better() -> None:
    champion = np.full(200, 1.0)
    challenger = np.where(np.arange(200) % 10 == 0, 12.0, 0.9)
    assert compare_errors(challenger, champion).p_value > 0.5


@dataclasses.dataclass
class Runs:
    """A store, and what a run in it needs to be a challenger."""

    uri: str
    client: Any

    def add(
        self,
        columns: Mapping[str, Sequence[object]],
        *,
        digest: str = "d",
        params: Mapping[str, object] | None = None,
    ) -> str:
        """A run that was evaluated: its id."""
        run_id = str(self.client.create_run("0").info.run_id)
        given = {"model.name": "net", "data.name": "digits", "task.drawn": None, **(params or {})}
        for key, value in given.items():
            self.client.log_param(run_id, key, value)
        self.client.set_tag(run_id, TEST_DIGEST_TAG, digest)
        text = io.StringIO()
        rows = zip(*columns.values(), strict=True)
        csv.writer(text).writerows([["index", *columns], *([0, *row] for row in rows)])
        self.client.log_text(run_id, text.getvalue(), "predictions.csv")
        self.client.create_logged_model("0", name="net", source_run_id=run_id)
        return run_id

    def challenge(self, run_id: str) -> str:
        """What is said."""
        return challenge(self.uri, run_id, name=None, alias="champion", level=0.05).line

    @property
    def champion(self) -> str:
        """The run that has the alias."""
        return str(self.client.get_model_version_by_alias(NAME, "champion").run_id)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = f"sqlite:///{tmp_path_factory.mktemp('champion') / 'mlflow.db'}"
    open_client(uri, pytest.fail)
    return uri


@pytest.fixture
def runs(empty_store: str) -> Runs:
    client = mlflow.MlflowClient(empty_store, empty_store)
    if client.search_registered_models(f"name = '{NAME}'"):
        client.delete_registered_model(NAME)
    return Runs(empty_store, client)


def classes(right: Sequence[int], count: int = 60) -> dict[str, list[str]]:
    """Answers for `count` images of class a, of which those numbered `right` are."""
    return {
        "actual": ["a"] * count,
        "predicted": ["a" if number in right else "b" for number in range(count)],
    }


def test_the_first_is_the_champion_and_one_that_is_better_follows_it(runs: Runs) -> None:
    first, better = runs.add(classes(range(40))), runs.add(classes(range(2, 54)))
    assert runs.challenge(first) == f"registered: models:/{NAME}/1: the first champion"
    p_value = sum(comb(16, k) for k in range(14, 17)) / 2**16
    assert runs.challenge(better) == (
        f"registered: models:/{NAME}/2: the champion instead of models:/{NAME}/1: right on 14 "
        f"images where the other errs, wrong on 2 where the other is right (p = {p_value:.3g})"
    )
    assert runs.champion == better
    data = runs.client.get_run(better).data
    assert data.metrics == pytest.approx(
        {"champion_p_value": p_value, "champion_n10": 14, "champion_n01": 2}
    )
    assert data.tags["convforge.champion"] == f"models:/{NAME}/1"
    assert data.tags["convforge.decision"].startswith(f"registered: models:/{NAME}/2")
    assert runs.challenge(better) == f"models:/{NAME}/2 is the champion already"


@pytest.mark.parametrize("right", [range(40), range(1, 42), range(43), range(20)])
def test_one_that_may_be_better_by_chance_is_not_registered(runs: Runs, right: range) -> None:
    first, other = runs.add(classes(range(40))), runs.add(classes(right))
    runs.challenge(first)
    assert runs.challenge(other).startswith(
        f"not registered: not better than models:/{NAME}/1 by more than chance: right on "
    )
    assert runs.champion == first
    assert len(runs.client.search_model_versions(f"name = '{NAME}'")) == 1
    data = runs.client.get_run(other).data
    assert data.metrics["champion_p_value"] >= 0.05
    assert data.tags["convforge.decision"].startswith("not registered")


ANGLES = {"actual_rotation": [5.0 * i for i in range(30)]}


def rotations(error: float, seed: int) -> dict[str, Any]:
    noise = np.random.default_rng(seed).normal(0, error, 30)
    return ANGLES | {"predicted_rotation": list(ANGLES["actual_rotation"] + noise)}


def test_numbers_are_compared_by_their_errors(runs: Runs) -> None:
    runs.challenge(runs.add(rotations(5, 1)))
    better = runs.add(rotations(1, 2))
    assert re.search(r"closer on \d+ images, further on \d+ \(p = 0.0001\)", runs.challenge(better))
    assert runs.champion == better
    assert runs.challenge(runs.add(rotations(1, 3))).startswith("not registered: not better")


def test_signs_are_right_or_wrong(runs: Runs) -> None:
    hinge = {"loss.name": "hinge"}
    actual = [1.0] * 20
    runs.challenge(runs.add({"actual_y": actual, "predicted_y": [-0.1] * 20}, params=hinge))
    said = runs.challenge(runs.add({"actual_y": actual, "predicted_y": [9.0] * 20}, params=hinge))
    assert "right on 20 images where the other errs" in said


@pytest.mark.parametrize(
    ("columns", "options", "why"),
    [
        (classes(range(60)), {"digest": "e"}, "it was tested on other images"),
        (rotations(1, 0), {}, "it predicts classes, this one rotation"),
        (
            {"actual": ["b"] * 60, "predicted": ["b"] * 60},
            {},
            "the same images were to be given other answers",
        ),
    ],
)
def test_another_problem_is_not_compared(
    runs: Runs, columns: dict[str, Any], options: dict[str, Any], why: str
) -> None:
    first = runs.add(classes(range(40)))
    runs.challenge(first)
    other = runs.add(columns, **options)
    line = f"not registered: not compared with models:/{NAME}/1: {why}"
    assert runs.challenge(other) == line
    assert runs.champion == first
    assert runs.client.get_run(other).data.tags["convforge.decision"] == line


def test_a_run_from_before_test_images_had_a_digest_is_known_by_all_its_data(runs: Runs) -> None:
    first, other = runs.add(classes(range(40))), runs.add(classes(range(60)))
    for run_id in (first, other):
        runs.client.set_tag(run_id, "convforge.data_digest", "all")
    runs.client.delete_tag(first, TEST_DIGEST_TAG)
    runs.challenge(first)
    assert "right on 20 images where the other errs" in runs.challenge(other)


def test_images_that_another_seed_has_drawn_are_others(runs: Runs) -> None:
    drawn = {"task.drawn": "['rotation']", "seed": 0}
    runs.challenge(runs.add(rotations(5, 1), params=drawn))
    said = runs.challenge(runs.add(rotations(1, 2), params=drawn | {"seed": 1}))
    assert said.endswith("its test images were drawn by another augmentation or seed")
    assert runs.challenge(runs.add(rotations(1, 2), params=drawn)).startswith("registered: ")


def test_a_champion_without_answers_is_told_of_and_fails_nothing(
    runs: Runs, tmp_path: Path, compose: Callable[..., Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    runs.challenge(runs.add(classes(range(40))))
    stranger = str(runs.client.create_run("0").info.run_id)
    version = runs.client.create_model_version(NAME, tmp_path.as_uri(), stranger)
    runs.client.set_registered_model_alias(NAME, "champion", version.version)
    challenger = runs.add(classes(range(60)))
    with pytest.raises(InputError, match=f"the run {stranger} was not evaluated"):
        runs.challenge(challenger)
    settings = compose("tracking=mlflow").tracking
    folder = tmp_path / "run"
    told = Progress(Verbosity.NORMAL)
    store = Store(runs.uri, "convforge")
    challenge_in_time(store, challenger, settings.registry, folder, settings.patience, told)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].endswith(
        f"was not evaluated: it has no predictions.csv; `convforge register {folder} --alias "
        "champion --if-better 0.05` does it"
    )
    assert runs.champion == stranger


@pytest.mark.integration
def test_an_evaluation_beats_a_champion_that_answers_worse(
    compose: Callable[..., Settings],
    digits: Path,
    runs: Runs,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = compose(
        *("model=softmax_linear", "augment=none", "trainer.epochs=4", "tracking=mlflow"),
        *(f"tracking.uri={runs.uri}", f"tracking.registry.name={NAME}"),
        "tracking.registry.when=better",
    )
    run, out = tmp_path / "run", tmp_path / "evaluation"
    train(settings, digits, run, tmp_path, QUIET)
    told = Progress(Verbosity.NORMAL)
    figures = evaluate(settings, run, digits, out, tmp_path, told)
    own = str(State.read(run).run_id)
    assert runs.champion == own
    assert f"registered: models:/{NAME}/1: the first champion" in capsys.readouterr().err

    runs.client.delete_registered_model(NAME)
    with (out / "predictions.csv").open(newline="") as file:
        actual = [row["actual"] for row in csv.DictReader(file)]
    digest = runs.client.get_run(own).data.tags[TEST_DIGEST_TAG]
    worse = {"actual": actual, "predicted": ["none"] * len(actual)}
    runs.challenge(runs.add(worse, digest=digest))
    evaluate(settings, run, digits, out, tmp_path, told)
    right = round(figures["test_accuracy"] * len(actual))
    assert f"right on {right} images where the other errs, wrong on 0" in capsys.readouterr().err
    assert runs.champion == own
    assert mlflow.get_tracking_uri() != runs.uri, "later runs do not go there by default"
    command = ["register", str(run), "--name", NAME, "--alias", "champion"]
    assert cli.main([*command, "--if-better"]) == 0
    assert capsys.readouterr().out == f"models:/{NAME}/2 is the champion already\n"


@pytest.mark.integration
def test_an_evaluation_without_its_store_says_how_it_is_done_later(
    compose: Callable[..., Settings],
    digits: Path,
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = compose(
        *("model=softmax_linear", "augment=none", "tracking=mlflow", "tracking.patience=0"),
        *("tracking.uri=http://127.0.0.1:9", "tracking.registry.when=better"),
    )
    figures = evaluate(settings, trained, digits, tmp_path / "out", tmp_path, QUIET)
    assert figures["test_images"] == 100
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .endswith(
            "not registered: http://127.0.0.1:9 has not got the run; after a sync `convforge "
            f"register {trained} --alias champion --if-better 0.05` does it"
        )
    )


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("tracking.registry.when=always", "tracking.registry.when='always' is not allowed"),
        ("tracking.registry.level=0", "tracking.registry.level=0"),
        (
            "tracking.registry.alias=latest",
            "tracking.registry.alias='latest' is not allowed: give letters",
        ),
        (
            "tracking.registry.name='a b'",
            "tracking.registry.name='a b' is not allowed: give null, or a name",
        ),
        ("+tracking.registry.whem=better", "tracking.registry.whem is not a key"),
    ],
)
def test_what_the_registry_cannot_take_is_refused_when_the_config_is_composed(
    compose: Callable[..., Settings], override: str, said: str
) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        compose("tracking=mlflow", override)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--if-better", "2", "--alias", "champion"], "--if-better=2 is not allowed"),
        (["--if-better"], "--if-better needs --alias"),
    ],
)
def test_if_better_says_what_it_needs(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["register", "0" * 32, *arguments]) == 2
    assert said in capsys.readouterr().err
