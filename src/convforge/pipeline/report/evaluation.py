"""What an evaluation writes of the test split: its figures, predictions.csv and pictures."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convforge.pipeline.report.confusion import confusion_matrix, draw_confusion
from convforge.pipeline.report.scatter import draw_scatter
from convforge.pipeline.report.scores import class_scores, probabilities_of, target_scores
from convforge.pipeline.report.worst_errors import draw_worst
from convforge.pipeline.run_folder import EvaluationFolder
from convforge.serving.predictor import Predictor


@dataclass(frozen=True)
class Tested:
    """The test split, and what the loss is computed on for it: logits, or standardised numbers."""

    images: NDArray[Any]
    labels: NDArray[Any]
    outputs: NDArray[np.float32]


def describe_classes(
    tested: Tested, predictor: Predictor, loss: str, folder: EvaluationFolder
) -> tuple[Mapping[str, float], list[Path]]:
    """The figures; predictions.csv, the confusion matrix and the worst errors go to `folder`."""
    classes, labels = predictor.card.classes, tested.labels
    predicted = tested.outputs.argmax(axis=1)
    given = probabilities_of(tested.outputs)[np.arange(len(labels)), labels]
    _write_predictions(
        folder.predictions,
        ["actual", "predicted", "probability_of_actual"],
        [
            [classes[label], classes[guess], f"{probability:.6f}"]
            for label, guess, probability in zip(labels, predicted, given, strict=True)
        ],
    )
    pictures = [folder.path / "confusion.png"]
    draw_confusion(confusion_matrix(labels, predicted, len(classes)), classes, pictures[0])
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(given[wrong], kind="stable")]
    captions = [f"{classes[labels[i]]}, taken for {classes[predicted[i]]}" for i in worst]
    pictures += draw_worst(tested.images[worst], captions, folder.path / "worst_errors.png")
    return class_scores(labels, tested.outputs, loss), pictures


def describe_numbers(
    tested: Tested, predictor: Predictor, loss: str, folder: EvaluationFolder
) -> tuple[Mapping[str, float], list[Path]]:
    """The figures; predictions.csv, the scatter plot and the worst errors go to `folder`."""
    names, actual = predictor.card.targets, tested.labels
    std, mean = (np.asarray(part) for part in _units(predictor))
    predicted = tested.outputs * std + mean
    _write_predictions(
        folder.predictions,
        [f"{kind}_{name}" for name in names for kind in ("actual", "predicted")],
        [
            [f"{number:.6g}" for pair in zip(*row, strict=True) for number in pair]
            for row in zip(actual, predicted, strict=True)
        ],
    )
    pictures = [folder.path / "scatter.png"]
    draw_scatter(actual, predicted, names, pictures[0])
    worst = np.argsort(-np.abs((actual - predicted) / std).sum(axis=1), kind="stable")
    captions = [
        ", ".join(
            f"{a:.3g}, taken for {b:.3g}" for a, b in zip(actual[i], predicted[i], strict=True)
        )
        for i in worst
    ]
    pictures += draw_worst(tested.images[worst], captions, folder.path / "worst_errors.png")
    return target_scores(actual, predicted, names, std.tolist(), loss), pictures


def _units(predictor: Predictor) -> tuple[Sequence[float], Sequence[float]]:
    last = predictor.model.layers[-1]
    return last.scale, last.offset


def _write_predictions(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["index", *header])
        writer.writerows([index, *row] for index, row in enumerate(rows))
