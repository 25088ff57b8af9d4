"""`convforge register`: a run's model gets a name, a version and an alias."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from convforge.errors import InputError
from convforge.pipeline.commands.parser import command
from convforge.pipeline.credentials import redacted_uri
from convforge.pipeline.stages.entry import progress_of

# As conf/tracking/mlflow.yaml.
_LEVEL = 0.05


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = command(
        commands,
        "register",
        run,
        "give a run's model a name, a version and an alias in MLflow's registry",
        "build/train --alias champion",
        "outputs/train/2026-11-22_15-04-05 --name digits --alias challenger",
        "outputs/train/2026-11-22_15-04-05 --name digits --alias champion --if-better",
    )
    parser.add_argument("run_reference", metavar="RUN", help="a run's folder, or its id")
    parser.add_argument("--name", help="of the registered model (default MODEL-DATA)")
    parser.add_argument(
        "--alias", help="moved from the version that has it: models:/NAME@ALIAS is this one then"
    )
    parser.add_argument(
        "--if-better",
        type=float,
        nargs="?",
        const=_LEVEL,
        metavar="LEVEL",
        help="only where it beats the version that has the alias on the same test images, by more "
        f"than chance gives with the probability LEVEL (default {_LEVEL}); else ends with 1",
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the command; ends with 1 where --if-better finds it is not."""
    from convforge.pipeline.tracking.champion import challenge
    from convforge.pipeline.tracking.model_reference import store_uri
    from convforge.pipeline.tracking.registry import check_names, find_run, register

    check_names(arguments.name, arguments.alias)
    level = arguments.if_better
    if level is not None:
        if not 0 < level < 1:
            raise InputError(f"--if-better={level:g} is not allowed: give a probability, as 0.05")
        if arguments.alias is None:
            raise InputError("--if-better needs --alias: who has it is the one to beat")
    run_id, uri = find_run(arguments.run_reference)
    uri = uri or store_uri()
    if level is not None:
        decision = challenge(uri, run_id, name=arguments.name, alias=arguments.alias, level=level)
        print(decision.line)
        if decision.version is None:
            raise SystemExit(1)
        return
    version = register(run_id, uri, arguments.name, arguments.alias)
    named = f"models:/{version.name}@{arguments.alias}" if arguments.alias else str(version)
    was = "" if version.is_new else " (as before)"
    print(f"{version}{was}{f', {named}' if arguments.alias else ''}")
    progress_of(arguments).say(
        f"next: MLFLOW_TRACKING_URI={shlex.quote(redacted_uri(uri))} "
        f"mlflow models serve -m {shlex.quote(named)} --env-manager local -p 5001"
    )
