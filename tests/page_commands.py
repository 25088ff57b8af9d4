"""The commands that a page shows, composed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from convforge.pipeline import cli
from convforge.pipeline.claims.claim import read_protocol
from convforge.pipeline.composition import compose_config

ROOT = Path(__file__).resolve().parents[1]


def shown_commands(page: str) -> list[list[str]]:
    """The words after `convforge` of each command in a page's consoles and in its sentences.

    Without those that a page shows to be refused.
    """
    lines = re.findall(r"^\$ (?:\w+=\S+ )*(convforge .*)\n(?!error: )", page, re.M)
    lines += re.findall(r"`(convforge .*?)`", page)
    return [shlex.split(line, comments=True)[1:] for line in lines]


def compose_command(words: list[str], project: Path) -> None:
    """Read a command as it is read from the shell, and compose its config or its claim.

    A sweep's is composed by its launcher, and what has capitals or `…` for names is no command.
    """
    if {"--help", "-m", "…", "COMMAND"}.intersection(words):
        return
    arguments = cli._parser().parse_args(words)
    overrides = getattr(arguments, "overrides", [])
    if getattr(arguments, "claim", None) is None:
        compose_config(project, overrides)
    else:
        scale = next(iter(overrides), "scale=digits").removeprefix("scale=")
        read_protocol(ROOT, arguments.claim, scale)
