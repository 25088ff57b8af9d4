"""Prepared data made of arrays, without the preparation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from image_files import data_settings

from convforge.pipeline.data.manifest import (
    Counts,
    Manifest,
    Shard,
    SizeRange,
    Split,
    Statistics,
    Target,
)
from convforge.pipeline.data.preparation.containers import ReadAlready, slices
from convforge.pipeline.data.preparation.shard_writer import (
    Example,
    ShardJob,
    ShardReport,
    write_shard,
)
from convforge.pipeline.data.preparation.summary import write_records
from convforge.serving.decode import Decoding, RawPixels


def prepared(
    folder: Path,
    images: np.ndarray,
    labels: np.ndarray,
    classes: list[str],
    targets: tuple[str, ...] = (),
    shard_examples: int = 1_000_000,
) -> Manifest:
    """A folder with the training images `(n, height, width, channels)` in their order."""
    folder.mkdir(exist_ok=True)
    reports = [
        _shard(folder, images, labels, start, min(start + shard_examples, len(images)))
        for start in range(0, len(images), shard_examples)
    ]
    write_records(folder, {"train": reports})
    shards = [
        Shard(file=one.file, examples=one.examples, bytes=one.bytes, crc32c=f"{one.crc32c:08x}")
        for one in reports
    ]
    counts = np.bincount(labels, minlength=len(classes)).tolist() if classes else []
    held_out = Split(examples=0, class_counts=[0] * len(classes), shards=[])
    height, width, channels = images.shape[1:]
    manifest = Manifest(
        name="made",
        digest="0" * 64,
        config=data_settings(path="made.zip", size=[height, width]).model_dump(),
        source="made.zip",
        classes=classes,
        targets=[
            Target(name=name, mean=0.5, std=0.25, min=float(column.min()), max=float(column.max()))
            for name, column in zip(targets, labels.T, strict=False)
        ],
        image_shape=[height, width, channels],
        splits={
            "train": Split(examples=len(images), class_counts=counts, shards=shards),
            "validation": held_out,
            "test": held_out,
        },
        statistics=Statistics(
            mean=[0.0] * channels,
            std=[1.0] * channels,
            covariance=np.eye(channels).tolist(),
            principal_components=[],
        ),
        height=SizeRange(min=height, mean=height, max=height),
        width=SizeRange(min=width, mean=width, max=width),
        counts=Counts(found=len(images), used=len(images), bad=0, dropped=0),
        bad_items=[],
        duplicates=[],
        findings=[],
        passed_over={},
    )
    manifest.write(folder)
    return manifest


def _shard(
    folder: Path, images: np.ndarray, labels: np.ndarray, start: int, stop: int
) -> ShardReport:
    height, width, channels = images.shape[1:]
    numbers = range(start, stop)
    given = labels.tolist() if labels.ndim == 1 else [tuple(row) for row in labels.tolist()]
    job = ShardJob(
        f"train-{start}.tfrecord",
        [
            Example(number, images[0].nbytes, slices(number), given[number], number)
            for number in numbers
        ],
        ReadAlready({slices(number): images[number].tobytes() for number in numbers}),
        RawPixels(height, width, channels),
        Decoding(channels),
        (height, width, channels),
        encoded=False,
        statistics=True,
    )
    return write_shard(job, lambda: False, folder=folder)
