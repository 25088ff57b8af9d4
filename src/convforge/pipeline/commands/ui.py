"""`convforge ui`: MLflow's pages."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from typing import Any

from convforge.errors import InputError
from convforge.pipeline.commands.parser import OVERRIDES, command
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
    from convforge.pipeline.project import project_root
    from convforge.pipeline.settings.tracking import MLflowTracking
    from convforge.pipeline.tracking.mlflow_client import experiment_id, open_client
    from convforge.pipeline.tracking.store import artifact_location, quiet_mlflow, tracking_uri

    root = project_root()
    settings = settings_of(compose_config(root, arguments.overrides))
    if not isinstance(settings.tracking, MLflowTracking):
        raise InputError("tracking=none keeps no runs to show: use tracking=mlflow")
    uri = tracking_uri(settings.tracking, root)
    if uri.startswith("http"):
        print(f"the runs are at {uri}")
        return
    quiet_mlflow()
    # Its job runner starts a dozen processes and gigabytes for features that are not used here.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    location = artifact_location(uri)
    if location is not None:
        command += ["--default-artifact-root", location]
    command += ["--host", "127.0.0.1", "--port", str(arguments.port), "--workers", "1"]
    client = open_client(uri, progress_of(arguments).warn)
    experiment = experiment_id(client, settings.tracking.experiment, uri)
    # Without `workflowType` the pages open as those for language models and hide the models.
    page = f"#/experiments/{experiment}/runs?workflowType=machine_learning"
    print(f"MLflow: http://127.0.0.1:{arguments.port}/{page}  (Ctrl-C ends it)", flush=True)
    raise SystemExit(subprocess.run(command, env=environment, cwd=root).returncode)
