"""`convforge COMMAND …`: every stage alone, beside DVC, and what one does with the results.

Nothing heavy is imported before a command needs it, so `--help` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from convforge import __version__
from convforge.pipeline.commands import (
    claim,
    completion,
    compose,
    evaluate,
    explain,
    export,
    fetch,
    inspect_data,
    predict,
    preprocess,
    preview_augment,
    register,
    report,
    results,
    summary,
    sync,
    train,
    ui,
)
from convforge.pipeline.credentials import redacted
from convforge.pipeline.stages.entry import run_guarded

# In the order of the help.
_COMMANDS = (
    fetch,
    compose,
    preprocess,
    preview_augment,
    inspect_data,
    train,
    evaluate,
    results,
    predict,
    explain,
    register,
    export,
    claim,
    report,
    summary,
    ui,
    sync,
)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of `convforge`.

    Returns:
        The exit status: 0, 2 for a user's mistake, 130 for Ctrl-C.
    """
    parser, words = _parser(), list(sys.argv[1:] if argv is None else argv)
    if completion.is_asked_for(words):
        return run_guarded(lambda: completion.complete(words, _commands_of(parser)))
    arguments, left = parser.parse_known_args(argv)
    # argparse takes one run of positional arguments: overrides after an option are left over.
    if any(item.startswith("-") for item in left) or (left and "overrides" not in arguments):
        parser.error(redacted(f"unrecognized arguments: {' '.join(left)}"))
    if left:
        arguments.overrides += left
    arguments.own_process = argv is None
    if arguments.command is None:
        parser.print_help()
        return 0
    run: Callable[[argparse.Namespace], object] = arguments.run
    return run_guarded(lambda: run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="convforge",
        description="Convolutional networks from a lecture, as reproducible runs.",
        epilog="`dvc repro` runs the whole pipeline; the commands here run its parts alone.",
    )
    parser.add_argument("--version", action="version", version=f"convforge {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for command in _COMMANDS:
        command.add(commands)
    return parser


def _commands_of(parser: argparse.ArgumentParser) -> dict[str, bool]:
    """Whether a command takes overrides, by its name."""
    (commands,) = (action.choices for action in parser._actions if isinstance(action.choices, dict))
    return {
        name: any(action.dest == "overrides" for action in each._actions)
        for name, each in commands.items()
    }


if __name__ == "__main__":
    sys.exit(main())
