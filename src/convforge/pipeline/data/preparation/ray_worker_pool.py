"""The machines of a Ray cluster at work on independent jobs; `WorkerPool` has this one's cores.

Plain tasks and not Ray Data: a shard is made and written by the same task, so nothing but its
report would flow through a pipeline of blocks.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convforge.errors import InputError, UnfinishedError
from convforge.pipeline.data.preparation.worker_pool import Job, Result, Stopped
from convforge.pipeline.filesystem.atomic_folder import KEY
from convforge.pipeline.ray_cluster import RayCluster

# Waiting in line for each core, so that none is idle while the next job is on its way.
_JOBS_A_CORE = 2
# A job whose machine or process is lost is done again as often as this.
_RETRIES = 3
_CANCEL_SECONDS = 10.0


@dataclass(frozen=True)
class Common:
    """What every machine must have as the one that asks has it.

    Args:
        folder: that is written to; its file `key` was written a moment ago.
        key: what that file holds.
        sources: the files and folders of the images, with the sizes of the files.
        versions: of whatever decides about the bytes of a shard.
    """

    folder: Path
    key: str
    sources: tuple[tuple[Path, int], ...]
    versions: str

    @classmethod
    def here(cls, folder: Path, sources: Iterable[Path], versions: str) -> Common:
        """As this machine has it."""
        key = (folder / KEY).read_text(encoding="utf-8")
        return cls(folder, key, tuple((path, _size(path)) for path in sources), versions)

    def check(self, versions: str) -> None:
        """Refuse to work on a machine that sees other files or has other versions.

        Without this a machine that lacks the images would report each of them as damaged.

        Raises:
            InputError: which file or version is another, on which machine.
        """
        name = socket.gethostname()
        if versions != self.versions:
            raise InputError(f"{name} has {versions}, not {self.versions}: install the same there")
        wrong = [path for path, size in self.sources if _size(path) != size]
        try:
            if (self.folder / KEY).read_text(encoding="utf-8") != self.key:
                wrong.append(self.folder)
        except OSError:
            wrong.append(self.folder)
        if wrong:
            raise InputError(
                f"{name} does not see {wrong[0]} as this machine does: images and output must lie "
                "on storage that all machines of the cluster share, at the same path"
            )


def _size(path: Path) -> int:
    """Of a file; 0 of a folder, −1 of nothing."""
    if path.is_dir():
        return 0
    return path.stat().st_size if path.is_file() else -1


class RayWorkerPool:
    """Runs jobs as tasks of a Ray cluster.

    Args:
        ray: Ray's module, connected.
        common: what each machine is asked for before its first job.
        versions: gives those of the machine that it runs on.
        most: jobs that are under way at once, or None for as many as keep the cluster busy.
    """

    def __init__(
        self, ray: Any, common: Common, versions: Callable[[], str], most: int | None
    ) -> None:
        self._ray = ray
        self._common, self._versions = common, versions
        cores = int(ray.cluster_resources().get("CPU", 1))
        self._most = most or max(1, cores * _JOBS_A_CORE)
        self._task = ray.remote(max_retries=_RETRIES)(_call)

    def run(
        self, function: Callable[[Job, Stopped], Result], jobs: Iterable[Job]
    ) -> Iterator[Result]:
        """The results of `function` on each of `jobs`, as they come.

        Raises:
            InputError: a machine sees other files than this one.
            UnfinishedError: a job was lost with its process or machine again and again.
        """
        pending: list[Any] = []
        try:
            for job in jobs:
                call = self._task.remote(function, job, self._common, self._versions)
                pending.append(call)
                if len(pending) >= self._most:
                    yield self._next(pending)
            while pending:
                yield self._next(pending)
        finally:
            for call in pending:
                self._ray.cancel(call)
            # A job that is left alone would go on writing while the next run does.
            if pending:
                self._ray.wait(pending, num_returns=len(pending), timeout=_CANCEL_SECONDS)

    def _next(self, pending: list[Any]) -> Any:
        (done, *_), left = self._ray.wait(pending, num_returns=1)
        pending[:] = left
        errors = self._ray.exceptions
        try:
            return self._ray.get(done)
        except errors.RayTaskError as error:
            raise error.cause from error
        except errors.RayError as error:
            why = str(error).splitlines()[0]
            raise UnfinishedError(
                f"the cluster lost a job {_RETRIES + 1} times ({why}); the same command continues"
            ) from error


@contextmanager
def ray_worker_pool(
    cluster: RayCluster, common: Common, versions: Callable[[], str], most: int | None
) -> Iterator[RayWorkerPool]:
    """Workers on `cluster`, connected for as long as the block runs."""
    with cluster.connected() as ray:
        yield RayWorkerPool(ray, common, versions, most)


_checked: set[Common] = set()


def _call(
    function: Callable[[Job, Stopped], Result],
    job: Job,
    common: Common,
    versions: Callable[[], str],
) -> Result:
    """In a process of the cluster, which serves many jobs."""
    if common not in _checked:
        common.check(versions())
        _checked.add(common)
    return function(job, _never)


def _never() -> bool:
    return False
