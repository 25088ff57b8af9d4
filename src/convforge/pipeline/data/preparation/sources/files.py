"""What all sources of image files share: which container, and its members in the index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from convforge.errors import InputError
from convforge.pipeline.data.preparation.containers import Container, Watch
from convforge.pipeline.data.preparation.containers.folder import FolderContainer
from convforge.pipeline.data.preparation.containers.tar import TarContainer
from convforge.pipeline.data.preparation.containers.zip import ZipContainer
from convforge.pipeline.data.preparation.index.item_index import Index
from convforge.pipeline.data.preparation.index.items import Entry

# Files that operating systems leave in folders; they are pluralize, not reported as bad images.
_LITTER = {".ds_store", "thumbs.db", "desktop.ini"}
LITTER = "put there by an operating system"

PICKLES = (
    "holds Python pickles, which can run code when they are loaded: take the binary version "
    "(`convforge fetch cifar10` or `cifar100`) with data=cifar10_binary or cifar100_binary"
)
# Ends of names that belong to another format → what to do. A folder of these few files, or one of
# them, was meant for another config.
_OTHER_FORMATS = {
    "data_batch_1": PICKLES,
    "-python.tar.gz": PICKLES,
    ".pkl": PICKLES,
    "data_batch_1.bin": "is CIFAR's binary version: use data=cifar10_binary",
    "fine_label_names.txt": "is CIFAR's binary version: use data=cifar100_binary",
    "-ubyte": "is in the IDX format: use data=mnist, with the folder as data.path",
    "-ubyte.gz": "is in the IDX format: use data=mnist, with the folder as data.path",
    ".npz": "is a NumPy archive: use data=npz",
    ".csv": "is a table: use data=table",
    ".parquet": "is a table: use data=table",
}
_FEW_FILES = 20
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


def open_container(path: Path, *, follow_links: bool = False) -> Container:
    """The folder or archive at `path`, chosen by what is there.

    Args:
        path: of either.
        follow_links: as in `FolderContainer`; those in archives never are.

    Raises:
        InputError: nothing is there, or it is of no known kind.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.is_dir():
        return FolderContainer(path, follow_links)
    name = path.name.lower()
    _refuse_other_format(path, name)
    if name.endswith(".zip"):
        return ZipContainer(path)
    if name.endswith(_ARCHIVES):
        return TarContainer(path)
    raise InputError(f"data.path={path} is not a folder, .zip, .tar or .tar.gz")


def enter_members(container: Container, index: Index, watch: Watch) -> None:
    """Enter every file of `container`; only what operating systems leave is passed over."""
    folders: list[str] = []
    litter = 0

    def entries() -> Iterator[Entry]:
        nonlocal litter
        for member in container.members(watch):
            if is_litter(member.name):
                litter += not member.is_folder
            elif member.is_folder:
                folders.append(member.name)
            else:
                yield Entry(member.name, member.size, member.locator, problem=member.problem)

    index.add(entries())
    index.folders.enter(folders)
    if litter:
        index.pass_over(LITTER, litter)


def refuse_other_formats(path: Path, index: Index) -> None:
    """Say so where the container at `path` holds a data set of another format.

    Raises:
        InputError: it does; names the config to read it with.
    """
    names = index.first_names(_FEW_FILES + 1)
    if len(names) <= _FEW_FILES:
        for name in names:
            _refuse_other_format(path, name)
        archives = [name for name in names if name.lower().endswith(_ARCHIVES)]
        if archives and not any("/" in name for name in names):
            raise InputError(
                f"data.path={path} holds no class folders, but {', '.join(archives)}: name an "
                "archive itself, which needs no unpacking"
            )


def _refuse_other_format(path: Path, name: str) -> None:
    for ending, hint in _OTHER_FORMATS.items():
        if name.endswith(ending):
            raise InputError(f"data.path={path} {hint}")


def is_archive(path: Path) -> bool:
    """Whether `path` is a file that is read as a container of others, by its name."""
    return path.name.lower().endswith(_ARCHIVES) and path.is_file()


def is_litter(name: str) -> bool:
    """Whether `name` is a file that an operating system put there.

    Example:
        >>> [is_litter(name) for name in ("a/.DS_Store", "__MACOSX/a/0.png", "a/0.png")]
        [True, True, False]
    """
    parts = name.split("/")
    return parts[-1].lower() in _LITTER or parts[-1].startswith("._") or "__MACOSX" in parts
