"""`convforge ui`: MLflow's pages."""

from __future__ import annotations

import argparse
from typing import Any

from convforge.errors import InputError
from convforge.pipeline.commands.parser import OVERRIDES, command
from convforge.pipeline.project import project_root
from convforge.pipeline.stages.entry import progress_of


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = command(
        commands, "ui", run, "open MLflow's pages on the project's store", "", "--port 5001"
    )
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("overrides", nargs="*", help=OVERRIDES)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from convforge.pipeline.composition import compose_config, settings_of
    from convforge.pipeline.tracking.store import store_of
    from convforge.pipeline.tracking.ui_server import serve, view_address

    root, progress = project_root(), progress_of(arguments)
    settings = settings_of(compose_config(root, arguments.overrides))
    store = store_of(settings.tracking, root)
    if store is None:
        raise InputError("tracking=none keeps no runs to show: use tracking=mlflow")
    if not store.is_database:
        view = view_address(store, progress)
        print(f"the runs are at {view or store.uri}")
        if view:
            progress.say("in MLflow's switch at the top left choose Model training, once")
        return
    serve(store, arguments.port, root, progress)
