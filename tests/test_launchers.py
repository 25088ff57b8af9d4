"""Hydra's launchers as conf/hydra/launcher/ sets them up: who runs the jobs of a sweep."""

from __future__ import annotations

import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hydra.core.plugins import Plugins
from hydra.errors import MissingConfigException
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf

from convforge.pipeline import cli
from convforge.pipeline.composition import (
    compose_config,
    explain,
    hydra_config,
    is_hydras,
    settings_of,
    sweep_jobs,
)

CONF = Path(__file__).parents[1] / "conf" / "hydra" / "launcher"
LAUNCHERS = sorted(path.stem for path in CONF.glob("*.yaml"))
needs_submitit = pytest.mark.skipif(
    find_spec("submitit") is None,
    reason="submitit is not installed: pip install 'convforge[sweep]'",
)


def _launchers() -> list[object]:
    marks = {"slurm": [needs_submitit]}
    return [pytest.param(name, marks=marks.get(name, [])) for name in LAUNCHERS]


@pytest.mark.parametrize("name", _launchers())
def test_its_config_is_one_that_the_launcher_takes(shared_project: Path, name: str) -> None:
    config = hydra_config(shared_project, [f"hydra/launcher={name}"])
    assert isinstance(Plugins.instance()._instantiate(config.launcher), Launcher)


@pytest.mark.parametrize("name", _launchers())
def test_the_commands_in_its_head_compose(shared_project: Path, name: str) -> None:
    commands = [
        shlex.split(line.removeprefix("#"))
        for line in (CONF / f"{name}.yaml").read_text().splitlines()
        if line.startswith("#   convforge ")
    ]
    assert commands
    for command in commands:
        assert command[:3] == ["convforge", "train", "-m"]
        hydra_config(shared_project, command[3:])
        for job in sweep_jobs(shared_project, command[3:]):
            others = [item for item in job if not is_hydras(item)]
            settings_of(compose_config(shared_project, others))


@needs_submitit
def test_what_slurm_is_asked_for_can_be_overridden(shared_project: Path) -> None:
    own = ["hydra/launcher=slurm", "hydra.launcher.partition=gpu", "hydra.launcher.mem_gb=64"]
    launcher = OmegaConf.to_container(hydra_config(shared_project, own).launcher)
    assert isinstance(launcher, dict)
    assert (launcher["partition"], launcher["mem_gb"], launcher["gpus_per_node"]) == ("gpu", 64, 1)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("hydra/launcher=rya", "hydra/launcher=rya: there is no such config; did you mean ray?"),
        (
            "hydra.launcher.retris=1",
            "hydra.launcher.retris is not a key; did you mean hydra.launcher.retries?",
        ),
    ],
)
def test_a_wrong_launcher_or_key_is_refused_before_anything_starts(
    project: Path, capfd: pytest.CaptureFixture[str], override: str, said: str
) -> None:
    arguments = ["hydra/launcher=ray"] if "retris" in override else []
    assert cli.main(["train", "-m", *arguments, override, "seed=0,1"]) == 2
    assert capfd.readouterr().err.splitlines() == [f"error: {said}"]
    assert not (project / "outputs").exists()


def test_a_launcher_that_is_not_installed_names_its_package() -> None:
    missing = MissingConfigException("…", "hydra/launcher/submitit_slurm", ["basic", "ray"])
    said = str(explain(missing, Path(), []))
    assert said == "hydra/launcher=submitit_slurm is not installed: pip install 'convforge[sweep]'"


def test_a_launcher_without_a_sweep_is_refused(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", "hydra/launcher=ray", "seed=1"]) == 2
    assert "hydra/launcher is for the jobs of a sweep: add -m" in capfd.readouterr().err


@pytest.mark.integration
def test_without_ray_a_sweep_on_a_cluster_says_what_to_install_and_of_the_store(
    project: Path,
    train_in_process: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    overrides = ["data.split.validation=50", "data.split.test=100", "seed=0,1"]
    cluster = ["hydra/launcher=ray", "hydra.launcher.address=auto"]
    assert cli.main(["train", "-m", *cluster, *overrides]) == 2
    said = capfd.readouterr().err
    assert "mlflow.db is for the processes of one machine" in said
    assert "error: Ray is not installed: pip install 'convforge[cluster]'" in said
    assert "Traceback" not in said
