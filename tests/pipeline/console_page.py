"""What a page of the manual tells its reader to do, and whether what then comes is as it shows.

A `console` block has commands after `$ `, and below each what it prints: all of it, where `…` in a
line stands for what differs from run to run, and a line of `…` alone for lines that are left out. A
`diff` block is an edit of the file that the line above the block names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from page_edits import old_and_new

_BLOCK = re.compile(r"(?:`([\w/.-]+)`[^\n`]*:\n\n)?^```(console|diff)\n(.*?)^```$", re.M | re.S)
# The first line's, and those that a backslash leads to.
_COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)\n", re.M)


@dataclass(frozen=True)
class Command:
    """A command in bash's words, and the lines that the page shows below it."""

    words: str
    shown: str


@dataclass(frozen=True)
class Edit:
    """Lines of a file, from the repository's root, and those that take their place."""

    file: str
    old: str
    new: str


def steps_of(page: str) -> list[Command | Edit]:
    r"""What the page, in Markdown, says to do, in its order.

    Examples:
        >>> steps_of("```console\n$ echo a \\\n  b\na b\n$ true\n```\n")
        [Command(words='echo a \\\n  b', shown='a b\n'), Command(words='true', shown='')]
    """
    steps: list[Command | Edit] = []
    for file, kind, text in _BLOCK.findall(page):
        if kind == "diff":
            steps.append(Edit(file, *old_and_new(text)))
        else:
            before, *parts = _COMMAND.split(text)
            assert not before, f"{before!r} is the output of no command"
            steps += map(Command, parts[::2], parts[1::2])
    return steps


def is_as_shown(shown: str, printed: str) -> bool:
    r"""Whether a command printed what the page shows, but for empty lines and how wide a gap is.

    Examples:
        >>> is_as_shown("…\naccuracy 98.…%\n", "epoch 1\nepoch 2\naccuracy   98.50%\n")
        True
        >>> is_as_shown("accuracy 98.…%\n", "epoch 1\naccuracy 98.50%\n")
        False
    """
    lines = [
        r"(?:.*\n)*" if line == "…" else f"{'.+'.join(map(re.escape, line.split('…')))}\n"
        for line in _lines(shown)
    ]
    return bool(re.fullmatch("".join(lines), "".join(f"{line}\n" for line in _lines(printed))))


def _lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]
