"""The figures that decide claims, and what a run's folder says of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from convforge.pipeline.claims.result import FigureRecord
from convforge.pipeline.run_folder import RunFolder, read_history

_POINTS = "percentage points"
FIGURES: Mapping[str, FigureRecord] = {
    "test_error": FigureRecord(title="test error", unit=_POINTS),
    "validation_error": FigureRecord(title="validation error after the last epoch", unit=_POINTS),
    "training_error": FigureRecord(
        title="training error after the last epoch, without dropout and augmentation", unit=_POINTS
    ),
    "gap": FigureRecord(title="test error less training error", unit=_POINTS),
    "steps_to_target": FigureRecord(
        title="iterations to the target of training error", unit="iterations"
    ),
    "largest_rate": FigureRecord(
        title="largest learning rate that reaches the target of training error",
        unit="learning rate",
        higher_is_better=True,
    ),
}
#: What needs the trained net on the training images.
OF_THE_NET = frozenset({"training_error", "gap"})
#: What is known of an arm's runs at all learning rates together, and of none alone.
OF_ALL_RATES = frozenset({"largest_rate"})


@dataclass(frozen=True)
class Curves:
    """The errors of a run's epochs, in percent.

    Args:
        training: of the images of an epoch, each as it was trained on.
        validation: after each epoch.
    """

    training: Sequence[float]
    validation: Sequence[float]

    @classmethod
    def of(cls, run: Path) -> Curves:
        """As the run's table has them."""
        history = read_history(RunFolder(run).history)
        return cls(
            [100 * (1 - share) for share in history["accuracy"]],
            [100 * (1 - share) for share in history["val_accuracy"]],
        )

    def steps_to(self, target: float, steps_per_epoch: int, first: float) -> tuple[float, bool]:
        """Iterations until the training error is `target` percent.

        An epoch's error is the mean over its images, so it stands for the middle of the epoch;
        between two middles it is taken to fall along a straight line.

        Args:
            target: in percent.
            steps_per_epoch: iterations.
            first: the error before the first iteration: of a guess.

        Returns:
            The iterations, and whether it was reached. If not, they are all that there were.

        Example:
            >>> Curves([60.0, 40.0, 20.0], []).steps_to(30, 100, 90)
            (200.0, True)
            >>> Curves([60.0, 40.0], []).steps_to(30, 100, 90)
            (200.0, False)
        """
        before, at = first, 0.0
        for epoch, error in enumerate(self.training):
            middle = (epoch + 0.5) * steps_per_epoch
            if error <= target:
                share = (before - target) / (before - error) if before > error else 1.0
                return at + max(share, 0.0) * (middle - at), True
            before, at = error, middle
        return float(steps_per_epoch * len(self.training)), False


def figures_of(
    run: Path, names: Sequence[str], *, target: float, steps_per_epoch: int, classes: int
) -> tuple[dict[str, float], list[str]]:
    """What the folder of a run that has finished says of the figures `names`.

    Args:
        run: the folder.
        names: of figures; those that one run alone does not have are left out.
        target: training error in percent that "fast" is measured to.
        steps_per_epoch: iterations.
        classes: how many there are to guess from.

    Returns:
        The figures, and the names of those whose value is the end of the run.
    """
    curves = Curves.of(run)
    figures: dict[str, float] = {
        "validation_error": curves.validation[-1],
        "last_training_error": curves.training[-1],
    }
    steps, reached = curves.steps_to(target, steps_per_epoch, 100 * (1 - 1 / classes))
    figures["steps_to_target"] = steps
    metrics = RunFolder(run).evaluation.metrics
    if metrics.is_file():
        figures["test_error"] = 100 * json.loads(metrics.read_text(encoding="utf-8"))["test_error"]
        if OF_THE_NET.intersection(names):
            figures["training_error"] = _training_error(run)
            figures["gap"] = figures["test_error"] - figures["training_error"]
    return figures, [] if reached else ["steps_to_target"]


def _training_error(run: Path) -> float:
    """Of the trained net on the training images as they are, in percent."""
    # Late: they bring the backend, which most claims do without.
    from convforge.pipeline.claims.training_error import training_error

    return training_error(run)
