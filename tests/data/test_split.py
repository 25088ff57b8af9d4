"""Which images train, validate and test."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from convforge.errors import InputError
from convforge.pipeline.data.preparation.index.item_index import Index
from convforge.pipeline.data.preparation.index.items import Entry, InspectedItem
from convforge.pipeline.data.preparation.split import SPLITS, assign
from convforge.pipeline.settings.data import SplitSettings

Item = tuple[str, str, str | None, bytes]
Splits = dict[str, list[tuple[str, str]]]


def _item(name: str, label: str, split: str | None = None) -> Item:
    return name, label, split, hashlib.blake2b(name.encode(), digest_size=24).digest()


def _items(per_class: int, labels: str = "abc", split: str | None = None) -> list[Item]:
    names = [(label, number) for label in labels for number in range(per_class)]
    prefix = f"{split}/" if split else ""
    return [_item(f"{prefix}{label}/{number}.png", label, split) for label, number in names]


def _index(folder: Path, items: list[Item]) -> Index:
    folder.mkdir(exist_ok=True)
    index = Index(folder / f"{len(list(folder.iterdir()))}.sqlite")
    index.add(Entry(name, 1, b"", given, label) for name, label, given, _ in items)
    index.inspection.enter(
        InspectedItem(number, item[3]) for number, item in enumerate(items, start=1)
    )
    return index


def _assigned(index: Index) -> Splits:
    """Name and class of each split's items, in order."""
    return {
        split: [
            (index.name_of(row.id), row.label)
            for row in index.shards.rows(split, 0, index.splits.count(split))
        ]
        for split in SPLITS
    }


@pytest.fixture
def assigned(tmp_path: Path) -> Any:
    """What `assign` makes of items."""

    def do(items: list[Item], *, duplicates: str = "drop_from_train", **sizes: float) -> Splits:
        index = _index(tmp_path / "indices", items)
        assign(index, SplitSettings(**sizes), duplicates)
        return _assigned(index)

    return do


def _names(items: list[tuple[str, str]]) -> set[str]:
    return {name for name, _ in items}


def _counts(splits: Splits) -> dict[str, dict[str, int]]:
    return {split: dict(Counter(label for _, label in splits[split])) for split in splits}


def test_counts_are_exact_and_the_same_for_classes_of_one_size(assigned: Any) -> None:
    assert _counts(assigned(_items(20), validation=6, test=9)) == {
        "train": {"a": 15, "b": 15, "c": 15},
        "validation": {"a": 2, "b": 2, "c": 2},
        "test": {"a": 3, "b": 3, "c": 3},
    }


def test_counts_are_in_proportion_to_classes_of_different_sizes(assigned: Any) -> None:
    items = _items(60, "a") + _items(30, "b") + _items(10, "c")
    splits = _counts(assigned(items, validation=0, test=20))
    assert splits["test"] == {"a": 12, "b": 6, "c": 2}


def test_counts_that_do_not_divide_differ_by_one_at_most(assigned: Any) -> None:
    splits = assigned(_items(20), validation=0, test=10)
    assert sorted(_counts(splits)["test"].values()) == [3, 3, 4]
    assert len(splits["validation"]) == 0


def test_a_class_of_one_image_trains(assigned: Any) -> None:
    splits = assigned(_items(20) + _items(1, "d"), validation=7, test=7)
    assert ("d/0.png", "d") in splits["train"]
    assert len(splits["test"]) == len(splits["validation"]) == 7


def test_more_than_the_classes_can_give_is_refused(assigned: Any) -> None:
    with pytest.raises(InputError, match=r"data\.split\.test=58 is too large.*can give 57"):
        assigned(_items(20), validation=0, test=58)
    assert len(assigned(_items(20), validation=0, test=57)["train"]) == 3


def test_every_item_is_in_one_split(assigned: Any) -> None:
    items = _items(20)
    splits = assigned(items, validation=0.2, test=9)
    together = [name for split in splits.values() for name, _ in split]
    assert sorted(together) == sorted(item[0] for item in items)


def test_fractions_are_about_that_share_of_every_class(assigned: Any) -> None:
    counts = _counts(assigned(_items(1000), validation=0.1, test=0.2))
    for label in "abc":
        assert counts["test"][label] == pytest.approx(200, abs=40)
        # Of what the test split leaves.
        assert counts["validation"][label] == pytest.approx(80, abs=30)


def test_with_fractions_no_item_changes_its_split_when_others_are_added(assigned: Any) -> None:
    few = assigned(_items(50), validation=0.2, test=0.2)
    many = assigned(_items(80, "abcd"), validation=0.2, test=0.2)
    for split, items in few.items():
        assert _names(items) <= _names(many[split])


def test_the_content_decides_and_not_the_name(assigned: Any) -> None:
    items = _items(30)
    renamed = [(f"z{name}", *rest) for name, *rest in items]
    before = assigned(items, validation=0.2, test=9)
    after = assigned(renamed, validation=0.2, test=9)
    for split in before:
        assert [f"z{name}" for name, _ in before[split]] == [name for name, _ in after[split]]


def test_the_order_of_the_source_does_not_matter(assigned: Any) -> None:
    items = _items(30)
    assert assigned(items, validation=3, test=0.2) == assigned(items[::-1], validation=3, test=0.2)


