"""Make the pictures that are kept of one run of a scale, from the run's folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convforge.errors import InputError
from convforge.pipeline.claims.claim import ScaleName
from convforge.pipeline.claims.page.pictures import FOLDER, About
from convforge.pipeline.claims.result import ClaimResult
from convforge.pipeline.composition import read_params
from convforge.pipeline.data.manifest import matching_manifest
from convforge.pipeline.progress import Progress
from convforge.pipeline.run_folder import RunFolder
from convforge.pipeline.stages.evaluate import see_all
from convforge.pipeline.stages.preprocess import prepared
from convforge.pipeline.tracking.replay import State
from convforge.pipeline.training import backend
from convforge.serving.predictor import Predictor, load_predictor

if TYPE_CHECKING:
    from convforge.pipeline.report.evaluation import Tested

# Of images whose feature maps are drawn.
_SHOWN = 4


def draw_run(
    run: RunFolder,
    scale: ScaleName,
    results: Sequence[ClaimResult],
    folder: Path,
    root: Path,
    progress: Progress,
) -> Path:
    """Draw a run's kernels, feature maps and worst mistakes into `folder`/pictures/`scale`.

    What a net has not got is left out: a net without a convolution has neither kernels nor maps.

    Args:
        run: with its config, its model, and the id of MLflow's run.
        scale: that it was run at.
        results: of all claims; one of them names the run.
        folder: of the results.
        root: the project's folder.
        progress: told how far it is.

    Returns:
        The folder of the pictures.

    Raises:
        InputError: no run's folder, or a run that no result of this scale names.
    """
    run.check()
    settings = read_params(run.config)
    about = _about(State.read(run.path).run_id, scale, results, settings.data.name, run.path)
    data = prepared(settings.data, root, progress)
    manifest = matching_manifest(settings.data, data)
    backend.start(
        seed=settings.seed,
        deterministic=settings.trainer.deterministic,
        precision=settings.trainer.precision,
    )

    # Late: they bring TensorFlow and Keras, which have been started quietly by now.
    from convforge.pipeline.data.reading.stream import Stream

    predictor = load_predictor(run.path)
    stream = Stream(data, manifest, batch_size=256, threads=settings.trainer.input_threads)
    tested = see_all(predictor, stream, "test", settings, progress)
    out = folder / FOLDER / scale
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    _draw(predictor, tested, out)
    about.write(out)
    return out


def _about(
    run_id: str | None, scale: str, results: Sequence[ClaimResult], data: str, path: Path
) -> About:
    for result in results:
        for name, arm in result.arms.items():
            for run in arm.runs:
                if run_id and run.run_id == run_id and result.scale == scale:
                    return About(
                        claim=result.claim, arm=name, seed=run.seed, run_id=run_id, data=data
                    )
    if run_id is None:
        raise InputError(f"{path} is no run in MLflow, so no result names it")
    raise InputError(f"{path} is the run {run_id}, which no result of scale={scale} names")


def _draw(predictor: Predictor, tested: Tested, out: Path) -> None:
    from convforge.pipeline.explanation.feature_maps import find_feature_maps
    from convforge.pipeline.report.evaluation import draw_surest_errors
    from convforge.pipeline.report.explanation_sheet import draw_explanations
    from convforge.pipeline.report.kernels import draw_first_kernels

    draw_first_kernels(predictor.model, out / "kernels.png")
    draw_surest_errors(tested, predictor.card.classes, out / "worst_errors.png")
    found = find_feature_maps(predictor.model)
    if found:
        _, first = np.unique(tested.labels, return_index=True)
        shown = sorted(first.tolist())[:_SHOWN]
        classes = predictor.card.classes
        named = [(f"is {classes[tested.labels[i]]}", tested.images[i]) for i in shown]
        outputs = predictor.outputs(tested.images[shown])
        draw_explanations(predictor, found, named, outputs, None, out / "feature_maps.png")
