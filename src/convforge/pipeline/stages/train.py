"""Train: prepared data → a model and its history, and an MLflow run."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

import convforge
from convforge.errors import DivergenceError, InputError, PrunedError
from convforge.pipeline.composition import read_params
from convforge.pipeline.data.manifest import Manifest, dataset_profile, matching_manifest
from convforge.pipeline.data.reading.samples import read_chunks
from convforge.pipeline.progress import Progress
from convforge.pipeline.project import project_root, resolve_path
from convforge.pipeline.run_folder import RunFolder
from convforge.pipeline.settings.distribution import RayDistribution
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.settings.tracking import MLflowTracking
from convforge.pipeline.stages.entry import add_copy, run_stage, stage_parser
from convforge.pipeline.tracking.description import (
    COMMAND_TAG,
    RunDescription,
    figures_of_epoch,
    repeating_command,
)
from convforge.pipeline.tracking.journal import FILE_NAME as JOURNAL
from convforge.pipeline.tracking.journal import Journal
from convforge.pipeline.tracking.provenance import provenance_tags
from convforge.pipeline.tracking.replay import RUN_FILE
from convforge.pipeline.tracking.tracker import Tracker
from convforge.pipeline.training import backend
from convforge.pipeline.training.distribution.ray_train import on_ray
from convforge.pipeline.training.distribution.setup import Part, check_backend, distributed
from convforge.pipeline.training.distribution.strategy import Distribution
from convforge.pipeline.training.initial_weights import (
    Source,
    Start,
    Weights,
    find_source,
    read_weights,
    start_from,
)
from convforge.pipeline.training.resume.checkpoints import Checkpoint, Checkpoints
from convforge.pipeline.training.resume.resumable import (
    OTHER_CODE_TAG,
    ResumableRun,
    forget_at_exit,
    resumable_run,
    source_of_stopped_run,
)
from convforge.serving.model_card import ModelCard
from convforge.serving.predictor import save_model

if TYPE_CHECKING:
    import keras

    from convforge.augment.settings import Augmentation
    from convforge.pipeline.data.reading.stream import Stream
    from convforge.pipeline.training.objective import Targets
    from convforge.pipeline.training.pruning import Trial
    from convforge.pipeline.training.run_group import GroupedRun
    from convforge.pipeline.training.trainer import Trainer


T = TypeVar("T")

# MLflow's pages show fewer letters of a run's name.
_LONGEST_NAME = 200
#: Of a run that a search has given up: why.
PRUNED_TAG = "convforge.pruned"


@dataclass(frozen=True)
class RunLabel:
    """What a run is called, and what is said of it besides its config."""

    name: str
    tags: Mapping[str, str]
    #: What a person types to repeat it; "" where DVC runs it.
    command: str = ""


class Report(Protocol):
    """What draws the data's card and the training's pictures: `convforge.pipeline.report`'s.

    This module does not import it, so that DVC need not train again where a picture has changed.
    """

    def of_data(self, data: Path, manifest: Manifest, folder: Path, source: Path) -> list[Path]:
        """Card and contact sheets in `folder`; the files written."""
        ...

    def of_training(
        self,
        model: keras.Model,
        history: Path,
        stream: Stream,
        folder: Path,
        *,
        augmentation: Augmentation,
        seed: int,
    ) -> list[Path]:
        """Curves, kernels and augmented images in `folder`; the files written."""
        ...


def train(
    settings: Settings,
    data: Path,
    out: Path,
    root: Path,
    progress: Progress,
    label: RunLabel | None = None,
    report: Report | None = None,
    trial: Trial | None = None,
    grouped: GroupedRun | None = None,
) -> Mapping[str, float]:
    """Train the config's network on the prepared `data` and leave everything in `out`.

    Goes on where an earlier process was stopped that trained the same; see `resumable_run`. With
    `distribute=ray` the processes of a cluster do it. Without a `report` nothing is drawn: the
    evaluation does it. A search may give up its `trial`. A `grouped` run, which is a thread of a
    process with several, takes its training steps with the others of its group.

    Returns:
        The figures of the last epoch.

    Raises:
        InputError: `data` was prepared by another config, a layer does not fit it, another process
            writes `out`, or the loss is not finite.
        PrunedError: the search has given it up.
    """
    if not isinstance(settings.distribute, RayDistribution):
        return _train_here(settings, data, out, root, label, report, trial, progress, grouped)

    matching_manifest(settings.data, data)
    backend.import_keras(progress)

    import keras

    check_backend(settings, keras.config.backend())
    root = root.resolve()
    assert trial is None, "the processes would have to agree"
    assert grouped is None, "its group is of one process"
    part = partial(_train_here, settings, data.resolve(), out.resolve(), root, label, report, None)
    return on_ray(settings.distribute, part, root, progress)


def _train_here(
    settings: Settings,
    data: Path,
    out: Path,
    root: Path,
    label: RunLabel | None,
    report: Report | None,
    trial: Trial | None,
    progress: Progress,
    grouped: GroupedRun | None = None,
) -> Mapping[str, float]:
    """In this process, alone or as one of several."""
    manifest = matching_manifest(settings.data, data)
    backend.import_keras(progress)

    with distributed(settings, manifest, out, root, progress) as part:
        _start_keras(settings)

        import keras

        for remark in settings.warnings:
            part.progress.say(remark)
        source = _find_source(part, manifest, keras.backend.backend())
        with resumable_run(
            part.settings,
            manifest.digest,
            keras.backend.backend(),
            part.out,
            part.root,
            part.progress,
            source.identity if source else None,
        ) as run:
            return _train(part, manifest, data, label, report, trial, run, source, grouped)


def _start_keras(settings: Settings) -> None:
    backend.start(
        seed=settings.seed,
        deterministic=settings.trainer.deterministic,
        precision=settings.trainer.precision,
    )


def _find_source(part: Part, manifest: Manifest, name: str) -> Source | None:
    """What the run starts from, as the process that leads finds it.

    Args:
        part: of this process.
        manifest: of the data.
        name: of the backend.

    Raises:
        InputError: it is not there, and no stopped run has taken what it needs of it.
    """

    def find() -> Source | None:
        try:
            return find_source(part.settings, part.out, part.root)
        except InputError:
            of = (part.settings, manifest.digest, name, part.root)
            identity = source_of_stopped_run(*of)
            if identity is None:
                raise
            reference = str(part.settings.trainer.start_from)
            return Source(reference, reference, None, identity, None)

    return _of_the_leader(part.distribution, find)


def _of_the_leader(distribution: Distribution, make: Callable[[], T]) -> T:
    """What `make` returns or raises in the process that leads, in all processes."""
    made: T | None = None
    refusal: InputError | None = None
    if distribution.leads:
        try:
            made = make()
        except InputError as error:
            refusal = error
    made, refusal = distribution.broadcast((made, refusal))
    if refusal is not None:
        raise refusal
    return cast(T, made)


def _train(
    part: Part,
    manifest: Manifest,
    data: Path,
    label: RunLabel | None,
    report: Report | None,
    trial: Trial | None,
    run: ResumableRun,
    source: Source | None,
    grouped: GroupedRun | None,
) -> Mapping[str, float]:
    settings, progress, folder = part.settings, part.progress, RunFolder(part.out)
    progress.say("building the network")
    checkpoints = Checkpoints(run.folder, settings.trainer.checkpoint.keep, progress.warn)
    trainer, start = _build(part, manifest, data, run, source, checkpoints)
    card = _card(settings, manifest, trainer.feed.targets)
    _empty(folder)
    _write_config(settings, folder)
    with _tracked(part, manifest, label, run) as tracker:
        journal = tracker.journal
        assert journal.first is not None
        description = RunDescription(
            settings.model.name,
            trainer.model.count_params(),
            manifest,
            settings.trainer.epochs,
            tags=journal.first.content["tags"],
        )
        journal.description(description.text)
        journal.artifact(folder.config)
        if start is not None:
            start.write(folder.started_from)
            journal.artifact(folder.started_from)
            journal.tags(start.tags())
        if report is not None:
            images = resolve_path(settings.data.path, part.root)
            for file in report.of_data(data, manifest, folder.data, images):
                journal.artifact(file, folder.data.name)
        try:
            trained = trainer.run(
                folder.history, journal, progress, tracker.wake, checkpoints, trial, grouped
            )
        except DivergenceError as error:
            save_model(folder.last_good, error.model, card, _example(data, manifest))
            journal.tags({"convforge.error": str(error)})
            raise
        card = card.model_copy(update={"epoch": max(journal.recorded_metrics())})
        best = checkpoints.best()  # None where its file was damaged.
        used = _save_models(trained, best, card, folder, _example(data, manifest))
        journal.tags({"convforge.weights": used.weights})
        if best is not None:
            journal.tags({"convforge.best_epoch": str(best.position.epoch)})
        if report is not None:
            for picture in _draw(report, trained, folder):
                journal.artifact(picture, folder.pictures.name)
        journal.model(folder.model)
        description = replace(
            description,
            weights=used.weights,
            figures=figures_of_epoch(folder.history, used.epoch),
            pictures=report is not None,
        )
        journal.description(description.text)
        figures = journal.last_metrics
    drawn = "" if report is None else f"    pictures: {folder.pictures}"
    progress.say(f"model: {folder.model} ({used.weights}){drawn}")
    return figures


def _build(
    part: Part,
    manifest: Manifest,
    data: Path,
    run: ResumableRun,
    source: Source | None,
    checkpoints: Checkpoints,
) -> tuple[Trainer, Start | None]:
    """The network to train, and what became of a source's weights, now or when the run began."""
    # Late: what runs has started Keras by now, in its own way.
    from convforge.pipeline.training.trainer import build_trainer

    weights = _weights_of(source, part.distribution, checkpoints)
    if weights is not None:
        _start_keras(part.settings)  # Anew: a model was built.
    trainer = build_trainer(part.settings, manifest, data, part.distribution)
    record = run.folder / RunFolder(part.out).started_from.name
    if source is None or weights is None:
        return trainer, Start.read(record)
    with part.distribution.scope():
        start = start_from(trainer.model, weights, source)
    start.write(record)
    for line in start.lines():
        part.progress.say(line)
    return trainer, start


