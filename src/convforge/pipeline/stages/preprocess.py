"""Preprocess: image files → shards and a manifest."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from convforge.pipeline.composition import read_params
from convforge.pipeline.data.absent_classes import absent_classes
from convforge.pipeline.data.manifest import Manifest, is_prepared
from convforge.pipeline.data.preparation.prepare import FORMAT, prepare
from convforge.pipeline.data.preparation.sources import open_source
from convforge.pipeline.filesystem import checksum
from convforge.pipeline.filesystem.fingerprint import file_fingerprint
from convforge.pipeline.pluralize import pluralize
from convforge.pipeline.printable import one_line
from convforge.pipeline.progress import Progress
from convforge.pipeline.project import project_root, resolve_path
from convforge.pipeline.ray_cluster import RayCluster
from convforge.pipeline.settings.data import DataSettings
from convforge.pipeline.stages.entry import add_workers, run_stage, stage_parser


def preprocess(
    settings: DataSettings,
    out: Path,
    root: Path,
    progress: Progress,
    *,
    processes: int | None = None,
    cluster: RayCluster | None = None,
    once: bool = False,
) -> Manifest:
    """Prepare the config's `data` into `out`, and say what was found; see `prepare`."""
    path = resolve_path(settings.path, root)
    manifest = prepare(
        settings,
        path,
        out,
        progress,
        processes=processes,
        cluster=cluster,
        once=once,
    )
    progress.say(describe(manifest))
    for line in absent_classes(manifest):
        progress.warn(one_line(line))
    for name, split in manifest.splits.items():
        progress.detail(
            f"  {name}: {dict(zip(manifest.classes, split.class_counts, strict=False))}"
        )
    return manifest


def describe(manifest: Manifest) -> str:
    """One line: classes or targets, shape, sizes of the splits, what was dropped and left out."""
    shape = "×".join(str(size) for size in manifest.image_shape)
    sizes = ", ".join(f"{split.examples:,} {name}" for name, split in manifest.splits.items())
    dropped, bad = manifest.counts.dropped, len(manifest.bad_items)
    gone = f", {pluralize(dropped, 'copy', 'copies')} of held-out images dropped" if dropped else ""
    gone += f", {pluralize(bad, 'file')} left out" if bad else ""
    return f"{manifest.name}: {manifest.labels}, {shape} pixels, {sizes}{gone}"


def prepared(
    settings: DataSettings,
    root: Path,
    progress: Progress,
    *,
    processes: int | None = None,
    cluster: RayCluster | None = None,
) -> Path:
    """A folder with the config's data prepared: made at the first use, found again after.

    It lies in `outputs/data/`, keyed by the config's `data` group and by the names, sizes and dates
    of the source's files, so commands beside DVC share it and touch nothing of DVC's.
    """
    source = resolve_path(settings.path, root)
    follow = settings.follows_links
    paths = open_source(settings, source).paths
    fingerprints = "".join(file_fingerprint(path, follow_links=follow) for path in paths)
    what = f"{FORMAT}{settings.model_dump_json()}{fingerprints}"
    key = checksum.of_text(what)
    folder = root / "outputs" / "data" / f"{settings.name}-{key[:16]}"
    if not is_prepared(folder):
        # The jobs of a sweep ask for the same data at the same time.
        preprocess(
            settings, folder, root, progress, processes=processes, cluster=cluster, once=True
        )
    return folder


def main(argv: Sequence[str] | None = None) -> int:
    """The stage's command line."""
    parser = stage_parser("Prepare the images for training.", "out")
    add_workers(parser)
    return run_stage(
        parser,
        argv,
        lambda given, progress: preprocess(
            read_params(given.params).data,
            given.out,
            project_root(),
            progress,
            processes=given.workers,
            cluster=given.cluster,
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
