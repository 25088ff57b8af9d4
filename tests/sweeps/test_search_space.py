"""What a search may draw, and what it refuses before it begins."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from convforge.errors import InputError
from convforge.pipeline import cli
from convforge.pipeline.composition import hydra_config, search_settings
from convforge.pipeline.settings.search import SearchSettings
from convforge.pipeline.sweeps.plan import plan_sweep
from convforge.pipeline.sweeps.search_space import Choices, Numbers, SearchSpace

CONF = Path(__file__).parents[2] / "conf" / "hydra" / "sweeper"
OPTUNA = "hydra/sweeper=optuna"
SMALL = ("data.split.validation=50", "data.split.test=100")


def _space(*overrides: str) -> SearchSpace:
    return SearchSpace.of(OverridesParser.create().parse_overrides(list(overrides)))


@pytest.mark.parametrize(
    ("choices", "domain"),
    [
        ("interval(0.001, 0.1)", Numbers(0.001, 0.1)),
        ("tag(log, interval(0.001, 0.1))", Numbers(0.001, 0.1, log=True)),
        ("interval(1, 8)", Numbers(1.0, 8.0)),
        ("int(interval(1, 8))", Numbers(1, 8)),
        ("int(tag(log, interval(8, 512)))", Numbers(8, 512, log=True)),
        ("interval(1, 2.5)", Numbers(1.0, 2.5)),
        ("range(25, 101, 25)", Numbers(25, 100, step=25)),
        ("range(100, 24, -25)", Numbers(25, 100, step=25)),
        ("range(0.5, 0.9, 0.1)", Numbers(0.5, 0.9, step=0.1)),
        ("range(3)", Numbers(0, 2, step=1)),
        ("range(3, 4)", Choices(("3",))),
        ("a,b", Choices(("a", "b"))),
        ("choice([1,2], true)", Choices(("[1,2]", "True"))),
    ],
)
def test_hydras_choices_are_what_is_searched(choices: str, domain: object) -> None:
    found = _space(f"key={choices}", "other=1").domains["key"]
    assert found == domain
    if isinstance(found, Numbers) and isinstance(domain, Numbers):
        assert type(found.low) is type(domain.low)
        assert type(found.high) is type(domain.high)


def test_of_a_key_that_is_given_twice_the_last_one_counts() -> None:
    space = _space("a=1,2", "b=1", "a=3", "b=interval(1,2)", "~c", "+d=1,2")
    assert space.fixed == ["a=3", "~c"]
    assert space.written == {"b": "interval(1,2)", "+d": "1,2"}


class _Drawn:
    """A trial that always draws this."""

    def __init__(self, value: float) -> None:
        self.value = value

    def suggest_float(self, *_: Any, **__: Any) -> float:
        return self.value


def test_a_drawn_number_is_short_enough_for_a_name_and_a_step_has_no_rounding_error() -> None:
    assert Numbers(0.0, 1.0).suggest(_Drawn(0.0123456789), "key") == "0.0123457"
    assert Numbers(0.0, 1.0, step=0.1).suggest(_Drawn(0.1 + 0.2), "key") == "0.3"


def test_every_value_is_tried_before_a_search_begins() -> None:
    space = _space("lr=interval(0.1, 0.5)", "model=a,b,c", "seed=range(0, 100)", "fixed=1")
    assert space.probes() == [
        ["fixed=1", "lr=0.1", "model=a", "seed=0"],
        ["fixed=1", "lr=0.5", "model=a", "seed=0"],
        ["fixed=1", "lr=0.1", "model=b", "seed=0"],
        ["fixed=1", "lr=0.1", "model=c", "seed=0"],
        ["fixed=1", "lr=0.1", "model=a", "seed=99"],
    ]


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ("interval(0.1, 0.01)", "give the smaller end first, and two that differ"),
        ("interval(2, 2)", "give the smaller end first, and two that differ"),
        ("interval(0, inf)", "give the smaller end first, and two that differ"),
        ("tag(log, interval(0, 1))", "with log both ends must be above 0"),
        ("tag(lgo, interval(0.1, 1))", "the tag lgo is not known; there is log"),
        ("range(5, 1)", "has no values"),
        ("range(1, 5, 0)", "the step must not be 0"),
    ],
)
def test_a_space_without_values_is_refused(choices: str, said: str) -> None:
    with pytest.raises(InputError, match="key=") as error:
        _space(f"key={choices}")
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("n_trials=0", "hydra.sweeper.n_trials=0: should be greater than or equal to 1"),
        ("n_trials=ten", "hydra.sweeper.n_trials='ten': should be a valid integer"),
        (
            "n_trails=9",
            "hydra.sweeper.n_trails is not a key; did you mean hydra.sweeper.n_trials?",
        ),
        (
            "direction=up",
            "hydra.sweeper.direction='up' is not allowed; known are minimize, maximize",
        ),
        ("pruner.min_epochs=0", "hydra.sweeper.pruner.min_epochs=0: should be greater than or equ"),
    ],
)
def test_a_wrong_setting_is_refused_when_composed(
    shared_project: Path, override: str, said: str
) -> None:
    with pytest.raises(InputError) as error:
        _settings(shared_project, f"hydra.sweeper.{override}")
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["hydra/sweeper/pruner=medan"],
            "hydra/sweeper/pruner=medan: there is no such config; did",
        ),
        (["hydra.sweeper.figure=val_acuracy"], "hydra.sweeper.figure=val_acuracy is not allowed: "),
        (
            ["hydra.sweeper.n_jobs=2"],
            "hydra.sweeper.n_jobs=2 is not allowed: give 1, or a launcher",
        ),
        (
            ["distribute=ray"],
            "hydra/sweeper/pruner=median is not allowed with distribute=ray: give",
        ),
        (["distribute=processes"], "hydra/sweeper=optuna is not allowed with distribute=processes"),
        (
            ["trainer.batch_size=interval(8,64)"],
            "trainer.batch_size=8.0: should be a valid integer",
        ),
        (["seed=0"], "hydra/sweeper=optuna has nothing to search: give KEY=interval(…)"),
        (["optimizer.learning_rate=interval(-1.0,1.0)"], "optimizer.learning_rate=-1.0: should be"),
        (["hydra/sweeper=basic", "seed=interval(0,3)"], "add hydra/sweeper=optuna, or give a list"),
    ],
)
def test_a_wrong_search_is_one_line_before_anything_starts(
    project: Path, capfd: pytest.CaptureFixture[str], overrides: list[str], said: str
) -> None:
    pytest.importorskip("optuna")
    assert cli.main(["train", "-q", "-m", OPTUNA, "seed=0,1", *SMALL, *overrides]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert not (project / "outputs" / "sweeps").exists()


def test_the_folder_of_another_search_is_refused(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna")
    (project / "mine").mkdir()
    (project / "mine" / "optuna.journal").touch()
    folder = "hydra.sweep.dir=mine"
    assert cli.main(["train", "-q", "-m", OPTUNA, folder, "seed=0,1", *SMALL]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "optuna.journal is another search's: remove it, or give another hydra.swe" in line


def test_without_optuna_a_search_says_what_to_install(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("convforge.pipeline.sweeps.study.find_spec", lambda name: None)
    assert cli.main(["train", "-m", OPTUNA, "seed=0,1"]) == 2
    assert "pip install 'convforge[sweep]'" in capfd.readouterr().err


@pytest.mark.parametrize(
    "path",
    # The runs of a claim are no search: tests/claims/.
    sorted(path for path in CONF.rglob("*.yaml") if path.stem != "claim"),
    ids=lambda path: path.stem,
)
def test_the_commands_in_a_heads_config_are_searches(
    shared_project: Path, monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    monkeypatch.setattr("convforge.pipeline.sweeps.plan.check_installed", lambda: None)
    lines = [line.removeprefix("#") for line in path.read_text().splitlines() if "train -m" in line]
    assert lines
    for line in lines:
        overrides = shlex.split(line)[3:]
        plan = plan_sweep(shared_project, overrides, hydra_config(shared_project, overrides))
        assert plan.search is not None


def _settings(project: Path, *overrides: str) -> SearchSettings:
    found = search_settings(hydra_config(project, [OPTUNA, *overrides]))
    assert found is not None
    return found


def test_samplers_and_pruners_are_those_of_the_config(shared_project: Path) -> None:
    optuna = pytest.importorskip("optuna")
    from convforge.pipeline.sweeps.study import _pruner, _sampler

    default = _settings(shared_project)
    assert isinstance(_sampler(default, 0), optuna.samplers.TPESampler)
    assert isinstance(_pruner(default), optuna.pruners.MedianPruner)
    random = _settings(shared_project, "hydra/sweeper/sampler=random", "hydra/sweeper/pruner=none")
    assert isinstance(_sampler(random, 0), optuna.samplers.RandomSampler)
    assert isinstance(_pruner(random), optuna.pruners.NopPruner)
    rounds = _settings(shared_project, "hydra/sweeper/pruner=hyperband")
    assert isinstance(_pruner(rounds), optuna.pruners.HyperbandPruner)
