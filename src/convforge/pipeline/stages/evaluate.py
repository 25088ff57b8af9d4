"""Evaluate: a trained model on the test split, completing the run that trained it."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from convforge.errors import InputError
from convforge.pipeline.composition import read_params
from convforge.pipeline.data.manifest import Manifest, matching_manifest
from convforge.pipeline.metrics import achieved
from convforge.pipeline.pluralize import pluralize
from convforge.pipeline.progress import Progress
from convforge.pipeline.project import project_root, resolve_path
from convforge.pipeline.run_folder import EvaluationFolder, RunFolder
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.settings.tracking import MLflowTracking
from convforge.pipeline.stages.entry import progress_of, run_guarded, stage_parser
from convforge.pipeline.tracking.replay import State
from convforge.pipeline.tracking.tracker import Tracker
from convforge.serving.predictor import Predictor, load_predictor

if TYPE_CHECKING:
    from convforge.pipeline.data.reading.stream import Stream

_WORST = 24


def evaluate(
    settings: Settings, run: Path, data: Path, out: Path, root: Path, progress: Progress
) -> Mapping[str, float]:
    """Test the model in `run` on the test split in `data` and write the results to `out`.

    Where the training has drawn no pictures, as under DVC, they are drawn here, with the data's
    card and contact sheets.

    Returns:
        The loss, accuracy or errors on the test split, and how many images it has.

    Raises:
        InputError: no model in `run`, or `data` is not what it was trained on.
    """
    from convforge.pipeline.data.reading.stream import Stream
    from convforge.pipeline.training import backend

    manifest = matching_manifest(settings.data, data)
    if not manifest.splits["test"].examples:
        raise InputError(f"{data} has no test images: data.split.test={settings.data.split.test}")
    backend.start(
        seed=settings.seed,
        deterministic=settings.trainer.deterministic,
        precision=settings.trainer.precision,
    )
    predictor = load_predictor(run)
    _check_fit(predictor, run, settings, manifest, data)
    stream = Stream(data, manifest, batch_size=256, threads=settings.trainer.input_threads)

    seen = _see_all(predictor, stream, settings, progress)

    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    trained, folder = RunFolder(run), EvaluationFolder(out)
    describe = _describe_numbers if predictor.card.targets else _describe_classes
    figures, pictures = describe(seen, predictor, settings.loss.name, folder)
    folder.metrics.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    of_data: list[Path] = []
    if not trained.pictures.is_dir():
        source = resolve_path(settings.data.path, root)
        of_data, more = _draw_run(predictor, trained, stream, folder, settings, source)
        pictures += more
    progress.say(
        f"test: {achieved(figures, 'test')}, loss {figures['test_loss']:.4f} "
        f"on {pluralize(int(figures['test_images']), 'image')}"
    )

    files = [(picture, folder.pictures.name) for picture in pictures]
    files += [(file, folder.data.name) for file in of_data]
    files += [(folder.predictions, ""), (folder.metrics, "")]
    _complete_run(settings, run, out, root, figures, files, progress)
    return figures


def _check_fit(
    predictor: Predictor, run: Path, settings: Settings, manifest: Manifest, data: Path
) -> None:
    """Refuse a model that was trained on something else."""
    if predictor.card.data_digest != manifest.digest:
        raise InputError(f"{run} was trained on other data than {data}: train again")
    if tuple(predictor.card.image_shape) != settings.input_shape(manifest.image_shape):
        raise InputError(f"{run} was trained with another augment.size: train again")


@dataclass(frozen=True)
class _Seen:
    """The test split, and what the loss is computed on for it: logits, or standardised numbers."""

    images: NDArray[Any]
    labels: NDArray[Any]
    outputs: NDArray[np.float32]


def _see_all(predictor: Predictor, stream: Stream, settings: Settings, progress: Progress) -> _Seen:
    from convforge.models.build import trained_model
    from convforge.pipeline.data.reading.stream import held_out, translate_damage_errors

    model = trained_model(predictor.model)
    images, labels, outputs = [], [], []
    total = stream.examples("test")
    with translate_damage_errors(), progress.task("evaluate", unit="images", total=total) as task:
        for batch, targets in held_out(stream, "test", settings):
            images.append(batch.numpy())
            labels.append(targets.numpy())
            outputs.append(np.asarray(model.predict_on_batch(images[-1]), np.float32))
            task.advance(len(labels[-1]))
    return _Seen(np.concatenate(images), np.concatenate(labels), np.concatenate(outputs))


def _describe_classes(
    seen: _Seen, predictor: Predictor, loss: str, folder: EvaluationFolder
) -> tuple[Mapping[str, float], list[Path]]:
    """The figures; predictions.csv, the confusion matrix and the worst errors go to its folder."""
    from convforge.pipeline.report.confusion import confusion_matrix, draw_confusion
    from convforge.pipeline.report.scores import class_scores, probabilities_of

    classes, labels = predictor.card.classes, seen.labels
    predicted = seen.outputs.argmax(axis=1)
    given = probabilities_of(seen.outputs)[np.arange(len(labels)), labels]
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
    pictures += _draw_worst(seen.images[worst], captions, folder)
    return class_scores(labels, seen.outputs, loss), pictures


def _describe_numbers(
    seen: _Seen, predictor: Predictor, loss: str, folder: EvaluationFolder
) -> tuple[Mapping[str, float], list[Path]]:
    """The figures; predictions.csv, the scatter plot and the worst errors go to its folder."""
    from convforge.pipeline.report.scatter import draw_scatter
    from convforge.pipeline.report.scores import target_scores

    names, actual = predictor.card.targets, seen.labels
    std, mean = (np.asarray(part) for part in _units(predictor))
    predicted = seen.outputs * std + mean
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
    pictures += _draw_worst(seen.images[worst], captions, folder)
    return target_scores(actual, predicted, names, std.tolist(), loss), pictures


def _units(predictor: Predictor) -> tuple[Sequence[float], Sequence[float]]:
    last = predictor.model.layers[-1]
    return last.scale, last.offset


def _write_predictions(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["index", *header])
        writer.writerows([index, *row] for index, row in enumerate(rows))


def _draw_worst(
    images: NDArray[Any], captions: Sequence[str], folder: EvaluationFolder
) -> list[Path]:
    """A sheet of the first of `images`, the worst errors; none for none."""
    from convforge.pipeline.report.sheet import draw_sheet

    if not len(images):
        return []
    path = folder.path / "worst_errors.png"
    shown = range(min(len(images), _WORST))
    rows = [shown[start : start + 8] for start in range(0, len(shown), 8)]
    draw_sheet(
        [[images[i] for i in row] for row in rows],
        path,
        title=f"the worst of {len(images):,} errors",
        captions=[[captions[i] for i in row] for row in rows],
    )
    return [path]


def _draw_run(
    predictor: Predictor,
    trained: RunFolder,
    stream: Stream,
    folder: EvaluationFolder,
    settings: Settings,
    source: Path,
) -> tuple[list[Path], list[Path]]:
    """The data's card and sheets, and the training's pictures, into `folder`."""
    from convforge.pipeline.report import run_report

    of_data = run_report.of_data(stream.folder, stream.manifest, folder.data, source)
    pictures = run_report.of_training(
        predictor.model,
        trained.history,
        stream,
        folder.pictures,
        augmentation=settings.augment,
        seed=settings.seed,
    )
    return of_data, pictures


def _complete_run(
    settings: Settings,
    run: Path,
    out: Path,
    root: Path,
    figures: Mapping[str, float],
    files: Sequence[tuple[Path, str]],
    progress: Progress,
) -> None:
    """Add figures and files, each with its folder in the store, to the run that trained."""
    if not isinstance(settings.tracking, MLflowTracking):
        return
    trained = State.read(run)
    tracker = Tracker(settings.tracking, out, root, progress, kind="evaluate", key=trained.key)
    journal = tracker.journal
    journal.begin(
        name=settings.model.name,
        tags={"convforge.evaluated": "yes"},
        params={},
        key=tracker.key,
        store=tracker.store,
        completes=trained.run_id or trained.key or "",
    )
    tracker.start()
    journal.metrics(figures, settings.trainer.epochs)
    for file, to in files:
        journal.artifact(file, to)
    journal.end("FINISHED")
    tracker.finish()


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
