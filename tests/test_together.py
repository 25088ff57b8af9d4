"""Runs of a sweep that one program trains: each is the run that it is alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from run_comparison import STATEFUL_NET, assert_same_run, history_of

from convforge.pipeline import cli
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.stages.train import dump
from convforge.pipeline.sweeps.together import groups_of
from convforge.pipeline.training.resume.signals import StopRequest
from convforge.pipeline.training.run_group import GroupedRun, Request, run_together
from convforge.pipeline.training.run_numbers import program_key

NET = (*STATEFUL_NET, "trainer.feed=device")
SMALL = ("data.split.validation=50", "data.split.test=100")
SCRIPT = Path(__file__).with_name("train_together.py")
JAX = {**os.environ, "KERAS_BACKEND": "jax"}

RATES = tuple(
    ("schedule.warmup_epochs=1", f"optimizer.clip_value={bound}", *job)
    for bound, job in (
        (0.01, ("seed=1", "optimizer.learning_rate=0.02")),
        (0.02, ("seed=2", "optimizer.momentum=0.5")),
        (1, ("optimizer.weight_decay=0", "model.layers.drop1.rate=0.2")),
        (1, ("optimizer.weight_decay=0.1", "trainer.early_stopping.patience=1")),
    )
)
STRENGTHS = tuple(
    # A bias before batch normalisation has no gradient but rounding, which Adam makes a step of.
    (
        *("optimizer=adamw", "schedule=step", "model.layers.prelu1=null"),
        *("optimizer.clip_norm=1", *job),
    )
    for job in (
        (),
        ("augment.geometry.rotation=40", "augment.colour.strength=1", "optimizer.clip_norm=0.1"),
        ("augment.crop.scale=[0.3,0.9]", "seed=5"),
        ("optimizer.beta_1=0", "optimizer.beta_2=0.9999", "optimizer.epsilon=0.01"),
        (
            "optimizer.weight_decay=0.5",
            "augment.geometry.shear=30",
            "augment.geometry.translation=0.4",
            "augment.reflection.probability=0.9",
        ),
    )
)

AVERAGES = tuple(
    ("optimizer=rmsprop", "model.layers.prelu1=null", "optimizer.clip_global_norm=1", *job)
    for job in (
        (),
        ("optimizer.rho=0.999", "optimizer.epsilon=0.001"),
        ("optimizer.clip_global_norm=0.1", "optimizer.epsilon=0.001"),
    )
)


def _write(folder: Path, jobs: list[Settings]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "conf").mkdir()
    (folder / "conf" / "config.yaml").touch()
    for number, settings in enumerate(jobs):
        config = OmegaConf.to_yaml(OmegaConf.create(dump(settings)))
        (folder / f"{number}.yaml").write_text(config, encoding="utf-8")


def _trained(folder: Path, data: Path, mode: str, *more: str) -> Path:
    """The folder of the runs, from a process of its own on JAX."""
    command = [sys.executable, str(SCRIPT), str(folder), str(data), mode, *more]
    done = subprocess.run(
        command, cwd=folder, env=JAX, stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / mode


@pytest.mark.parametrize(
    ("jobs", "modes"),
    [
        pytest.param(RATES, ("turns", "mapped"), id="rates", marks=pytest.mark.backends),
        pytest.param(STRENGTHS, ("mapped",), id="strengths", marks=pytest.mark.slow),
        pytest.param(AVERAGES, ("mapped",), id="averages", marks=pytest.mark.slow),
    ],
)
def test_each_run_is_the_one_that_it_is_alone_though_another_diverges(
    compose: Callable[..., Settings],
    digits: Path,
    tmp_path: Path,
    jobs: tuple[tuple[str, ...], ...],
    modes: tuple[str, ...],
) -> None:
    diverges = (*jobs[0], "optimizer.learning_rate=1e20")
    settings = [compose(*NET, *job) for job in (*jobs, diverges)]
    assert len({program_key(each) for each in settings}) == 1
    _write(tmp_path, settings)
    last = str(len(jobs))
    for mode in modes:
        runs = _trained(tmp_path, digits, mode)
        told = (runs / f"{last}.txt").read_text()
        assert told.startswith("the loss is "), told
        assert "lower optimizer.learning_rate=1e+20" in told
        assert (runs / last / "last_good").is_dir()
    (tmp_path / f"{last}.yaml").unlink()
    alone = _trained(tmp_path, digits, "alone")
    for mode in modes:
        for number in range(len(jobs)):
            assert_same_run(tmp_path / mode / str(number), alone / str(number))
    # Nor are they all one run.
    begun = {tuple(history_of(alone / str(number))[0]) for number in range(len(jobs))}
    assert len(begun) == len(jobs)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no bound on the memory elsewhere")
def test_where_memory_ends_fewer_runs_go_through_a_step_at_once(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path
) -> None:
    # 785·16,000 weights, their velocities and gradients: 350 MB a run, 100 of them its state.
    wide = [f"model.layers.{name}=null" for name in ("conv1", "pool1", "conv2", "pool2", "drop1")]
    wide += ["model.layers.dense1.units=16000", "augment=none", "tracking=none"]
    wide += ["trainer.feed=device", "trainer.epochs=1", "trainer.limit_steps=2"]
    _write(tmp_path, [compose(*wide, f"seed={seed}") for seed in range(4)])
    together = _trained(tmp_path, digits, "mapped", str(900 << 20))
    said = (together / "said.txt").read_text()
    assert "4 runs in one program, 4 at once" in said
    assert "not enough memory: 2 at once from now on" in said
    alone = _trained(tmp_path, digits, "alone")
    for number in ("0", "1", "2", "3"):
        assert_same_run(together / number, alone / number)


@pytest.mark.slow
def test_a_sweep_that_is_stopped_goes_on_where_it_was(project: Path) -> None:
    net = ("model=softmax_linear", "augment=none", "tracking=none", "trainer.epochs=40")
    sweep = [*SMALL, *net, "seed=0,1", "evaluate=true"]
    command = [sys.executable, "-m", "convforge.pipeline.cli", "train", "-m", *sweep]
    folders = [f"hydra.sweep.dir={project}/{name}" for name in ("alone", "together")]
    alone = [*command, folders[0], "trainer.feed=device"]
    subprocess.run(alone, env=JAX, check=True, stderr=subprocess.DEVNULL)

    command += [folders[1], "hydra/launcher=together"]
    process = subprocess.Popen(command, env=JAX, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "epoch   3/40" in line:
            process.send_signal(signal.SIGTERM)
            break
    said = process.stderr.read()
    assert process.wait() == 130, said
    assert said.count("stopped; the same command goes on from here") == 2, said

    done = subprocess.run(command, env=JAX, stderr=subprocess.PIPE, text=True, check=True)
    assert done.stderr.count("goes on after epoch") == 2, done.stderr
    assert "goes on after epoch 0" not in done.stderr
    for number in ("0", "1"):
        assert_same_run(project / "together" / number, project / "alone" / number)
        assert (project / "together" / number / "evaluate" / "metrics.json").is_file()


@pytest.mark.integration
def test_what_differs_in_more_than_numbers_has_a_group_of_its_own(
    compose: Callable[..., Settings],
) -> None:
    changes = [
        (),
        ("seed=1", "optimizer.learning_rate=0.5", "optimizer.weight_decay=0"),
        ("optimizer.momentum=0",),  # No velocity.
        ("model.layers.drop1.rate=0.1", "trainer.early_stopping.patience=3"),
        ("model.layers.drop1.rate=0",),  # No random numbers.
        ("model.layers.dense1.units=8",),
        ("augment.geometry.rotation=20", "tracking=none"),
        ("augment.reflection.probability=0.5",),
        ("trainer.epochs=3",),
        ("optimizer.momentum=0.1",),
        ("optimizer=adamw",),
        ("augment.place=model",),
        ("augment.place=model", "augment.geometry.rotation=20"),
        ("optimizer=adamw", "optimizer.beta_2=0.99", "optimizer.epsilon=0.1"),
        ("optimizer.clip_norm=1",),
        ("optimizer.clip_norm=2",),
        ("optimizer.clip_value=2",),
    ]
    jobs = {number: compose("trainer.feed=device", *each) for number, each in enumerate(changes)}
    alone = [[2], [4], [5], [7], [8], [11], [12], [16]]
    pairs = [[10, 13], [14, 15]]
    assert sorted(groups_of(jobs, most=64)) == sorted([[0, 1, 3, 6, 9], *pairs, *alone])
    split = [[0, 1], [3, 6], [9], *pairs, *alone]
    assert sorted(groups_of(jobs, most=2)) == sorted(split)


def _counting(place: tuple[int, ...], steps: int, log: list[str]) -> Callable[[GroupedRun], str]:
    """A run that takes `steps` steps from `place` on."""

    def run(grouped: GroupedRun) -> str:
        def answer(requests: Sequence[Request]) -> list[int]:
            log.append("+".join(str(request.arguments["run"]) for request in requests))
            return [len(requests)] * len(requests)

        for step in range(steps):
            grouped.meet(Request((*place, step), {"run": grouped.number}, answer))
            time.sleep(0)
        return f"run {grouped.number}"

    return run


def _together(*runs: Callable[[GroupedRun], object]) -> list[object]:
    return run_together(runs, stop=StopRequest(), mapped=None, say=print)


def test_runs_meet_and_those_that_are_behind_go_first() -> None:
    log: list[str] = []
    runs = [_counting((1,), 2, log), _counting((0,), 2, log), _counting((1,), 3, log)]
    assert _together(*runs) == ["run 0", "run 1", "run 2"]
    assert log == ["1", "1", "0+2", "0+2", "2"]


def test_a_run_that_fails_leaves_the_others_and_an_error_of_all_is_each_ones() -> None:
    log: list[str] = []

    def fails(grouped: GroupedRun) -> None:
        raise ValueError("mine")

    first, second = _together(fails, _counting((0,), 1, log))
    assert isinstance(first, ValueError)
    assert (second, log) == ("run 1", ["1"])

    def answer(requests: Sequence[Request]) -> list[object]:
        raise MemoryError("ours")

    def asks(grouped: GroupedRun) -> None:
        grouped.meet(Request((0,), {}, answer))

    assert [type(result) for result in _together(asks, asks)] == [MemoryError] * 2


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["trainer.feed=stream"], "with trainer.feed=stream: give trainer.feed=device"),
        (["distribute=devices"], "with distribute=devices: give none"),
        (
            ["hydra/sweeper=optuna"],
            "with hydra.sweeper.n_jobs=1: give how many trials are to be trained together",
        ),
        ([], "with KERAS_BACKEND=tensorflow: give KERAS_BACKEND=jax"),
        (["hydra.launcher.most_together=0"], "most_together=0 is not allowed: give a number"),
        (["hydra.launcher.mapped=maybe"], "mapped=maybe is not allowed: give true, false or null"),
    ],
)
def test_what_runs_in_one_program_cannot_have_is_refused_before_anything_starts(
    project: Path, capfd: pytest.CaptureFixture[str], overrides: list[str], said: str
) -> None:
    arguments = ["train", "-m", "hydra/launcher=together", "seed=0,1", *overrides]
    assert cli.main(arguments) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "error" in line]
    assert said in line
    assert not list((project / "outputs").glob("sweeps/*"))
