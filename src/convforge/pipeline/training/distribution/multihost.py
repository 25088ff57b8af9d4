"""Several processes that train as one, through `jax.distributed`."""

from __future__ import annotations

import atexit
import json
import os
import pickle
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import jax
import numpy as np
from jax.experimental import multihost_utils

from convforge.errors import InputError, UnfinishedError
from convforge.geometry import ArgumentError
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.settings.distribution import ProcessDistribution, is_address
from convforge.pipeline.settings.run import Settings, changed_keys
from convforge.pipeline.training.resume.code_fingerprint import code_fingerprint

T = TypeVar("T")

COORDINATOR, PROCESSES, RANK = "CONVFORGE_COORDINATOR", "CONVFORGE_PROCESSES", "CONVFORGE_RANK"
# Between the first process and the last to be started.
_SECONDS_TO_JOIN = 300
# The exit statuses of `convforge.pipeline.stages.entry.run_guarded`.
MISTAKE, INTERRUPTED = 2, 130


def join(asked: ProcessDistribution, *, alone_on_devices: bool = False) -> None:
    """Become one of the processes that `asked` names, or the environment.

    Args:
        asked: who and where.
        alone_on_devices: whether all devices that this process sees are its own, whatever the
            variables of a scheduler say.

    Raises:
        InputError: neither names them, or they do not find each other.
    """
    coordinator, processes, rank = asked_for(asked)
    if not jax.distributed.is_initialized():
        # It would take SIGTERM for itself.
        jax.config.update("jax_enable_preemption_service", False)
        detection = "deactivate" if alone_on_devices else None
        _initialize(coordinator, processes, rank, asked.patience, detection)
    count = jax.process_count()
    if processes is not None and count != processes:
        raise InputError(
            f"distribute.count={processes}, but JAX counts {count}: each would train by itself"
        )


def _initialize(
    coordinator: str | None,
    processes: int | None,
    rank: int | None,
    patience: int,
    detection: str | None,
) -> None:
    # jax.distributed itself would end the process with a trace of C++.
    end = threading.Timer(_SECONDS_TO_JOIN, _give_up, [coordinator, processes])
    end.daemon = True
    end.start()
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            rank,
            cluster_detection_method=detection,
            initialization_timeout=2 * _SECONDS_TO_JOIN,
            heartbeat_timeout_seconds=patience,
        )
    except (ValueError, TypeError) as error:
        raise InputError(f"distribute=processes: {_NOT_TOLD} ({error})") from error
    except RuntimeError as error:
        raise InputError(f"distribute=processes: cannot start: {_first_line(error)}") from error
    finally:
        end.cancel()


def _give_up(coordinator: str | None, processes: int | None) -> None:
    print(
        f"error: distribute=processes: not all {processes or 'processes'} met at {coordinator} "
        f"within {_SECONDS_TO_JOIN} seconds: start as many, with the same coordinator",
        file=sys.stderr,
        flush=True,
    )
    os._exit(MISTAKE)


def lost(patience: int) -> str:
    """What to say when another process is gone."""
    return (
        "distribute=processes: another process has ended or been silent for "
        f"distribute.patience={patience} seconds; its own output says why. Start all of them again"
    )


@contextmanager
def together(patience: int) -> Iterator[None]:
    """A block in which the processes compute together; an error in one ends them all.

    Raises:
        UnfinishedError: another process is gone.
    """
    try:
        yield
    except (InputError, ArgumentError):
        _leave_at_once(MISTAKE)
        raise
    except KeyboardInterrupt:
        _leave_at_once(INTERRUPTED)
        raise
    except (RuntimeError, ValueError) as error:
        if not says_lost(error):
            _leave_at_once(1)
            raise
        _leave_at_once(MISTAKE)
        raise UnfinishedError(lost(patience)) from error
    except Exception:
        _leave_at_once(1)
        raise


def says_lost(error: Exception) -> bool:
    """Whether gloo, NCCL or jax.distributed says that a connection is broken."""
    return _LOST.search(str(error)) is not None


_LOST = re.compile(r"Gloo|NCCL|oordination ?[sS]ervice|heartbeat|Connection (reset|closed)")


def _leave_at_once(status: int) -> None:
    """Exit with `status` and without jax.distributed's farewell, which waits for the others.

    They may be waiting for this process themselves, and learn from its end that it has ended.
    """

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    atexit.register(leave)


_NOT_TOLD = (
    "who takes part? give distribute.coordinator=HOST:PORT, distribute.count and "
    f"distribute.rank, or the variables {COORDINATOR}, {PROCESSES} and {RANK}, or start it with "
    "srun"
)


def asked_for(asked: ProcessDistribution) -> tuple[str | None, int | None, int | None]:
    """Coordinator, number of processes and rank from the config or our environment variables.

    Raises:
        InputError: a variable has a value that it cannot have.
    """
    coordinator = asked.coordinator or os.environ.get(COORDINATOR) or None
    if coordinator is not None and not is_address(coordinator):
        raise InputError(f"{COORDINATOR}={coordinator} is not allowed: give HOST:PORT")
    processes = _number(PROCESSES, 1) if asked.count is None else asked.count
    rank = _number(RANK, 0) if asked.rank is None else asked.rank
    if rank is not None and processes is not None and rank >= processes:
        raise InputError(f"rank {rank} is not allowed: give 0 to {processes - 1}")
    return coordinator, processes, rank


def _number(name: str, least: int) -> int | None:
    text = os.environ.get(name)
    if not text:
        return None
    if not text.isdecimal() or int(text) < least:
        raise InputError(f"{name}={text} is not allowed: give a number ≥ {least}")
    return int(text)


def run_identity(settings: Settings, manifest: Manifest) -> dict[str, Any]:
    """What must be the same in all processes: config, data, code."""
    config = settings.model_dump(mode="json", by_alias=True)
    # Each process has a rank of its own, and may reach the first one by another name.
    for key in ("rank", "coordinator"):
        config["distribute"].pop(key, None)
    # It changes no weight, and only the first process tracks.
    del config["tracking"]
    return {**config, "data digest": manifest.digest, "code": code_fingerprint("jax")}


def check_same(identity: Mapping[str, Any]) -> None:
    """Compare what all processes are about to do.

    Raises:
        InputError: in every process, if one of them has another `identity` than the first.
    """
    first, *others = map(json.loads, all_gather(json.dumps(identity)))
    for rank, other in enumerate(others, start=1):
        if other != first:
            raise InputError(
                f"distribute=processes: rank {rank} was started to train something else than "
                f"rank 0: {', '.join(changed_keys(first, other))}"
            )


def all_gather(text: str) -> list[str]:
    """The texts of all processes, by rank."""
    own = np.frombuffer(text.encode(), np.uint8)
    sizes = np.ravel(multihost_utils.process_allgather(np.array([own.size])))
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: own.size] = own
    gathered = np.reshape(multihost_utils.process_allgather(padded), (sizes.size, -1))
    return [
        row[:size].astype(np.uint8).tobytes().decode()
        for row, size in zip(gathered, sizes, strict=True)
    ]


def broadcast(value: T) -> T:
    """What the process of rank 0 has for `value`."""
    own = pickle.dumps(value) if jax.process_index() == 0 else b""
    size = int(multihost_utils.broadcast_one_to_all(np.array(len(own))))
    padded = np.zeros(size, np.uint8)
    padded[: len(own)] = np.frombuffer(own, np.uint8)
    whole = np.asarray(multihost_utils.broadcast_one_to_all(padded), np.uint8)
    return cast(T, pickle.loads(whole.tobytes()))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
