"""Docstrings as they are written here, for Sphinx: `names`, indented equations, examples."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.inspect import stringify_signature

_SECTION = re.compile(
    r"(Args|Attributes|Example|Examples|Raises|References|Returns|Shapes|Yields|Note):$"
)


def prepare(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """What autodoc calls before napoleon reads the sections."""
    lines[:] = list(_prepared(lines))


def _prepared(lines: list[str]) -> Iterator[str]:
    example = equation = in_section = False
    previous = ""
    for line in lines:
        indent = len(line) - len(line.lstrip())
        stripped = line.strip()
        if indent == 0 and stripped:
            in_section = bool(_SECTION.match(stripped))
            equation = False
        # Below a section's name text is indented once more.
        block = indent >= (8 if in_section else 4) and not previous
        if stripped.startswith(">>> "):
            example = True
        elif not stripped:
            example = False
        elif block and not example and not equation and not _continues(stripped):
            equation = True
            yield " " * (indent - 4) + "::"
            yield ""
        elif equation and indent < (8 if in_section else 4):
            equation = False
        yield line if example or equation or not stripped else escaped(line)
        previous = stripped


def _continues(stripped: str) -> bool:
    """Whether it is an argument's line and no equation."""
    return bool(re.match(r"(\*\*)?\w+: ", stripped)) or stripped.startswith(">>> ")


def escaped(line: str) -> str:
    r"""A line whose only markup are `names`.

    Example:
        >>> print(escaped("`x` is |y| of **kwargs, alpha_"))
        ``x`` is \|y\| of \*\*kwargs, alpha\_
    """
    parts = re.split(r"(`[^`]+`)", line)
    return "".join(
        f"`{part}`"
        if part.startswith("`") and len(part) > 1
        else re.sub(r"([*|`\\]|_(?!\w))", r"\\\1", part)
        for part in parts
    )


def signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, text: str, returns: str
) -> tuple[str, str | None] | None:
    """A class' arguments by its own `__init__`: Keras' `__new__` takes any."""
    if what != "class" or "__init__" not in vars(obj):
        return None
    try:
        own = inspect.signature(obj.__init__)
    except (TypeError, ValueError):
        return None
    without_self = own.replace(
        parameters=list(own.parameters.values())[1:], return_annotation=own.empty
    )
    return stringify_signature(without_self, show_return_annotation=False), None
