"""Evaluate: a trained model on the test split, completing the run that trained it."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convforge.composition import project_root, read_params
from convforge.data.manifest import Manifest
from convforge.errors import InputError
from convforge.prediction import Predictor, load_predictor
from convforge.progress import Progress
from convforge.settings import MLflowTracking, Settings
from convforge.stages.entry import progress_of, run_guarded, stage_parser
from convforge.stages.preprocess import matching_manifest
from convforge.tracking.delivery import Delivery, read_state
from convforge.tracking.journal import Journal

METRICS = "metrics.json"
PREDICTIONS = "predictions.csv"
_WORST = 24


def evaluate(
    settings: Settings, run: Path, data: Path, out: Path, root: Path, progress: Progress
) -> Mapping[str, float]:
    """Test the model in `run` on the test split in `data` and write the results to `out`.

    Returns:
        loss, accuracy and error on the test split, and how many images it has.

    Raises:
        InputError: no model in `run`, or `data` is not what it was trained on.
    """
    from convforge.training import backend

    manifest = matching_manifest(settings, data)
    if not manifest.splits["test"].examples:
        raise InputError(f"{data} has no test images: data.split.test={settings.data.split.test}")
    backend.start(
        seed=settings.seed,
        deterministic=settings.trainer.deterministic,
        precision=settings.trainer.precision,
    )
    predictor = load_predictor(run)
    if predictor.card.data_digest != manifest.digest:
        raise InputError(f"{run} was trained on other data than {data}: train again")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    images, labels, probabilities = _predict_all(predictor, manifest, data, settings, progress)
    figures = score(labels, probabilities)
    (out / METRICS).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    pictures = _write_details(out, manifest.classes, images, labels, probabilities)
    progress.say(
        f"test: accuracy {figures['test_accuracy']:.4f}, loss {figures['test_loss']:.4f} "
        f"on {figures['test_images']:,} images"
    )
    _complete_run(settings, run, out, root, figures, pictures, progress)
    return figures


def score(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> dict[str, float]:
    """Mean cross-entropy (9) and the share of images whose most probable class is right.

    Example:
        >>> score(np.array([0, 1]), np.array([[0.5, 0.5], [0.0, 1.0]], "float32"))["test_accuracy"]
        1.0
    """
    rows = np.arange(len(labels))
    # A float32 probability can round to 0; the smallest normal number keeps the loss finite.
    given = np.maximum(probabilities[rows, labels].astype(np.float64), np.finfo(np.float32).tiny)
    accuracy = float(np.mean(probabilities.argmax(axis=1) == labels))
    return {
        "test_loss": float(-np.log(given).mean()),
        "test_accuracy": accuracy,
        "test_error": 1 - accuracy,
        "test_images": len(labels),
    }


def _predict_all(
    predictor: Predictor, manifest: Manifest, data: Path, settings: Settings, progress: Progress
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.float32]]:
    from convforge.data.stream import Stream

    stream = Stream(data, manifest, batch_size=256, threads=settings.trainer.input_threads)
    images, labels, probabilities = [], [], []
    with progress.task("evaluate", unit="images", total=stream.examples("test")) as task:
        for batch, targets in stream.sequential("test"):
            images.append(batch.numpy())
            labels.append(targets.numpy())
            probabilities.append(np.asarray(predictor.model.predict_on_batch(images[-1])))
            task.advance(len(labels[-1]))
    return np.concatenate(images), np.concatenate(labels), np.concatenate(probabilities)


def _write_details(
    out: Path,
    classes: Sequence[str],
    images: NDArray[Any],
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float32],
) -> list[Path]:
    """predictions.csv, and the pictures; returns the pictures."""
    from convforge.report.confusion import confusion_matrix, draw_confusion
    from convforge.report.sheet import draw_sheet

    predicted = probabilities.argmax(axis=1)
    given = probabilities[np.arange(len(labels)), labels]
    with (out / PREDICTIONS).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["index", "actual", "predicted", "probability_of_actual"])
        for index, (label, guess, probability) in enumerate(
            zip(labels, predicted, given, strict=True)
        ):
            writer.writerow([index, classes[label], classes[guess], f"{probability:.6f}"])
    pictures = [out / "confusion.png"]
    draw_confusion(confusion_matrix(labels, predicted, len(classes)), classes, pictures[0])
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(given[wrong], kind="stable")][:_WORST]
    if len(worst):
        pictures.append(out / "worst_errors.png")
        captions = [f"{classes[labels[i]]}, taken for {classes[predicted[i]]}" for i in worst]
        rows = [worst[start : start + 8] for start in range(0, len(worst), 8)]
        draw_sheet(
            [[images[i] for i in row] for row in rows],
            pictures[-1],
            title=f"the worst of {len(wrong)} errors",
            captions=[captions[start : start + 8] for start in range(0, len(worst), 8)],
        )
    return pictures


def _complete_run(
    settings: Settings,
    run: Path,
    out: Path,
    root: Path,
    figures: Mapping[str, float],
    pictures: Sequence[Path],
    progress: Progress,
) -> None:
    if not isinstance(settings.tracking, MLflowTracking):
        return
    state = read_state(run)
    journal = Journal(out)
    journal.begin(name=settings.model.name, tags={"convforge.evaluated": "yes"}, params={})
    journal.metrics(figures, settings.trainer.epochs)
    for picture in pictures:
        journal.artifact(picture, "pictures")
    journal.artifact(out / PREDICTIONS)
    journal.artifact(out / METRICS)
    journal.end("FINISHED")
    delivery = Delivery(journal, settings.tracking, root, state.get("run_id"))
    delivery.deliver()
    if delivery.run_id != state.get("run_id"):
        why = (
            f"the store does not know the training run {state['run_id']}"
            if state
            else "the training was not tracked"
        )
        progress.say(f"{why}; the evaluation is a run of its own, {delivery.run_id}")


def main(argv: Sequence[str] | None = None) -> int:
    """The stage's command line."""
    arguments = stage_parser("Test a trained model.", "run", "data", "out").parse_args(argv)
    return run_guarded(
        lambda: evaluate(
            read_params(arguments.params),
            arguments.run,
            arguments.data,
            arguments.out,
            project_root(),
            progress_of(arguments),
        )
    )


if __name__ == "__main__":
    sys.exit(main())
