"""Checkpoints: all that a run needs to go on as if nothing had happened.

A checkpoint is a folder, `00003-000120` after three epochs and 120 steps of the fourth, with the
numbers in `arrays.npz` and the rest in `state.json`. It is written under another name, flushed to
the disk and renamed, so a folder of that name is whole; `state.json` holds checksums, so what a
disk spoils later is noticed.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes  # noqa: F401  NumPy then knows bfloat16
import numpy as np
from numpy.typing import NDArray

from convforge.pipeline.filesystem import checksum
from convforge.pipeline.filesystem.atomic_file import flush

_ARRAYS, _STATE = "arrays.npz", "state.json"
_NAME = re.compile(r"(\d+)-(\d+)")


class Position(NamedTuple):
    """Where a run is: epochs that are done, and steps of the next one."""

    epoch: int
    step: int

    def __str__(self) -> str:
        return f"{self.epoch:05}-{self.step:06}"


START = Position(0, 0)


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run at a position.

    Args:
        position: where it was taken.
        arrays: variables by name.
        record: whatever JSON can hold.
    """

    position: Position
    arrays: Mapping[str, NDArray[Any]]
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_finite(self) -> bool:
        """Whether no array holds an infinite number or none at all."""
        return all(map(is_finite, self.arrays.values()))


def is_finite(array: NDArray[Any]) -> bool:
    """Whether `array` holds no infinite number and no NaN."""
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


class DamagedError(Exception):
    """A checkpoint is not what was written."""


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Have `checkpoint` in `folder`, whole or not at all.

    Returns:
        Its own folder there.

    Raises:
        OSError: the disk is full, say. Nothing is left of the attempt.
    """
    target = folder / str(checkpoint.position)
    partial = folder / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        _write(partial, checkpoint)
        # One of an earlier process, which this run has come past again.
        shutil.rmtree(target, ignore_errors=True)
        partial.replace(target)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    flush(folder)
    return target


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    encoded = {
        str(number): _bytes(array) for number, array in enumerate(checkpoint.arrays.values())
    }
    with (folder / _ARRAYS).open("wb") as file:
        np.savez(file, allow_pickle=False, **encoded)
    flush(folder / _ARRAYS)
    state = {
        "names": list(checkpoint.arrays),
        "dtypes": [array.dtype.name for array in checkpoint.arrays.values()],
        "shapes": [list(array.shape) for array in checkpoint.arrays.values()],
        "arrays": checksum.of_file(folder / _ARRAYS),
        "record": dict(checkpoint.record),
    }
    body = json.dumps(state)
    (folder / _STATE).write_text(json.dumps({"sha256": checksum.of_text(body), "state": body}))
    flush(folder / _STATE)
    flush(folder)


def _bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    # NumPy's own format has no bfloat16.
    return np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint whose folder is `path`.

    Raises:
        DamagedError: it is not what was written.
    """
    try:
        outer = json.loads((path / _STATE).read_text())
        body = outer["state"]
        if checksum.of_text(body) != outer["sha256"]:
            raise DamagedError(f"{_STATE} has another checksum")
        state = json.loads(body)
        if checksum.of_file(path / _ARRAYS) != state["arrays"]:
            raise DamagedError(f"{_ARRAYS} has another checksum")
        with np.load(path / _ARRAYS, allow_pickle=False) as file:
            arrays = {
                name: np.frombuffer(file[str(number)].tobytes(), dtype).reshape(shape)
                for number, (name, dtype, shape) in enumerate(
                    zip(state["names"], state["dtypes"], state["shapes"], strict=True)
                )
            }
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DamagedError(f"{_STATE} or {_ARRAYS} cannot be read ({error})") from error
    return Checkpoint(_position(path), arrays, state["record"])


def _position(path: Path) -> Position:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return Position(int(match[1]), int(match[2]))


class Checkpoints:
    """The newest checkpoints of one run, and the best, below `folder`.

    Args:
        folder: of the run.
        keep: how many of the newest.
        warn: told what is damaged or cannot be written.
    """

    def __init__(self, folder: Path, keep: int, warn: Callable[[str], None]) -> None:
        self._newest, self._best = folder / "newest", folder / "best"
        self._keep = keep
        self._warn = warn
        self._writing: threading.Thread | None = None
        # What waits for the disk, by its folder; the lock guards it and the thread's end.
        self._waiting: dict[Path, Checkpoint] = {}
        self._lock = threading.Lock()
        self._told = False

    @property
    def is_writing(self) -> bool:
        """Whether one is on its way to the disk."""
        return self._writing is not None

    def save(self, checkpoint: Checkpoint) -> None:
        """Write `checkpoint` at once.

        Raises:
            OSError: the disk is full, say.
        """
        self.wait()
        write_checkpoint(self._newest, checkpoint)
        _prune(self._newest, self._keep)

    def save_behind(self, checkpoint: Checkpoint, *, best: bool = False) -> None:
        """Write `checkpoint` while the run goes on; one that still waits for that gives way to it.

        Args:
            checkpoint: nobody alters its arrays any more.
            best: as the best so far, instead of the newest.
        """
        with self._lock:
            self._waiting[self._best if best else self._newest] = checkpoint
            if self._writing is None:
                self._writing = threading.Thread(target=self._write_all, name="checkpoint")
                self._writing.start()

    def _write_all(self) -> None:
        while True:
            with self._lock:
                # The best first: a run that goes on from the newest must find the best before it.
                folder = next(
                    (path for path in (self._best, self._newest) if path in self._waiting), None
                )
                if folder is None:
                    self._writing = None
                    return
                checkpoint = self._waiting.pop(folder)
            try:
                write_checkpoint(folder, checkpoint)
                _prune(folder, 1 if folder == self._best else self._keep)
            except OSError as error:
                if not self._told:
                    self._warn(f"no checkpoint could be written ({error}); the run goes on")
                self._told = True

    def wait(self) -> None:
        """Let the writing end."""
        writing = self._writing
        if writing is not None:
            writing.join()

    def newest(self) -> Checkpoint | None:
        """The newest that is whole; what is damaged is removed, with a warning."""
        return next(self._whole(self._newest), None)

    def best(self) -> Checkpoint | None:
        """The best so far."""
        return next(self._whole(self._best), None)

    def _whole(self, folder: Path) -> Iterator[Checkpoint]:
        for path in reversed(_there(folder)):
            try:
                yield read_checkpoint(path)
            except DamagedError as error:
                self._warn(f"checkpoint {path} is damaged: {error}; the one before it is used")
                shutil.rmtree(path, ignore_errors=True)


def _there(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*-*") if _NAME.fullmatch(path.name))


def _prune(folder: Path, keep: int) -> None:
    for path in _there(folder)[:-keep]:
        shutil.rmtree(path, ignore_errors=True)
