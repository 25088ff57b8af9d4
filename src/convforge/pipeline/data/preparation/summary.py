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
from convforge.pipeline.data.preparation import quality_report as findings
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
    found = (
        *index.findings(),
        *findings.find_lost_classes(index, classes),
        *findings.find_copies(index),
        *findings.find_wrong_extensions(index),
        *findings.find_dark(index, [report.dark for split in reports.values() for report in split]),
    )
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
        height=_range(index, "height"),
        width=_range(index, "width"),
        counts=_counts(index),
        bad_items=bad_items(index),
        duplicates=[
            Duplicate(name=name, same_as=twin)
            for name, twin in index.each(
                "SELECT name, twin FROM items WHERE twin IS NOT NULL AND problem IS NULL "
                "ORDER BY id"
            )
        ],
        findings=list(found),
        passed_over=dict(index.all("SELECT reason, files FROM passed_over ORDER BY reason")),
    )


def bad_items(index: Index) -> list[BadItem]:
    """Every item that is left out, in the order of the source."""
    rows = index.each("SELECT name, problem FROM items WHERE problem IS NOT NULL ORDER BY id")
    return [BadItem(name=name, reason=reason) for name, reason in rows]


def write_records(folder: Path, reports: dict[str, list[ShardReport]]) -> None:
    """Write `records.json` into `folder`."""
    records = {report.file: report.records for of_split in reports.values() for report in of_split}
    (folder / RECORDS).write_text(json.dumps(records, separators=(",", ":")), encoding="utf-8")


def _digest(plan: ShardPlan, settings: DataSettings) -> str:
    """SHA-256 of what training sees: not of the names of files, nor of the size of shards."""
    what = (plan.classes(), settings.target_names, plan.image_shape, asdict(plan.decoding))
    digest = hashlib.sha256(repr(what).encode())
    for split in SPLITS:
        for content, label, targets in plan.index.each(
            "SELECT hash, label, targets FROM items WHERE split = ? AND problem IS NULL "
            "ORDER BY position",
            split,
        ):
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
    for (packed,) in index.each(
        "SELECT targets FROM items WHERE split = 'train' AND problem IS NULL ORDER BY position"
    ):
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


def _range(index: Index, side: str) -> SizeRange:
    least, mean, most = index.all(
        f"SELECT MIN({side}), AVG({side}), MAX({side}) FROM items WHERE problem IS NULL"
    )[0]
    return SizeRange(min=least, mean=mean, max=most)


def _counts(index: Index) -> Counts:
    found, bad, dropped = index.all(
        "SELECT COUNT(*), COUNT(problem), "
        "COUNT(CASE WHEN problem IS NULL AND split IS NULL THEN 1 END) FROM items"
    )[0]
    return Counts(found=found, used=found - bad - dropped, bad=bad, dropped=dropped)
