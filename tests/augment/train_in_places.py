"""The same run with the pixels moved in each place: `python train_in_places.py CONFIG DATA OUT`."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np

from convforge.pipeline.composition import read_params
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.stages.train import train
from convforge.pipeline.tracking.journal import Journal
from convforge.pipeline.training import backend
from convforge.pipeline.training.resume.checkpoints import Checkpoints
from convforge.serving.predictor import load_predictor

PLACES = ("input", "model", "step")
QUIET = Progress(Verbosity.QUIET)


def at(settings: Settings, place: str) -> Settings:
    augmentation = dataclasses.replace(settings.augment, place=place)
    return settings.model_copy(update={"augment": augmentation})


def trained(settings: Settings, data: Path, folder: Path) -> dict[str, np.ndarray]:
    """Each place's trained weights and validation figures, from the train stage."""
    found = {}
    for place in PLACES:
        out = folder / place
        figures = train(at(settings, place), data, out, folder, QUIET)
        found[place] = _flat(load_predictor(out).model)
        found[f"{place} validation"] = np.array([figures["val_loss"], figures["val_accuracy"]])
    return found


def fitted(settings: Settings, data: Path, folder: Path) -> dict[str, np.ndarray]:
    """The same without the stage's pictures and files."""
    backend.start(seed=settings.seed, deterministic=True, precision="float32")
    from convforge.pipeline.training.trainer import build_trainer

    found = {}
    for place in PLACES:
        (folder / place).mkdir()
        backend.start(seed=settings.seed, deterministic=True, precision="float32")
        trainer = build_trainer(at(settings, place), Manifest.read(data), data)
        journal = Journal(folder / place)
        checkpoints = Checkpoints(folder / place / "unfinished", 1, QUIET.warn)
        trainer.run(folder / place / "history.csv", journal, QUIET, lambda: None, checkpoints)
        *_, last = (event for event in journal.events() if event.kind == "metrics")
        figures = last.content["values"]
        found[place] = _flat(trainer.model)
        found[f"{place} validation"] = np.array([figures["val_loss"], figures["val_accuracy"]])
    return found


def _flat(model: Any) -> np.ndarray:
    return np.concatenate([np.asarray(weight).ravel() for weight in model.get_weights()])


if __name__ == "__main__":
    config, data, out = map(Path, sys.argv[1:])
    np.savez(out / "results.npz", **fitted(read_params(config), data, out))