def _draw(report: Report, trained: Trainer, folder: RunFolder) -> list[Path]:
    """The pictures of the training."""
    return report.of_training(
        trained.model,
        folder.history,
        trained.feed.stream,
        folder.pictures,
        augmentation=trained.settings.augment,
        seed=trained.settings.seed,
    )


def _weights_of(
    source: Source | None, distribution: Distribution, checkpoints: Checkpoints
) -> Weights | None:
    """What the run starts from; None for its own, or where it goes on from a checkpoint."""
    if source is None:
        return None
    return _of_the_leader(
        distribution, lambda: None if checkpoints.newest() else read_weights(source)
    )


def _empty(folder: RunFolder) -> None:
    """Make the folder, without the records of a run that was there before."""
    folder.path.mkdir(parents=True, exist_ok=True)
    records = (folder.history, folder.started_from)
    for record in (*records, folder.path / JOURNAL, folder.path / RUN_FILE):
        record.unlink(missing_ok=True)
    # Removed, not overwritten: what waits to be delivered may be the same file by another name.
    for model in (folder.model, folder.best, folder.last, folder.last_good):
        shutil.rmtree(model, ignore_errors=True)


def _write_config(settings: Settings, folder: RunFolder) -> None:
    config = OmegaConf.to_yaml(OmegaConf.create(dump(settings)))
    folder.config.write_text(config, encoding="utf-8")


