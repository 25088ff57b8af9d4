"""Where images come from: one file per format, each yielding `(name, bytes)`.

A source can be read again from the start, and it never writes to disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from convforge.data.sources.archive import TarSource, ZipSource
from convforge.data.sources.folder import FolderSource
from convforge.data.sources.watch import Watch, ignore
from convforge.errors import InputError
from convforge.settings import DataSettings

#: Files that operating systems leave in folders; they are counted, not reported as bad images.
_LITTER = {".ds_store", "thumbs.db", "desktop.ini"}


class Source(Protocol):
    """A folder or an archive of files."""

    @property
    def path(self) -> Path:
        """Where it is."""
        ...

    def files(self, watch: Watch = ignore) -> Iterator[tuple[str, bytes]]:
        """The name and the content of every file, always in the same order.

        `watch` is told the share of the source that was read, before each file.
        """
        ...


def find_sources(settings: DataSettings, path: Path) -> list[Path]:
    """Every file and folder that the data at `path` are read from.

    Raises:
        InputError: one is not there, or is of no known kind; nothing was read yet.
    """
    if settings.format != "table":
        return [open_source(path).path]
    if not path.is_file():
        raise InputError(f"data.path={path} is not there, or is no file")
    return [path, open_source(path.parent / (settings.images or "")).path]


def open_source(path: Path) -> Source:
    """The source at `path`, chosen by what is there.

    Raises:
        InputError: nothing is there, or it is no folder and no archive of a known kind.
    """
    if not path.exists():
        raise InputError(
            f"data.path={path} does not exist; for the bundled digits run `dvc pull data.dvc`"
        )
    if path.is_dir():
        return FolderSource(path)
    if path.name.lower().endswith((".tar", ".tar.gz", ".tgz")):
        return TarSource(path)
    if path.suffix.lower() == ".zip":
        return ZipSource(path)
    raise InputError(f"data.path={path} is not a folder, .zip, .tar or .tar.gz")


def is_litter(name: str) -> bool:
    """Whether `name` is a file that an operating system put there."""
    parts = name.split("/")
    return parts[-1].lower() in _LITTER or parts[-1].startswith("._") or "__MACOSX" in parts
