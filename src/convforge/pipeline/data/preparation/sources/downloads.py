"""Public data sets from where they are kept, checked against their SHA-256.

A download that breaks is continued where it stopped; what arrives is used only when it is, byte
for byte, the official file. So it does not matter which host it comes from, nor whether by HTTPS.
"""

from __future__ import annotations

import errno
import http.client
import re
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import convforge
from convforge.errors import InputError
from convforge.pipeline.filesystem import checksum
from convforge.pipeline.filesystem.lock import hold
from convforge.pipeline.progress import Progress, Task


@dataclass(frozen=True)
class RemoteFile:
    """One file of a data set: what it is called, and what must arrive."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class PublicDataSet:
    """Files that belong together, and the hosts that have them.

    Attributes:
        title: What it holds, in a line.
        homepage: The authors' page.
        terms: Licence, or what the authors ask for.
        hosts: Folders with all files, tried in this order.
        files: What is downloaded.
        config: The config of the group `data` that reads it.
        opened: What `data.path` names: one of the files, or None for their folder.
    """

    title: str
    homepage: str
    terms: str
    hosts: tuple[str, ...]
    files: tuple[RemoteFile, ...]
    config: str
    opened: str | None = None


def _idx_files(*sizes_and_checksums: tuple[int, str]) -> tuple[RemoteFile, ...]:
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return tuple(
        RemoteFile(f"{name}-ubyte.gz", size, sha256)
        for name, (size, sha256) in zip(names, sizes_and_checksums, strict=True)
    )


# Sizes and SHA-256 as in tensorflow/datasets (tensorflow_datasets/url_checksums/*.txt). Each
# SHA-256 is confirmed by a second source: CIFAR by ankane/torchvision-ruby (lib/torchvision/
# datasets/cifar10.rb, cifar100.rb) and JuliaML/MLDatasets.jl (src/datasets/vision), MNIST and
# Fashion-MNIST by pytorch/vision (torchvision/prototype/datasets/_builtin/mnist.py). The authors
# themselves publish MD5 only.
_CIFAR_HOSTS = ("https://www.cs.toronto.edu/~kriz", "https://cave.cs.toronto.edu/kriz")
_CIFAR_TERMS = (
    "no licence is stated; the authors ask to cite Alex Krizhevsky, Learning Multiple Layers of "
    "Features from Tiny Images, 2009"
)
DATA_SETS = {
    "cifar10": PublicDataSet(
        title="CIFAR-10: 60,000 photographs of 10 classes, 32×32, RGB (binary version)",
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        terms=_CIFAR_TERMS,
        hosts=_CIFAR_HOSTS,
        files=(
            RemoteFile(
                "cifar-10-binary.tar.gz",
                170_052_171,
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            ),
        ),
        config="cifar10_binary",
        opened="cifar-10-binary.tar.gz",
    ),
    "cifar100": PublicDataSet(
        title="CIFAR-100: 60,000 photographs of 100 classes, 32×32, RGB (binary version)",
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        terms=_CIFAR_TERMS,
        hosts=_CIFAR_HOSTS,
        files=(
            RemoteFile(
                "cifar-100-binary.tar.gz",
                168_513_733,
                "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
            ),
        ),
        config="cifar100_binary",
        opened="cifar-100-binary.tar.gz",
    ),
    "mnist": PublicDataSet(
        title="MNIST: 70,000 handwritten digits, 28×28, grey (IDX)",
        homepage="http://yann.lecun.com/exdb/mnist/",
        terms="Creative Commons Attribution-Share Alike 3.0; Yann LeCun and Corinna Cortes",
        # The copies that TensorFlow Datasets and torchvision use; the authors' own page, last,
        # refuses most downloads.
        hosts=(
            "https://storage.googleapis.com/cvdf-datasets/mnist",
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "http://yann.lecun.com/exdb/mnist",
        ),
        files=_idx_files(
            (9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
            (28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
            (1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
            (4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        ),
        config="mnist",
    ),
    "fashion_mnist": PublicDataSet(
        title="Fashion-MNIST: 70,000 pieces of clothing of 10 classes, 28×28, grey (IDX)",
        homepage="https://github.com/zalandoresearch/fashion-mnist",
        terms="MIT; Zalando SE",
        # The authors' own: the address in their README, and the copy in their repository.
        hosts=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
        ),
        files=_idx_files(
            (26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
            (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
            (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
            (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        ),
        config="fashion_mnist",
    ),
}

README = "README.md"

_CHUNK_BYTES = 1 << 16
# An attempt that brought this much more than any before it does not count as failed, so that
# a line which breaks every few minutes still brings the file, and one that brings nothing ends.
_WORTH_BYTES = 1 << 20
# Slower than this, a server is as good as hung: CIFAR-10 would take a month.
_SLOWEST_BYTES_PER_SECOND = 64
_PASSING_STATUS = {408, 425, 429, 500, 502, 503, 504}


class _FailedError(Exception):
    """Why one attempt did not bring the file."""

    def __init__(self, reason: str, *, passing: bool = False, offline: bool = False) -> None:
        super().__init__(reason)
        #: Another attempt at the same host may succeed.
        self.passing = passing
        #: It says that there is no way to the host, rather than something about the file.
        self.offline = offline


def fetch(
    data_set: PublicDataSet,
    out: Path,
    progress: Progress,
    *,
    mirror: str | None = None,
    timeout: float = 30.0,
    attempts: int = 3,
    pause: float = 1.0,
) -> Path:
    """Download what is not yet in the folder `out`.

    A file appears under its name when it is complete and its SHA-256 right; until then it is
    `NAME.partial`, which the next call continues. A `README.md` says where the files come from.

    Args:
        data_set: one of `DATA_SETS`.
        out: the folder to fill; it is made.
        progress: told of every file.
        mirror: address of a folder with the same files, instead of the data set's own hosts.
        timeout: seconds without an answer after which an attempt has failed.
        attempts: per host, of which none brings more than those before.
        pause: seconds before the second attempt, twice as many before the next, and so on.

    Returns:
        What `data.path` must name to read the data set.

    Raises:
        InputError: no network, no such file, another file than the official one, no room on the
            disk, or a file of that name that is another.
    """
    hosts = data_set.hosts if mirror is None else (_checked_mirror(mirror, data_set),)
    out = out.resolve()
    # Two that append to one file would spoil it.
    with _writable_folder(out), hold(out.with_name(f".{out.name}.lock"), seconds=-1):
        for file in data_set.files:
            _Download(file, out, progress, timeout, attempts, pause).run(hosts)
        readme = out / README
        if not readme.exists():
            readme.write_text(_readme(data_set), encoding="utf-8")
    return out if data_set.opened is None else out / data_set.opened


def _checked_mirror(mirror: str, data_set: PublicDataSet) -> str:
    """`mirror` as the address of a folder; that of a single file is taken for its folder."""
    parts = urlsplit(mirror)
    if parts.scheme not in ("http", "https") or not parts.hostname or " " in mirror:
        raise InputError(f"--url={mirror} is not an address such as https://example.org/folder")
    mirror = mirror.rstrip("/")
    for file in data_set.files:
        mirror = mirror.removesuffix(f"/{file.name}")
    return mirror


@contextmanager
def _writable_folder(out: Path) -> Iterator[None]:
    """Makes `out`; what the disk refuses inside the block is a user's matter, not a bug.

    A folder into which nothing came is not left behind.
    """
    new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        try:
            yield
        finally:
            if new and not any(out.iterdir()):
                out.rmdir()
    except FileExistsError as error:
        raise InputError(f"{error.filename} is a file, where a folder is needed") from error
    except OSError as error:
        where = error.filename or out
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise InputError(
                f"no room left for {where}: make some and give the command again, which continues"
            ) from error
        raise InputError(f"cannot write {where}: {error.strerror or error}") from error


def _readme(data_set: PublicDataSet) -> str:
    files = "\n".join(
        f"- `{file.name}`: {file.size:,} bytes, SHA-256 `{file.sha256}`" for file in data_set.files
    )
    return (
        f"# {data_set.title}\n\n"
        f"- **Source**: {data_set.homepage}\n"
        f"- **Licence**: {data_set.terms}.\n\n"
        f"Downloaded by `convforge fetch` and checked:\n\n{files}\n"
    )


@dataclass
class _Download:
    """One file on its way to `out`."""

    file: RemoteFile
    out: Path
    progress: Progress
    timeout: float
    attempts: int
    pause: float

    def run(self, hosts: tuple[str, ...]) -> None:
        """Bring the file from the first of `hosts` that has it.

        Raises:
            InputError: none has, or there is no room.
        """
        if self._is_there():
            return
        self._need_room()
        failures: dict[str, _FailedError] = {}
        for host in hosts:
            url = f"{host}/{self.file.name}"
            try:
                self._from_host(url)
            except _FailedError as failure:
                failures[url] = failure
                if len(failures) < len(hosts) and not failure.offline:
                    self.progress.say(f"{url}: {failure}; trying the next host")
            else:
                self.partial.replace(self.path)
                return
        raise InputError(self._explain(failures))

    @property
    def path(self) -> Path:
        """Where the file will be."""
        return self.out / self.file.name

    @property
    def partial(self) -> Path:
        """Where it is until it is complete."""
        return self.out / f"{self.file.name}.partial"

    @property
    def arrived(self) -> int:
        """The bytes of it that are here."""
        try:
            return self.partial.stat().st_size
        except FileNotFoundError:
            return 0

    def _is_there(self) -> bool:
        if not self.path.exists():
            return False
        if not self.path.is_file() or checksum.of_file(self.path) != self.file.sha256:
            raise InputError(
                f"{self.path} is there, but is not the official file: move it away, or give "
                "another folder with --out"
            )
        self.progress.say(f"{self.file.name}: already there, SHA-256 right")
        return True

    def _need_room(self) -> None:
        missing = self.file.size - self.arrived
        free = shutil.disk_usage(self.out).free
        if free < missing:
            raise InputError(
                f"no room for {self.path}: {_megabytes(missing)} are needed, "
                f"{_megabytes(free)} are free; make room, or give another folder with --out"
            )

    def _from_host(self, url: str) -> None:
        """Attempts until the file is complete and right, or there is no use in another."""
        failed, most = 0, self.arrived
        while True:
            continued = self.arrived > 0
            try:
                if self.arrived < self.file.size:
                    self._attempt(url)
                self._check(url)
                return
            except _DamagedError as failure:
                # A part from an earlier time, or from before the server's file was changed, may
                # be at fault: the whole file gets one chance.
                if not continued:
                    raise
                self.progress.say(f"{failure}; starting again")
            except _FailedError as failure:
                failed = 1 if self.arrived >= most + _WORTH_BYTES else failed + 1
                most = max(most, self.arrived)
                if not failure.passing or failed >= self.attempts:
                    raise
                self.progress.say(f"{self.file.name}: {failure}; trying again")
                time.sleep(self.pause * 2 ** (failed - 1))

    def _check(self, url: str) -> None:
        found = checksum.of_file(self.partial)
        if self.arrived == self.file.size and found == self.file.sha256:
            return
        self.partial.unlink()
        raise _DamagedError(
            f"{url}: not the official file, since its SHA-256 is {found}, not {self.file.sha256}"
        )

    def _attempt(self, url: str) -> None:
        """Ask for what is missing and append it."""
        start = self.arrived
        headers = {"User-Agent": f"convforge/{convforge.__version__}"}
        if start:
            headers["Range"] = f"bytes={start}-"
        with self._open(urllib.request.Request(url, headers=headers)) as response:
            start = self._agreed_start(response, start)
            if start:
                share = start / self.file.size
                self.progress.say(f"{self.file.name}: continuing at {share:.0%}")
            missing = (self.file.size - start) // 1000
            with (
                self.progress.task(f"fetch {self.file.name}", unit="kB", total=missing) as task,
                self.partial.open("ab" if start else "wb") as target,
            ):
                self._copy(response, target, task, self.file.size - start)

    @contextmanager
    def _open(self, request: urllib.request.Request) -> Iterator[Any]:
        try:
            response = urllib.request.urlopen(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            error.close()
            said = f"the server answers {error.code} {error.reason}".rstrip()
            if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                said = "not the official file, since it ends before the part that is here"
            raise _FailedError(said, passing=error.code in _PASSING_STATUS) from error
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error) from error
        with response:
            yield response

    def _agreed_start(self, response: Any, start: int) -> int:
        """From which byte on the server sends: `start`, or 0 where it cannot or does not know.

        Raises:
            _FailedError: its file has another size.
        """
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            pattern = r"bytes (\d+)-\d+/(\d+|\*)"
            match = re.fullmatch(pattern, response.headers.get("Content-Range", ""))
            if match is None or int(match[1]) != start:
                self.partial.unlink()
                raise _FailedError("the server sends another part than asked for", passing=True)
            total = self.file.size if match[2] == "*" else int(match[2])
        else:
            start = 0
            total = self.file.size if response.length is None else response.length
        if total != self.file.size:
            raise _FailedError(
                f"not the official file, since it has {total:,} bytes, not {self.file.size:,}"
            )
        return start

    def _copy(self, response: Any, target: Any, task: Task, missing: int) -> None:
        done, since, lately = 0, time.monotonic(), 0
        while done < missing:
            try:
                # `read` would wait for all it is asked for; this returns what has come.
                chunk = response.read1(min(_CHUNK_BYTES, missing - done))
            except (OSError, http.client.HTTPException) as error:
                raise self._broken(error) from error
            if not chunk:
                raise _FailedError("the connection broke off", passing=True)
            target.write(chunk)
            task.advance((done + len(chunk)) // 1000 - done // 1000)
            done += len(chunk)
            lately += len(chunk)
            if time.monotonic() - since > self.timeout:
                if lately < _SLOWEST_BYTES_PER_SECOND * self.timeout:
                    raise _FailedError(f"{lately} bytes in {self.timeout:g} s only", passing=True)
                since, lately = time.monotonic(), 0

    def _broken(self, error: Exception) -> _FailedError:
        """What a failure of the network means."""
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, TimeoutError):
            return _FailedError(f"no answer within {self.timeout:g} s", passing=True)
        if isinstance(cause, socket.gaierror):
            return _FailedError(f"the host is not found ({cause.strerror})", offline=True)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _FailedError(f"its certificate is not trusted ({cause.verify_message})")
        if isinstance(cause, ConnectionRefusedError):
            return _FailedError("connection refused", passing=True)
        if isinstance(cause, OSError) and cause.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            return _FailedError(f"the host is not reached ({cause.strerror})", offline=True)
        if isinstance(cause, ConnectionError):
            return _FailedError("the connection broke off", passing=True)
        return _FailedError(f"no web server's answer ({cause or type(cause).__name__})")

    def _explain(self, failures: dict[str, _FailedError]) -> str:
        kept = self.arrived / self.file.size
        end = f"; {kept:.0%} is kept, and the same command continues there" if kept else ""
        if all(failure.offline for failure in failures.values()):
            hosts = ", ".join(dict.fromkeys(urlsplit(url).hostname or url for url in failures))
            reason = next(iter(failures.values()))
            return f"no network to download {self.file.name}: {reason}: {hosts}{end}"
        reasons = "; ".join(
            str(failure) if isinstance(failure, _DamagedError) else f"{url}: {failure}"
            for url, failure in failures.items()
        )
        return f"cannot download {self.file.name}: {reasons}{end}"


class _DamagedError(_FailedError):
    """What arrived is complete and wrong."""


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
