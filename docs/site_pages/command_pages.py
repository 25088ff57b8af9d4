"""The command line's reference, from its parser."""

from __future__ import annotations

import argparse
import re

from convforge.pipeline import cli


def commands_page() -> str:
    """Every command with its arguments, options and examples, in Markdown."""
    parser = cli._parser()
    (commands,) = (each.choices for each in parser._actions if isinstance(each.choices, dict))
    return "\n".join(_command(name, each) for name, each in commands.items())


def _command(name: str, parser: argparse.ArgumentParser) -> str:
    usage = " ".join(parser.format_usage().split()).removeprefix("usage: ")
    lines = [
        f"## `convforge {name}`",
        "",
        parser.description or "",
        "",
        "```text",
        usage,
        "```",
        "",
    ]
    for action in parser._actions:
        if action.help in (None, argparse.SUPPRESS) or action.dest == "help":
            continue
        lines += [f"`{_called(action)}`", f": {_told(parser, action)}", ""]
    examples = re.findall(r"^  (convforge .*)", parser.epilog or "", re.M)
    if examples:
        lines += ["```console", *(f"$ {example}" for example in examples), "```", ""]
    return "\n".join(lines)


def _called(action: argparse.Action) -> str:
    value = action.metavar or (
        "|".join(map(str, action.choices)) if action.choices else action.dest.upper()
    )
    if not action.option_strings:
        return str(value) + (" …" if action.nargs in ("*", "+") else "")
    takes = "" if action.nargs == 0 else f" {value}"
    return ", ".join(f"{option}{takes}" for option in action.option_strings)


def _told(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    text = parser._get_formatter()._expand_help(action)
    # As it stands: its first word may be a name to type.
    return re.sub(r"([*_<>\[\]{}|])", r"\\\1", text)
