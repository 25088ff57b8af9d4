"""A few lines of the source, found by name: what a page shows is what runs."""

from __future__ import annotations

import ast
import shlex
import textwrap
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class MissingRegionError(ValueError):
    """A page names lines of the source that are no longer there."""


@dataclass(frozen=True)
class Region:
    """Lines of a file.

    Attributes:
        path: of the file, from the repository's root.
        name: of the function or class, dotted; empty for a name of the module.
        first: the number of the first line.
        last: the number of the last line.
        text: the lines, without the indent that they share.
    """

    path: str
    name: str
    first: int
    last: int
    text: str


def find_region(root: Path, words: str) -> Region:
    """The region that a page names.

    Args:
        root: of the repository.
        words: `FILE NAME`, a function, class or assigned name, without its docstring;
            `FILE NAME "begin"`, the statement in it that begins so; `FILE NAME "begin" "end"`,
            from there to the end of the statement after it that begins with `end`. In a YAML
            file NAME is a dotted key, and the region its lines.

    Raises:
        MissingRegionError: no such file, name or statement.

    Example:
        >>> root = Path(__file__).parents[2]
        >>> print(find_region(root, 'src/convforge/losses.py Hinge.call "losses ="').text)
        losses = ops.maximum(1.0 - y_true * y_pred, 0.0)
    """
    path, name, *marks = shlex.split(words)
    if path.endswith(".yaml"):
        return _of_yaml(root, path, name)
    lines, tree = _parsed(root / path)
    found = _named(tree, name, path)
    if marks:
        first = _statement(found, marks[0], lines, path, name)
        last = first
        if len(marks) > 1:
            last = _statement(found, marks[1], lines, path, name, after=first.lineno)
        # A statement that holds others is shown whole, so that nothing is cut in two.
        start, end = first.lineno, max(last.end_lineno or 0, first.end_lineno or 0)
        return Region(path, name, start, end, _text(lines[start - 1 : end]))
    start = min([found.lineno, *(each.lineno for each in getattr(found, "decorator_list", ()))])
    end = found.end_lineno or start
    kept = list(range(start, end + 1))
    if isinstance(found, _Definition) and ast.get_docstring(found, clean=False) is not None:
        told = found.body[0]
        kept = [line for line in kept if not told.lineno <= line <= (told.end_lineno or 0)]
    return Region(path, name, start, end, _text([lines[line - 1] for line in kept]))


def line_of(root: Path, path: str, name: str) -> int:
    """The line where a function, class or assigned name begins.

    Raises:
        MissingRegionError: no such file or name.
    """
    return _named(_parsed(root / path)[1], name, path).lineno


def _of_yaml(root: Path, path: str, name: str) -> Region:
    """The lines of a key, in block style."""
    lines, first, indent = _read(root / path).splitlines(), 0, 0
    for step in name.split("."):
        begin = " " * indent + f"{step}:"
        found = (n for n, line in enumerate(lines[first:], first) if line.startswith(begin))
        at = next(found, None)
        if at is None:
            raise MissingRegionError(f"{path} has no {name}")
        first, indent = at, indent + 2
    last = first
    while last + 1 < len(lines) and lines[last + 1].startswith(" " * indent):
        last += 1
    return Region(path, name, first + 1, last + 1, _text(lines[first : last + 1]))


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise MissingRegionError(f"{file}: {error.strerror}") from error


@cache
def _parsed(file: Path) -> tuple[list[str], ast.Module]:
    text = _read(file)
    return text.splitlines(), ast.parse(text)


def _named(tree: ast.Module, name: str, path: str) -> ast.stmt:
    inside: ast.stmt | ast.Module = tree
    for part in name.split("."):
        body: list[ast.stmt] = getattr(inside, "body", [])
        inside = next((each for each in body if part in _names(each)), tree)
        if inside is tree:
            raise MissingRegionError(f"{path} has no {name}")
    assert isinstance(inside, ast.stmt)
    return inside


def _names(statement: ast.stmt) -> list[str]:
    if isinstance(statement, _Definition):
        return [statement.name]
    if isinstance(statement, ast.Assign):
        return [each.id for each in statement.targets if isinstance(each, ast.Name)]
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return [statement.target.id]
    return []


def _statement(
    inside: ast.stmt, begin: str, lines: list[str], path: str, name: str, *, after: int = 0
) -> ast.stmt:
    """The first statement in `inside`, from line `after` on, whose line begins with `begin`."""
    statements = [each for each in ast.walk(inside) if isinstance(each, ast.stmt)]
    for each in sorted(statements, key=lambda each: each.lineno):
        if (
            each is not inside
            and each.lineno >= after
            and lines[each.lineno - 1][each.col_offset :].startswith(begin)
        ):
            return each
    raise MissingRegionError(f"{path}: {name} has no statement that begins with {begin!r}")


def _text(lines: list[str]) -> str:
    return textwrap.dedent("\n".join(lines)).strip("\n")
