"""docs/verdict.md has the tables that its benchmark makes."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "verdict.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def benchmark() -> Iterator[ModuleType]:
    specification = importlib.util.spec_from_file_location(
        "verdict_benchmark", ROOT / "benchmarks" / "verdict.py"
    )
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    yield module
    del sys.modules[specification.name]


@pytest.mark.parametrize("name", ["power", "published", "equivalence"])
def test_a_table_is_what_the_rule_gives_now(benchmark: ModuleType, name: str) -> None:
    """Else `python benchmarks/verdict.py --write docs/verdict.md` makes it again."""
    assert benchmark.with_tables(PAGE, {name: benchmark.markdown(benchmark.TABLES[name]())}) == PAGE


@pytest.mark.slow
def test_all_tables_are_what_the_rule_gives_now(benchmark: ModuleType) -> None:
    made = {name: benchmark.markdown(make()) for name, make in benchmark.TABLES.items()}
    assert benchmark.with_tables(PAGE, made) == PAGE


def test_tables_are_put_in_place_of_the_old_ones(benchmark: ModuleType) -> None:
    page = "a\n<!-- table: x -->\n| 1 |\n| 2 |\nb\n<!-- table: y -->\n"
    found = benchmark.with_tables(page, {"x": "| 3 |\n", "y": "| 4 |\n"})
    assert found == "a\n<!-- table: x -->\n| 3 |\nb\n<!-- table: y -->\n| 4 |\n"


def test_a_page_without_the_tables_place_is_refused(benchmark: ModuleType) -> None:
    with pytest.raises(ValueError, match="<!-- table: x -->"):
        benchmark.with_tables("", {"x": "| 3 |\n"})
