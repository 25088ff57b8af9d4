"""What the source files import, and when: read from their syntax, without importing them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import convforge

SOURCE = Path(convforge.__file__).parent

#: Every module of the package by its full name.
MODULES = {
    ".".join(("convforge", *file.relative_to(SOURCE).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): file
    for file in sorted(SOURCE.rglob("*.py"))
}


@dataclass(frozen=True)
class Import:
    """One import statement."""

    #: `from a import b, c` → `a.b` and `a.c`.
    names: tuple[str, ...]
    in_function: bool
    for_types: bool


@cache
def imports(file: Path) -> tuple[Import, ...]:
    """Every import of a file, in functions and under TYPE_CHECKING too."""
    return tuple(_below(ast.parse(file.read_text(encoding="utf-8")), False, False))


def _below(node: ast.AST, in_function: bool, for_types: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            names = tuple(alias.name for alias in child.names)
            yield Import(names, in_function, for_types)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno} imports relatively"
            names = tuple(f"{child.module}.{alias.name}" for alias in child.names)
            yield Import(names, in_function, for_types)
        else:
            yield from _below(
                child,
                in_function or isinstance(child, ast.FunctionDef),
                for_types
                or (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"),
            )


def module_of(name: str) -> str | None:
    """The own module that an imported name is, or is found in; None for other packages' names."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or None
