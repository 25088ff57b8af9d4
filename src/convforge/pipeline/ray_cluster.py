"""Ray, which hands independent tasks to the machines of a cluster, or to the cores of this one."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from convforge.errors import InputError
from convforge.pipeline.credentials import VARIABLES

# Of a Ray that is started here: tasks take names and places and give reports, a few kilobytes; only
# the contents of archives that are read in one go pass through it.
_OBJECT_STORE_BYTES = 200 << 20
_CARRIED = ("CONVFORGE_", "DVC_", "HYDRA_", "JAX_", "KERAS_", "MLFLOW_", "TF_", "XLA_")


@dataclass(frozen=True)
class RayCluster:
    """A Ray cluster by its address.

    Args:
        address: of the cluster's head, as `10.0.0.1:6379`; `auto` finds the one that this machine
            belongs to. None takes RAY_ADDRESS from the environment, and where that is not set
            starts a Ray of this machine alone, which ends with its use.
    """

    address: str | None = None

    @classmethod
    def parse(cls, text: str) -> RayCluster:
        """`ray`, or `ray:` and an address.

        Raises:
            InputError: it is something else.

        Example:
            >>> RayCluster.parse("ray:10.0.0.1:6379")
            RayCluster(address='10.0.0.1:6379')
        """
        engine, colon, address = text.partition(":")
        if engine != "ray" or (colon and not address):
            raise InputError(
                f"--cluster={text} is not allowed: give ray, ray:auto or ray:HOST:PORT"
            )
        return cls(address or None)

    @contextmanager
    def connected(self, *, log_to_driver: bool = True) -> Iterator[Any]:
        """Ray's module, connected for as long as the block runs.

        Args:
            log_to_driver: whether what the cluster's processes print comes here.

        Raises:
            InputError: Ray is not installed, or there is no cluster at the address.
        """
        ray = _imported()
        if ray.is_initialized():
            yield ray
            return
        address = self.address or os.environ.get("RAY_ADDRESS") or None
        on_termination = signal.getsignal(signal.SIGTERM)
        own: dict[str, Any] = {
            "object_store_memory": _OBJECT_STORE_BYTES,
            "include_dashboard": False,
        }
        try:
            ray.init(
                address=address or "local",
                logging_level=logging.WARNING,
                log_to_driver=log_to_driver,
                **({} if address else own),
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            if not address:
                raise
            why = " ".join(str(error).split())
            raise InputError(f"no Ray cluster answers at {address}: {why}") from error
        if threading.current_thread() is threading.main_thread():
            # Ray sets one of its own, which ends the process with a trace of C++.
            signal.signal(signal.SIGTERM, on_termination)
        try:
            yield ray
        finally:
            ray.shutdown()


def carried_environment() -> dict[str, str]:
    """The variables of this environment that work elsewhere needs, without credentials.

    Of the others a cluster's machines have their own.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(_CARRIED) and name not in VARIABLES
    }


def carried_credentials() -> dict[str, str]:
    """Those of a store: for a task's arguments alone, since Ray shows a task's environment."""
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}


def _imported() -> Any:
    # Telemetry stays off, as everywhere else; it is asked for before Ray starts.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise InputError("Ray is not installed: pip install 'convforge[cluster]'") from error
    return ray
