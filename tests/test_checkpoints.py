"""Checkpoints on the disk: whole or not there, checked when read, the newest and the best kept."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from convforge.pipeline.training.resume.checkpoints import (
    Checkpoint,
    Checkpoints,
    DamagedError,
    Position,
    read_checkpoint,
    write_checkpoint,
)


def _checkpoint(epoch: int, step: int = 0) -> Checkpoint:
    arrays = {
        "model/0/conv1/kernel": np.arange(6, dtype="float32").reshape(2, 3) + epoch,
        "model/1/half": np.array([1.5, -2.0], ml_dtypes.bfloat16),
        "optimizer/0/iteration": np.array(7 * epoch + step),
    }
    return Checkpoint(Position(epoch, step), arrays, {"rows": [{"loss": 0.1 + epoch}]})


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def checkpoints(tmp_path: Path, warnings: list[str]) -> Checkpoints:
    return Checkpoints(tmp_path, keep=2, warn=warnings.append)


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    written = _checkpoint(3, 120)
    read = read_checkpoint(write_checkpoint(tmp_path, written))
    assert (read.position, read.record) == (written.position, written.record)
    assert list(read.arrays) == list(written.arrays)
    for name, array in written.arrays.items():
        assert read.arrays[name].dtype == array.dtype
        assert np.array_equal(read.arrays[name], array)


@pytest.mark.parametrize("file", ["arrays.npz", "state.json"])
@pytest.mark.parametrize("damage", ["a byte", "cut", "gone"])
def test_the_one_before_a_damaged_newest_is_used_with_a_warning(
    checkpoints: Checkpoints, tmp_path: Path, warnings: list[str], file: str, damage: str
) -> None:
    for epoch in (1, 2):
        checkpoints.save(_checkpoint(epoch))
    path = tmp_path / "newest" / str(Position(2, 0)) / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content if damage == "a byte" else content[: len(content) // 2])
    newest = checkpoints.newest()
    assert newest is not None
    assert newest.position == (1, 0)
    (warning,) = warnings
    assert str(Position(2, 0)) in warning
    assert "damaged" in warning


def test_every_byte_of_a_checkpoint_is_guarded(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, _checkpoint(1))
    for file in path.iterdir():
        content = file.read_bytes()
        for place in range(0, len(content), 11):
            changed = bytearray(content)
            changed[place] ^= 4
            file.write_bytes(changed)
            with pytest.raises(DamagedError):
                read_checkpoint(path)
        file.write_bytes(content)
    read_checkpoint(path)


def test_only_the_newest_are_kept_and_the_best_beside_them(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    checkpoints.save_behind(_checkpoint(1), best=True)
    for epoch in (1, 2, 3):
        checkpoints.save_behind(_checkpoint(epoch))
        checkpoints.wait()
    names = sorted(path.name for path in (tmp_path / "newest").iterdir())
    assert names == [str(Position(2, 0)), str(Position(3, 0))]
    newest, best = checkpoints.newest(), checkpoints.best()
    assert newest is not None
    assert best is not None
    assert (newest.position, best.position) == ((3, 0), (1, 0))


def test_what_a_killed_process_left_half_written_is_not_read_and_is_overwritten(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    checkpoints.save(_checkpoint(1))
    half = tmp_path / "newest" / f".{Position(2, 0)}.partial"
    half.mkdir()
    (half / "arrays.npz").write_bytes(b"PK")
    newest = checkpoints.newest()
    assert newest is not None
    assert newest.position == (1, 0)
    checkpoints.save(_checkpoint(2))
    newest = checkpoints.newest()
    assert newest is not None
    assert newest.position == (2, 0)


def test_a_run_goes_on_where_a_checkpoint_cannot_be_written_and_is_told_once(
    checkpoints: Checkpoints, tmp_path: Path, warnings: list[str]
) -> None:
    checkpoints.save(_checkpoint(1))
    newest = tmp_path / "newest"
    newest.rename(tmp_path / "elsewhere")
    newest.write_text("no folder")
    for epoch in (2, 3):
        checkpoints.save_behind(_checkpoint(epoch))
        checkpoints.wait()
    (warning,) = warnings
    assert "no checkpoint could be written" in warning
