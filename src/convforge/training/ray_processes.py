"""Processes that Ray Train starts on the machines of a cluster, and that train as one.

Ray Train finds the machines, starts a process on each and notices at once when one is lost; the
processes then are those of `jax.distributed`, as if each had been started by hand. Ray's own
`JaxConfig` is not used: on processors it joins nothing, and each process would train by itself.
"""

from __future__ import annotations

import io
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Generic, TypeVar, cast

from rich.console import Console

from convforge.errors import DivergenceError, InputError, UnfinishedError
from convforge.geometry import ArgumentError
from convforge.progress import Progress, Verbosity
from convforge.ray_cluster import RayCluster, carried_environment
from convforge.settings import ProcessDistribution, RayDistribution
from convforge.tracking.store import store_root
from convforge.training.code import code_identity

T = TypeVar("T")


def on_ray(
    asked: RayDistribution, train: Callable[[Progress], T], root: Path, progress: Progress
) -> T:
    """What `train` returns in the first of the processes that `asked` describes.

    When a process is lost, all are started again, and `train` goes on from its last checkpoint.

    Args:
        asked: where and how many.
        train: run in each process, in the folder that the command was given in; what the first of
            them says goes to `progress`.
        root: the project's folder, which all machines share.
        progress: told of what was lost, too.

    Raises:
        InputError: there is no Ray or no cluster, the cluster has no room, or `train` says so.
        UnfinishedError: processes were lost more than `distribute.retries` times.
    """
    with (
        # Ray's own lines are many and tell of its actors, not of the training.
        RayCluster(asked.address).connected(log_to_driver=False) as ray,
        _relayed(progress) as lines,
    ):
        part = RayPart(train, root, str(Path.cwd()), code_identity(), progress.verbosity, lines)
        _tell_of_little_room(ray.cluster_resources(), asked, progress)
        left = asked.retries
        while True:
            try:
                return _fit(asked, part)
            except UnfinishedError as error:
                if not left:
                    raise
                left -= 1
                progress.warn(f"{error}; all begin again from the last checkpoint")


@dataclass(frozen=True)
class RayPart(Generic[T]):
    """What every process does.

    Args:
        train: with the others.
        root: must be there.
        folder: to do it in.
        code: that the machine must have.
        verbosity: of what the first one says.
        lines: the queue for it.
    """

    train: Callable[[Progress], T]
    root: Path
    folder: str
    code: Mapping[str, str]
    verbosity: Verbosity
    lines: Any

    def __call__(self) -> T:
        self._check()
        os.chdir(self.folder)
        try:
            return self.train(self._progress())
        except UnfinishedError:
            raise
        except DivergenceError as error:
            # Without the model, which need not travel.
            raise DivergenceError(str(error)) from None
        except (InputError, ArgumentError) as error:
            raise InputError(str(error)) from None

    def _check(self) -> None:
        """Refuse a machine that sees another project or has other code.

        Raises:
            InputError: names it and what it lacks.
        """
        name = socket.gethostname()
        for folder in (self.root, Path(self.folder)):
            if not folder.is_dir():
                raise InputError(
                    f"{name} has no folder {folder}: the project must lie on storage that all "
                    "machines of the cluster share, at the same path"
                )
        here = code_identity()
        other = [
            f"{key} {here[key]}, not {code}" for key, code in self.code.items() if here[key] != code
        ]
        if other:
            raise InputError(f"{name} has {', '.join(other)}: install the same there")

    def _progress(self) -> Progress:
        from ray.train import get_context

        if get_context().get_world_rank():
            return Progress(Verbosity.QUIET)
        file = cast(IO[str], _Lines(self.lines))
        return Progress(self.verbosity, Console(file=file, highlight=False, soft_wrap=True))


