"""A balanced part of an archive of class folders, as a table that `data=table` reads.

python -m convforge.pipeline.claims.subset data-sets/cifar10.tar.gz data-sets/cifar10-10k.csv
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from convforge.errors import InputError
from convforge.pipeline.data.preparation.sources.files import open_container
from convforge.pipeline.filesystem.atomic_file import replacing
from convforge.pipeline.progress import Progress
from convforge.pipeline.stages.entry import add_verbosity, run_stage

_TRAIN, _VALIDATION = 900, 100


class Row(NamedTuple):
    """A file of the table."""

    file: str
    class_: str
    split: str


def subset(archive: Path, train: int = _TRAIN, validation: int = _VALIDATION) -> Iterator[Row]:
    """The first files of each class of `train/`, by name, and all of `test/`.

    Args:
        archive: a folder or an archive of SPLIT/CLASS/FILE.
        train: files of each class to train on.
        validation: those after them.

    Raises:
        InputError: a class has not as many.
    """
    names = [
        PurePosixPath(member.name)
        for member in open_container(archive).members(lambda share: None)
        if not member.is_folder and member.problem is None
    ]
    files = sorted(name for name in names if len(name.parts) == 3)
    for (split, label), found in groupby(files, key=lambda name: name.parts[:2]):
        own = list(found)
        if split == "test":
            yield from (Row(str(name), label, "test") for name in own)
        elif split == "train":
            if len(own) < train + validation:
                raise InputError(
                    f"{archive}: {split}/{label} has {len(own)} files, {train + validation} are "
                    "asked for"
                )
            yield from (Row(str(name), label, "train") for name in own[:train])
            there = own[train : train + validation]
            yield from (Row(str(name), label, "validation") for name in there)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="List a balanced part of an archive of images.")
    parser.add_argument("archive", type=Path, help="of train/CLASS/FILE and test/CLASS/FILE")
    parser.add_argument("out", type=Path, help="the table to write")
    add_verbosity(parser)

    def write(given: argparse.Namespace, progress: Progress) -> None:
        rows = list(subset(given.archive))
        if not rows:
            raise InputError(f"{given.archive} has no train/CLASS/FILE and test/CLASS/FILE")
        given.out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(given.out) as new, new.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([("file", "class", "split"), *rows])
        progress.say(f"{given.out}: {len(rows):,} files")

    return run_stage(parser, argv, write)


if __name__ == "__main__":
    sys.exit(main())
