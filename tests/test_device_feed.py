"""Steps in one program over data in the device's memory: the run is that of the streaming feed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from run_comparison import STATEFUL_NET, assert_same_run

from convforge.errors import InputError
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.stages.train import dump
from convforge.pipeline.training.distribution.setup import check_backend


def _trained(settings: Settings, data: Path, folder: Path) -> Path:
    """The folder of a run on JAX, in a process of its own."""
    folder.mkdir(parents=True)
    (folder / "conf").mkdir()
    (folder / "conf" / "config.yaml").touch()
    params = folder / "params.yaml"
    params.write_text(OmegaConf.to_yaml(OmegaConf.create(dump(settings))), encoding="utf-8")
    stage = [sys.executable, "-m", "convforge.pipeline.stages.train", "--params", str(params)]
    done = subprocess.run(
        [*stage, "--data", str(data), "--out", str(folder / "run")],
        cwd=folder,
        env={**os.environ, "KERAS_BACKEND": "jax"},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.mark.backends
@pytest.mark.parametrize(
    "changes",
    [
        (),
        ("augment.place=model", "trainer.limit_steps=3"),
        (
            *("augment=none", "trainer.limit_examples=130", "loss.class_weights=balanced"),
            *("trainer.accumulate=2", "trainer.batch_size=30"),
        ),
    ],
    ids=["full", "in the model, three steps", "plain, few, weighted, in parts"],
)
def test_weights_and_history_are_those_of_the_streaming_feed(
    compose: Callable[..., Settings],
    digits: Path,
    tmp_path: Path,
    changes: tuple[str, ...],
) -> None:
    _compare(lambda feed: (compose(*STATEFUL_NET, *changes, feed), digits), tmp_path)


@pytest.mark.backends
def test_a_net_that_predicts_numbers_is_that_of_the_streaming_feed_too(
    measured: Callable[..., tuple[Settings, Path]], tmp_path: Path
) -> None:
    _compare(lambda feed: measured("brightness", "loss=mae", feed), tmp_path)


def _compare(settings: Callable[[str], tuple[Settings, Path]], folder: Path) -> None:
    stream, device = (
        _trained(*settings(f"trainer.feed={feed}"), folder / feed) for feed in ("stream", "device")
    )
    assert_same_run(device, stream)


@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
def test_a_backend_without_such_programs_is_refused(
    compose: Callable[..., Settings], backend: str
) -> None:
    with pytest.raises(InputError, match=f"trainer.feed=device .*KERAS_BACKEND={backend}: give"):
        check_backend(compose("trainer.feed=device"), backend)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("distribute=devices",), "stream with distribute=devices"),
        (
            ("task=regression", "loss=mse", "task.drawn=[rotation]", "augment.geometry.rotation=9"),
            "stream with task.drawn",
        ),
    ],
)
def test_what_cannot_be_fed_from_the_devices_memory_is_refused(
    compose: Callable[..., Settings], overrides: tuple[str, ...], told: str
) -> None:
    with pytest.raises(InputError, match=f"trainer.feed='device' is not allowed: give {told}"):
        compose("trainer.feed=device", *overrides)
