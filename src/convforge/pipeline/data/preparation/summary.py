"""From the index and the shards' reports to the manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from convforge.pipeline.data.manifest import (
    RECORDS,
    BadItem,
    Counts,
    Duplicate,
    Manifest,
    PrincipalComponent,
    Shard,
    SizeRange,
    Split,
    Statistics,
    Target,
)
from convforge.pipeline.data.preparation import quality_report
from convforge.pipeline.data.preparation.index.item_index import Index
from convforge.pipeline.data.preparation.pixel_statistics import PixelStatistics
from convforge.pipeline.data.preparation.shard_plan import ShardPlan
from convforge.pipeline.data.preparation.shard_writer import ShardReport
from convforge.pipeline.data.preparation.split import SPLITS
from convforge.pipeline.settings.data import DataSettings
from convforge.serving.decode import Decoding


def summarise(
    settings: DataSettings, plan: ShardPlan, source: str, reports: dict[str, list[ShardReport]]
) -> Manifest:
    """The manifest of the shards that `reports` tells of, by split."""
    index, classes = plan.index, plan.classes()
    dark = [report.dark for of_split in reports.values() for report in of_split]
    remarks = [
        *index.remarks(),
        *quality_report.find_lost_classes(index, classes),
        *quality_report.find_copies(index),
        *quality_report.find_wrong_extensions(index),
        *quality_report.find_dark(index, dark),
    ]
    return Manifest(
        name=settings.name,
        digest=_digest(plan, settings),
        config=settings.model_dump(),
        source=source,
        classes=classes,
        targets=_targets(index, settings.target_names),
        image_shape=list(plan.image_shape),
        splits={split: _split(reports[split], len(classes)) for split in SPLITS},
        statistics=_statistics(reports["train"], plan.decoding),
        height=_size_range(index.range_of_sides("height")),
        width=_size_range(index.range_of_sides("width")),
        counts=_counts(index),
        bad_items=bad_items(index),
        duplicates=[Duplicate(name=name, same_as=twin) for name, twin in index.quality.twins()],
        findings=remarks,
        passed_over=index.passed_over(),
    )


def bad_items(index: Index) -> list[BadItem]:
    """Every item that is left out, in the order of the source."""
    return [BadItem(name=name, reason=reason) for name, reason in index.bad_items()]


def write_records(folder: Path, reports: dict[str, list[ShardReport]]) -> None:
    """Write `records.json` into `folder`."""
    records = {report.file: report.records for of_split in reports.values() for report in of_split}
    (folder / RECORDS).write_text(json.dumps(records, separators=(",", ":")), encoding="utf-8")


def _digest(plan: ShardPlan, settings: DataSettings) -> str:
    """SHA-256 of what training sees: not of the names of files, nor of the size of shards."""
    what = (plan.classes(), settings.target_names, plan.image_shape, asdict(plan.decoding))
    digest = hashlib.sha256(repr(what).encode())
    for split in SPLITS:
        for content, label, targets in plan.index.shards.contents(split):
            digest.update(content + f"{split} {label}".encode() + (targets or b""))
    return digest.hexdigest()


def _split(reports: Sequence[ShardReport], classes: int) -> Split:
    counts = [0] * classes
    for report in reports:
        for label, number in report.class_counts.items():
            counts[label] += number
    return Split(
        examples=sum(report.examples for report in reports),
        class_counts=counts,
        shards=[
            Shard(
                file=report.file,
                examples=report.examples,
                bytes=report.bytes,
                crc32c=f"{report.crc32c:08x}",
            )
            for report in reports
        ],
    )


def _statistics(reports: Sequence[ShardReport], decoding: Decoding) -> Statistics:
    moments = PixelStatistics(decoding.channels)
    for report in reports:
        moments.include(report.moments)
    covariance = moments.covariance()
    values, vectors = np.linalg.eigh(covariance)
    return Statistics(
        mean=moments.mean().tolist(),
        std=np.sqrt(np.diag(covariance)).tolist(),
        covariance=covariance.tolist(),
        principal_components=[
            PrincipalComponent(
                variance=max(float(values[i]), 0.0), direction=_upright(vectors[:, i]).tolist()
            )
            for i in reversed(range(len(values)))
        ],
    )


def _upright(vector: Any) -> Any:
    """Of a vector and its opposite, which are the same axis, the one that points to the light."""
    return vector if vector.sum() >= 0 else -vector


def _targets(index: Index, names: Sequence[str]) -> list[Target]:
    if not names:
        return []
    n, total, squares = 0, np.zeros(len(names)), np.zeros(len(names))
    least, most = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    for packed in index.shards.training_targets():
        values = np.frombuffer(packed, np.float64)
        n += 1
        # Welford's update: a mean far from zero does not swallow the deviations.
        change = values - total
        total = total + change / n
        squares = squares + change * (values - total)
        least, most = np.minimum(least, values), np.maximum(most, values)
    return [
        Target(name=name, mean=total[i], std=np.sqrt(squares[i] / n), min=least[i], max=most[i])
        for i, name in enumerate(names)
    ]


def _size_range(sides: tuple[int, float, int]) -> SizeRange:
    least, mean, most = sides
    return SizeRange(min=least, mean=mean, max=most)


def _counts(index: Index) -> Counts:
    found, bad, dropped = index.counts()
    return Counts(found=found, used=found - bad - dropped, bad=bad, dropped=dropped)
