"""Text as Markdown, in which no letter means anything but itself."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from convforge.pipeline.claims.page.tables import Table

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def escaped(text: str) -> str:
    r"""`text` on one line, for a paragraph or a table's cell.

    Example:
        >>> escaped("a|b <i>*not*</i>")
        'a\\|b &lt;i&gt;\\*not\\*&lt;/i&gt;'
    """
    line = " ".join(text.split())
    line = re.sub(r"[&<>]", lambda found: _ENTITIES[found[0]], line)
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", line)


def finalized(value: Any) -> Any:
    """What a template's expression becomes: escaped, but for what is Markdown already."""
    return value if isinstance(value, Markup) else escaped(str(value))


def table(shown: Table) -> Markup:
    """A table in GitHub's dialect."""
    names = [escaped(column.name) for column in shown.columns]
    rules = ["---:" if column.numbers else "---" for column in shown.columns]
    rows = [[escaped(cell) for cell in row] for row in shown.rows]
    return Markup("\n".join(f"| {' | '.join(row)} |" for row in (names, rules, *rows)))


def fenced(command: str) -> Markup:
    """A command as one would type it."""
    longest = max((len(run) for run in re.findall("`+", command)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markup(f"{fence}console\n$ {' '.join(command.split())}\n{fence}")


def address(path: str) -> Markup:
    """A file's path as a link names it.

    Example:
        >>> str(address("claims/max_pooling (2).svg"))
        'claims/max_pooling%20%282%29.svg'
    """
    return Markup(quote(path))