@contextmanager
def _tracked(
    part: Part, manifest: Manifest, label: RunLabel | None, run: ResumableRun
) -> Iterator[Tracker]:
    """The run's journal, delivered meanwhile; begun with what is known, ended with its status."""
    settings, progress = part.settings, part.progress
    tracker = Tracker(settings.tracking, part.out, part.root, progress, kind="train", key=run.key)
    journal = tracker.journal
    if run.has_begun:
        journal.go_on()
    _begin(tracker, settings, manifest, label or RunLabel(run_name(settings), {}), part.root)
    if run.other_code:
        journal.tags({OTHER_CODE_TAG: run.other_code})
    tracker.start()
    status = "FAILED"
    try:
        with tracker.system_metrics():
            yield tracker
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        progress.say("stopped; the same command goes on from here")
        raise
    except PrunedError as error:
        # Neither a whole run nor a fault.
        status = "KILLED"
        journal.tags({PRUNED_TAG: str(error)})
        raise
    except Exception as error:
        if part.distribution.has_lost_one(error):
            status = "KILLED"
        raise
    finally:
        journal.end(status)
        tracker.finish()


def dump(settings: Settings) -> dict[str, Any]:
    """The settings as the config that parses to them."""
    return settings.model_dump(mode="json", by_alias=True)


