"""What the ratios of the benchmarks must keep to, each with its reason.

`make bench BENCH=--check` compares what was measured with these. Only ratios are bound: a time says
as much of the machine as of the code.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from measurement import Row


@dataclass(frozen=True)
class Bound:
    """A bound on the quotient of two arms' values, or on a slope of the section "growth".

    Attributes:
        section: of `sections.py`.
        row: its name, with `*` for any letters.
        arm: whose value is divided; "" for the slope of the row on logarithmic axes.
        over: by whose; None is the row's base.
        at_least: of the quotient, or None.
        at_most: of the quotient, or None.
        reason: why this.
    """

    section: str
    row: str
    arm: str
    over: str | None
    reason: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def allowed(self) -> str:
        """In words."""
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"

    def holds(self, value: float) -> bool:
        """Whether it is kept."""
        return not (
            (self.at_least is not None and value < self.at_least)
            or (self.at_most is not None and value > self.at_most)
        )


@dataclass(frozen=True)
class Verdict:
    """What became of a bound: the quotient, or why there is none."""

    bound: Bound
    row: str
    over: str
    value: float | None = None
    why: str = ""

    @property
    def is_broken(self) -> bool:
        """Whether it was measured and is out of bounds."""
        return self.value is not None and not self.bound.holds(self.value)


BOUNDS = (
    Bound("startup", "a command", "convforge --help", "import keras",
          "help must not wait for TensorFlow: 0.3 s where Keras takes 4", at_most=0.1),
    Bound("startup", "a command", "convforge summary", "import keras",
          "it counts without Keras; were it to import it, this would be above 1", at_most=0.5),
    Bound("startup", "dvc repro*", "dvc repro", "DVC alone",
          "our stages list more files than an empty pipeline does, no more", at_most=1.3),
    Bound("startup", "pages*", "convforge ui", "mlflow server",
          "it starts the same server, after a look at the store", at_most=1.5),
    Bound("step", "*", "ours on tensorflow", None,
          "a step through the pipeline's net is no slower than PyTorch by hand", at_most=1.0),
    Bound("loops", "lecture_cnn*", "ours", "TensorFlow by hand, not augmented",
          "augmentation, tracking, checkpoints and exact repetition share the step's cores",
          at_least=0.8),
    Bound("loops", "lecture_cnn*", "ours", "Keras' fit, its augmentation, autolog",
          "what a user of Keras would write instead", at_least=1.0),
    Bound("loops", "lecture_cnn*", "ours", "PyTorch, torchvision, DataLoader",
          "what a user of PyTorch would write instead", at_least=1.0),
    Bound("augment", "32×32*", "convforge, from memory", "Keras Random* layers",
          "one resampling for all methods, where each layer resamples again", at_least=12),
    Bound("augment", "32×32*", "convforge, from memory", "torchvision v2",
          "whole batches, where it takes small images one by one", at_least=20),
    Bound("augment", "32×32*", "convforge, from memory", "Albumentations, FancyPCA",
          "the same; it does the very colour method of ours", at_least=15),
    Bound("augment", "224×224*", "convforge, from memory", "Keras Random* layers",
          "one resampling for all methods, where each layer resamples again", at_least=12),
    Bound("augment", "224×224*", "convforge, from memory", "torchvision v2",
          "large images hide its cost for each one", at_least=8),
    Bound("augment", "224×224*", "convforge, from memory", "Albumentations, RGBShift",
          "OpenCV's warp is near the memory's speed; its cheapest colour", at_least=3),
    Bound("preprocess", "photographs*", "convforge", "bare Pillow",
          "hashes, counts and writes, and decodes no more than it needs", at_least=0.8),
    Bound("preprocess", "memory of the*", "2,500 photographs", None,
          "nothing is kept of an image", at_most=1.2),
    Bound("feed", "an epoch*", "device", "bare scan",
          "on a processor with a net of 0.6 ms a step the host's turn between epochs shows",
          at_most=1.5),
    Bound("together", "8 runs*", "together", "one after another",
          "one compilation for all must never lose", at_most=1.0),
    Bound("tracking", "* steps of *", "each epoch, SQLite", "not tracked",
          "a run must not wait for its tracking: 1 %", at_most=1.01),
    Bound("tracking", "* steps of *", "each epoch, a server", "not tracked",
          "a run must not wait for its tracking: 1 %", at_most=1.01),
    Bound("tracking", "* steps of *", "each step, SQLite",
          "each step, mlflow.log_metrics to SQLite",
          "the sender shares the processor and Python's lock; MLflow's own call waits",
          at_most=0.5),
    Bound("tracking", "logging*", "ours", "mlflow.keras.log_model",
          "files are copied, and no requirements guessed by importing", at_most=0.2),
    Bound("serve", "1 client", "ours, file", "MLflow's Keras flavour, pixels",
          "no data frame between request and network", at_least=5),
    Bound("serve", "8 clients", "ours, file", "MLflow's Keras flavour, pixels",
          "no data frame between request and network", at_least=5),
    Bound("serve", "memory*", "after", "half-way",
          "a server that runs for months must not grow", at_most=1.05),
    Bound("loops", "memory*", "ours", "Keras' fit, its augmentation, autolog",
          "what we add to TensorFlow and MLflow is small beside them", at_most=1.25),
    Bound("growth", "preprocess, images", "", None, "an image's work does not depend on the others",
          at_most=1.1),
    Bound("growth", "memory of preprocess, images", "", None, "shards are written as they fill",
          at_most=0.15),
    Bound("growth", "a training epoch, images", "", None, "the same", at_most=1.1),
    Bound("growth", "a step, side of the image", "", None, "pixels grow with its square",
          at_most=2.2),
    Bound("growth", "a step, images of a batch", "", None, "an image's work is the same",
          at_most=1.1),
    Bound("growth", "a step, convolutions", "", None, "a layer's work is the same", at_most=1.1),
    Bound("growth", "together, runs", "", None, "a run's work is the same", at_most=1.1),
)  # fmt: skip


def verdicts(sections: Mapping[str, Any], slope: Any) -> Iterator[Verdict]:
    """Each bound beside what was measured.

    Args:
        sections: of the results.
        slope: gives a row's slope.
    """
    for bound in BOUNDS:
        section = sections.get(bound.section)
        rows = [Row(**row) for row in (section or {}).get("rows", ())]
        found = [row for row in rows if fnmatch.fnmatchcase(row.name, bound.row)]
        if not found:
            why = (section or {}).get("not_measured") or (section or {}).get("failed")
            yield Verdict(bound, bound.row, bound.over or "its base", why=why or "it was not run")
        for row in found:
            yield _verdict(bound, row, slope)


def _verdict(bound: Bound, row: Row, slope: Any) -> Verdict:
    over = bound.over or row.base or ""
    if not bound.arm:
        value = slope(row)
        return Verdict(bound, row.name, "", value, "" if value is not None else "too few values")
    for arm in (bound.arm, over):
        if not row.rounds.get(arm):
            why = row.missing.get(arm) or row.failed.get(arm) or "it was not run"
            return Verdict(bound, row.name, over, why=f"{arm or 'the base'}: {why}")
    return Verdict(bound, row.name, over, row.ratio(bound.arm, over))
