"""Which images train, validate and test."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest

from convforge.data.split import Item, assign, place
from convforge.errors import InputError


def _item(name: str) -> Item:
    split, label = place(name)
    assert label is not None
    return Item(name, label, split, hashlib.blake2b(name.encode(), digest_size=24).digest())


def _items(per_class: int, labels: str = "abc", split: str = "") -> list[Item]:
    names = [f"{split}{label}/{number}.png" for label in labels for number in range(per_class)]
    return [_item(name) for name in names]


def _names(items: list[Item]) -> set[str]:
    return {item.name for item in items}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("7/0001.png", (None, "7")),
        ("digits/7/0001.png", (None, "7")),
        ("train/cat/1.png", ("train", "cat")),
        ("cifar/train/cat/1.png", ("train", "cat")),
        ("Training/cat/1.png", ("train", "cat")),
        ("val/cat/1.png", ("validation", "cat")),
        ("valid/cat/1.png", ("validation", "cat")),
        ("test/cat/1.png", ("test", "cat")),
        ("testing/cat/1.png", ("test", "cat")),
        ("./a/1.png", (None, "a")),
        ("test/1.png", (None, "test")),
        ("1.png", (None, None)),
    ],
)
def test_a_path_says_split_and_class(name: str, expected: tuple[str | None, str | None]) -> None:
    assert place(name) == expected


def test_counts_are_exact_and_the_same_for_every_class() -> None:
    splits = assign(_items(20), validation=6, test=9)
    assert {split: Counter(item.label for item in splits[split]) for split in splits} == {
        "train": {"a": 15, "b": 15, "c": 15},
        "validation": {"a": 2, "b": 2, "c": 2},
        "test": {"a": 3, "b": 3, "c": 3},
    }


def test_counts_that_do_not_divide_differ_by_one_at_most() -> None:
    splits = assign(_items(20), validation=0, test=10)
    assert sorted(Counter(item.label for item in splits["test"]).values()) == [3, 3, 4]
    assert len(splits["validation"]) == 0


def test_every_item_is_in_one_split() -> None:
    items = _items(20)
    splits = assign(items, validation=0.2, test=9)
    together = [item.name for split in splits.values() for item in split]
    assert sorted(together) == sorted(item.name for item in items)


def test_fractions_are_about_that_share_of_the_items() -> None:
    splits = assign(_items(1000), validation=0.1, test=0.2)
    assert len(splits["test"]) == pytest.approx(600, abs=70)
    # Of what the test split leaves.
    assert len(splits["validation"]) == pytest.approx(240, abs=50)


def test_with_fractions_no_item_changes_its_split_when_others_are_added() -> None:
    few = assign(_items(50), validation=0.2, test=0.2)
    many = assign(_items(80, "abcd"), validation=0.2, test=0.2)
    for split, items in few.items():
        assert _names(items) <= _names(many[split])


def test_the_content_decides_and_not_the_name() -> None:
    items = _items(30)
    renamed = [Item(f"z{item.name}", item.label, None, item.content_hash) for item in items]
    before = assign(items, validation=0.2, test=9)
    after = assign(renamed, validation=0.2, test=9)
    for split in before:
        assert [f"z{item.name}" for item in before[split]] == [item.name for item in after[split]]


def test_the_order_of_the_source_does_not_matter() -> None:
    items = _items(30)
    assert assign(items, validation=3, test=0.2) == assign(items[::-1], validation=3, test=0.2)


def test_two_copies_of_one_image_keep_to_one_split_with_fractions() -> None:
    content = b"c" * 24
    copies = [Item(name, "a", None, content) for name in ("a/copy1.png", "a/copy2.png")]
    splits = assign([*_items(30), *copies], validation=0.3, test=0.3)
    holders = [split for split in splits if _names(splits[split]) & _names(copies)]
    assert len(holders) == 1


def test_the_classes_are_mixed_within_a_split() -> None:
    """Shards are read in sequence; sorted by class they would not train."""
    train = assign(_items(200), validation=60, test=60)["train"]
    for start in range(0, len(train), 60):
        assert len({item.label for item in train[start : start + 60]}) == 3


def test_what_folders_say_holds() -> None:
    items = _items(10, split="train/") + _items(4, split="val/") + _items(5, split="test/")
    splits = assign(items, validation=0.5, test=0.5)
    assert {split: len(splits[split]) for split in splits} == {
        "train": 30,
        "validation": 12,
        "test": 15,
    }


def test_a_split_without_a_folder_is_taken_out_of_the_training_images() -> None:
    items = _items(10, split="train/") + _items(5, split="test/")
    splits = assign(items, validation=6, test=100)
    assert {split: len(splits[split]) for split in splits} == {
        "train": 24,
        "validation": 6,
        "test": 15,
    }
    assert all(item.name.startswith("train/") for item in splits["validation"])


def test_images_inside_and_outside_split_folders_are_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"a/0\.png lies in no train/, validation/ or test/"):
        assign(_items(5, split="train/") + _items(1, "a"), validation=0, test=0)


def test_a_class_too_small_for_its_share_is_named() -> None:
    items = _items(20) + _items(2, "d")
    with pytest.raises(InputError, match=r"data\.split\.test=12 leaves no.*'d', which has 2"):
        assign(items, validation=0, test=12)
