"""Evaluate: a trained model on the test split, completing the run that trained it."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convforge.errors import InputError
from convforge.pipeline.composition import read_params
from convforge.pipeline.data.manifest import Manifest, dataset_profile, matching_manifest
from convforge.pipeline.metrics import achieved
from convforge.pipeline.pluralize import pluralize
from convforge.pipeline.progress import Progress
from convforge.pipeline.project import project_root, resolve_path
from convforge.pipeline.report import run_report
from convforge.pipeline.run_folder import EvaluationFolder, RunFolder
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.settings.tracking import MLflowTracking
from convforge.pipeline.stages.entry import add_copy, run_stage, stage_parser
from convforge.pipeline.tracking.champion import TEST_DIGEST_TAG, challenge_in_time
from convforge.pipeline.tracking.description import RunDescription, figures_of_epoch
from convforge.pipeline.tracking.journal import Journal
from convforge.pipeline.tracking.replay import State
from convforge.pipeline.tracking.tracker import Tracker
from convforge.pipeline.training import backend
from convforge.serving.predictor import Predictor, load_predictor

if TYPE_CHECKING:
    from convforge.pipeline.data.reading.stream import Stream
    from convforge.pipeline.report.evaluation import Tested


def evaluate(
    settings: Settings, run: Path, data: Path, out: Path, root: Path, progress: Progress
) -> Mapping[str, float]:
    """Test the model in `run` on the test split in `data` and write the results to `out`.

    Where the training has drawn no pictures, as under DVC, they are drawn here, with the data's
    card and contact sheets, unless `pictures` says that there are none.

    Returns:
        The loss, accuracy or errors on the test split, and how many images it has.

    Raises:
        InputError: no model in `run`, or `data` is not what it was trained on.
    """
    manifest = matching_manifest(settings.data, data)
    if not manifest.splits["test"].examples:
        raise InputError(f"{data} has no test images: data.split.test={settings.data.split.test}")
    backend.start(
        seed=settings.seed,
        deterministic=settings.trainer.deterministic,
        precision=settings.trainer.precision,
    )

    # Late: they bring TensorFlow and Keras, which have been started quietly by now.
    from convforge.pipeline.data.reading.stream import Stream
    from convforge.pipeline.report.evaluation import describe_classes, describe_numbers

    predictor = load_predictor(run)
    _check_fit(predictor, run, settings, manifest, data)
    stream = Stream(data, manifest, batch_size=256, threads=settings.trainer.input_threads)

    tested = see_all(predictor, stream, "test", settings, progress)

    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    trained, folder = RunFolder(run), EvaluationFolder(out)
    describe = describe_numbers if predictor.card.targets else describe_classes
    figures, pictures = describe(
        tested, predictor, settings.loss.name, folder, drawn=settings.pictures
    )
    folder.metrics.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    of_data: list[Path] = []
    if settings.pictures and not trained.pictures.is_dir():
        source = resolve_path(settings.data.path, root)
        of_data, more = _draw_run(predictor, trained, stream, folder, settings, source)
        pictures += more
    progress.say(
        f"test: {achieved(figures, 'test')}, loss {figures['test_loss']:.4f} "
        f"on {pluralize(int(figures['test_images']), 'image')}, {predictor.card.weights}"
    )

    files = [(picture, folder.pictures.name) for picture in pictures]
    files += [(file, folder.data.name) for file in of_data]
    files += [(folder.predictions, ""), (folder.metrics, "")]
    epoch = predictor.card.epoch or settings.trainer.epochs
    begun = Journal(run).first
    description = RunDescription(
        settings.model.name,
        predictor.model.count_params(),
        manifest,
        settings.trainer.epochs,
        tags=begun.content["tags"] if begun else {},
        weights=predictor.card.weights,
        figures={**figures_of_epoch(trained.history, predictor.card.epoch), **figures},
        pictures=settings.pictures,
    )
    _complete_run(
        settings, run, out, root, figures, files, epoch, manifest, description.text, progress
    )
    return figures


def _check_fit(
    predictor: Predictor, run: Path, settings: Settings, manifest: Manifest, data: Path
) -> None:
    """Refuse a model that was trained on something else."""
    if predictor.card.data_digest != manifest.digest:
        raise InputError(f"{run} was trained on other data than {data}: train again")
    if tuple(predictor.card.image_shape) != settings.input_shape(manifest.image_shape):
        raise InputError(f"{run} was trained with another augment.size: train again")


def see_all(
    predictor: Predictor, stream: Stream, split: str, settings: Settings, progress: Progress
) -> Tested:
    """What a model says of every image of a split, without augmentation and dropout."""
    from convforge.models.build import trained_model
    from convforge.pipeline.data.reading.stream import held_out, translate_damage_errors
    from convforge.pipeline.report.evaluation import Tested

    model = trained_model(predictor.model)
    images, labels, outputs = [], [], []
    total = stream.examples(split)
    with translate_damage_errors(), progress.task("evaluate", unit="images", total=total) as task:
        for batch, targets in held_out(stream, split, settings):
            images.append(batch.numpy())
            labels.append(targets.numpy())
            outputs.append(np.asarray(model.predict_on_batch(images[-1]), np.float32))
            task.advance(len(labels[-1]))
    return Tested(np.concatenate(images), np.concatenate(labels), np.concatenate(outputs))


def _draw_run(
    predictor: Predictor,
    trained: RunFolder,
    stream: Stream,
    folder: EvaluationFolder,
    settings: Settings,
    source: Path,
) -> tuple[list[Path], list[Path]]:
    """The data's card and sheets, and the training's pictures, into `folder`."""
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
    epoch: int,
    manifest: Manifest,
    description: str,
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
        tags={"convforge.evaluated": "yes", TEST_DIGEST_TAG: manifest.split_digest("test")},
        params={},
        key=tracker.key,
        store=tracker.store,
        completes=trained.run_id or trained.key or "",
    )
    tracker.start()
    journal.dataset(
        name=f"{manifest.name}-test",
        digest=manifest.digest,
        source=manifest.source,
        profile=dataset_profile(manifest, "test"),
        context="testing",
    )
    journal.metrics(figures, epoch)
    journal.description(description)
    for file, to in files:
        journal.artifact(file, to)
    journal.end("FINISHED")
    tracker.finish()
    if settings.tracking.registry.when == "better":
        assert tracker.store is not None
        challenge_in_time(
            tracker.store,
            tracker.delivered,
            settings.tracking.registry,
            run,
            settings.tracking.patience,
            progress,
        )


def main(argv: Sequence[str] | None = None) -> int:
    """The stage's command line."""
    parser = stage_parser("Test a trained model.", "run", "data", "out")
    add_copy(parser, "metrics")

    def stage(given: argparse.Namespace, progress: Progress) -> None:
        # dvc.yaml lists the pictures.
        settings = read_params(given.params).model_copy(update={"pictures": True})
        evaluate(settings, given.run, given.data, given.out, project_root(), progress)
        if given.metrics:
            shutil.copyfile(EvaluationFolder(given.out).metrics, given.metrics)

    return run_stage(parser, argv, stage)


if __name__ == "__main__":
    sys.exit(main())
