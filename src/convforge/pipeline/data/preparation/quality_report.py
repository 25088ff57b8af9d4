"""What a person should know of a data set as a whole, beside the items that are bad."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from convforge.pipeline.data.preparation.index.item_index import Index
from convforge.pipeline.data.preparation.shard_writer import DARK
from convforge.pipeline.pluralize import pluralize

_EXTENSIONS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".jpg", ".jpeg", ".mpo"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k", ".jpx", ".jpf", ".jpc"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
}
_EXAMPLES = 3


def find_class_problems(index: Index, classes: Sequence[str]) -> Iterator[str]:
    """Classes that cannot be learned or told apart; to be asked when all have their split."""
    by_lower: dict[str, list[str]] = {}
    for name in classes:
        by_lower.setdefault(name.casefold(), []).append(name)
    for names in by_lower.values():
        if len(names) > 1:
            yield f"classes that differ by case only: {', '.join(names)}"
    yield from _classes(index.quality.labels_of_one_item(), "with one image")
    for split in ("validation", "test"):
        unlearned = index.quality.labels_not_in_train(split)
        yield from _classes(unlearned, f"in {split} and not in train")


def find_lost_classes(index: Index, classes: Sequence[str]) -> Iterator[str]:
    """Classes of which nothing usable is left."""
    left = index.labels()
    yield from _classes([name for name in classes if name not in left], "of no usable image")


def find_copies(index: Index) -> Iterator[str]:
    """Identical images, apart from those that were dropped from training."""
    number = index.quality.count_kept_twins()
    if number:
        pairs = index.quality.kept_twins(_EXAMPLES + 1)
        are = pluralize(number, "training image is", "training images are")
        yield f"{are} held out as well: {_pairs(pairs)}"
    held = index.quality.validation_in_test()
    if held:
        one, many = "validation image is a test image", "validation images are test images"
        yield f"{pluralize(len(held), one, many)} as well: {_pairs(held)}"
    labels = index.quality.in_several_classes()
    if labels:
        stand = pluralize(len(labels), "image stands", "images stand")
        yield f"{stand} in more than one class: {_pairs(labels)}"
    within = index.quality.count_copies_within_splits()
    if within:
        one, many = "image is a copy of another", "images are copies of others"
        yield f"{pluralize(within, one, many)} in their split"


def find_wrong_extensions(index: Index) -> Iterator[str]:
    """Files whose content is of another format than their name says; they are used all the same."""
    for kind, endings in _EXTENSIONS.items():
        others = [ending for known in _EXTENSIONS.values() for ending in known]
        wrong = [ending for ending in others if ending not in endings]
        number = index.quality.count_named(kind, wrong)
        if number:
            example = index.quality.first_named(kind, wrong)
            files = pluralize(number, "file is", "files are")
            yield f"{files} {kind} by content and not by name, such as {example}"


def find_dark(index: Index, items: Sequence[Sequence[int]]) -> Iterator[str]:
    """Images that are black or nearly so; `items` are those of each shard."""
    number = sum(map(len, items))
    if number:
        first = min(map(min, filter(None, items)))
        name = index.name_of(first)
        are = pluralize(number, "image is", "images are")
        yield (
            f"{are} black or nearly so, no level above {DARK} of 255, such as {name}; where files "
            "of 16 bits use only some of them, scale these to the full range"
        )


def _classes(labels: Sequence[str], what: str) -> Iterator[str]:
    if labels:
        shown = ", ".join(labels[:_EXAMPLES])
        dots = ", …" if len(labels) > _EXAMPLES else ""
        yield f"{pluralize(len(labels), 'class', 'classes')} {what}: {shown}{dots}"


def _pairs(pairs: Sequence[tuple[str, str]]) -> str:
    shown = [f"{one} = {other}" for one, other in pairs[:_EXAMPLES]]
    return "; ".join([*shown, "…"] if len(pairs) > _EXAMPLES else shown)
