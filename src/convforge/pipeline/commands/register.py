"""`convforge register`: a run's model gets a name, a version and an alias."""

from __future__ import annotations

import argparse
from typing import Any

from convforge.pipeline.commands.parser import command


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = command(
        commands,
        "register",
        run,
        "give a run's model a name, a version and an alias in MLflow's registry",
        "build/train --alias champion",
        "outputs/train/2026-11-22_15-04-05 --name digits --alias challenger",
    )
    parser.add_argument("run_reference", metavar="RUN", help="a run's folder, or its id")
    parser.add_argument("--name", help="of the registered model (default MODEL-DATA)")
    parser.add_argument(
        "--alias", help="moved from the version that has it: models:/NAME@ALIAS is this one then"
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from convforge.pipeline.tracking.model_reference import store_uri
    from convforge.pipeline.tracking.registry import check_names, find_run, register

    check_names(arguments.name, arguments.alias)
    run_id, uri = find_run(arguments.run_reference)
    version = register(run_id, uri or store_uri(), arguments.name, arguments.alias)
    alias = f", models:/{version.name}@{arguments.alias}" if arguments.alias else ""
    was = "" if version.is_new else " (as before)"
    print(f"models:/{version.name}/{version.number}{was}{alias}")
