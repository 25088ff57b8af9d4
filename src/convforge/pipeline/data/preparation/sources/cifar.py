"""The binary version of CIFAR-10 and CIFAR-100: its folder, or the official .tar.gz."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from convforge.errors import BadItemError, InputError
from convforge.pipeline.data.preparation.containers import Read, Watch, slice_of, slices
from convforge.pipeline.data.preparation.containers.streams import ByteStream, StreamedFiles
from convforge.pipeline.data.preparation.containers.tar import TarContainer
from convforge.pipeline.data.preparation.index.item_index import Index
from convforge.pipeline.data.preparation.sources.arrays import array_entries, order_of
from convforge.pipeline.data.preparation.sources.files import PICKLES
from convforge.pipeline.data.preparation.sources.missing import how_to_get
from convforge.pipeline.settings.data import CifarData
from convforge.serving.decode import RawPixels

_PIXELS = RawPixels(32, 32, 3, planar=True)


class Version(NamedTuple):
    """One of the two data sets."""

    title: str
    #: Name of a batch → its split.
    batches: dict[str, str]
    #: The file of the classes' names, by the kind of label.
    names: dict[str, str]
    #: Where a record has the label, by the kind of label.
    label_at: dict[str, int]
    #: Bytes of labels before the pixels.
    label_bytes: int


CIFAR10 = Version(
    "CIFAR-10",
    {**{f"data_batch_{n}.bin": "train" for n in range(1, 6)}, "test_batch.bin": "test"},
    {"fine": "batches.meta.txt"},
    {"fine": 0},
    1,
)
CIFAR100 = Version(
    "CIFAR-100",
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
    """A folder or an archive of one of the data sets, and what the config wants of it."""

    settings: CifarData
    contents: StreamedFiles
    #: The files in the folder; those of an archive are not listed before they are needed.
    found: Mapping[str, Batch] | None
    codec: RawPixels = _PIXELS

    @classmethod
    def open(cls, settings: CifarData, path: Path) -> Cifar:
        """The one at `path`."""
        if not path.is_dir():
            stream = ByteStream(path, TarContainer(path).forward_only)
            return cls(settings, StreamedFiles(path, (stream,)), None)
        files = sorted(file for file in path.rglob("*") if file.is_file())
        found = {
            file.name: Batch(file.name, number, 0, file.stat().st_size)
            for number, file in enumerate(files)
        }
        streams = tuple(ByteStream(file) for file in files)
        return cls(settings, StreamedFiles(path, streams), found)

    @property
    def path(self) -> Path:
        """The folder or archive."""
        return self.contents.path

    @property
    def paths(self) -> tuple[Path, ...]:
        """The folder or archive."""
        return (self.contents.path,)

    def scan(self, index: Index, watch: Watch) -> None:
        """Enter all records."""
        version, label_bytes = self._version, self._version.label_bytes
        step = label_bytes + _PIXELS.size
        # In the order in which an archive holds them, since it is read forward.
        batches = sorted((self._files[name] for name in version.batches), key=lambda file: file[1:])
        self._refuse_damage(batches, step)
        with self.contents.reader() as read:
            for number, batch in enumerate(batches):
                watch(number / len(batches))
                records = np.frombuffer(_content(read, batch), np.uint8).reshape(-1, step)
                index.add(
                    array_entries(
                        batch.name,
                        version.batches[batch.name],
                        [records[:, version.label_at[self.settings.labels]]],
                        names=self._names,
                        stream=batch.stream,
                        start=batch.start + label_bytes,
                        step=step,
                        size=_PIXELS.size,
                    )
                )

    def class_order(self, labels: Iterable[str]) -> list[str]:
        """As the data set numbers them."""
        return order_of(self._names, labels)

    @cached_property
    def _files(self) -> Mapping[str, Batch]:
        if self.found is not None:
            return self.found
        return {
            member.name.rpartition("/")[2]: Batch(
                member.name.rpartition("/")[2], 0, slice_of(member.locator)[1], member.size
            )
            for member in TarContainer(self.contents.path).members(lambda share: None)
            if not member.is_folder and member.problem is None
        }

    @cached_property
    def _version(self) -> Version:
        """Which of the two it is.

        Raises:
            InputError: neither, or it has no such labels.
        """
        files, path = set(self._files), self.contents.path
        if "data_batch_1" in files or {"train", "test", "meta"} <= files:
            raise InputError(f"data.path={path} {PICKLES}")
        found = (one for one in (CIFAR10, CIFAR100) if files.intersection(one.batches))
        version = next(found, self._wanted)
        needed = [*version.batches, *version.names.values()]
        missing = [name for name in needed if name not in files]
        if missing:
            raise InputError(
                f"data.path={path} is not the binary version of {version.title}, it lacks "
                f"{', '.join(missing)}{how_to_get(self.settings, path)}"
            )
        if self.settings.labels not in version.names:
            raise InputError(f"data.labels={self.settings.labels}: CIFAR-10 has `fine` labels only")
        return version

    @property
    def _wanted(self) -> Version:
        """Which of the two the config is for, as far as it says."""
        hundred = self.settings.labels == "coarse" or self.settings.num_classes in (20, 100)
        return CIFAR100 if hundred else CIFAR10

    @cached_property
    def _names(self) -> tuple[str, ...]:
        with self.contents.reader() as read:
            content = _content(read, self._files[self._version.names[self.settings.labels]])
        lines = content.decode("utf-8", "replace").splitlines()
        return tuple(line.strip() for line in lines if line.strip())

    def _refuse_damage(self, batches: Sequence[Batch], record: int) -> None:
        for batch in batches:
            if not batch.size or batch.size % record:
                raise InputError(
                    f"{batch.name} in data.path={self.contents.path} has {batch.size:,} bytes, "
                    f"which are no whole number of records of {record:,}: it is damaged"
                )


def _content(read: Read, batch: Batch) -> bytes:
    try:
        return read(slices(batch.start, batch.stream), batch.size)
    except BadItemError as error:
        raise InputError(f"{batch.name}: {error}") from error
