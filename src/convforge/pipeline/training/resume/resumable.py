"""Runs that have not ended: where their checkpoints lie until they do.

DVC empties a stage's folder before it runs the stage, and Hydra names a new one for every command,
so a run's state is kept below `outputs/unfinished/`, by what the run is: its config, its data, its
backend, and the code and packages that train it. The same command finds it there, whatever stopped
the one before.
"""

from __future__ import annotations

import atexit
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

from convforge.errors import DivergenceError, InputError, PrunedError
from convforge.pipeline.filesystem import checksum
from convforge.pipeline.filesystem.atomic_file import write_text
from convforge.pipeline.filesystem.lock import BusyError, hold, is_held
from convforge.pipeline.progress import Progress
from convforge.pipeline.project import workspace_root
from convforge.pipeline.settings.run import Settings, changed_keys
from convforge.pipeline.training.resume.code_fingerprint import changed_code, code_fingerprint

_FOLDER = Path("outputs") / "unfinished"
_RECORD = "run.json"
_LOCK = "lock"
# Besides the config, and as a person is told of it.
_COMPARED = {
    "data": "data",
    "backend": "backend",
    "source": "the weights of trainer.start_from",
}
_HINT = "; trainer.checkpoint.resume=other_code goes on all the same"
#: Of a run in MLflow: what of code or packages has changed within it. It is no exact one.
OTHER_CODE_TAG = "convforge.resumed_with_other_code"


@dataclass(frozen=True)
class ResumableRun:
    """A run, new or begun before.

    Args:
        folder: of its checkpoints; of a sweep, its jobs'.
        key: what it is called in every store.
        has_begun: whether an earlier process has worked on it.
        other_code: what of the code and the packages has changed on the way, where it goes on all
            the same.
    """

    folder: Path
    key: str
    has_begun: bool
    other_code: str | None = None


@contextmanager
def resumable_run(
    settings: Settings,
    digest: str,
    backend: str,
    out: Path,
    root: Path,
    progress: Progress,
    source: str | None = None,
) -> Iterator[ResumableRun]:
    """The run of this config, data and backend, for this process alone.

    It is forgotten when the block ends well, or by a DivergenceError, which the same command would
    meet again, or a PrunedError; anything else leaves it for the next one.

    Args:
        settings: of the run.
        digest: of the data.
        backend: Keras'.
        out: the run's own folder, which no other process may write meanwhile.
        root: the project's folder.
        progress: told of a run into `out` that had other settings.
        source: what tells the weights apart that it starts from; None for its own.

    Raises:
        InputError: another process writes `out`.
    """
    folder = workspace_root(root) / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    identity = _identity(settings, digest, backend) | {"source": source}
    code = code_fingerprint(backend)
    with ExitStack() as stack:
        stack.enter_context(_alone(folder, out))
        name = _name_of(folder, identity, code, settings.trainer.checkpoint.resume)
        own = stack.enter_context(_own_folder(folder, name))
        if not settings.trainer.checkpoint.resume:
            _empty(own)
        record = _read(own)
        if record.get("ended") and _lives(record["ended"]):
            _empty(own)
            record = {}
        _tell_of_others(folder, own, out, identity | {"code": code}, progress)
        begun = record.get("key") is not None
        other_code = _other_code(record, code, progress) if begun else None
        record = {
            "key": record.get("key") or uuid.uuid4().hex,
            "out": str(out.resolve()),
            "other_code": other_code,
            **identity,
            "code": code,
        }
        _write(own, record)
        try:
            yield ResumableRun(own, str(record["key"]), begun, other_code)
        except BaseException as error:
            if isinstance(error, (DivergenceError, PrunedError)) or not any(own.glob("*/")):
                _empty(own)
            raise
        if _at_exit:
            # A process that is killed on its way out has not told anybody that the run has ended.
            _write(own, record | {"ended": _this_process()})
            _ended.append(own)
        else:
            _empty(own)


def _other_code(
    record: Mapping[str, Any], code: Mapping[str, str], progress: Progress
) -> str | None:
    """All that has changed of the code since what `record` is of began; `progress` is warned."""
    changes = changed_code(record["code"], code)
    if changes:
        progress.warn(f"goes on with other code than it began with: {', '.join(changes)}")
    before = record.get("other_code")
    return "; ".join([*([before] if before else []), *changes]) or None


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
    jobs: Sequence[Settings], overrides: Sequence[str], out: Path, root: Path, progress: Progress
) -> Iterator[ResumableRun]:
    """The sweep of these jobs; its `folder` is where they write: `out`, or that of the stopped one.

    It is forgotten when the block ends well.

    Args:
        jobs: in order.
        overrides: that made them.
        out: for a new one.
        root: the project's folder.
        progress: told of the same sweep begun by other code.
    """
    folder = workspace_root(root) / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    identity = {"jobs": [_config(job) for job in jobs], "overrides": list(overrides)}
    resume = jobs[0].trainer.checkpoint.resume
    # Which backend its jobs import, nobody knows yet.
    code = code_fingerprint(None)
    name = _name_of(folder, identity, code, resume, prefix="sweep-")
    with _own_folder(folder, name) as own:
        record = _read(own)
        there = Path(record.get("out", ""))
        begun = "key" in record and there.is_dir() and bool(resume)
        if begun:
            record["other_code"] = _other_code(record, code, progress)
        else:
            _tell_of_other_sweeps(folder, own, f"sweep-{_hash(identity)}", code, progress)
            record = {"key": uuid.uuid4().hex, "out": str(out)}
        record["code"] = code
        _write(own, record)
        yield ResumableRun(Path(record["out"]), record["key"], begun, record.get("other_code"))
        _empty(own)