def run_name(settings: Settings, apart: str = "") -> str:
    """The name that the config gives, or else what sets the run apart, and when it began.

    Args:
        settings: of the run.
        apart: the overrides that a person gave; "" where a DVC experiment, or else model and data,
            must do.
    """
    if isinstance(settings.tracking, MLflowTracking) and settings.tracking.run_name:
        return settings.tracking.run_name
    apart = apart or os.environ.get("DVC_EXP_NAME") or f"{settings.model.name}-{settings.data.name}"
    return f"{apart[:_LONGEST_NAME]} {datetime.now():%Y-%m-%d %H:%M}"


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots; a mapping whose keys are patterns stays one value.

    Example:
        >>> flatten({"optimizer": {"momentum": 0.9, "decay_factors": {"bias$": 2.0}}})
        {'optimizer.momentum': 0.9, 'optimizer.decay_factors': {'bias$': 2.0}}
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        # MLflow refuses the name of a parameter with a character such as $.
        if isinstance(value, Mapping) and all(re.fullmatch(r"[\w-]+", name) for name in value):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _begin(
    tracker: Tracker, settings: Settings, manifest: Manifest, label: RunLabel, root: Path
) -> None:
    tags = {
        **_own_tags(settings),
        **provenance_tags(root),
        "convforge.version": convforge.__version__,
        "convforge.data_digest": manifest.digest,
        COMMAND_TAG: repeating_command(label.command),
        **label.tags,
    }
    config = dump(settings)
    config.pop("tracking")
    journal = tracker.journal
    journal.begin(
        name=label.name, tags=tags, params=flatten(config), key=tracker.key, store=tracker.store
    )
    journal.dataset(
        name=manifest.name,
        digest=manifest.digest,
        source=manifest.source,
        profile=dataset_profile(manifest, *manifest.splits),
    )


def _own_tags(settings: Settings) -> Mapping[str, str]:
    tracking = settings.tracking
    return tracking.tags if isinstance(tracking, MLflowTracking) else {}


def _card(settings: Settings, manifest: Manifest, targets: Targets | None) -> ModelCard:
    return ModelCard(
        name=settings.model.name,
        classes=[] if targets else manifest.classes,
        targets=list(targets.names) if targets else [],
        image_shape=list(settings.input_shape(manifest.image_shape)),
        stored_size=manifest.image_shape[:2],
        geometry="center_crop" if settings.data.geometry == "center_crop" else "resize",
        background=settings.data.background,
        data_digest=manifest.digest,
        version=convforge.__version__,
    )


def _save_models(
    trained: Trainer,
    best: Checkpoint | None,
    card: ModelCard,
    folder: RunFolder,
    example: NDArray[np.uint8],
) -> ModelCard:
    """Save the model with the last epoch's weights and with the best's, where they are.

    Returns:
        The card of that which becomes the run's `model/`; `trained.model` has its weights.
    """
    from convforge.pipeline.training.resume.state import restore

    model = trained.model
    if best is None:
        save_model(folder.model, model, card, example)
        return card
    of_best = card.model_copy(
        update={"epoch": best.position.epoch, "best_by": best.record["monitor"]}
    )
    takes_best = trained.settings.trainer.checkpoint.weights == "best"
    last = model.get_weights()
    save_model(folder.last if takes_best else folder.model, model, card, example)
    restore(trained.trainable, best.arrays, metrics=False)
    save_model(folder.model if takes_best else folder.best, model, of_best, example)
    if not takes_best:
        model.set_weights(last)
    return of_best if takes_best else card


def _example(data: Path, manifest: Manifest) -> NDArray[np.uint8]:
    """An image for people who want to try the model."""
    image: NDArray[np.uint8] = next(read_chunks(data, manifest, "train")).images[0]
    return image


def finished_figures(out: Path) -> Mapping[str, float] | None:
    """The figures of the last epoch of the run in `out`, if one has ended well there."""
    journal = Journal(out)
    return journal.last_metrics if journal.status == "FINISHED" else None


def why_pruned(out: Path) -> str | None:
    """What a search has given up the run in `out` for; None where it has not."""
    journal = Journal(out)
    if journal.status != "KILLED":
        return None
    tags = [event.content["tags"] for event in journal.events() if event.kind == "tags"]
    return next((str(some[PRUNED_TAG]) for some in tags if PRUNED_TAG in some), None)


def main(argv: Sequence[str] | None = None) -> int:
    """The stage's command line."""
    parser = stage_parser("Train the config's network.", "data", "out")
    add_copy(parser, "history")

    def stage(given: argparse.Namespace, progress: Progress) -> None:
        train(read_params(given.params), given.data, given.out, project_root(), progress)
        if given.history:
            shutil.copyfile(RunFolder(given.out).history, given.history)

    return run_stage(parser, argv, stage)


if __name__ == "__main__":
    # Before the backend is imported, so that this is the last thing that the process does.
    forget_at_exit()
    sys.exit(main())
