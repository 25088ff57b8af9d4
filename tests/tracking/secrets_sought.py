"""Where a password has got to: files, output, and what `ps` shows everybody."""

from __future__ import annotations

import base64
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Another in each run of the tests, the same in all its processes: what others on the machine do
# with this word, or a clone with this file in it, is not found.
_MARK = "hunter" + os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid.uuid4().hex)[:8]
USER = "ada"
#: Percent-encoded in an address, and then its beginning stays as it is.
PASSWORD = f"{_MARK}@ü?"
ENCODED = f"{_MARK}%40%C3%BC%3F"


def holds_secret(content: bytes) -> bool:
    """Whether the password is in it, in any of the forms that it is given or sent in."""
    sent = base64.b64encode(f"{USER}:{PASSWORD}".encode())
    return _MARK.encode() in content or sent in content


def files_with_secret(*folders: Path) -> list[str]:
    """The files below, databases and pickles too, that hold the password."""
    return [
        str(path)
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and (holds_secret(path.read_bytes()) or holds_secret(str(path).encode()))
    ]


class Titles:
    """The command lines of the machine's processes, by process, as they were seen in turn."""

    def __init__(self) -> None:
        self.seen: dict[str, list[bytes]] = {}
        self.looks = 0

    def look(self) -> None:
        """Once at all of them."""
        self.looks += 1
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):  # It has ended.
                title = path.read_bytes()
                lines = self.seen.setdefault(path.parent.name, [])
                if title and lines[-1:] != [title]:
                    lines.append(title)

    def with_secret(self) -> list[bytes]:
        """Those that have ever held the password."""
        return [line for lines in self.seen.values() for line in lines if holds_secret(line)]

    def last_with_secret(self) -> list[bytes]:
        """Those of processes that held it to their end."""
        return [lines[-1] for lines in self.seen.values() if lines and holds_secret(lines[-1])]


@contextmanager
def watched_titles() -> Iterator[Titles]:
    """Looks at them again and again while the block runs."""
    titles, end = Titles(), threading.Event()

    def watch() -> None:
        while not end.wait(0.05):
            titles.look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield titles
    finally:
        end.set()
        thread.join()
