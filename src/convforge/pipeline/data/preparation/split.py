"""Which images train, which validate, which test, and in which order.

All of it follows from the contents of the files, never from their names or number of copies, so
that it stays when files are added or renamed.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import TYPE_CHECKING

from convforge.errors import InputError
from convforge.pipeline.data.preparation.index.item_index import Index
from convforge.pipeline.data.preparation.index.split_queries import HashPart
from convforge.pipeline.data.preparation.inspection import HASH_BYTES
from convforge.pipeline.pluralize import pluralize

if TYPE_CHECKING:
    from convforge.pipeline.settings.data import SplitSettings

SPLITS = ("train", "validation", "test")
# Of the hash, for the order and for each split that is taken: independent numbers of 64 bits.
_NUMBER_BYTES = HASH_BYTES // len(SPLITS)


def assign(index: Index, sizes: SplitSettings, duplicates: str) -> None:
    """Give every good item of `index` its split, and its position there.

    What the source says, holds. Missing splits are taken out of the training images by the hash of
    the content. A whole number is an exact count, of which every class gives its share. A fraction
    is a threshold on the hash: an item then never changes its split when others are added, and
    every class gives that share but for chance. The order is by hash as well; it mixes the
    classes, as shards that are read in sequence need.

    Args:
        index: with every item's hash.
        sizes: of the splits that the source does not bring.
        duplicates: what happens to a training image that stands in another split too:
            "drop_from_train", "keep" or "error". Whatever it is, such an image is not taken for
            the other of the two splits that are held out.

    Raises:
        InputError: some items name a split and others do not, a class is too small, nothing is
            left to train on, or there are duplicates and they are an error.
    """
    _start_from_given(index)
    for split, size in (("test", sizes.test), ("validation", sizes.validation)):
        if not index.splits.has_items(split):
            index.splits.find_twins()
            _take(index, size, split)
    index.splits.find_twins()
    _treat_duplicates(index, duplicates)
    if not index.splits.has_items("train"):
        raise InputError(
            "no image is left to train on: data.split.validation and data.split.test take all, "
            "or the folders name no train/"
        )
    index.splits.order_by(_number("train"))


def _number(split: str) -> HashPart:
    """A number from the item's content, another and independent one for each split.

    That of "train" is for the order: had the order and the choice of a split the same source, the
    images that remain would begin with the class whose threshold was lowest.
    """
    return HashPart(1 + _NUMBER_BYTES * SPLITS.index(split), _NUMBER_BYTES)


def _start_from_given(index: Index) -> None:
    if index.splits.some_lack_one():
        raise InputError(f"{index.splits.name_of_one_without()} is in no split, but others are")
    index.splits.start_from_given()


def _take(index: Index, size: float, split: str) -> None:
    """Take a new split out of the training images that are held out nowhere else."""
    if isinstance(size, float):
        threshold = ceil(size * 2 ** (8 * _NUMBER_BYTES)).to_bytes(_NUMBER_BYTES + 1, "big")[1:]
        index.splits.hold_out_below(split, _number(split), threshold)
        return
    members = index.splits.count_takeable_by_label()
    for label, count in _shares(size, members, split).items():
        index.splits.hold_out_first(split, _number(split), label, count)


def _shares(total: int, members: Mapping[str, int], split: str) -> dict[str, int]:
    """`total` divided among classes in proportion to their members; each keeps one to train on."""
    most = {label: count - 1 for label, count in members.items()}
    if total > sum(most.values()):
        raise InputError(
            f"data.split.{split}={total} is too large: {pluralize(sum(members.values()), 'image')} "
            f"of {pluralize(len(members), 'class', 'classes')} can give "
            f"{sum(most.values()):,}, so that every class keeps one"
        )
    everybody = sum(members.values())
    exact = {label: total * count / everybody for label, count in members.items()}
    shares = {label: min(int(exact[label]), most[label]) for label in members}
    while (missing := total - sum(shares.values())) > 0:
        able = [label for label in members if shares[label] < most[label]]
        able.sort(key=lambda label: shares[label] - exact[label])
        for label in able[:missing]:
            shares[label] += 1
    return shares


def _treat_duplicates(index: Index, policy: str) -> None:
    if policy == "error":
        _refuse_duplicates(index)
    if policy == "drop_from_train":
        index.splits.drop_twins()


def _refuse_duplicates(index: Index) -> None:
    pairs = index.splits.in_two_splits()
    if pairs:
        found = pluralize(len(pairs), "image stands", "images stand")
        name, twin = pairs[0]
        raise InputError(f"{found} in two splits and data.duplicates=error: {name} is {twin}")
