"""A real PostgreSQL in a temporary folder, reached by a socket there; it can be killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_START_SECONDS = 60.0
_USER = "convforge"


def unavailable() -> str | None:
    """Why PostgreSQL cannot be run here; None where it can."""
    if find_spec("psycopg2") is None:
        return "psycopg2 is not installed: pip install 'convforge[postgresql]'"
    if _program("postgres") is None or _program("initdb") is None:
        return "PostgreSQL is not installed: apt-get install postgresql"
    return None


def _program(name: str) -> str | None:
    """Debian keeps the server's programs off the PATH."""
    there = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))]
    return shutil.which(name) or (there[-1] if there else None)


class PostgreSQL:
    """A database server in `folder`, run by `nobody` where we are root: it refuses root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._as: dict[str, Any] = {"cwd": folder}
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody", "nogroup")
            self._as |= {"user": "nobody", "group": "nogroup", "extra_groups": []}
        initdb = [str(_program("initdb")), "-D", str(folder / "data"), "-U", _USER]
        subprocess.run(
            [*initdb, "--auth=trust", "--encoding=UTF8", "--locale=C"],
            check=True,
            stdout=subprocess.DEVNULL,
            **self._as,
        )

    @property
    def uri(self) -> str:
        """As SQLAlchemy takes it."""
        return f"postgresql+psycopg2://{_USER}@/postgres?host={self.folder}"

    def connection(self, password: str | None = None) -> Any:
        """A connection to the database."""
        import psycopg2

        return psycopg2.connect(
            host=str(self.folder), user=_USER, dbname="postgres", password=password
        )

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What `query` gives."""
        connection = self.connection()
        try:
            with connection.cursor() as cursor:
                cursor.execute(query)
                return list(cursor.fetchall())
        finally:
            connection.close()

    def start(self, password: str | None = None) -> None:
        """Start it, on the socket alone, and wait until it answers, to `password` if it asks."""
        import psycopg2

        command = [str(_program("postgres")), "-D", str(self.folder / "data")]
        command += ["-k", str(self.folder), "-c", "listen_addresses="]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, **self._as
            )
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end:
            assert self._process.poll() is None, (self.folder / "log").read_text()
            try:
                self.connection(password).close()
                return
            except psycopg2.OperationalError:
                time.sleep(0.1)
        raise AssertionError("PostgreSQL did not start")

    def kill(self) -> None:
        """End it and its connections at once, whatever they are at."""
        if self._process is not None:
            # Its own session: the group has nobody else in it.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextmanager
def running_postgresql() -> Iterator[PostgreSQL]:
    """A server for as long as the block runs."""
    # Not pytest's folder, which only its owner may enter; and short, for the socket's name.
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        server = PostgreSQL(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.kill()
