"""Feed thousands of damaged images and archives to the preparation, and count what it does.

    python tests/data/fuzz.py --seed 0 --images 20000 --archives 500

A process of its own, since what is looked for may end or hang it. It prints one line of JSON; any
other exception than the two that are meant for bad input ends it with a traceback.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import resource
import shutil
import struct
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from data_sets import random_splits, write_cifar, write_idx, write_npz  # noqa: E402
from image_files import (  # noqa: E402
    classes_of_pictures,
    data_settings,
    encoded,
    write_tar,
    write_zip,
)

from convforge.errors import BadItemError, InputError  # noqa: E402
from convforge.pipeline.data.preparation.prepare import prepare  # noqa: E402
from convforge.pipeline.data.reading.shard_reader import ShardReader  # noqa: E402
from convforge.pipeline.progress import Progress, Verbosity  # noqa: E402
from convforge.serving.decode import Decoding, ImageFiles  # noqa: E402

# An image of this many pixels is refused; what stays below fits many times over.
MAX_PIXELS = 1_000_000
DECODINGS = [
    Decoding(3, max_pixels=MAX_PIXELS),
    Decoding(1, (16, 16), "center_crop", max_pixels=MAX_PIXELS),
    Decoding(3, (24, 8), "resize", max_pixels=MAX_PIXELS),
]


def mutated(content: bytes, generator: np.random.Generator, most: int = 4) -> bytes:
    """One to `most` kinds of damage that transfers, disks and malice do."""
    data = bytearray(content)
    for _ in range(int(generator.integers(1, most + 1))):
        if not data:
            break
        place = int(generator.integers(len(data)))
        length = int(generator.integers(1, 1 + min(64, len(data) - place)))
        match int(generator.integers(8)):
            case 0:
                data[place] ^= 1 << int(generator.integers(8))
            case 1:
                data[place] = int(generator.integers(256))
            case 2:
                del data[place:]
            case 3:
                del data[place : place + length]
            case 4:
                data[place : place + length] = bytes(length)
            case 5:
                data[place:place] = generator.bytes(length)
            case 6:
                data[place:place] = data[place : place + length]
            case 7:  # Sizes and counts as large as they come, in either order of bytes.
                number = int(generator.choice([0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]))
                packed = struct.pack(str(generator.choice([">I", "<I"])), number)
                data[place : place + 4] = packed
    return bytes(data)


def image_seeds() -> dict[str, bytes]:
    """A small file of every kind."""
    generator = np.random.default_rng(1)
    coarse = Image.fromarray(generator.integers(0, 256, (6, 8, 3), np.uint8))
    photo = coarse.resize((64, 48), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "maker"
    return {
        "jpeg": encoded(photo, "JPEG", exif=exif),
        "progressive": encoded(photo, "JPEG", progressive=True),
        "grey": encoded(photo.convert("L"), "JPEG"),
        "cmyk": encoded(photo.convert("CMYK"), "JPEG"),
        "png": encoded(photo),
        "palette": encoded(photo.quantize(16), transparency=3),
        "alpha": encoded(photo.convert("RGBA"), exif=exif),
        "deep": encoded(Image.fromarray(generator.integers(0, 65536, (30, 20), np.uint16))),
        "fractions": encoded(
            Image.fromarray(generator.random((30, 20), np.float32)), "TIFF", compression="tiff_lzw"
        ),
        "twelve bits": encoded(
            Image.fromarray(generator.integers(0, 4096, (30, 20), np.uint16)),
            "TIFF",
            tiffinfo={281: 4095},
        ),
        "gif": encoded(photo, "GIF", save_all=True, append_images=[photo.rotate(90)]),
        "bmp": encoded(photo, "BMP"),
        "tiff": encoded(photo, "TIFF", compression="tiff_lzw"),
        "webp": encoded(photo, "WEBP"),
        "ppm": encoded(photo, "PPM"),
        "avif": encoded(photo, "AVIF"),
        "jpeg2000": encoded(photo, "JPEG2000"),
    }


def fuzz_images(count: int, seed: int) -> Counter[str]:
    """Decode `count` mutants of image files."""
    seeds, found = list(image_seeds().values()), Counter[str]()
    codec = ImageFiles()
    for number in range(count):
        generator = np.random.default_rng((seed, number))
        content = mutated(seeds[number % len(seeds)], generator)
        decoding = DECODINGS[number // len(seeds) % len(DECODINGS)]
        try:
            seen = codec.probe(content, decoding)
            pixels = codec.decode(content, decoding)
        except BadItemError:
            found["refused"] += 1
        else:
            wanted = decoding.size or (seen.height, seen.width)
            assert pixels.dtype == np.uint8
            assert pixels.shape == (*wanted, decoding.channels), (pixels.shape, wanted)
            found["decoded"] += 1
    return found


def archive_seeds(folder: Path) -> dict[str, tuple[Path, dict[str, Any], set[str] | None]]:
    """Sources of every kind: where, what config, and what any image of it may be.

    The last is known where checksums protect the pixels: no other image may come out.
    """
    files = classes_of_pictures(6)
    digits, photos = random_splits((8, 8), classes=3), random_splits((32, 32, 3))
    decoding = Decoding(3)
    pictures = {_hash(ImageFiles().decode(content, decoding)) for content in files.values()}
    arrays = {_hash(image) for images, _ in digits.values() for image in images}
    with zipfile.ZipFile(folder / "deflated.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    one = {"channels": 1, "size": [8, 8], "num_classes": None, "class_names": None}
    idx_keys, npz_keys = {**one, "format": "idx"}, {**one, "format": "npz"}
    cifar_keys = {"format": "cifar", "labels": "fine", "size": [32, 32]}
    return {
        "zip": (write_zip(folder / "x.zip", files), {}, pictures),
        "deflated": (folder / "deflated.zip", {}, pictures),
        "tar": (write_tar(folder / "x.tar", files, "w"), {}, None),
        "tar.gz": (write_tar(folder / "x.tar.gz", files, "w:gz"), {}, pictures),
        "idx": (write_idx(folder / "idx", digits, zipped=False), idx_keys, None),
        "idx.gz": (write_idx(folder / "idx.gz", digits), idx_keys, arrays),
        "idx in gz": (write_idx(folder / "idx in gz", digits), idx_keys, None),
        "npz": (write_npz(folder / "x.npz", digits), npz_keys, arrays),
        "plain npz": (write_npz(folder / "y.npz", digits, compressed=False), npz_keys, arrays),
        "cifar": (write_cifar(folder / "c.tar.gz", photos), cifar_keys, None),
    }


def _hash(pixels: np.ndarray) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def fuzz_archives(count: int, seed: int, work: Path) -> Counter[str]:
    """Prepare `count` mutants of each kind of source."""
    found = Counter[str]()
    (work / "seeds").mkdir()
    for kind, (source, keys, allowed) in archive_seeds(work / "seeds").items():
        settings = data_settings(
            **{**keys, "split": {"validation": 0, "test": 0}, "max_bad_share": 1.0}
        )
        for number in range(count):
            generator = np.random.default_rng((seed, number, len(kind)))
            spoiled = _spoiled(source, work / "spoiled", generator)
            try:
                manifest = prepare(settings, spoiled, work / "out", _Silent(Verbosity.QUIET))
            except InputError:
                found[f"{kind} refused"] += 1
            else:
                counts = manifest.counts
                assert counts.found == counts.used + counts.bad + counts.dropped
                assert counts.bad == len(manifest.bad_items)
                assert counts.dropped == len(manifest.duplicates)
                assert counts.used == _check_images(work / "out", manifest, allowed)
                found[f"{kind} prepared"] += 1
                found["items in"] += counts.found
                found["items out"] += counts.used
                found["items reported"] += counts.bad + counts.dropped
    return found


def _spoiled(source: Path, target: Path, generator: np.random.Generator) -> Path:
    """A copy of `source` in which one file is damaged."""
    if target.is_dir():
        shutil.rmtree(target)
    target.mkdir()
    copy = target / source.name
    if source.is_file():
        copy.write_bytes(mutated(source.read_bytes(), generator, most=2))
        return copy
    shutil.copytree(source, copy)
    path = sorted(copy.iterdir())[int(generator.integers(4))]
    content = path.read_bytes()
    if source.name == "idx in gz":
        # Well compressed, but not well meant.
        path.write_bytes(gzip.compress(mutated(gzip.decompress(content), generator, most=2), 1))
    else:
        path.write_bytes(mutated(content, generator, most=2))
    return copy


def _check_images(folder: Path, manifest: Any, allowed: set[str] | None) -> int:
    """How many images the shards hold; all must be among those that are allowed."""
    reader = ShardReader(folder, manifest)
    images = 0
    for split in manifest.splits.values():
        for shard in split.shards:
            for number in range(len(reader.records[shard.file])):
                for image in reader.read(shard.file, number).images:
                    images += 1
                    assert allowed is None or _hash(image) in allowed, "an image that nobody gave"
    return images


class _Silent(Progress):
    """Thousands of warnings say nothing more than their number."""

    def warn(self, message: str) -> None:
        pass


def _peak_megabytes() -> int:
    """The most memory that this program has held."""
    status = Path("/proc/self/status")
    if not status.exists():  # macOS, in bytes.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 20
    # Linux's ru_maxrss begins with what the process held that started this one.
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) >> 10


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--archives", type=int, default=10)
    arguments = parser.parse_args()
    found = fuzz_images(arguments.images, arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        found += fuzz_archives(arguments.archives, arguments.seed, Path(folder))
    print(json.dumps({**found, "peak_megabytes": _peak_megabytes()}))


if __name__ == "__main__":
    main()
