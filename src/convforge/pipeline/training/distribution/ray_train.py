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
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Generic, TypeVar, cast

from rich.console import Console

from convforge.errors import DivergenceError, InputError, UnfinishedError
from convforge.geometry import ArgumentError
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.ray_cluster import RayCluster, carried_credentials, carried_environment
from convforge.pipeline.settings.distribution import ProcessDistribution, RayDistribution
from convforge.pipeline.training.resume.code_fingerprint import changed_code, code_fingerprint

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
        InputError: there is no Ray or no cluster, the cluster has no room for a first start, or
            `train` says so.
        UnfinishedError: processes were lost more than `distribute.retries` times.
    """
    with (
        # Ray's own lines are many and tell of its actors, not of the training.
        RayCluster(asked.address).connected(log_to_driver=False) as ray,
        _relayed(progress) as lines,
    ):
        part = RayPart(
            train,
            root,
            str(Path.cwd()),
            code_fingerprint("jax"),
            progress.verbosity,
            lines,
            asked.patience,
        )
        left = asked.retries
        while True:
            _tell_of_little_room(ray.cluster_resources(), asked, progress)
            try:
                return _fit(asked, part)
            except UnfinishedError as error:
                has_started = left < asked.retries or not isinstance(error, NotStartedError)
                if not left or not has_started:
                    raise
                left -= 1
                progress.warn(f"{error}; all begin again from the last checkpoint")


class NotStartedError(UnfinishedError):
    """The cluster had no room for the processes, or lost a machine while they started."""


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
        patience: seconds that the first one has to record an error that all of them meet.
        credentials: for the store of the runs, of who starts it.
    """

    train: Callable[[Progress], T]
    root: Path
    folder: str
    code: Mapping[str, str]
    verbosity: Verbosity
    lines: Any
    patience: int
    credentials: Mapping[str, str] = field(default_factory=carried_credentials, repr=False)

    def __call__(self) -> T:
        self._check()
        os.environ.update(self.credentials)
        os.chdir(self.folder)
        leads = _rank() == 0
        try:
            return self.train(self._progress(leads))
        except UnfinishedError:
            raise
        except Exception as error:
            if not leads:
                # Ray kills all processes when one of them has raised anything.
                time.sleep(self.patience)
            if isinstance(error, DivergenceError):
                # Without the model, which need not travel.
                raise DivergenceError(str(error)) from None
            if isinstance(error, (InputError, ArgumentError)):
                raise InputError(str(error)) from None
            raise

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
        other = changed_code(self.code, code_fingerprint("jax"))
        if other:
            raise InputError(f"{name} has other code, {', '.join(other)}: install the same there")

    def _progress(self, leads: bool) -> Progress:
        if not leads:
            return Progress(Verbosity.QUIET)
        file = cast(IO[str], _Lines(self.lines))
        return Progress(self.verbosity, Console(file=file, highlight=False, soft_wrap=True))


def _rank() -> int:
    from ray.train import get_context

    return int(get_context().get_world_rank())


class _Lines(io.TextIOBase):
    """A file whose lines go to a queue."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self._line = ""

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        from ray.exceptions import RayError

        # What cannot be said costs no run.
        with suppress(RayError):
            for line in lines:
                self._queue.put(line)
        return len(text)


@contextmanager
def _relayed(progress: Progress) -> Iterator[Any]:
    """A queue whose lines are said here."""
    import ray
    from ray.exceptions import RayError
    from ray.util.queue import Queue
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # On this machine: it must outlive the others.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})

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

    # Where Ray Train would keep checkpoints of its own, if it were given any.
    with tempfile.TemporaryDirectory(prefix="convforge-ray-") as folder, _own_interrupt():
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
                failure_config=FailureConfig(
                    max_failures=0, controller_failure_limit=0, max_preemption_failures=0
                ),
                logging_config=LoggingConfig(log_level="CRITICAL"),
            ),
        )
        return cast(T, result_of(trainer, asked))


def result_of(trainer: Any, asked: RayDistribution) -> Any:
    """What the first process returns; its own error where one of them has raised any."""
    from ray.train import ControllerError, TrainingFailedError, WorkerGroupError

    try:
        return trainer.fit().return_value
    except WorkerGroupError as error:
        failures = error.worker_failures
        lost = [rank for rank, failure in failures.items() if _is_rays(failure)]
        for rank, failure in failures.items():
            # Those that are left only say that they have lost one.
            if rank in lost or isinstance(failure, UnfinishedError):
                continue
            if isinstance(failure, InputError):
                raise failure from None
            raise
        which = f"rank {', '.join(map(str, lost))}" if lost else "one"
        raise UnfinishedError(f"distribute=ray: lost {which} of {asked.count} processes") from error
    except ControllerError as error:
        why = " ".join(str(error.controller_failure).split()).partition(". ")[0]
        raise NotStartedError(
            f"distribute=ray: the processes were not started: {why}; "
            "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S gives more time"
        ) from error
    except TrainingFailedError as error:
        why = " ".join(str(error).split())
        raise UnfinishedError(f"distribute=ray: lost processes: {why}") from error
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
    from ray.train.collective import broadcast_from_rank_zero

    rank = _rank()
    coordinator = broadcast_from_rank_zero(_free_address() if rank == 0 else None)
    return ProcessDistribution(
        name="processes",
        coordinator=coordinator,
        count=asked.count,
        rank=rank,
        patience=asked.patience,
    )


def check_devices(asked: RayDistribution) -> None:
    """Refuse to train on other devices than `asked` for.

    Raises:
        InputError: this process has fewer or more accelerators, or JAX cannot use them.
    """
    import jax

    there = jax.local_devices()
    gpus = [device for device in there if device.platform == "gpu"]
    if asked.gpus_per_process and len(gpus) != asked.gpus_per_process:
        raise InputError(
            f"distribute.gpus_per_process={asked.gpus_per_process}, but on "
            f"{socket.gethostname()} JAX finds {', '.join(map(str, there))}: install JAX for them"
        )


def _free_address() -> str:
    """Of this machine as the others reach it, with a port that nothing uses just now."""
    import ray

    host = ray.util.get_node_ip_address()
    with socket.socket() as server:
        server.bind((host, 0))
        return f"{host}:{server.getsockname()[1]}"
