"""From a source of images to a prepared data set: shards, statistics, manifest.

1. *Scan*: every item is entered into an index on disk, with its locator, class and split.
2. *Examine*: every item is read once, for its hash and what its header says.
3. *Assign*: splits, duplicates and order follow from the index.
4. *Shards*: each is made alone, on any core; damage that only decoding shows is reported.

A stopped run continues where it was, and the result appears when it is complete.
"""

from __future__ import annotations

import csv
import errno
import json
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import accumulate
from pathlib import Path

import numpy as np
import PIL

from convforge import __version__
from convforge.errors import InputError, UnfinishedError
from convforge.pipeline.data.decoding import decoding_of
from convforge.pipeline.data.manifest import FILE_NAME, RECORDS, Manifest, is_prepared
from convforge.pipeline.data.preparation.containers import Readable, ReadAlready
from convforge.pipeline.data.preparation.index.item_index import Index
from convforge.pipeline.data.preparation.index.items import Stored
from convforge.pipeline.data.preparation.inspection import InspectionJob, inspect_items
from convforge.pipeline.data.preparation.quality_report import find_class_problems
from convforge.pipeline.data.preparation.ray_worker_pool import (
    Common,
    RayWorkerPool,
    ray_worker_pool,
)
from convforge.pipeline.data.preparation.shard_plan import ShardPlan, ShardSpec, read_or_reason
from convforge.pipeline.data.preparation.shard_writer import UNFINISHED, ShardReport, write_shard
from convforge.pipeline.data.preparation.sources import Source, open_source
from convforge.pipeline.data.preparation.split import SPLITS, assign
from convforge.pipeline.data.preparation.summary import bad_items, summarise, write_records
from convforge.pipeline.data.preparation.worker_pool import WorkerPool, usable_cores, worker_pool
from convforge.pipeline.filesystem import checksum
from convforge.pipeline.filesystem.atomic_folder import KEY, atomic_folder, locked
from convforge.pipeline.filesystem.fingerprint import file_fingerprint
from convforge.pipeline.pluralize import byte_size, pluralize
from convforge.pipeline.progress import Progress
from convforge.pipeline.ray_cluster import RayCluster
from convforge.pipeline.settings.data import DataSettings

#: Changes with what the shards of the same images and config hold, and with the manifest's form.
FORMAT = 4
_INDEX = "index.sqlite"
# Items that a worker examines at once: enough to make sending them cheap.
_EXAMINED_AT_ONCE, _EXAMINED_BYTES = 256, 32 << 20
# Work below this, in seconds of one core, is done before workers would have started.
_WORTH_WORKERS = 2.0
_MOST_WARNINGS, _MOST_NAMED = 20, 3


def prepare(
    settings: DataSettings,
    path: Path,
    out: Path,
    progress: Progress,
    *,
    processes: int | None = None,
    cluster: RayCluster | None = None,
    once: bool = False,
) -> Manifest:
    """Prepare the images at `path` into the folder `out`, which appears when complete.

    Args:
        settings: the config's `data` group.
        path: what `data.path` names.
        out: the folder to make; one that was prepared before is replaced.
        progress: told of every item.
        processes: how many work on it, or None for as many as there are cores. The result is the
            same whatever their number.
        cluster: whose machines do the work; they must see `path` and `out` as this one does.
        once: take `out` as it is where it is prepared, and wait for another process that makes it.

    Returns:
        The manifest, as written to `out`.

    Raises:
        InputError: no images, one class only, more bad items than `max_bad_share`, or any with
            `on_bad: error`; or `out` holds something else than prepared data, or is being written.
        UnfinishedError: the disk is full, or a process was killed; the same call continues.
    """
    source = open_source(settings, path)
    out = out.resolve()
    _refuse_to_replace(out, source)
    with locked(out, wait=once):
        if once and is_prepared(out):
            return Manifest.read(out)
        with _full_disks_explained(out), atomic_folder(out, _key(settings, source)) as folder:
            # Stopped after its manifest, an earlier run is complete.
            if not is_prepared(folder):
                _Preparation(settings, source, folder, out, progress).run(processes, cluster)
            manifest = Manifest.read(folder)
            _remove_all_but(manifest, folder)
        _bad_items_file(out).unlink(missing_ok=True)
        return manifest


def _refuse_to_replace(out: Path, source: Source) -> None:
    """Only what an earlier preprocess made may be replaced."""
    for path in (path.resolve() for path in source.paths):
        if path.is_relative_to(out) or (path.is_dir() and out.is_relative_to(path)):
            raise InputError(f"{out} is where the images are: give another folder to write")
    if out.exists() and not (out.is_dir() and (is_prepared(out) or not any(out.iterdir()))):
        raise InputError(f"{out} exists and holds no prepared data: give another folder to write")