def test_two_copies_of_one_image_keep_to_one_split_with_fractions(assigned: Any) -> None:
    copies = [(f"a/copy{n}.png", "a", None, b"c" * 24) for n in range(2)]
    splits = assigned([*_items(30), *copies], validation=0.3, test=0.3)
    holders = [split for split in splits if _names(splits[split]) & {"a/copy0.png", "a/copy1.png"}]
    assert len(holders) == 1


def test_the_classes_are_mixed_within_a_split(assigned: Any) -> None:
    """Shards are read in sequence; sorted by class they would not train."""
    train = assigned(_items(200), validation=60, test=60)["train"]
    for start in range(0, len(train), 60):
        assert len({label for _, label in train[start : start + 60]}) == 3


def test_what_the_source_says_holds(assigned: Any) -> None:
    items = _items(10, split="train") + _items(4, split="validation") + _items(5, split="test")
    splits = assigned(items, validation=0.5, test=0.5)
    assert {split: len(splits[split]) for split in splits} == {
        "train": 30,
        "validation": 12,
        "test": 15,
    }


def test_a_split_that_the_source_lacks_is_taken_out_of_the_training_images(assigned: Any) -> None:
    items = _items(10, split="train") + _items(5, split="test")
    splits = assigned(items, validation=6, test=100)
    assert {split: len(splits[split]) for split in splits} == {
        "train": 24,
        "validation": 6,
        "test": 15,
    }
    assert all(name.startswith("train/") for name, _ in splits["validation"])


def test_items_with_and_without_a_split_are_refused_by_name(assigned: Any) -> None:
    with pytest.raises(InputError, match=r"a/0\.png is in no split"):
        assigned(_items(5, split="train") + _items(1, "a"), validation=0, test=0)


def _with_copies() -> list[Item]:
    """Of six training images, one is a test image too, and one a validation image."""
    train, held = _items(6, "ab", "train"), _items(2, "ab", "test") + _items(2, "ab", "validation")
    train[3] = (*train[3][:3], held[0][3])
    train[8] = (*train[8][:3], held[5][3])
    return train + held


def test_a_training_image_that_is_held_out_too_is_dropped(assigned: Any, tmp_path: Path) -> None:
    splits = assigned(_with_copies(), validation=0, test=0)
    assert len(splits["train"]) == 10
    assert _names(splits["train"]).isdisjoint({"train/a/3.png", "train/b/2.png"})
    assert (len(splits["test"]), len(splits["validation"])) == (4, 4)


def test_duplicates_are_kept_or_refused_where_the_config_says_so(assigned: Any) -> None:
    assert len(assigned(_with_copies(), validation=0, test=0, duplicates="keep")["train"]) == 12
    with pytest.raises(
        InputError, match=r"2 images stand in two splits.*train/a/3\.png is test/test/a/0\.png"
    ):
        assigned(_with_copies(), validation=0, test=0, duplicates="error")


def test_a_validation_image_that_is_a_test_image_is_refused_where_duplicates_are(
    assigned: Any,
) -> None:
    train, held = _items(6, "ab", "train"), _items(2, "ab", "test") + _items(2, "ab", "validation")
    held[6] = (*held[6][:3], held[1][3])
    assert len(assigned(train + held, validation=0, test=0)["validation"]) == 4
    with pytest.raises(
        InputError, match=r"1 image stands in two.*validation/b/0\.png is test/test/a/1\.png"
    ):
        assigned(train + held, validation=0, test=0, duplicates="error")


@pytest.mark.parametrize("size", [6, 0.5])
@pytest.mark.parametrize("duplicates", ["drop_from_train", "keep"])
@pytest.mark.parametrize(("given", "taken"), [("test", "validation"), ("validation", "test")])
def test_an_image_that_is_held_out_is_not_taken_for_the_other_held_out_split(
    assigned: Any, given: str, taken: str, duplicates: str, size: float
) -> None:
    """The data bring one; of the training images, half are also in that one."""
    train, held = _items(20, split="train"), _items(10, split=given)
    copies = [(*item[:3], other[3]) for item, other in zip(train[::2], held, strict=True)]
    splits = assigned(
        [*copies, *train[1::2], *held], duplicates=duplicates, **{given: 0, taken: size}
    )
    names = {item[0] for item in copies}
    assert splits[taken]
    assert _names(splits[taken]).isdisjoint(names)
    kept = names if duplicates == "keep" else set()
    assert _names(splits["train"]) & names == kept
    assert len(splits[given]) == 30


def test_copies_that_an_exact_count_parts_do_not_end_in_both_held_out_splits(
    assigned: Any,
) -> None:
    """All of a class are copies of one image, of which the test split takes some."""
    copies = [(f"a/{n}.png", "a", None, b"c" * 24) for n in range(20)]
    splits = assigned([*copies, *_items(20, "b")], validation=6, test=12)
    assert {label for _, label in splits["test"]} == {"a", "b"}
    assert {label for _, label in splits["validation"]} == {"b"}
    assert {label for _, label in splits["train"]} == {"b"}


def test_positions_are_numbered_without_gaps(tmp_path: Path) -> None:
    index = _index(tmp_path / "indices", _with_copies())
    assign(index, SplitSettings(validation=0, test=0), "drop_from_train")
    positions = [row.position for row in index.shards.rows("train", 0, 100)]
    assert positions == list(range(10))
