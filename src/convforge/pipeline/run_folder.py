"""What lies where in a run's folder, for those who write it and those who read it."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from convforge.errors import InputError
from convforge.serving.predictor import RUN_MODEL


@dataclass(frozen=True)
class _Folder:
    path: Path

    @property
    def pictures(self) -> Path:
        """What people look at, as PNG."""
        return self.path / "pictures"

    @property
    def data(self) -> Path:
        """The data's card and contact sheets."""
        return self.path / "data"


class RunFolder(_Folder):
    """What a training leaves."""

    @property
    def config(self) -> Path:
        """The config that the run was made by; `Settings` parse it."""
        return self.path / "config.yaml"

    @property
    def history(self) -> Path:
        """A table of every epoch's figures."""
        return self.path / "history.csv"

    @property
    def started_from(self) -> Path:
        """Which weights are another model's, where it has started from one."""
        return self.path / "started_from.json"

    @property
    def model(self) -> Path:
        """The folder of the trained model and its card."""
        return self.path / RUN_MODEL

    @property
    def best(self) -> Path:
        """The same with the weights of the best epoch, where the model has the last one's."""
        return self.path / "best"

    @property
    def last(self) -> Path:
        """The same with the weights of the last epoch, where the model has the best one's."""
        return self.path / "last"

    @property
    def last_good(self) -> Path:
        """The same with those from before the loss went wrong, where it did."""
        return self.path / "last_good"

    def check(self) -> None:
        """Raise InputError where this is no folder of a run, with the newest run in it."""
        if not self.config.is_file():
            raise InputError(
                f"{self.path} is not the folder of a run: no {self.config.name} in it"
                f"{newest_run(self.path)}"
            )

    @property
    def evaluation(self) -> EvaluationFolder:
        """Where `convforge evaluate` writes; DVC's evaluation has a folder beside the run's."""
        return EvaluationFolder(self.path / "evaluate")


class EvaluationFolder(_Folder):
    """What an evaluation leaves; the pictures that the training did not draw among it."""

    @property
    def metrics(self) -> Path:
        """The figures on the test split."""
        return self.path / "metrics.json"

    @property
    def predictions(self) -> Path:
        """What the model said of every test image."""
        return self.path / "predictions.csv"


def newest_run(path: Path) -> str:
    """A hint for whoever names the folder of many runs, as outputs/train; empty for none.

    A run that has others in its folder is meant itself.
    """
    if RunFolder(path).config.is_file():
        return ""
    runs = (config.parent for config in path.glob("*/config.yaml"))
    trained = [run for run in runs if (run / RUN_MODEL).is_dir()]
    newest = max(trained, key=lambda run: run.stat().st_mtime, default=None)
    return f"; the newest in it is {newest}" if newest else ""


def read_history(path: Path) -> dict[str, list[float]]:
    """The columns of a run's table of epochs; none where there is no row."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0]} if rows else {}