@contextmanager
def _full_disks_explained(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise _no_room(out, error) from error
    except sqlite3.OperationalError as error:
        # The low byte tells the kind of error.
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise
        raise _no_room(out, error) from error


def _no_room(out: Path, error: Exception) -> UnfinishedError:
    return UnfinishedError(
        f"no room left for {out} ({error}): make some and give the command again, which continues"
    )


def _key(settings: DataSettings, source: Source) -> str:
    """What the unfinished work of another run must agree in to be continued."""
    fingerprints = (
        file_fingerprint(path, follow_links=settings.follows_links) for path in source.paths
    )
    parts = (_versions(), settings.model_dump_json(), *fingerprints)
    return checksum.of_text(repr(parts))


def _versions() -> str:
    """Of all that decides about the bytes of a shard."""
    return (
        f"shards {FORMAT}, convforge {__version__}, Pillow {PIL.__version__}, "
        f"NumPy {np.__version__}"
    )


def _open_index(path: Path) -> Index:
    """The index at `path`; one that a power cut has damaged is begun anew."""
    try:
        return Index(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        path.unlink()
        return Index(path)


def _remove_all_but(manifest: Manifest, folder: Path) -> None:
    shards = (shard.file for split in manifest.splits.values() for shard in split.shards)
    kept = {FILE_NAME, RECORDS, KEY, *shards}
    for path in folder.iterdir():
        if path.name not in kept:
            path.unlink()


def _bad_items_file(out: Path) -> Path:
    """Where the bad items are listed when there is no manifest to list them."""
    return out.with_name(f"{out.name}-bad-items.csv")


class _Preparation:
    """One run, from the source to the manifest in `folder`."""

    def __init__(
        self, settings: DataSettings, source: Source, folder: Path, out: Path, progress: Progress
    ) -> None:
        self.settings, self.source, self.folder = settings, source, folder
        self.out, self.progress = out, progress
        self.decoding = decoding_of(settings)
        self.index = _open_index(folder / _INDEX)

    def run(self, processes: int | None, cluster: RayCluster | None) -> None:
        """Do what is left to do."""
        try:
            self._scan()
            with self._pool(processes, cluster) as pool:
                self._inspect(pool)
                self._assign()
                reports = self._make_shards(pool)
            manifest = summarise(self.settings, self._plan(), self._path.name, reports)
        finally:
            self._warn()
            self.index.close()
        for text in manifest.findings:
            self.progress.say(f"note: {text}")
        write_records(self.folder, reports)
        manifest.write(self.folder)

    def _pool(
        self, processes: int | None, cluster: RayCluster | None
    ) -> AbstractContextManager[WorkerPool | RayWorkerPool]:
        if cluster is None:
            return worker_pool(processes or self._worthwhile())
        common = Common.here(self.folder, self.source.paths, _versions())
        return ray_worker_pool(cluster, common, _versions, processes)

    def _worthwhile(self) -> int:
        """As many processes as the work is worth."""
        seconds = 1e-4 * self.index.count() + 3e-8 * self.index.total_bytes()
        return usable_cores() if seconds > _WORTH_WORKERS else 1

    def _scan(self) -> None:
        if self.index.fact("scanned"):
            return
        with self.progress.task("scan", unit="%", total=100, closing=False) as task:

            def watch(share: float) -> None:
                # Not for each of a million files.
                if int(100 * share) > task.done:
                    task.advance(int(100 * share) - task.done)

            with self.index.transaction():
                self.source.scan(self.index, watch)
                self.index.inspection.refuse_larger_contents(self.decoding.max_bytes)
                self.index.set_fact("scanned", 1)

    def _inspect(self, pool: WorkerPool | RayWorkerPool) -> None:
        total = self.index.inspection.count_left()
        with self.progress.task("inspect", unit="images", total=total, closing=False) as task:
            for inspected in pool.run(inspect_items, self._inspection_jobs()):
                with self.index.transaction():
                    self.index.inspection.enter(inspected)
                task.advance(len(inspected))
                self._refuse_many_bad()

    def _inspection_jobs(self) -> Iterator[InspectionJob]:
        contents = self.source.contents
        last = -1
        with contents.reader() as read:
            while batch := self._next_to_inspect(last):
                last = batch[-1].id
                here: Readable = contents
                if contents.forward_only:
                    here = ReadAlready({item.locator: read_or_reason(read, item) for item in batch})
                yield InspectionJob(batch, here, self.source.codec, self.decoding)

    def _next_to_inspect(self, last: int) -> list[Stored]:
        items = self.index.inspection.left_after(last, _EXAMINED_AT_ONCE)
        sizes = accumulate(item.size for item in items)
        fitting = sum(size <= _EXAMINED_BYTES for size in sizes)
        return items[: max(1, fitting)]

    def _assign(self) -> None:
        """Classes, splits and order; afterwards every shard is determined."""
        if self.index.fact("classes"):
            return
        with self.index.transaction():
            self._refuse_other_sizes()
            self._refuse_many_bad()
            labels = self.index.labels()
            if not labels:
                raise InputError(f"data.path={self._path} holds no usable images")
            classes: list[str] = []
            if not self.settings.target_names:
                classes = self.source.class_order(labels)
                self._refuse_wrong_classes(classes)
            assign(self.index, self.settings.split, self.settings.duplicates)
            for text in find_class_problems(self.index, classes):
                self.index.add_remark(text)
            self._refuse_remarks()
            self.index.set_fact("classes", json.dumps(classes))

    def _refuse_other_sizes(self) -> None:
        """Without resizing, all images must have one size: the config's, or the first one's."""
        if not self.decoding.resizes:
            height, width, _ = self._image_shape()
            self.index.inspection.refuse_other_image_sizes(height, width)

    def _image_shape(self) -> tuple[int, int, int]:
        if self.decoding.size is not None:
            return (*self.decoding.size, self.decoding.channels)
        height, width = self.index.inspection.first_image_size() or (0, 0)
        return height, width, self.decoding.channels

    def _refuse_wrong_classes(self, classes: Sequence[str]) -> None:
        if len(classes) == 1:
            raise InputError(f"data.path={self._path} holds one class only: {classes[0]!r}")
        if self.settings.num_classes not in (None, len(classes)):
            raise InputError(
                f"data.path={self._path} holds {len(classes)} classes, not data.num_classes="
                f"{self.settings.num_classes}: {', '.join(classes[:12])}"
            )

    def _plan(self) -> ShardPlan:
        return ShardPlan(
            self.index,
            self.source,
            self.decoding,
            self._image_shape(),
            self.settings.shard_examples,
            encoded=self.settings.store == "encoded",
        )

    def _make_shards(self, pool: WorkerPool | RayWorkerPool) -> dict[str, list[ShardReport]]:
        plan = self._plan()
        specs = plan.specs()
        reports = {}
        for spec in specs:
            earlier = ShardReport.of_earlier(self.folder, spec.file)
            if earlier is not None:
                reports[spec.file] = earlier
        left = [spec for spec in specs if spec.file not in reports]
        for path in self.folder.glob(f"*{UNFINISHED}"):
            path.unlink()
        self._refuse_small_disk(plan, left)
        total = sum(spec.items for spec in specs)
        with self.progress.task("preprocess", unit="images", total=total) as task:
            task.advance(total - sum(spec.items for spec in left))
            self._record_bad(reports.values())
            self._say_passes(plan, left)
            make = partial(write_shard, folder=self.folder)
            for report in pool.run(make, plan.jobs(left)):
                reports[report.file] = report
                self._record_bad([report])
                task.advance(report.examples + len(report.bad))
        return {
            split: [
                reports[spec.file]
                for spec in specs
                if spec.split == split and reports[spec.file].examples
            ]
            for split in SPLITS
        }

    def _record_bad(self, reports: Iterable[ShardReport]) -> None:
        bad = [item for report in reports for item in report.bad]
        if bad:
            with self.index.transaction():
                self.index.set_problems(bad)
            self._refuse_many_bad()

    def _refuse_many_bad(self) -> None:
        total, bad, _ = self.index.counts()
        share = bad / max(total, 1)
        if bad == total:
            text = f"data.path={self._path} holds no usable images"
        elif bad and self.settings.on_bad == "error":
            text = f"{pluralize(bad, 'bad item')} and data.on_bad=error"
        elif share > self.settings.max_bad_share:
            text = (
                f"{share:.1%} of the items are bad, more than data.max_bad_share="
                f"{self.settings.max_bad_share}"
            )
        else:
            return
        items = bad_items(self.index)
        if not items:
            raise InputError(f"{text} at all")
        examples = "; ".join(f"{item.name}: {item.reason}" for item in items[:_MOST_NAMED])
        more = ""
        if len(items) > _MOST_NAMED:
            path = _bad_items_file(self.out)
            with path.open("w", newline="", encoding="utf-8") as file:
                rows = csv.writer(file, lineterminator="\n")
                rows.writerows([("name", "reason"), *((one.name, one.reason) for one in items)])
            more = f"; all are listed in {path}"
        raise InputError(f"{text}: {examples}{more}")

    def _refuse_remarks(self) -> None:
        remarks = self.index.remarks()
        if remarks and self.settings.on_bad == "error":
            raise InputError(f"data.on_bad=error: {'; '.join(remarks)}")

    def _refuse_small_disk(self, plan: ShardPlan, specs: Sequence[ShardSpec]) -> None:
        height, width, channels = plan.image_shape
        needed = sum(spec.items for spec in specs) * height * width * channels
        if plan.encoded:
            needed = self.index.shards.bytes_of_all()
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise UnfinishedError(
                f"{self.out} needs {byte_size(needed)} and there are {byte_size(free)} free"
            )

    def _say_passes(self, plan: ShardPlan, specs: Sequence[ShardSpec]) -> None:
        if self.source.contents.forward_only and (passes := len(plan.passes(specs))) > 1:
            self.progress.say(
                f"{self._path.name} is compressed as a whole and must be read {passes} times: an "
                "uncompressed .tar or a .zip is read once"
            )

    def _warn(self) -> None:
        items = bad_items(self.index)
        for item in items[:_MOST_WARNINGS]:
            self.progress.warn(f"left out {item.name}: {item.reason}")
        if len(items) > _MOST_WARNINGS:
            self.progress.warn(f"left out {len(items) - _MOST_WARNINGS:,} more")

    @property
    def _path(self) -> Path:
        return self.source.path
