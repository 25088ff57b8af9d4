"""Print the lowest versions that pyproject.toml allows, as constraints for pip.

python tests/package/lowest.py              # of the library's own dependencies
python tests/package/lowest.py pipeline jax # and of these extras, with those that they name
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def lowest(extras: Iterable[str]) -> list[str]:
    """`name==version` for each requirement; of several bounds of one package, the highest."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    pins: dict[str, str] = {}
    for requirement in _requirements(project, extras):
        match = re.fullmatch(r"([\w.-]+)>=([\w.]+)(,<[\w.]+)?", requirement)
        assert match, f"{requirement} has no lower bound"
        name, version = match[1], match[2]
        pins[name] = max(pins.get(name, "0"), version, key=_numbers)
    return [f"{name}=={version}" for name, version in sorted(pins.items())]


def _requirements(project: dict[str, object], extras: Iterable[str]) -> Iterator[str]:
    dependencies, optional = project["dependencies"], project["optional-dependencies"]
    assert isinstance(dependencies, list)
    assert isinstance(optional, dict)
    yield from dependencies
    for extra in extras:
        for requirement in optional[extra]:
            own = re.fullmatch(r"convforge\[(.*)\]", requirement)
            yield from _requirements(project, own[1].split(",")) if own else [requirement]


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


if __name__ == "__main__":
    print("\n".join(lowest(sys.argv[1:])))
