"""How fast images become shards and come back, and in how much memory.

    pip install 'convforge[bench]'
    python benchmarks/preprocess.py --sample imagenet-sample-500.tar --cifar cifar10-images.tar.gz

Needs an archive of photographs in class folders, and CIFAR-10 as JPEG in an archive of
SPLIT/CLASS/ folders. The photographs are repeated to `--images`, each made different by a few bytes
behind its end, and the room for that many is needed twice over. AlexNet's geometry: the shorter
side 256, the centre 256×256. Start nothing else meanwhile.

The bare rates are those of a loop in one process for each core that decodes the same photographs,
in memory, by libjpeg-turbo, and resizes them: in two steps as is usual, or the centre in one; no
file is read or written, nothing is hashed or counted.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import multiprocessing
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import TypeAdapter

from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.data.preparation.prepare import prepare
from convforge.pipeline.data.reading.shard_reader import ShardReader
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.settings.data import DataSettings

QUIET = Progress(Verbosity.QUIET)
SIDE = 256
IMAGENET = 1_281_167
CORES_TO_PLAN = (2, 16, 64)
# Over the shards in tf.data, whose start takes some milliseconds.
_PASSES = 5


def settings(**changes: Any) -> DataSettings:
    """The `data` group of the config, for photographs."""
    values = {
        "name": "benchmark",
        "format": "folders",
        "path": "",
        "channels": 3,
        "size": [SIDE, SIDE],
        "geometry": "center_crop",
        "background": 255,
        "max_pixels": 64_000_000,
        "store": "pixels",
        "split": {"validation": 0, "test": 0},
        "duplicates": "keep",
        "on_bad": "quarantine",
        "max_bad_share": 0.0,
        "shard_examples": 256,
        "num_classes": None,
    }
    adapter: TypeAdapter[DataSettings] = TypeAdapter(DataSettings)
    return adapter.validate_python({**values, **changes})


def photographs(path: Path) -> list[tuple[str, bytes]]:
    """Names and contents of the files in a tar."""
    with tarfile.open(path) as archive:
        files = ((member.name, archive.extractfile(member)) for member in archive)
        return [(name.removeprefix("./"), file.read()) for name, file in files if file is not None]


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


def bare_pillow(content: bytes) -> None:
    """Pillow's wheels carry libjpeg-turbo; decoded at full size, resized in one step."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    _resized(image)


def bare_two_steps(content: bytes) -> None:
    """The shorter side to 256, then the centre, as it is mostly done."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    scale = SIDE / min(image.size)
    width, height = (max(SIDE, round(scale * side)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - SIDE) // 2, (height - SIDE) // 2
    np.asarray(image.crop((left, top, left + SIDE, top + SIDE)))


def bare_simplejpeg(content: bytes) -> None:
    """The thinnest wrapper of libjpeg-turbo, then the resizing in one step."""
    import simplejpeg

    pixels = simplejpeg.decode_jpeg(content, "RGB")
    _resized(
        Image.frombuffer("RGB", (pixels.shape[1], pixels.shape[0]), pixels, "raw", "RGB", 0, 1)
    )


def _resized(image: Image.Image) -> None:
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box))


def _decode_all(function: str, contents: list[bytes], rounds: int, barrier: Any) -> None:
    barrier.wait()
    for _ in range(rounds):
        for content in contents:
            globals()[function](content)
    barrier.wait()


def bare_rate(function: str, sample: Path, cores: int, seconds: float) -> float:
    """Photographs a second of `function` in `cores` processes."""
    contents = [content for _, content in photographs(sample)]
    start = time.perf_counter()
    for content in contents:
        globals()[function](content)
    rounds = max(1, round(seconds / (time.perf_counter() - start)))
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(cores + 1)
    arguments = (function, contents, rounds, barrier)
    processes = [context.Process(target=_decode_all, args=arguments) for _ in range(cores)]
    for process in processes:
        process.start()
    barrier.wait()
    start = time.perf_counter()
    barrier.wait()
    seconds = time.perf_counter() - start
    for process in processes:
        process.join()
    return cores * rounds * len(contents) / seconds


def prepare_once(source: str, out: str, cores: str, changes: str) -> None:
    """In a process of its own: prepare, and say what it took."""
    start = time.perf_counter()
    manifest = prepare(
        settings(**json.loads(changes)), Path(source), Path(out), QUIET, processes=int(cores)
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


def prepared(source: Path, out: Path, cores: int, **changes: Any) -> dict[str, float]:
    """What `prepare_once` says."""
    command = [sys.executable, __file__, "--once", str(source), str(out), str(cores)]
    done = subprocess.run([*command, json.dumps(changes)], stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure_photographs(arguments: argparse.Namespace, work: Path) -> None:
    """Rates beside the bare decoder's, memory, and what ImageNet would take."""
    cores, few, many = arguments.cores, 500, arguments.images
    bare = {
        name: bare_rate(name, arguments.sample, cores, arguments.seconds)
        for name in ("bare_two_steps", "bare_pillow", "bare_simplejpeg")
        if name != "bare_simplejpeg" or _is_there("simplejpeg")
    }
    runs = {}
    for count in (few, many):
        source = repeated(arguments.sample, count, work / f"{count}.tar")
        runs[count] = prepared(source, work / "out", cores)
        shutil.rmtree(work / "out")
        source.unlink()
    start, end = runs[few], runs[many]
    rate = (many - few) / (end["seconds"] - start["seconds"])
    print(f"photographs to shards of {SIDE}×{SIDE} on {cores} cores, {few:,} and {many:,} of them")
    print(f"  convforge          {rate:8,.0f} images/s, from the difference of the two")
    print(f"  with start and end {many / end['seconds']:8,.0f} images/s for {many:,}")
    for name, bare_images in bare.items():
        ratio = rate / bare_images
        print(f"  {name:18} {bare_images:8,.0f} images/s; convforge reaches {ratio:.2f} of it")
    for who in ("main", "worker"):
        few_megabytes, many_megabytes = start[f"{who}_megabytes"], end[f"{who}_megabytes"]
        print(
            f"  peak memory of the {who} process {few_megabytes:.0f} MB, {many_megabytes:.0f} MB: "
            f"{many_megabytes / few_megabytes - 1:+.0%}"
        )
    _plan_imagenet(rate, cores, start, end, many - few)


