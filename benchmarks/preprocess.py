"""How fast images become shards and come back, and in how much memory.

    make bench-peers
    python benchmarks/preprocess.py --sample imagenet-sample-500.tar --cifar cifar10-images.tar.gz

Takes an archive of photographs in class folders, and CIFAR-10 as JPEG in an archive of
SPLIT/CLASS/ folders; what is not given is not measured. The photographs are repeated to `--images`,
each made different by a few bytes behind its end, and the room for that many is needed twice over.
AlexNet's geometry: the shorter side 256, the centre 256×256. Start nothing else meanwhile.

The rate of ours is that of the difference of two runs, so without start and end; the bare rates are
those of `bare_decoders.py`.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import resource
import shutil
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from bare_decoders import photographs
from measurement import Row, figure, measure, options, output, peers_with, report

from convforge.pipeline.composition import compose_config, settings_of
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.data.preparation.prepare import prepare
from convforge.pipeline.data.reading.shard_reader import ShardReader
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.project import project_root
from convforge.pipeline.settings.data import DataSettings

QUIET = Progress(Verbosity.QUIET)
SIDE = 256
PILLOW = "bare Pillow"
PHOTOGRAPHS = {
    "size": f"[{SIDE},{SIDE}]",
    "geometry": "center_crop",
    "background": "255",
    "split.validation": "0",
    "split.test": "0",
    "duplicates": "keep",
    "max_bad_share": "0",
    "shard_examples": "256",
}
#: The bare decoders, and the packages that they need.
DECODERS = {
    "bare Pillow, two steps": ("numpy", "PIL"),
    PILLOW: ("numpy", "PIL"),
    "bare simplejpeg": ("numpy", "PIL", "simplejpeg"),
}
# Over the shards in tf.data, whose start takes some milliseconds.
_PASSES = 5


def settings(changes: Mapping[str, str]) -> DataSettings:
    """The `data` group of the config, for photographs."""
    keys = {**PHOTOGRAPHS, **changes}
    overrides = [f"data.{key}={value}" for key, value in keys.items()]
    return settings_of(compose_config(project_root(), ["data=folder", *overrides])).data


def repeated(sample: Path, count: int, path: Path) -> Path:
    """A tar of `count` photographs; what follows the end of a JPEG is not decoded."""
    given = photographs(sample)
    with tarfile.open(path, "w") as archive:
        for number, (name, content) in enumerate(itertools.islice(itertools.cycle(given), count)):
            member = tarfile.TarInfo(f"{name.rpartition('/')[0]}/{number:07d}.JPEG")
            body = content + number.to_bytes(8, "big")
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return path


def prepare_once(source: str, out: str, cores: str, changes: str) -> None:
    """In a process of its own: prepare, and say what it took."""
    start = time.perf_counter()
    manifest = prepare(
        settings(json.loads(changes)), Path(source), Path(out), QUIET, processes=int(cores)
    )
    seconds = time.perf_counter() - start
    own = resource.getrusage(resource.RUSAGE_SELF)
    workers = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        json.dumps(
            {
                "seconds": seconds,
                "images": manifest.counts.used,
                "main_seconds": own.ru_utime + own.ru_stime,
                "worker_seconds": workers.ru_utime + workers.ru_stime,
                "main_megabytes": own.ru_maxrss / 1024,
                "worker_megabytes": workers.ru_maxrss / 1024,
            }
        )
    )


def prepared(
    source: Path, out: Path, cores: int, changes: Mapping[str, str] = {}
) -> dict[str, float]:
    """What `prepare_once` says."""
    command = [sys.executable, __file__, "--once", str(source), str(out), str(cores)]
    found: dict[str, float] = json.loads(output([*command, json.dumps(changes)]))
    return found


def rows_of_photographs(given: argparse.Namespace, work: Path) -> Iterator[Row]:
    """Rates beside the bare decoders', and memory."""
    few, many = given.few, given.images
    sources = {count: repeated(given.sample, count, work / f"{count}.tar") for count in (few, many)}
    runs: dict[int, list[dict[str, float]]] = {few: [], many: []}

    def ours() -> float:
        for count, source in sources.items():
            runs[count].append(prepared(source, work / "out", given.cores))
            shutil.rmtree(work / "out")
        start, end = runs[few][-1], runs[many][-1]
        return (many - few) / (end["seconds"] - start["seconds"])

    name = f"photographs to shards of {SIDE}×{SIDE} on {given.cores} cores, {few:,} and {many:,}"
    arms = {"convforge": ours} | {
        arm: partial(bare_rate, arm, packages, given) for arm, packages in DECODERS.items()
    }
    yield measure(Row(name, "images/s", base=PILLOW), arms, given.rounds)
    for source in sources.values():
        source.unlink()
    if not runs[many]:
        return
    for who, key in (("main process", "main"), ("largest worker", "worker")):
        memory = Row(f"memory of the {who}", "MB", base=f"{few:,} photographs")
        for count, found in runs.items():
            memory.rounds[f"{count:,} photographs"] = [each[f"{key}_megabytes"] for each in found]
        yield memory
    # Workers share the images; what the main process does for each is done by it alone.
    alone = Row("time of the main process for an image", "µs")
    alone.rounds["convforge"] = [
        1e6 * (end["main_seconds"] - start["main_seconds"]) / (many - few)
        for start, end in zip(runs[few], runs[many], strict=True)
    ]
    yield alone


