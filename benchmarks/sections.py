"""What `make bench` runs: one script for each section, how often, and in what time."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field

from machine import accelerator

WITHOUT_CONVOLUTIONS = ("model.layers.conv1=null", "model.layers.conv2=null")


def _here(given: argparse.Namespace) -> str | None:
    return None


def _archives(given: argparse.Namespace) -> str | None:
    if given.photographs or given.cifar:
        return None
    return "no archive was named (--photographs FILE.tar, --cifar FILE.tar.gz)"


def _accelerator(given: argparse.Namespace) -> str | None:
    name = accelerator()
    if name is None:
        return "no accelerator answers here (nvidia-smi)"
    return f"all other tables are the processor's; {name} was not used"


@dataclass(frozen=True)
class Section:
    """A script and how it is run.

    Attributes:
        title: of its table.
        script: in this folder; "" where there is none to run here.
        minutes: that it takes with `rounds` rounds on two quiet cores.
        rounds: of its arms.
        options: besides the rounds.
        quick: the options of a smoke run.
        environment: of the script.
        lacks: why it cannot be measured, or None.
    """

    title: str
    script: str
    minutes: float
    rounds: int
    options: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    lacks: Callable[[argparse.Namespace], str | None] = _here


SECTIONS = {
    "startup": Section(
        "Before anything happens",
        "startup.py",
        minutes=2.0,
        rounds=5,
        options=("--ui-rounds", "3"),
        quick=("--ui-rounds", "1"),
    ),
    "step": Section(
        "A training step on a ready batch",
        "step.py",
        minutes=2.5,
        rounds=3,
        options=(
            "--steps",
            "40",
            "--arms",
            "pytorch",
            "pytorch channels last",
            "ours on tensorflow",
        ),
        quick=(
            *("--steps", "6", "--models", "maxout_cnn"),
            *("--arms", "pytorch", "ours on tensorflow"),
        ),
    ),
    "loops": Section(
        "A training loop with augmentation",
        "loops.py",
        minutes=3.5,
        rounds=3,
        options=("--images", "4000", "--epochs", "3"),
        quick=("--images", "200", "--epochs", "2"),
    ),
    "augment": Section(
        "Augmentation alone",
        "augment.py",
        minutes=1.5,
        rounds=3,
        options=("--seconds", "0.8"),
        quick=("--seconds", "0.05", "--fewer", "64"),
    ),
    "preprocess": Section(
        "Images to shards, and shards to memory",
        "preprocess.py",
        minutes=2.0,
        rounds=2,
        options=("--images", "2500", "--seconds", "4"),
        quick=("--images", "40", "--few", "20", "--seconds", "0.1", "--readings", "1"),
        lacks=_archives,
    ),
    "feed": Section(
        "Data in the device's memory",
        "device_feed.py",
        minutes=1.0,
        rounds=2,
        options=(
            *("--name", "an epoch of the default net without convolutions, batches of 50"),
            *("trainer.batch_size=50", *WITHOUT_CONVOLUTIONS),
        ),
        quick=(
            *("--name", "an epoch", "--epochs", "2", "trainer.batch_size=50"),
            *WITHOUT_CONVOLUTIONS,
        ),
        environment={"KERAS_BACKEND": "jax"},
    ),
    "together": Section(
        "Runs of a sweep in one program",
        "together.py",
        minutes=2.0,
        rounds=2,
        options=(
            *("--runs", "8", "--name", "of 5 epochs of the default net without convolutions"),
            *("trainer.epochs=5", *WITHOUT_CONVOLUTIONS),
        ),
        quick=(
            *("--runs", "2", "trainer.epochs=1", "trainer.limit_steps=1", "augment=none"),
            *WITHOUT_CONVOLUTIONS,
        ),
        environment={"KERAS_BACKEND": "jax"},
    ),
    "tracking": Section(
        "What tracking costs",
        "tracking_cost.py",
        minutes=4.5,
        rounds=5,
        options=("--steps", "2000", "--milliseconds", "5", "--model-rounds", "3"),
        quick=("--steps", "20", "--milliseconds", "1", "--model-rounds", "1"),
    ),
    "serve": Section(
        "A served model",
        "serve.py",
        minutes=2.0,
        rounds=3,
        options=("--seconds", "2", "--requests", "4000", "--clients", "1", "8"),
        quick=("--seconds", "1", "--requests", "40", "--clients", "1"),
    ),
    "growth": Section(
        "How time grows",
        "growth.py",
        minutes=4.5,
        rounds=2,
        options=("--images", "2500", "--", "trainer.epochs=2", *WITHOUT_CONVOLUTIONS),
        quick=(
            *("--images", "50", "--epoch-rounds", "1", "--model", "softmax_linear"),
            *("--steps", "4", "--runs", "1", "2", "--sides", "16", "32", "--layers", "1", "2"),
            *("--batches", "5", "10", "--", "trainer.epochs=1", "trainer.limit_steps=1"),
            *("augment=none", *WITHOUT_CONVOLUTIONS),
        ),
    ),
    "accelerator": Section(
        "On an accelerator",
        "",
        minutes=0.0,
        rounds=0,
        lacks=_accelerator,
    ),
}