def _plan_imagenet(
    rate: float, cores: int, start: dict[str, float], end: dict[str, float], images: int
) -> None:
    """Workers share the images; what the main process does for each is done by it alone."""
    alone = (end["main_seconds"] - start["main_seconds"]) / images
    print(f"  the main process needs {1e6 * alone:.0f} µs of an image")
    for planned in CORES_TO_PLAN:
        seconds = IMAGENET * max(cores / rate / planned, alone)
        print(f"  ImageNet's {IMAGENET:,} on {planned:2} cores: {seconds / 60:,.0f} minutes")


def measure_cifar(arguments: argparse.Namespace, work: Path) -> Path:
    """60,000 small JPEG; returns the prepared folder."""
    keys = {"size": [32, 32], "geometry": "as_is", "shard_examples": 2048}
    found = prepared(arguments.cifar, work / "cifar", arguments.cores, **keys)
    rate = found["images"] / found["seconds"]
    print(
        f"CIFAR-10's {found['images']:,.0f} JPEG to shards on {arguments.cores} cores: "
        f"{found['seconds']:.1f} s, {rate:,.0f} images/s"
    )
    return work / "cifar"


def measure_reading(folder: Path, rounds: int) -> None:
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

    rows: dict[str, tuple[int, Callable[[], None]]] = {
        "copying in memory": (1, lambda: np.copyto(taken, given)),
        "reader, checking": (1, lambda: _read_anew(folder, manifest, records)),
        "reader": (1, read),
        "tf.data": (_PASSES, _by_tensorflow(folder, manifest)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(rounds):
        for name, (passes, run) in rows.items():
            start = time.perf_counter()
            run()
            seconds[name].append((time.perf_counter() - start) / passes)
    rates = {name: size / 1e9 / statistics.median(found) for name, found in seconds.items()}
    print(f"reading {size / 1e6:.0f} MB of shards that are in the page cache, median of {rounds}")
    for name, rate in rates.items():
        ratio = rate / rates["copying in memory"]
        print(f"  {name:18} {rate:6.2f} GB/s, {ratio:.2f} of copying in memory")


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


def _is_there(package: str) -> bool:
    try:
        version(package)
    except ImportError:
        return False
    return True


def _sections(arguments: argparse.Namespace, work: Path) -> Iterator[None]:
    if arguments.cifar is not None:
        measure_reading(measure_cifar(arguments, work), arguments.rounds)
        yield
    if arguments.sample is not None:
        measure_photographs(arguments, work)
        yield


def main() -> None:
    """The command line."""
    if sys.argv[1:2] == ["--once"]:
        prepare_once(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sample", type=Path, help="a .tar of photographs in class folders")
    parser.add_argument("--cifar", type=Path, help="CIFAR-10 as JPEG in an archive")
    parser.add_argument("--images", type=int, default=5_000, help="photographs (default 5,000)")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0, help="of the bare decoders")
    parser.add_argument("--rounds", type=int, default=9, help="of reading")
    parser.add_argument("--work", type=Path, help="a folder with room (default: the temporary one)")
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, Pillow {version('pillow')}")
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        for _ in _sections(arguments, Path(folder)):
            print(flush=True)


if __name__ == "__main__":
    main()
