"""The index is asked by methods: SQL stands in its own room only."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import convforge.pipeline
from convforge.pipeline.data.preparation.index.item_index import Index
from convforge.pipeline.data.preparation.index.items import Entry, InspectedItem, ItemCounts

_PIPELINE = Path(convforge.pipeline.__file__).parent
_ROOM = Path("data/preparation/index")
# It looks into MLflow's database and not into the index.
_EXEMPT = {Path("tracking/sqlite_store.py")}
_SQL = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|DROP|ALTER|FROM|WHERE|PRAGMA)\s")


def _sql(code: str) -> list[str]:
    """The strings of `code`, and the parts of its f-strings, that begin as SQL does."""
    strings = (node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant))
    return [text for text in strings if isinstance(text, str) and _SQL.match(text)]


def _modules() -> list[Path]:
    return sorted(path.relative_to(_PIPELINE) for path in _PIPELINE.rglob("*.py"))


def test_no_sql_stands_outside_the_index() -> None:
    outside = [path for path in _modules() if _ROOM not in path.parents and path not in _EXEMPT]
    found = {str(path): _sql((_PIPELINE / path).read_text(encoding="utf-8")) for path in outside}
    assert {path: strings for path, strings in found.items() if strings} == {}


def test_the_search_sees_the_sql_where_it_stands() -> None:
    for path in (*_EXEMPT, _ROOM / "item_index.py", _ROOM / "split_queries.py"):
        assert _sql((_PIPELINE / path).read_text(encoding="utf-8")), path


def test_nobody_outside_the_index_opens_its_database() -> None:
    module = "preparation.index.database"
    users = {path.parent for path in _modules() if module in (_PIPELINE / path).read_text("utf-8")}
    assert users == {_ROOM}


@pytest.fixture
def index(tmp_path: Path) -> Index:
    """Three items in two folders, of which one is bad."""
    made = Index(tmp_path / "index.sqlite")
    made.add(
        [
            Entry("cat/0.png", 10, b"first", "train", "cat"),
            Entry("cat/1.png", 20, b"second", "train", "cat", problem="is empty"),
            Entry("dog/0.png", 30, b"third", "test", "dog"),
        ]
    )
    made.inspection.enter(
        [InspectedItem(1, b"a" * 24, "PNG", 4, 6), InspectedItem(3, b"b" * 24, "JPEG", 8, 2)]
    )
    return made


def test_items_are_counted_by_what_became_of_them(index: Index) -> None:
    assert index.counts() == ItemCounts(found=3, bad=1, dropped=2)
    index.splits.start_from_given()
    assert index.counts() == ItemCounts(found=3, bad=1, dropped=0)
    assert [index.splits.count(split) for split in ("train", "validation", "test")] == [1, 0, 1]
    assert (index.count(), index.total_bytes(), index.shards.bytes_of_all()) == (3, 60, 40)


def test_what_is_left_to_inspect_comes_after_the_last_that_was(tmp_path: Path) -> None:
    """One that came again would be inspected without end."""
    index = Index(tmp_path / "index.sqlite")
    index.add([Entry(f"{number}.png", 10, b"", "train", "cat") for number in range(3)])
    assert [item.id for item in index.inspection.left_after(0, 2)] == [1, 2]
    assert [item.id for item in index.inspection.left_after(2, 2)] == [3]
    assert index.inspection.left_after(3, 2) == []


def test_a_problem_is_of_the_item_that_it_is_said_of(index: Index) -> None:
    index.set_problems([(3, "is cut")])
    assert list(index.bad_items()) == [("cat/1.png", "is empty"), ("dog/0.png", "is cut")]
    assert index.labels() == ["cat"]


def test_the_range_of_sides_is_that_of_good_items(index: Index) -> None:
    assert index.range_of_sides("height") == (4, 6, 8)
    assert index.range_of_sides("width") == (2, 4, 6)


def test_a_label_of_a_good_folder_leaves_its_bad_items(index: Index) -> None:
    index.folders.label_good_items("cat", split="train", label="lion", problem=None)
    assert list(index.bad_items()) == [("cat/1.png", "is empty")]
    index.folders.label_items("cat", split="train", label="lion", problem="lies apart")
    assert list(index.bad_items()) == [("cat/0.png", "lies apart"), ("cat/1.png", "is empty")]


def test_a_name_that_fits_its_format_is_not_counted(index: Index) -> None:
    assert index.quality.count_named("JPEG", [".png", ".gif"]) == 1
    assert index.quality.first_named("JPEG", [".png", ".gif"]) == "dog/0.png"
    assert index.quality.count_named("JPEG", [".jpg"]) == 0


def test_an_index_is_found_again(index: Index, tmp_path: Path) -> None:
    index.set_fact("scanned", 1)
    index.add_remark("one")
    index.add_remark("another")
    index.pass_over("litter", 2)
    index.pass_over("litter")
    index.close()
    again = Index(tmp_path / "index.sqlite")
    assert (again.fact("scanned"), again.fact("classes")) == (1, None)
    assert again.remarks() == ["one", "another"]
    assert again.passed_over() == {"litter": 3}
    assert again.inspection.count_left() == 0
