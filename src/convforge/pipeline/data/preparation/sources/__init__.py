"""What the files of a data set mean: one module per format.

A source enters all its items into the index, with their class, numbers or split as far as the
source says them, and knows how the bytes of an item become an image.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from convforge.errors import InputError
from convforge.pipeline.data.preparation.containers import Readable, Watch
from convforge.pipeline.data.preparation.sources.cifar import Cifar
from convforge.pipeline.data.preparation.sources.class_folders import ClassFolders
from convforge.pipeline.data.preparation.sources.idx import open_idx
from convforge.pipeline.data.preparation.sources.imagenet import ImageNet
from convforge.pipeline.data.preparation.sources.missing import how_to_get
from convforge.pipeline.data.preparation.sources.npz import open_npz
from convforge.pipeline.data.preparation.sources.table import Table

if TYPE_CHECKING:
    from convforge.pipeline.data.preparation.index.item_index import Index
    from convforge.pipeline.settings.data import DataSettings
    from convforge.serving.decode import Codec


class Source(Protocol):
    """A data set as somebody gave it."""

    @property
    def path(self) -> Path:
        """What `data.path` names."""
        ...

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files and folders that it is read from."""
        ...

    @property
    def contents(self) -> Readable:
        """Where the items' bytes are."""
        ...

    @property
    def codec(self) -> Codec:
        """How these become an image."""
        ...

    def scan(self, index: Index, watch: Watch) -> None:
        """Enter every item, also those that cannot be used, each with its reason.

        Raises:
            InputError: it is damaged as a whole, or not of this format.
        """
        ...

    def class_order(self, labels: Iterable[str]) -> list[str]:
        """The classes by number."""
        ...


def open_source(settings: DataSettings, path: Path) -> Source:
    """The source at `path` in the format that the config's `data` group says.

    Raises:
        InputError: nothing is there, or something of another kind; nothing was read yet.
    """
    if not path.exists():
        raise InputError(f"data.path={path} does not exist{how_to_get(settings, path)}")
    match settings.format:
        case "folders":
            return ClassFolders.open(settings, path)
        case "table":
            return Table.open(settings, path)
        case "imagenet":
            return ImageNet.open(settings, path)
        case "npz":
            return open_npz(settings, path)
        case "idx":
            return open_idx(settings, path)
        case "cifar":
            return Cifar.open(settings, path)
