"""The errors that tell a user of a mistake, from the source that raises them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ERRORS = {"InputError", "DivergenceError"}
_SOURCE = Path("src") / "convforge"


@dataclass(frozen=True)
class Message:
    """A message.

    Attributes:
        text: with `‹…›` for what is known when it is raised.
        path: of the file that raises it, from the repository's root.
        line: where.
    """

    text: str
    path: str
    line: int


def error_messages(root: Path) -> list[Message]:
    """All messages whose words stand in the source, file by file."""
    return [
        message
        for file in sorted((root / _SOURCE).rglob("*.py"))
        for message in _of_file(file, file.relative_to(root).as_posix())
    ]


def _of_file(file: Path, path: str) -> Iterator[Message]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in _ERRORS
        and node.args
    ]
    for call in sorted(calls, key=lambda call: call.lineno):
        text = _written(call.args[0])
        # Of some an expression makes all the words.
        if len(text.replace("‹…›", "").split()) > 1:
            yield Message(text, path, call.lineno)


def _written(node: ast.expr) -> str:
    """A string expression, its values left open."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(map(_written, values))
        case ast.FormattedValue(value=value):
            return f"‹{_name(value)}›"
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _written(left) + _written(right)
    return "‹…›"


def _name(value: ast.expr) -> str:
    match value:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.strip("_")
    return "…"


def errors_page(root: Path) -> str:
    """The messages in Markdown, by the folder of the file that raises them."""
    parts: list[str] = []
    room = None
    for message in error_messages(root):
        folder = message.path.rpartition("/")[0]
        if folder != room:
            room = folder
            parts.append(f"\n## {_heading(folder)}\n")
        text = message.text.replace("\n", " ").replace("`", "")
        parts.append(f"- `` {text} `` {{source}}`{message.path}:{message.line}`")
    return "\n".join(parts) + "\n"


def _heading(folder: str) -> str:
    room = folder.removeprefix(_SOURCE.as_posix()).strip("/").removeprefix("pipeline/")
    return room.replace("/", ", ").replace("_", " ").capitalize() or "The library"
