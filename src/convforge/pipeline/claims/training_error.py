"""The error of a trained net on the images that it was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from convforge.pipeline.composition import read_params
from convforge.pipeline.data.manifest import matching_manifest
from convforge.pipeline.data.reading.stream import Stream
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.project import project_root
from convforge.pipeline.run_folder import RunFolder
from convforge.pipeline.stages.evaluate import see_all
from convforge.pipeline.stages.preprocess import prepared
from convforge.pipeline.training import backend
from convforge.serving.predictor import load_predictor


def training_error(run: Path) -> float:
    """Of the model in a run's folder on its training images, in percent.

    They are seen as test images are: without augmentation and dropout, and batch normalisation by
    its running averages. What an epoch's table has is the error on images as they were trained on,
    by a net that was learning, which is no measure of overfitting.
    """
    quiet, settings = Progress(Verbosity.QUIET), read_params(RunFolder(run).config)
    data = prepared(settings.data, project_root(), quiet)
    trainer = settings.trainer
    backend.start(
        seed=settings.seed, deterministic=trainer.deterministic, precision=trainer.precision
    )
    stream = Stream(
        data, matching_manifest(settings.data, data), batch_size=256, threads=trainer.input_threads
    )
    seen = see_all(load_predictor(run), stream, "train", settings, quiet)
    return float(100 * np.mean(seen.outputs.argmax(axis=1) != seen.labels))
