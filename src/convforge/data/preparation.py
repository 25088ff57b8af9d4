"""From a source of image files to a prepared data set: shards, statistics, manifest.

The source is read once. Decoded pixels go to a scratch file in the source's order; the splits
follow from the hashes of all files, and each shard then picks its rows from the scratch file, so
memory stays flat whatever the number of images.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convforge.data.decode import BadImageError, decode
from convforge.data.manifest import BadItem, Manifest, Split, Target, is_prepared
from convforge.data.shards import PixelMoments, write_shards
from convforge.data.sources import Source, is_litter, open_source
from convforge.data.sources.table import read_rows
from convforge.data.split import FOLDERS, SPLITS, Item, assign, place
from convforge.errors import InputError
from convforge.progress import Progress
from convforge.settings import DataSettings, TableData

# Three independent numbers of 64 bits: the order, and one for each split that is taken.
_HASH_BYTES = 24


@dataclass
class _Decoded:
    """What one pass over the source gave; item `i` is row `i` of the scratch file."""

    items: list[Item] = field(default_factory=list)
    shape: tuple[int, ...] = ()
    bad: list[BadItem] = field(default_factory=list)
    litter: int = 0


def prepare(settings: DataSettings, source_path: Path, out: Path, progress: Progress) -> Manifest:
    """Prepare the images at `source_path` into the folder `out`, which appears when complete.

    Args:
        settings: the config's `data` group.
        source_path: the folder or archive.
        out: the folder to make; an existing one is replaced.
        progress: told of every file.

    Returns:
        The manifest, as written to `out`.

    Raises:
        InputError: no images, one class only, more bad files than `max_bad_share`, or any with
            `on_bad: error`; or `out` holds something else than prepared data.
    """
    table = None
    if settings.format == "table":
        table = _read_table(settings, source_path)
        source_path = source_path.parent / (settings.images or "")
    source = open_source(source_path)
    out = out.resolve()
    _refuse_to_replace(out, source_path.resolve())
    with _complete_or_absent(out) as folder:
        scratch = folder / "pixels"
        decoded = _decode_all(settings, source, table, scratch, progress)
        _refuse_unusable(settings, source_path, decoded)
        pixels = np.memmap(scratch, np.uint8, "r", shape=(len(decoded.items), *decoded.shape))
        manifest = _write(settings, source_path, decoded, pixels, folder)
        scratch.unlink()
        manifest.write(folder)
    return manifest


def _refuse_to_replace(out: Path, source: Path) -> None:
    """Only what an earlier preprocess made may be replaced."""
    if source.is_relative_to(out) or out.is_relative_to(source):
        raise InputError(f"{out} is where the images are: give another folder to write")
    if out.exists() and not (out.is_dir() and (is_prepared(out) or not any(out.iterdir()))):
        raise InputError(f"{out} exists and holds no prepared data: give another folder to write")


def _decode_all(
    settings: DataSettings,
    source: Source,
    table: dict[str, Mapping[str, Any]] | None,
    scratch: Path,
    progress: Progress,
) -> _Decoded:
    decoded = _Decoded()
    with scratch.open("wb") as file, progress.task("preprocess", unit="images") as task:
        for name, content in source.files(task.expect):
            if is_litter(name):
                decoded.litter += 1
                continue
            if table is not None and name not in table:
                continue
            try:
                item = _item(settings, name, content, table)
                image = decode(
                    content,
                    channels=settings.channels,
                    size=settings.size if settings.resize else None,
                )
                shape = settings.image_shape or decoded.shape or image.shape
                if image.shape != shape:
                    raise BadImageError(
                        f"{image.shape[0]}×{image.shape[1]} pixels, not {shape[0]}×{shape[1]}"
                    )
            except BadImageError as error:
                decoded.bad.append(BadItem(name=name, reason=str(error)))
                progress.warn(f"left out {name}: {error}")
            else:
                decoded.shape = image.shape
                decoded.items.append(item)
                file.write(image.tobytes())
            task.advance()
    return decoded


def _read_table(settings: TableData, path: Path) -> dict[str, Mapping[str, Any]]:
    columns = {settings.file_column: "file_column"}
    columns |= dict.fromkeys(settings.target_columns, "target_columns")
    if settings.class_column is not None:
        columns[settings.class_column] = "class_column"
    if settings.split_column is not None:
        columns[settings.split_column] = "split_column"
    return {row[settings.file_column]: row for row in read_rows(path, columns)}


def _item(
    settings: DataSettings, name: str, content: bytes, table: dict[str, Mapping[str, Any]] | None
) -> Item:
    targets: tuple[float, ...] = ()
    if table is not None and settings.format == "table":
        row = table[name]
        split = FOLDERS[row[settings.split_column]] if settings.split_column else None
        label = row[settings.class_column] if settings.class_column else ""
        targets = tuple(_number(row[column], column) for column in settings.target_columns)
    else:
        split, label = place(name)
    if label is None:
        raise BadImageError("in no class folder")
    digest = hashlib.blake2b(content, digest_size=_HASH_BYTES).digest()
    return Item(name, label, split, digest, targets)


def _number(value: Any, column: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise BadImageError(f"{column}={value!r} is not a number") from None
    if not math.isfinite(number):
        raise BadImageError(f"{column}={number} is not finite")
    return number


def _refuse_unusable(settings: DataSettings, source: Path, decoded: _Decoded) -> None:
    examples = "; ".join(f"{item.name}: {item.reason}" for item in decoded.bad[:3])
    if not decoded.items:
        found = f": {examples}" if examples else " at all"
        raise InputError(f"data.path={source} holds no usable images{found}")
    if decoded.bad and settings.on_bad == "error":
        raise InputError(f"{len(decoded.bad)} bad files and data.on_bad=error: {examples}")
    share = len(decoded.bad) / (len(decoded.bad) + len(decoded.items))
    if share > settings.max_bad_share:
        raise InputError(
            f"{share:.1%} of the files are bad, more than data.max_bad_share="
            f"{settings.max_bad_share}: {examples}"
        )
    if settings.target_names:
        return
    labels = sorted({item.label for item in decoded.items})
    if len(labels) == 1:
        raise InputError(f"data.path={source} holds one class only: {labels[0]!r}")
    if settings.num_classes not in (None, len(labels)):
        raise InputError(
            f"data.path={source} holds {len(labels)} classes, not data.num_classes="
            f"{settings.num_classes}: {', '.join(labels[:12])}"
        )


def _write(
    settings: DataSettings,
    source: Path,
    decoded: _Decoded,
    pixels: NDArray[np.uint8],
    folder: Path,
) -> Manifest:
    splits = assign(decoded.items, validation=settings.split.validation, test=settings.split.test)
    classes = [] if settings.target_names else sorted({item.label for item in decoded.items})
    rows = {item: row for row, item in enumerate(decoded.items)}
    moments = PixelMoments(settings.channels)
    digest = hashlib.sha256(repr((classes, decoded.shape)).encode())
    written = {}
    for split in SPLITS:
        order = [rows[item] for item in splits[split]]
        answers = _answers(classes, splits[split])
        for item, row in zip(splits[split], order, strict=True):
            digest.update(item.content_hash + f"{split} {item.label}{item.targets or ''}".encode())
            if split == "train":
                moments.add(pixels[row])
        written[split] = Split(
            examples=len(order),
            class_counts=np.bincount(answers, minlength=len(classes)).tolist() if classes else [],
            shards=write_shards(
                folder, split, pixels, order, answers, shard_examples=settings.shard_examples
            ),
        )
    return Manifest(
        name=settings.name,
        digest=digest.hexdigest(),
        config=settings.model_dump(),
        source=source.name,
        classes=classes,
        targets=_target_statistics(settings.target_names, splits["train"]),
        image_shape=list(decoded.shape),
        splits=written,
        statistics=moments.statistics(),
        bad_items=decoded.bad,
        litter=decoded.litter,
    )


def _answers(
    classes: Sequence[str], items: Sequence[Item]
) -> NDArray[np.int64] | NDArray[np.float32]:
    if not classes:
        return np.array([item.targets for item in items], np.float32)
    return np.array([classes.index(item.label) for item in items], np.int64)


def _target_statistics(names: Sequence[str], items: Sequence[Item]) -> list[Target]:
    values = np.array([item.targets for item in items], np.float64)
    return (
        [
            Target(name=name, mean=c.mean(), std=c.std(), min=c.min(), max=c.max())
            for name, c in zip(names, values.T, strict=True)
        ]
        if names
        else []
    )


@contextmanager
def _complete_or_absent(out: Path) -> Iterator[Path]:
    """A scratch folder that takes the place of `out` when the block ends without an error."""
    out.parent.mkdir(parents=True, exist_ok=True)
    work = out.with_name(f".{out.name}.partial")
    # What a killed run left.
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        yield work
        shutil.rmtree(out, ignore_errors=True)
        work.replace(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
