"""The binary version of CIFAR-10 and CIFAR-100: its folder, or the official .tar.gz."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from convforge.data.containers import Read, Watch, slice_of, slices
from convforge.data.containers.streams import ByteStream, StreamedFiles
from convforge.data.containers.tar import TarContainer
from convforge.data.decode import RawPixels
from convforge.data.index import Index
from convforge.data.sources.arrays import array_entries, order_of
from convforge.data.sources.files import PICKLES
from convforge.errors import BadItemError, InputError
from convforge.settings import CifarData

_PIXELS = RawPixels(32, 32, 3, planar=True)


class Version(NamedTuple):
    """One of the two data sets."""

    #: Name of a batch → its split.
    batches: dict[str, str]
    #: The file of the classes' names, by the kind of label.
    names: dict[str, str]
    #: Where a record has the label, by the kind of label.
    label_at: dict[str, int]
    #: Bytes of labels before the pixels.
    label_bytes: int


CIFAR10 = Version(
    {**{f"data_batch_{n}.bin": "train" for n in range(1, 6)}, "test_batch.bin": "test"},
    {"fine": "batches.meta.txt"},
    {"fine": 0},
    1,
)
CIFAR100 = Version(
    {"train.bin": "train", "test.bin": "test"},
    {"fine": "fine_label_names.txt", "coarse": "coarse_label_names.txt"},
    {"coarse": 0, "fine": 1},
    2,
)


class Batch(NamedTuple):
    """A file of records: where it begins in which of the source's streams, and its bytes."""

    name: str
    stream: int
    start: int
    size: int


@dataclass(frozen=True)
class Cifar:
    """The batches of one data set, and the kind of label that is wanted."""

    contents: StreamedFiles
    version: Version
    batches: tuple[Batch, ...]
    names: tuple[str, ...]
    labels: str
    codec: RawPixels = _PIXELS

    @classmethod
    def open(cls, settings: CifarData, path: Path) -> Cifar:
        """The data set at `path`.

        Raises:
            InputError: it is not the binary version, or has no such labels.
        """
        contents, files = _open_files(path)
        if "data_batch_1" in files or {"train", "test", "meta"} <= set(files):
            raise InputError(f"data.path={path} {PICKLES}")
        version = CIFAR10 if set(CIFAR10.batches) & set(files) else CIFAR100
        needed = [*version.batches, *version.names.values()]
        missing = [name for name in needed if name not in files]
        if missing:
            raise InputError(
                f"data.path={path} is not the binary version of CIFAR: no {', '.join(missing)}"
            )
        if settings.labels not in version.names:
            raise InputError(f"data.labels={settings.labels}: CIFAR-10 has `fine` labels only")
        # In the order in which an archive holds them, since it is read forward.
        batches = sorted((files[name] for name in version.batches), key=lambda batch: batch[1:])
        record = version.label_bytes + _PIXELS.size
        for batch in batches:
            if not batch.size or batch.size % record:
                raise InputError(
                    f"{batch.name} in data.path={path} has {batch.size:,} bytes, which are no "
                    f"whole number of records of {record:,}: it is damaged"
                )
        with contents.reader() as read:
            names = _lines(_content(read, files[version.names[settings.labels]]))
        return cls(contents, version, tuple(batches), names, settings.labels)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The folder or archive."""
        return (self.contents.path,)

    def scan(self, index: Index, watch: Watch) -> None:
        """Enter all records."""
        label_bytes = self.version.label_bytes
        step = label_bytes + _PIXELS.size
        with self.contents.reader() as read:
            for number, batch in enumerate(self.batches):
                watch(number / len(self.batches))
                records = np.frombuffer(_content(read, batch), np.uint8).reshape(-1, step)
                index.add(
                    array_entries(
                        batch.name,
                        self.version.batches[batch.name],
                        records[:, self.version.label_at[self.labels]],
                        names=self.names,
                        stream=batch.stream,
                        start=batch.start + label_bytes,
                        step=step,
                        size=_PIXELS.size,
                    )
                )

    def class_order(self, labels: Iterable[str]) -> list[str]:
        """As the data set numbers them."""
        return order_of(self.names, labels)


def _open_files(path: Path) -> tuple[StreamedFiles, dict[str, Batch]]:
    """The files in the folder or archive, by name."""
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.is_file())
        streams = tuple(ByteStream(file) for file in found)
        files = (
            Batch(file.name, number, 0, file.stat().st_size) for number, file in enumerate(found)
        )
    else:
        archive = TarContainer(path)
        streams = (ByteStream(path, archive.forward_only),)
        files = (
            Batch(member.name.rpartition("/")[2], 0, slice_of(member.place)[1], member.size)
            for member in archive.members(lambda share: None)
            if not member.is_folder and member.problem is None
        )
    return StreamedFiles(path, streams), {batch.name: batch for batch in files}


def _content(read: Read, batch: Batch) -> bytes:
    try:
        return read(slices(batch.start, batch.stream), batch.size)
    except BadItemError as error:
        raise InputError(f"{batch.name}: {error}") from error


def _lines(content: bytes) -> tuple[str, ...]:
    lines = content.decode("utf-8", "replace").splitlines()
    return tuple(line.strip() for line in lines if line.strip())
