"""What an evaluation writes of the test split: its figures, predictions.csv and pictures."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convforge.pipeline.explanation.feature_maps import find_feature_maps
from convforge.pipeline.explanation.gradient import has_gradients
from convforge.pipeline.pluralize import pluralize
from convforge.pipeline.report.confusion import confusion_matrix, draw_confusion
from convforge.pipeline.report.explanation_sheet import Question, draw_questions
from convforge.pipeline.report.scatter import draw_scatter
from convforge.pipeline.report.scores import class_scores, probabilities_of, target_scores
from convforge.pipeline.report.sheet import SMALL
from convforge.pipeline.report.style import shortened, written
from convforge.pipeline.report.worst_errors import CAPTION_ROOM, MOST_ERRORS, draw_worst
from convforge.pipeline.run_folder import EvaluationFolder
from convforge.serving.predictor import Predictor

# Of Grad-CAMs: images in a section, and images and maps in a row.
_MOST_QUESTIONS, _COLUMNS = 6, 6
# Targets below an image.
_MOST_NAMED = 3


@dataclass(frozen=True)
class Tested:
    """The test split, and what the loss is computed on for it: logits, or standardised numbers."""

    images: NDArray[Any]
    labels: NDArray[Any]
    outputs: NDArray[np.float32]


def describe_classes(
    tested: Tested, predictor: Predictor, loss: str, folder: EvaluationFolder, *, drawn: bool = True
) -> tuple[Mapping[str, float], list[Path]]:
    """The figures; predictions.csv and, `drawn`, the pictures go to `folder`.

    These are the confusion matrix, the surest errors and Grad-CAMs.
    """
    classes, labels = predictor.card.classes, tested.labels
    predicted = tested.outputs.argmax(axis=1)
    probabilities = probabilities_of(tested.outputs)
    images = np.arange(len(labels))
    given = probabilities[images, labels]
    _write_predictions(
        folder.predictions,
        ["actual", "predicted", "probability_of_actual"],
        [
            [classes[label], classes[guess], f"{probability:.6f}"]
            for label, guess, probability in zip(labels, predicted, given, strict=True)
        ],
    )
    figures = class_scores(labels, tested.outputs, loss)
    if not drawn:
        return figures, []
    pictures = [folder.path / "confusion.png"]
    draw_confusion(confusion_matrix(labels, predicted, len(classes)), classes, pictures[0])
    pictures += draw_surest_errors(tested, classes, folder.path / "worst_errors.png")
    worst = surest_errors(labels, probabilities)

    def question(i: int, *asked: int) -> Question:
        truth = f"is {shortened(classes[labels[i]], SMALL, CAPTION_ROOM - 15)}"
        return Question(
            tested.images[i],
            truth,
            [(k, _likely("for", classes[k], probabilities[i, k])) for k in asked],
        )

    sections = (
        (
            "The surest errors: for what it said, and for what it is",
            [question(i, predicted[i], labels[i]) for i in worst[:_MOST_QUESTIONS]],
        ),
        (
            "Right",
            [question(i, labels[i]) for i in _one_of_each(labels, predicted == labels)],
        ),
    )
    pictures += _draw_grad_cams(predictor, sections, folder)
    return figures, pictures


def draw_surest_errors(tested: Tested, classes: Sequence[str], path: Path) -> list[Path]:
    """The images that the net was most wrong about, as a PNG at `path`; none for none.

    Returns:
        The files written.
    """
    probabilities, labels = probabilities_of(tested.outputs), tested.labels
    worst = surest_errors(labels, probabilities)
    shown = worst[:MOST_ERRORS]
    predicted = probabilities.argmax(axis=1)
    return draw_worst(
        tested.images[shown],
        [
            _likely("says", classes[predicted[i]], probabilities[i, predicted[i]])
            + "\n"
            + _likely("is", classes[labels[i]], probabilities[i, labels[i]])
            for i in shown
        ],
        path,
        title=f"{pluralize(len(worst), 'error')} of {pluralize(len(labels), 'test image')}",
        note="the surest first: what the net says and what it is, each with its probability",
    )


def surest_errors(
    labels: NDArray[np.int64], probabilities: NDArray[np.floating]
) -> NDArray[np.int64]:
    """The images `(n,)` of which the likeliest class is wrong, the most probable of them first.

    Example:
        >>> surest_errors(np.array([1, 0, 1]), np.array([[0.6, 0.4], [0.9, 0.1], [0.8, 0.2]]))
        array([2, 0])
    """
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    return wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")]


def describe_numbers(
    tested: Tested, predictor: Predictor, loss: str, folder: EvaluationFolder, *, drawn: bool = True
) -> tuple[Mapping[str, float], list[Path]]:
    """The figures; predictions.csv and, `drawn`, the pictures go to `folder`.

    These are the scatter plot, the largest errors and Grad-CAMs.
    """
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
    figures = target_scores(actual, predicted, names, std.tolist(), loss)
    if not drawn:
        return figures, []
    pictures = [folder.path / "scatter.png"]
    draw_scatter(actual, predicted, names, pictures[0])
    order = np.argsort(-np.abs((actual - predicted) / std).sum(axis=1), kind="stable")
    captions = [_compared(names, predicted[i], actual[i]) for i in order[:MOST_ERRORS]]
    pictures += draw_worst(
        tested.images[order[:MOST_ERRORS]],
        captions,
        folder.path / "worst_errors.png",
        title=f"The largest errors on {pluralize(len(order), 'test image')}",
        note="what the net says, and what it is",
    )
    sections = tuple(
        (
            title,
            [
                Question(
                    tested.images[i],
                    _compared(names[:1], predicted[i], actual[i]),
                    [(0, "")],
                )
                for i in chosen[:_MOST_QUESTIONS]
            ],
        )
        for title, chosen in (("The largest errors", order), ("The smallest errors", order[::-1]))
    )
    pictures += _draw_grad_cams(predictor, sections, folder)
    return figures, pictures


def _draw_grad_cams(
    predictor: Predictor,
    sections: Sequence[tuple[str, Sequence[Question]]],
    folder: EvaluationFolder,
) -> list[Path]:
    """Of the last convolution; none without one, without gradients, or with nothing to ask."""
    found = find_feature_maps(predictor.model) if has_gradients() else []
    if not found or not any(questions for _, questions in sections):
        return []
    path = folder.path / "grad_cam.png"
    draw_questions(predictor, found[-1], sections, path, columns=_COLUMNS)
    return [path]


def _one_of_each(labels: NDArray[np.int64], right: NDArray[np.bool_]) -> list[int]:
    """The first right image of some classes, spread over all of them."""
    classes, first = np.unique(labels[right], return_index=True)
    places = np.linspace(0, len(classes) - 1, min(len(classes), _MOST_QUESTIONS)).round()
    images = np.flatnonzero(right)[first]
    return [int(images[place]) for place in places.astype(int)]


def _likely(word: str, name: str, probability: float) -> str:
    """One line, or where the class has a long name two."""
    line = f"{word} {name}: {probability:.1%}"
    if shortened(line, SMALL, CAPTION_ROOM) == line:
        return line
    return f"{shortened(f'{word} {name}', SMALL, CAPTION_ROOM)}\n{probability:.1%}"


def _compared(names: Sequence[str], predicted: NDArray[Any], actual: NDArray[Any]) -> str:
    """Each number with what is right; of many the first few."""
    if len(names) == 1:
        return f"says {written(predicted[0])}\nis {written(actual[0])}"
    return "\n".join(
        f"{shortened(name, SMALL, CAPTION_ROOM - 90)} {written(said)}, is {written(right)}"
        for name, said, right in zip(names[:_MOST_NAMED], predicted, actual, strict=False)
    )


def _units(predictor: Predictor) -> tuple[Sequence[float], Sequence[float]]:
    last = predictor.model.layers[-1]
    return last.scale, last.offset


def _write_predictions(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["index", *header])
        writer.writerows([index, *row] for index, row in enumerate(rows))
