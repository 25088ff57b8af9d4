"""Which images train, which validate, which test."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from convforge.errors import InputError

SPLITS = ("train", "validation", "test")

FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True, eq=False)
class Item:
    """One image file, without its pixels; itself and no other, even of the same name."""

    name: str
    label: str
    #: The split that its folder says, or None.
    split: str | None
    #: BLAKE2b of the file's bytes.
    content_hash: bytes
    #: The numbers to predict; then all labels are empty.
    targets: tuple[float, ...] = ()


def place(name: str) -> tuple[str | None, str | None]:
    """The split and the class that a file's path says.

    Example:
        >>> place("cifar/train/cat/0001.png")
        ('train', 'cat')
        >>> place("7/0001.png")
        (None, '7')
    """
    folders = [folder for folder in name.split("/")[:-1] if folder not in ("", ".")]
    label = folders[-1] if folders else None
    split = FOLDERS.get(folders[-2].lower()) if len(folders) > 1 else None
    return split, label


def assign(items: Sequence[Item], *, validation: float, test: float) -> dict[str, list[Item]]:
    """Every item in one split, in the order of its hash within.

    What a folder says, holds. Missing splits are taken out of the training images by the hash of
    the content, class by class: a whole number is an exact count, the same for every class;
    a fraction is a threshold on the hash, so that an item never changes its split when others
    are added. The order by hash mixes the classes, as shards that are read in sequence need.

    Raises:
        InputError: some folders name a split and others do not, or a class is too small.
    """
    named = {item.split for item in items}
    if None in named and len(named) > 1:
        stray = next(item for item in items if item.split is None)
        raise InputError(
            f"{stray.name} lies in no train/, validation/ or test/ folder, but others do"
        )
    splits: dict[str, list[Item]] = {split: [] for split in SPLITS}
    for item in sorted(items, key=lambda item: (_number(item, "train"), item.name)):
        splits[item.split or "train"].append(item)
    wanted = {"test": test, "validation": validation}
    for split, size in wanted.items():
        if not splits[split]:
            splits["train"], splits[split] = _take(splits["train"], size, split)
    if not splits["train"]:
        raise InputError(
            "no image is left to train on: data.split.validation and data.split.test take all, "
            "or the folders name no train/"
        )
    return splits


def _take(pool: Sequence[Item], size: float, split: str) -> tuple[list[Item], list[Item]]:
    """`pool` without the items of a new split, and these."""
    classes = sorted({item.label for item in pool})
    taken: set[Item] = set()
    if isinstance(size, float):
        taken = {item for item in pool if _number(item, split) < size * 2**64}
    elif size:
        counts = _shares(size, len(classes))
        by_class = defaultdict(list)
        for item in sorted(pool, key=lambda item: (_number(item, split), item.name)):
            by_class[item.label].append(item)
        for label, count in zip(classes, counts, strict=True):
            members = by_class[label]
            if count >= len(members):
                raise InputError(
                    f"data.split.{split}={size} leaves no training image of class {label!r}, "
                    f"which has {len(members)}"
                )
            taken.update(members[:count])
    return (
        [item for item in pool if item not in taken],
        [item for item in pool if item in taken],
    )


def _number(item: Item, split: str) -> int:
    """A number of 64 bits from the item's content, another and independent one for each split.

    That of "train" is for the order: had the order and the choice of a split the same source, the
    images that remain would begin with the class whose threshold was lowest.
    """
    start = SPLITS.index(split) * 8
    return int.from_bytes(item.content_hash[start : start + 8], "big")


def _shares(total: int, parts: int) -> list[int]:
    """`total` in `parts` whole numbers that differ by one at most."""
    return [total // parts + (part < total % parts) for part in range(parts)]
