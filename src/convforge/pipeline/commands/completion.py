"""`convforge train -sc install=bash`: the shell completes commands and overrides, by Hydra's means.

Hydra's script for the shell calls the command again, as `convforge -sc query=bash`, with the line
that is being typed in COMP_LINE.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

from convforge.errors import InputError
from convforge.pipeline.project import CONFIG_NAME, project_root

FLAGS = ("-sc", "--shell-completion")
_ACTIONS = ("install", "uninstall", "query")
_PROGRAM = "convforge"


def is_asked_for(words: Sequence[str]) -> bool:
    """Whether the command line is about completion."""
    return any(word in FLAGS for word in words[:2])


def complete(words: Sequence[str], takes_overrides: Mapping[str, bool]) -> None:
    """Install, uninstall or answer.

    Args:
        words: of the command line.
        takes_overrides: whether a command does, by its name.

    Raises:
        InputError: it says neither, or names a shell for which Hydra has no completion.
    """
    rest = [word for word in words if word not in FLAGS and word not in takes_overrides]
    action, _, shell = rest[0].partition("=") if len(rest) == 1 else ("", "", "")
    if action not in _ACTIONS:
        given = " ".join(rest) or "nothing"
        raise InputError(f"-sc {given} is not allowed: give install=bash, or fish, zsh")
    if action == "query":
        # Whatever is wrong with the line, the shell must not show it in the middle of typing.
        with suppress(InputError):
            _answer(shell, os.environ.get("COMP_LINE", ""), takes_overrides)
    else:
        _script(action, shell)


def _script(action: str, shell: str) -> None:
    # Late: Hydra.
    from convforge.pipeline.composition import completions

    with completions(project_root()) as plugins:
        if shell not in plugins:
            known = ", ".join(sorted(plugins))
            raise InputError(f"-sc {action}={shell} is not allowed: give one of {known}")
        # Hydra names the program by how it was started.
        sys.argv[0] = _PROGRAM
        getattr(plugins[shell], action)()


def _answer(shell: str, line: str, takes_overrides: Mapping[str, bool]) -> None:
    """Print what `line` may go on with."""
    words = line.split()
    unfinished = "" if line[-1:].isspace() else words.pop() if words else ""
    if len(words) < 2:
        print(" ".join(name for name in takes_overrides if name.startswith(unfinished)))
        return
    if not takes_overrides.get(words[1]):
        return
    # Late: Hydra.
    from convforge.pipeline.composition import completions

    overrides = [word for word in words[2:] if "=" in word and not word.startswith("-")]
    os.environ["COMP_LINE"] = " ".join([_PROGRAM, *overrides, unfinished])
    with completions(project_root()) as plugins:
        if shell in plugins:
            plugins[shell].query(CONFIG_NAME)
