"""Small data sets in the formats that people really have, written from arrays."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: Split → images `(n, height, width[, 3])` uint8 and labels `(n,)`.
Splits = Mapping[str, tuple[NDArray[np.uint8], NDArray[np.integer]]]

_IDX_NAMES = {"train": "train", "test": "t10k"}
_CIFAR10_NAMES = {"train": "data_batch_{}.bin", "test": "test_batch.bin"}


def random_splits(
    shape: Sequence[int], *, train: int = 40, test: int = 20, classes: int = 10
) -> dict[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Noise, with every class about as often."""
    generator = np.random.default_rng(7)
    return {
        split: (
            generator.integers(0, 256, (count, *shape), np.uint8),
            np.arange(count, dtype=np.uint8) % classes,
        )
        for split, count in (("train", train), ("test", test))
    }


def idx(array: NDArray[np.uint8]) -> bytes:
    """An array of bytes as an IDX file."""
    return (
        bytes((0, 0, 8, array.ndim))
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


def write_idx(folder: Path, splits: Splits, *, zipped: bool = True) -> Path:
    """MNIST's four files."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, (images, labels) in splits.items():
        name = _IDX_NAMES[split]
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = idx(array.astype(np.uint8))
            path = folder / f"{name}-{kind}-ubyte{'.gz' if zipped else ''}"
            path.write_bytes(gzip.compress(content) if zipped else content)
    return folder


def write_npz(path: Path, splits: Splits, *, compressed: bool = True) -> Path:
    """Keras' names."""
    arrays = {}
    for split, (images, labels) in splits.items():
        arrays |= {f"x_{split}": images, f"y_{split}": labels}
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


def cifar_files(splits: Splits, *, hundred: bool = False) -> dict[str, bytes]:
    """The binary version's files; of CIFAR-100, the coarse label is a fifth of the fine one."""

    def records(images: NDArray[np.uint8], labels: NDArray[np.integer]) -> bytes:
        planar = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        columns = [labels.astype(np.uint8)[:, None], planar]
        if hundred:
            columns.insert(0, (labels // 5).astype(np.uint8)[:, None])
        return np.hstack(columns).tobytes()

    images, labels = splits["train"]
    test = records(*splits["test"])
    if hundred:
        fine = "\n".join(f"fine{n:02d}" for n in range(100))
        coarse = "\n".join(f"coarse{n:02d}" for n in range(20))
        return {
            "train.bin": records(images, labels),
            "fine_label_names.txt": f"{fine}\n".encode(),
            "test.bin": test,
            "coarse_label_names.txt": f"{coarse}\n".encode(),
        }
    # The official archive has its batches in no order either.
    parts = {
        f"data_batch_{n + 1}.bin": records(images[n::5], labels[n::5]) for n in (0, 3, 2, 4, 1)
    }
    names = "\n".join(f"class{n}" for n in range(10))
    return {**parts, "batches.meta.txt": f"{names}\n\n".encode(), "test_batch.bin": test}


def write_tar(path: Path, files: Mapping[str, bytes], mode: str = "w:gz") -> Path:
    """A tar of `files` in their order."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_cifar(path: Path, splits: Splits, *, hundred: bool = False) -> Path:
    """The official archive."""
    folder = "cifar-100-binary" if hundred else "cifar-10-batches-bin"
    files = cifar_files(splits, hundred=hundred)
    return write_tar(path, {f"{folder}/{name}": content for name, content in files.items()})


SYNSETS = ("n01440764", "n01443537", "n02119789")


def write_imagenet(folder: Path, *, train: int = 8, validation: int = 6) -> Path:
    """Kaggle's layout: JPEG of several sizes, `LOC_val_solution.csv`, and the names."""
    generator = np.random.default_rng(3)

    def jpeg() -> bytes:
        height, width = generator.integers(20, 60, 2)
        file = io.BytesIO()
        Image.fromarray(generator.integers(0, 256, (height, width, 3), np.uint8)).save(file, "JPEG")
        return file.getvalue()

    for synset in SYNSETS:
        (folder / "train" / synset).mkdir(parents=True)
        for number in range(train):
            (folder / "train" / synset / f"{synset}_{number}.JPEG").write_bytes(jpeg())
    (folder / "val").mkdir()
    rows = ["ImageId,PredictionString"]
    for number in range(validation):
        name = f"ILSVRC2012_val_{number + 1:08d}"
        (folder / "val" / f"{name}.JPEG").write_bytes(jpeg())
        rows.append(f"{name},{SYNSETS[number % 3]} 1 2 3 4 ")
    (folder / "LOC_val_solution.csv").write_text("\n".join(rows) + "\n")
    names = ("tench, Tinca tinca", "goldfish, Carassius auratus", "kit fox, Vulpes macrotis")
    lines = (f"{synset} {name}" for synset, name in zip(SYNSETS, names, strict=True))
    (folder / "LOC_synset_mapping.txt").write_text("\n".join(lines) + "\n")
    return folder
