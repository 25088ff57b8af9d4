"""The options of Hydra's that `convforge train` takes, and those that it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from convforge.pipeline import cli


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["--info", "config", "model=prelu_cnn"], "name: prelu_cnn"),
        (["model=prelu_cnn", "--info"], "OptunaSweeper"),
    ],
)
def test_info_is_shown_as_hydra_does(
    project: Path, capfd: pytest.CaptureFixture[str], options: list[str], shown: str
) -> None:
    assert cli.main(["train", *options]) == 0
    said = capfd.readouterr()
    assert shown in said.out
    assert said.err == ""


def test_info_of_a_wrong_config_is_one_line(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", "--info", "config", "model=prelu_cn"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "did you mean prelu_cnn?" in line


@pytest.mark.parametrize("option", ["--config-dir", "--config-name", "-cd"])
def test_another_config_is_refused_with_what_to_do_instead(
    project: Path, capfd: pytest.CaptureFixture[str], option: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", option, "other", "seed=1"])
    assert ended.value.code == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "put a variant in conf/experiment/NAME.yaml and give experiment=NAME" in line


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("convforge insp", "inspect-data"),
        ("convforge train model=soft", "model=softmax_linear"),
        ("convforge train -q -m optimizer=adam optimizer.learning_rate", "optimizer.learning_rate"),
        ("convforge summary augment.geometry.rot", "augment.geometry.rotation="),
        ("convforge train hydra.sweeper.max", "hydra.sweeper.max_batch_size="),
        ("convforge fetch ", ""),
        ("convforge train model=no_such_thing optimizer.", ""),
    ],
)
def test_a_shell_completes_commands_and_overrides(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    typed: str,
    completed: str,
) -> None:
    monkeypatch.setenv("COMP_LINE", typed)
    assert cli.main(["-sc", "query=bash"]) == 0
    said = capfd.readouterr()
    assert said.err == ""
    assert said.out.split()[:1] == completed.split() or f"{completed}=" in said.out.split()


def test_bash_takes_the_script_and_asks_the_command(project: Path) -> None:
    """What it does at the TAB key, with a stand-in for the installed command."""
    (project / "convforge").write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -m convforge.pipeline.cli "$@"\n'
    )
    (project / "convforge").chmod(0o755)
    script = """
PATH=$PWD:$PATH
eval "$(convforge train -sc install=bash)"
COMP_LINE="convforge train model=soft" COMP_WORDS=(convforge train model=soft) COMP_CWORD=2
hydra_bash_completion
echo "${COMPREPLY[@]}"
complete -p convforge
"""
    done = subprocess.run(
        ["bash", "-c", script], cwd=project, capture_output=True, text=True, check=True
    )
    reply, rule = done.stdout.splitlines()
    assert reply == "model=softmax_linear"
    assert rule.endswith("-F hydra_bash_completion convforge")


@pytest.mark.parametrize("words", [["install=bsh"], []])
def test_a_shell_that_hydra_does_not_know_is_refused(
    project: Path, capfd: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert cli.main(["train", "-sc", *words]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "bash" in line