class _Lines(io.TextIOBase):
    """A file whose lines go to a queue."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self._line = ""

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._queue.put(line)
        return len(text)


@contextmanager
def _relayed(progress: Progress) -> Iterator[Any]:
    """A queue whose lines are said here."""
    from ray.exceptions import RayError
    from ray.util.queue import Queue

    queue = Queue(actor_options={"num_cpus": 0})

    def relay() -> None:
        with suppress(RayError):
            while (line := queue.get()) is not None:
                progress.console.print(line, markup=False, emoji=False)

    thread = threading.Thread(target=relay, name="lines of the first process", daemon=True)
    thread.start()
    try:
        yield queue
    finally:
        with suppress(RayError):
            queue.put(None)
        thread.join()


def _fit(asked: RayDistribution, part: RayPart[T]) -> T:
    """One start of all processes, until they end."""
    from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
    from ray.train.v2.jax import JaxConfig, JaxTrainer

    outputs = store_root(part.root) / "outputs"
    outputs.mkdir(exist_ok=True)
    # Where Ray Train would keep checkpoints of its own, for all machines to see.
    with tempfile.TemporaryDirectory(prefix=".ray-", dir=outputs) as folder, _own_interrupt():
        trainer = JaxTrainer(
            part,
            jax_config=JaxConfig(),
            scaling_config=ScalingConfig(
                num_workers=asked.count,
                use_gpu=asked.gpus_per_process > 0,
                resources_per_worker=asked.resources(),
                placement_strategy="SPREAD",
            ),
            run_config=RunConfig(
                name="convforge",
                storage_path=folder,
                worker_runtime_env={"env_vars": carried_environment()},
                # A cluster without room is told of, not waited for without end.
                failure_config=FailureConfig(max_failures=0, controller_failure_limit=0),
                logging_config=LoggingConfig(log_level="CRITICAL"),
            ),
        )
        return cast(T, _result(trainer, asked))


def _result(trainer: Any, asked: RayDistribution) -> Any:
    """What the first process returns; its own error where one of them has raised any."""
    from ray.train import ControllerError, WorkerGroupError

    try:
        return trainer.fit().return_value
    except WorkerGroupError as error:
        failures = error.worker_failures
        for failure in failures.values():
            if isinstance(failure, InputError) and not isinstance(failure, UnfinishedError):
                raise failure from None
        # The others only say that they have lost one.
        lost = [rank for rank, failure in failures.items() if _is_rays(failure)]
        if not lost and not any(isinstance(one, UnfinishedError) for one in failures.values()):
            raise
        which = f"rank {', '.join(map(str, lost))}" if lost else "one"
        raise UnfinishedError(f"distribute=ray: lost {which} of {asked.count} processes") from error
    except ControllerError as error:
        why = " ".join(str(error.controller_failure).split()).partition(". ")[0]
        raise InputError(
            f"distribute=ray: the processes were not started: {why}; "
            "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S gives more time"
        ) from error
    except SystemExit as end:
        # What Ray Train's own handler makes of Ctrl-C, once it has stopped the processes.
        raise KeyboardInterrupt from end


def _is_rays(failure: BaseException) -> bool:
    """Whether Ray says it of a process, not the process of itself."""
    return type(failure).__module__.partition(".")[0] == "ray"


def _tell_of_little_room(
    there: Mapping[str, float], asked: RayDistribution, progress: Progress
) -> None:
    for name, each in asked.resources().items():
        wanted, has = each * asked.count, there.get(name, 0)
        if wanted > has:
            progress.warn(
                f"the cluster has {has:g} {name} and distribute.count={asked.count} needs "
                f"{wanted:g}: waiting for more"
            )


@contextmanager
def _own_interrupt() -> Iterator[None]:
    """Ray Train leaves a handler of its own behind."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


def place_on_ray(asked: RayDistribution) -> ProcessDistribution:
    """Which of the processes this one is, and where the first can be reached."""
    from ray.train import get_context
    from ray.train.collective import broadcast_from_rank_zero

    rank = get_context().get_world_rank()
    coordinator = broadcast_from_rank_zero(_free_address() if rank == 0 else None)
    return ProcessDistribution(
        name="processes",
        coordinator=coordinator,
        count=asked.count,
        rank=rank,
        patience=asked.patience,
    )


def _free_address() -> str:
    """Of this machine as the others reach it, with a port that nothing uses just now."""
    import ray

    host = ray.util.get_node_ip_address()
    with socket.socket() as server:
        server.bind((host, 0))
        return f"{host}:{server.getsockname()[1]}"
