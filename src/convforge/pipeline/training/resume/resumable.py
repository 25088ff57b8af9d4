"""Runs that have not ended: where their checkpoints lie until they do.

DVC empties a stage's folder before it runs the stage, and Hydra names a new one for every command,
so a run's state is kept below `outputs/unfinished/`, by what the run is: its config, its data and
its backend. The same command finds it there, whatever stopped the one before.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

import convforge
from convforge.errors import DivergenceError, InputError
from convforge.pipeline.progress import Progress
from convforge.pipeline.project import workspace_root
from convforge.pipeline.settings.run import Settings, changed_keys

_FOLDER = Path("outputs") / "unfinished"
_RECORD = "run.json"
_LOCK = "lock"


@dataclass(frozen=True)
class ResumableRun:
    """A run, new or begun before.

    Args:
        folder: of its checkpoints; of a sweep, its jobs'.
        key: what it is called in every store.
        has_begun: whether an earlier process has worked on it.
    """

    folder: Path
    key: str
    has_begun: bool


@contextmanager
def resumable_run(
    settings: Settings, digest: str, backend: str, out: Path, root: Path, progress: Progress
) -> Iterator[ResumableRun]:
    """The run of this config, data and backend, for this process alone.

    It is forgotten when the block ends well, or by a DivergenceError, which the same command would
    meet again; anything else leaves it for the next one.

    Args:
        settings: of the run.
        digest: of the data.
        backend: Keras'.
        out: the run's own folder, which no other process may write meanwhile.
        root: the project's folder.
        progress: told of a run into `out` that had other settings.

    Raises:
        InputError: another process writes `out`.
    """
    folder = workspace_root(root) / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    identity = {"config": _config(settings), "data": digest, "backend": backend}
    with ExitStack() as stack:
        stack.enter_context(_alone(folder, out))
        own = stack.enter_context(_own_folder(folder, _hash(identity)))
        if not settings.trainer.checkpoint.resume:
            _empty(own)
        record = _read(own)
        if record.get("ended") and _lives(record["ended"]):
            _empty(own)
            record = {}
        _tell_of_others(folder, own, out, identity, progress)
        begun = record.get("key") is not None
        if begun and record["version"] != convforge.__version__:
            progress.warn(
                f"the run was begun by convforge {record['version']}: "
                "trainer.checkpoint.resume=false begins it again"
            )
        record = {
            "key": record.get("key") or uuid.uuid4().hex,
            "version": record.get("version", convforge.__version__),
            "out": str(out.resolve()),
            **identity,
        }
        _write(own, record)
        try:
            yield ResumableRun(own, str(record["key"]), begun)
        except BaseException as error:
            if isinstance(error, DivergenceError) or not any(own.glob("*/")):
                _empty(own)
            raise
        if _at_exit:
            # A process that is killed on its way out has not told anybody that the run has ended.
            _write(own, record | {"ended": _this_process()})
            _ended.append(own)
        else:
            _empty(own)


_ended: list[Path] = []
_at_exit: list[bool] = []


def forget_at_exit() -> None:
    """From now on a run that has ended well is forgotten when this process ends, not before."""
    _at_exit.append(True)
    atexit.register(_forget_ended)


def _forget_ended() -> None:
    for own in _ended:
        with suppress(OSError, ValueError):
            record = json.loads((own / _RECORD).read_text(encoding="utf-8"))
            # Another process may have begun the same again.
            if record.get("ended") == _this_process():
                shutil.rmtree(own)


def _this_process() -> list[Any]:
    return [socket.gethostname(), os.getpid()]


def _lives(process: Sequence[Any]) -> bool:
    """Whether the process may live; those of other machines may."""
    host, number = process
    if host != socket.gethostname():
        return True
    with suppress(PermissionError):
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            return False
    return True


@contextmanager
def resumable_sweep(
    jobs: Sequence[Settings], overrides: Sequence[str], out: Path, root: Path
) -> Iterator[ResumableRun]:
    """The sweep of these jobs; its `folder` is where they write: `out`, or that of the stopped one.

    It is forgotten when the block ends well.

    Args:
        jobs: in order.
        overrides: that made them.
        out: for a new one.
        root: the project's folder.
    """
    folder = workspace_root(root) / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    identity = {"jobs": [_config(job) for job in jobs], "overrides": list(overrides)}
    with _own_folder(folder, f"sweep-{_hash(identity)}") as own:
        record = _read(own)
        there = Path(record.get("out", ""))
        begun = "key" in record and there.is_dir() and jobs[0].trainer.checkpoint.resume
        if not begun:
            record = {"key": uuid.uuid4().hex, "out": str(out)}
            _write(own, record)
        yield ResumableRun(Path(record["out"]), record["key"], begun)
        _empty(own)


def has_stopped_run(out: Path, root: Path) -> bool:
    """Whether a run into `out` was stopped, or has ended without being told so."""
    return any(_records_of(workspace_root(root) / _FOLDER, out))


def _config(settings: Settings) -> dict[str, Any]:
    """What makes the weights what they are."""
    config = settings.model_dump(mode="json", by_alias=True)
    del config["tracking"], config["trainer"]["checkpoint"], config["trainer"]["input_threads"]
    # A job that starts again may get other machines.
    for key in ("address", "coordinator", "patience", "rank", "retries"):
        config["distribute"].pop(key, None)
    return config


def _hash(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def _alone(folder: Path, out: Path) -> Iterator[None]:
    name = hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:16]
    lock = FileLock(folder / f".{name}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise InputError(f"another run is writing {out}: wait for its end") from None
    try:
        yield
    finally:
        # Whoever has opened it meanwhile finds it gone, and tries another.
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


@contextmanager
def _own_folder(folder: Path, name: str) -> Iterator[Path]:
    """The folder `name`, or one with a number where a process works on the same run just now."""
    for number in count(1):
        own = folder / (name if number == 1 else f"{name}-{number}")
        own.mkdir(exist_ok=True)
        lock = FileLock(own / _LOCK)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            continue
        try:
            yield own
        finally:
            if not (own / _RECORD).exists():
                shutil.rmtree(own, ignore_errors=True)
            lock.release()
        return


def _read(own: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((own / _RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        _empty(own)
        return {}


def _records_of(folder: Path, out: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The stopped runs and sweeps into `out`: where each lies, and its record."""
    for path in sorted(folder.glob(f"[!.]*/{_RECORD}")):
        with suppress(OSError, ValueError):
            record = json.loads(path.read_text(encoding="utf-8"))
            if record.get("out") == str(out.resolve()):
                yield path.parent, record


def _write(own: Path, record: Mapping[str, Any]) -> None:
    new = own / f"{_RECORD}.new"
    new.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    new.replace(own / _RECORD)


def _empty(own: Path) -> None:
    for path in own.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()


def _tell_of_others(
    folder: Path, own: Path, out: Path, identity: Mapping[str, Any], progress: Progress
) -> None:
    """Say which runs into `out` were stopped and are not the one that goes on, and why not."""
    for place, other in _records_of(folder, out):
        if place == own or "config" not in other:
            continue
        changes = changed_keys(other["config"], identity["config"])
        for name in ("data", "backend"):
            if other[name] != identity[name]:
                changes.append(f"{name} {other[name][:12]} → {str(identity[name])[:12]}")
        progress.say(
            f"a stopped run had other settings, and this one begins anew: {', '.join(changes)} "
            f"({place} keeps it)"
        )
