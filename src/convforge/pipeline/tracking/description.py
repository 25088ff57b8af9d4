"""What a run's page says of it in words: Markdown, written by the training, completed by a test."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.metrics import CLASS_METRICS, NUMBER_METRICS, achieved
from convforge.pipeline.pluralize import pluralize
from convforge.pipeline.run_folder import read_history

#: The tag with the command that repeats a run.
COMMAND_TAG = "convforge.command"
_COMMIT, _CHANGES = "mlflow.source.git.commit", "convforge.git_changes"
# An error rate is what an accuracy lacks.
_FORMS = {metric.name: metric for metric in (CLASS_METRICS[0], *NUMBER_METRICS)}
# How the figures of each are named, and a column of the table is.
_SPLITS = {"": "training", "val_": "validation", "test_": "test"}
_LETTERS_OF_COMMIT = 8


@dataclass(frozen=True)
class RunDescription:
    """What is known of a run, now or later.

    Args:
        network: its name in the config.
        parameters: how many numbers it learns or keeps.
        manifest: of the data.
        epochs: that were asked for.
        tags: of the run: its command, its commit.
        weights: which ones the model has; "" while it is trained.
        figures: of that epoch, and on the test split.
        pictures: whether there are any.
    """

    network: str
    parameters: int
    manifest: Manifest
    epochs: int
    tags: Mapping[str, str]
    weights: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    pictures: bool = False

    @property
    def text(self) -> str:
        """In Markdown."""
        return "\n\n".join(part for part in self._parts() if part) + "\n"

    def _parts(self) -> Iterator[str]:
        tested = any(name.startswith("test_") for name in self.figures)
        # MLflow's page cuts off all but some lines.
        reached = f"**Test {achieved(self.figures, 'test')}**: " if tested else ""
        yield (
            f"{reached}**{_escaped(self.network)}**, {pluralize(self.parameters, 'parameter')}, "
            f"on **{_escaped(self.manifest.name)}**, {_of_data(self.manifest)}."
        )
        yield _table(self.figures)
        yield self._of_weights()
        if self.pictures:
            yield "*Artifacts*: `pictures/`, `data/` with the data's card, `config.yaml`."
        yield _repeat(self.tags)

    def _of_weights(self) -> str:
        asked = pluralize(self.epochs, "epoch")
        if not self.weights:
            return f"To be trained for {asked}."
        tested = any(name.startswith("test_") for name in self.figures)
        until = "" if tested else " Not tested yet."
        return f"{self.weights[0].upper()}{self.weights[1:]}; {asked} asked for.{until}"


def repeating_command(given: str = "") -> str:
    """What a person types to repeat the run: what was `given`, or DVC's."""
    if given:
        return given
    experiment = os.environ.get("DVC_EXP_NAME")
    return f"dvc exp apply {experiment} && dvc repro --force" if experiment else "dvc repro"


def figures_of_epoch(history: Path, epoch: int | None) -> dict[str, float]:
    """The row of the table `history` for `epoch`, or its last one."""
    if not history.is_file():
        return {}
    columns = read_history(history)
    epochs = columns.get("epoch", [])
    rows = [row for row, number in enumerate(epochs) if epoch is None or number == epoch]
    return {name: column[rows[-1]] for name, column in columns.items()} if rows else {}


def _of_data(manifest: Manifest) -> str:
    what = (
        pluralize(len(manifest.classes), "class", "classes")
        if manifest.classes
        else f"numbers to predict: {', '.join(_escaped(it.name) for it in manifest.targets)}"
    )
    if not manifest.classes and not manifest.targets:
        what = "no classes"
    height, width, channels = manifest.image_shape
    splits = ", ".join(f"{split.examples:,} {name}" for name, split in manifest.splits.items())
    return f"{what}, {height}×{width}×{channels} pixels, {splits}"


def _table(figures: Mapping[str, float]) -> str:
    """A row for each figure, a column for each split that has any."""
    rows = [name for name in (*_FORMS, "loss") if any(f"{it}{name}" in figures for it in _SPLITS)]
    splits = [it for it in _SPLITS if any(f"{it}{name}" in figures for name in rows)]
    if not rows:
        return ""
    lines = [
        "| | " + " | ".join(_SPLITS[split] for split in splits) + " |",
        "|---|" + "---|" * len(splits),
    ]
    for name in rows:
        label = _FORMS[name].label if name in _FORMS else name
        cells = [_written(name, figures.get(f"{split}{name}")) for split in splits]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _written(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:{_FORMS[name].form}}" if name in _FORMS else f"{value:.4f}"


def _repeat(tags: Mapping[str, str]) -> str:
    if COMMAND_TAG not in tags:
        return ""
    commit = tags.get(_COMMIT, "")[:_LETTERS_OF_COMMIT]
    checkout = f"git checkout {commit}\n" if commit else ""
    changed = commit and tags.get(_CHANGES) == "yes"
    but = f" (it had changes that commit {commit} has not)" if changed else ""
    return f"To repeat it{but}:\n\n```console\n{checkout}{tags[COMMAND_TAG]}\n```"


def _escaped(text: str) -> str:
    """`text` without what Markdown would take for its own."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#" else letter for letter in text)
