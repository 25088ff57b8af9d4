"""`convforge evaluate`: a run's model on the test split."""

from __future__ import annotations

import argparse
from typing import Any

from convforge.errors import InputError
from convforge.pipeline.commands.parser import command
from convforge.pipeline.project import expanded, project_root
from convforge.pipeline.report.by_class import right_by_class
from convforge.pipeline.stages.entry import progress_of


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = command(
        commands,
        "evaluate",
        run,
        "test a run's model on the test split",
        "outputs/train/2026-11-22_15-04-05",
    )
    parser.add_argument("folder", type=expanded, metavar="RUN", help="the folder that train wrote")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from convforge.pipeline.composition import read_params
    from convforge.pipeline.run_folder import RunFolder
    from convforge.pipeline.stages.evaluate import evaluate
    from convforge.pipeline.stages.preprocess import prepared

    root, progress = project_root(), progress_of(arguments)
    run = RunFolder(arguments.folder)
    run.check()
    if arguments.folder.resolve().is_relative_to(root / "build"):
        raise InputError(f"{arguments.folder} is DVC's: `dvc repro` evaluates it")
    settings = read_params(run.config)
    data = prepared(settings.data, root, progress)
    out = run.evaluation.path
    evaluate(settings, arguments.folder, data, out, root, progress)
    if line := right_by_class(run.evaluation.predictions):
        progress.say(line)
    progress.say(f"details: {out}")