def bare_rate(arm: str, packages: tuple[str, ...], given: argparse.Namespace) -> float:
    """Photographs a second of a bare decoder."""
    script = str(Path(__file__).with_name("bare_decoders.py"))
    how = [arm, str(given.sample), str(given.cores), str(given.seconds)]
    return figure([peers_with(*packages), script, *how])


def rows_of_cifar(given: argparse.Namespace, work: Path) -> Iterator[Row]:
    """60,000 small JPEG, and how fast their shards are read."""
    keys = {"size": "[32,32]", "geometry": "as_is", "shard_examples": "2048"}

    def ours() -> float:
        shutil.rmtree(work / "cifar", ignore_errors=True)
        found = prepared(given.cifar, work / "cifar", given.cores, keys)
        return found["images"] / found["seconds"]

    row = measure(Row("CIFAR-10's 60,000 JPEG to shards", "images/s"), {"convforge": ours}, 1)
    yield row
    if row.rounds:
        yield reading(work / "cifar", given.readings)


def reading(folder: Path, rounds: int) -> Row:
    """All shards, by our reader alone and in tf.data, beside copying as many bytes."""
    manifest = Manifest.read(folder)
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    size = sum(shard.bytes for shard in shards)
    given = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    taken = np.empty_like(given)
    reader = ShardReader(folder, manifest)
    records = [
        (shard.file, number)
        for shard in shards
        for number in range(len(reader.records[shard.file]))
    ]

    def read() -> None:
        for file, number in records:
            reader.read(file, number)

    def rate(run: Callable[[], None], passes: int = 1) -> float:
        start = time.perf_counter()
        run()
        return passes * size / 1e9 / (time.perf_counter() - start)

    copying = "copying in memory"
    arms = {
        copying: partial(rate, lambda: np.copyto(taken, given)),
        "reader, checking": partial(rate, lambda: _read_anew(folder, manifest, records)),
        "reader": partial(rate, read),
        "tf.data": partial(rate, _by_tensorflow(folder, manifest), _PASSES),
    }
    name = f"reading {size / 1e6:.0f} MB of shards in the page cache"
    return measure(Row(name, "GB/s", base=copying), arms, rounds)


def _read_anew(folder: Path, manifest: Manifest, records: list[tuple[str, int]]) -> None:
    reader = ShardReader(folder, manifest)
    for file, number in records:
        reader.read(file, number)


def _by_tensorflow(folder: Path, manifest: Manifest) -> Callable[[], None]:
    """Some passes over all records as the stream reads them."""
    from convforge.pipeline.data.reading.stream import Stream

    stream = Stream(folder, manifest, batch_size=256)
    files = [file for split in manifest.splits for file in stream._files(split)]
    records = stream._read(files).repeat(_PASSES)

    def run() -> None:
        for _ in records:
            pass

    return run


def rows(given: argparse.Namespace, work: Path) -> Iterator[Row]:
    """Of what there is."""
    for archive, of_it in ((given.cifar, rows_of_cifar), (given.sample, rows_of_photographs)):
        if archive is not None:
            yield from of_it(given, work)


def main() -> None:
    """The command line."""
    if sys.argv[1:2] == ["--once"]:
        prepare_once(*sys.argv[2:])
        return
    parser = options(__doc__, rounds=3, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=Path, help="a .tar of photographs in class folders")
    parser.add_argument("--cifar", type=Path, help="CIFAR-10 as JPEG in an archive")
    parser.add_argument("--images", type=int, default=5_000, help="photographs (default 5,000)")
    parser.add_argument("--few", type=int, default=500, help="to take the start off (default 500)")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0, help="of the bare decoders")
    parser.add_argument("--readings", type=int, default=9, help="rounds of reading")
    parser.add_argument("--work", type=Path, help="a folder with room (default: the temporary one)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.work) as folder:
        report(rows(given, Path(folder)), given.json)


if __name__ == "__main__":
    main()
