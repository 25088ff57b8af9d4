"""Making MLflow's SQLite store: it is there whole or not at all, whatever stops the process."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from convforge.pipeline.filesystem.lock import hold

# Nobody makes a store who has not written to it for so long.
_QUIET_SECONDS = 10.0
# SQLite keeps what is under way beside the database.
_BESIDE = ("", "-journal", "-wal", "-shm")


def make_store(database: Path, artifacts: str, warn: Callable[[str], None]) -> None:
    """Have an MLflow store in the file `database`, by one process at a time.

    Several processes that make one at once destroy it, and one that is killed while it does leaves
    tables that MLflow can neither use nor make again. So it is made under another name and renamed;
    a half-made one, of MLflow's own making, is put aside.

    Args:
        database: of the store.
        artifacts: where the files of runs in MLflow's own first experiment go.
        warn: told what was put aside.
    """
    database.parent.mkdir(parents=True, exist_ok=True)
    with hold(database.with_name(f"{database.name}.lock"), seconds=-1):
        while is_half_made(database) and time.time() - database.stat().st_mtime < _QUIET_SECONDS:
            time.sleep(0.5)  # A server of MLflow's own may be making it just now.
        if is_half_made(database):
            aside = database.with_name(f"{database.name}.half-made-{time.time_ns()}")
            _rename(database, aside)
            warn(f"{database} was left half made by a process that was killed: now {aside.name}")
        if not database.exists():
            _make(database, artifacts)


def is_half_made(database: Path) -> bool:
    """Whether making the store was stopped: it has tables, but not yet the first experiment.

    Example:
        >>> is_half_made(Path("nothing.db"))
        False
    """
    if not database.is_file():
        return False
    with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(database)) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if "experiments" not in names:
            # A file without tables is a store that MLflow can still make; others' is not ours.
            return bool(names & {"alembic_version", "runs", "metrics", "params", "tags"})
        used = [name for name in ("experiments", "registered_models") if name in names]
        return not any(connection.execute(f"SELECT 1 FROM {name}").fetchone() for name in used)
    return False


def _make(database: Path, artifacts: str) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    new = database.with_name(f"{database.name}.new")
    for ending in _BESIDE:
        Path(f"{new}{ending}").unlink(missing_ok=True)
    store = SqlAlchemyStore(f"sqlite:///{new}", artifacts)
    store.engine.dispose()
    _rename(new, database)


def _rename(old: Path, new: Path) -> None:
    # What is beside it first: a database without its journal is not the one that it was.
    for ending in reversed(_BESIDE):
        with suppress(FileNotFoundError):
            Path(f"{old}{ending}").replace(f"{new}{ending}")
