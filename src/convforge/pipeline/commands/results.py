"""`convforge results`: what the last `dvc repro` achieved."""

from __future__ import annotations

import argparse
from typing import Any

from convforge.pipeline.commands.parser import command
from convforge.pipeline.project import project_root


def add(commands: Any) -> None:
    """Add the command's parser."""
    command(commands, "results", run, "show what the last `dvc repro` achieved", "")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from convforge.pipeline.report.results import results

    print(results(project_root()))