def has_stopped_run(out: Path, root: Path) -> bool:
    """Whether a run into `out` was stopped, or has ended without being told so."""
    there = _records(workspace_root(root) / _FOLDER)
    return any(record.get("out") == str(out.resolve()) for _, record in there)


def source_of_stopped_run(settings: Settings, digest: str, backend: str, root: Path) -> str | None:
    """What a stopped run of this config, data and backend has started from, where it has begun.

    Its checkpoints hold what it took of that, so it need not be there any more.
    """
    wanted = _identity(settings, digest, backend)
    for place, record in _records(workspace_root(root) / _FOLDER):
        same = all(record.get(name) == value for name, value in wanted.items())
        if same and record.get("source") and any(place.glob("newest/*-*")):
            return str(record["source"])
    return None


def _identity(settings: Settings, digest: str, backend: str) -> dict[str, Any]:
    return {"config": _config(settings), "data": digest, "backend": backend}


def _config(settings: Settings) -> dict[str, Any]:
    """What makes the weights what they are."""
    config = settings.model_dump(mode="json", by_alias=True)
    del config["tracking"], config["trainer"]["checkpoint"], config["trainer"]["input_threads"]
    del config["evaluate"], config["pictures"]
    # A job that starts again may get other machines.
    for key in ("address", "coordinator", "patience", "rank", "retries"):
        config["distribute"].pop(key, None)
    return config


def _name_of(
    folder: Path,
    identity: Mapping[str, Any],
    code: Mapping[str, str],
    resume: bool | str,
    prefix: str = "",
) -> str:
    """The folder of the run with this identity: one that there is, with this code, or a new one.

    Where `resume` allows other code, the one that was written last will do.
    """
    begun = f"{prefix}{_hash(identity)}"
    there = dict(_records(folder, f"{begun}-*"))
    for path, record in there.items():
        if record.get("code") == code:
            return path.name
    if resume == "other_code" and there:
        return max(there, key=lambda path: (path / _RECORD).stat().st_mtime).name
    return f"{begun}-{checksum.of_json(code)[:8]}"


def _hash(identity: Mapping[str, Any]) -> str:
    return checksum.of_json(identity)[:16]


@contextmanager
def _alone(folder: Path, out: Path) -> Iterator[None]:
    path = folder / f".{checksum.of_text(str(out.resolve()))[:16]}.lock"
    try:
        lock = hold(path)
    except BusyError:
        raise InputError(f"another run is writing {out}: wait for its end") from None
    try:
        yield
    finally:
        # Whoever has opened it meanwhile finds it gone, and tries another.
        path.unlink(missing_ok=True)
        lock.release()


@contextmanager
def _own_folder(folder: Path, name: str) -> Iterator[Path]:
    """The folder `name`, or one with a number where a process works on the same run just now."""
    for number in count(1):
        own = folder / (name if number == 1 else f"{name}-{number}")
        own.mkdir(exist_ok=True)
        try:
            lock = hold(own / _LOCK)
        except BusyError:
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


def _records(folder: Path, names: str = "[!.]*") -> Iterator[tuple[Path, dict[str, Any]]]:
    """The stopped runs and sweeps: where each lies, and its record."""
    for path in sorted(folder.glob(f"{names}/{_RECORD}")):
        with suppress(OSError, ValueError):
            yield path.parent, dict(json.loads(path.read_text(encoding="utf-8")))


def _write(own: Path, record: Mapping[str, Any]) -> None:
    write_text(own / _RECORD, json.dumps(record, indent=2) + "\n")


def _empty(own: Path) -> None:
    for path in own.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()


def _tell_of_others(
    folder: Path, own: Path, out: Path, identity: Mapping[str, Any], progress: Progress
) -> None:
    """Say which stopped runs are not the one that goes on, and why not.

    Those into `out`, and those of the same config and data that other code has begun.
    """
    for place, other in _records(folder):
        if place == own or "config" not in other or is_held(place / _LOCK):
            continue
        settings = changed_keys(other["config"], identity["config"])
        for name, called in _COMPARED.items():
            before, now = other.get(name), identity[name]
            if before != now:
                settings.append(f"{called} {str(before)[:12]} → {str(now)[:12]}")
        if settings and other.get("out") != str(out.resolve()):
            continue
        # Before there were fingerprints, the version was all that was kept.
        code = changed_code(other.get("code", {}), identity["code"]) if "code" in other else []
        if "code" not in other:
            code = [f"code of convforge {other.get('version', 'unknown')}, not kept"]
        if not settings and not code:
            continue
        what = " and ".join(
            word for word, there in (("settings", settings), ("code", code)) if there
        )
        progress.say(
            f"a stopped run had other {what}, and this one begins anew: "
            f"{', '.join([*settings, *code])} ({place} keeps it{'' if settings else _HINT})"
        )


def _tell_of_other_sweeps(
    folder: Path, own: Path, name: str, code: Mapping[str, str], progress: Progress
) -> None:
    """Say which stopped sweeps of the same jobs other code has begun."""
    for place, other in _records(folder, f"{name}*"):
        if place == own or is_held(place / _LOCK):
            continue
        changes = changed_code(other["code"], code) if "code" in other else ["code, not kept"]
        progress.say(
            f"a stopped sweep had other code, and this one begins anew: {', '.join(changes)} "
            f"({other.get('out')} keeps its jobs{_HINT})"
        )
