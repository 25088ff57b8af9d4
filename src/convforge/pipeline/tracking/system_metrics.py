"""How busy the machine is while a run trains: MLflow's own figures, in the run's journal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from convforge.pipeline.tracking.journal import Journal
from convforge.pipeline.tracking.store import quiet_mlflow

#: What MLflow's pages know such figures by.
PREFIX = "system/"
#: The name of the thread that reads them.
THREAD = "system metrics"
# A run that is so many intervals old has a point less often: in proportion to its age.
_STEADY_POINTS = 200
# Reading the figures takes milliseconds; what hangs must not hold up the end of a run.
_STOP_SECONDS = 2.0


@contextmanager
def system_metrics(journal: Journal, seconds: float, warn: Callable[[str], None]) -> Iterator[None]:
    """Write the machine's figures to `journal` while the block runs.

    MLflow's own monitor writes to a store, and ends when the store does not answer; here its
    collectors alone are used. A run that goes on counts its steps on.

    Args:
        journal: of the run; nothing is written to it after the block.
        seconds: between two points at first. After 200 points it is a 200th of the time that has
            passed, so that a run of a week has some 1,500 points.
        warn: told once, where the figures cannot be read or written.
    """
    monitor = _Monitor(journal, seconds, warn)
    monitor.start()
    try:
        yield
    finally:
        monitor.stop()


class _Monitor:
    def __init__(self, journal: Journal, seconds: float, warn: Callable[[str], None]) -> None:
        self._journal, self._seconds, self._warn = journal, seconds, warn
        # Made here, since the thread must not import beside the training.
        self._collectors = list(_collectors())
        self._step = journal.last_system_step + 1
        self._began = time.monotonic()
        self._stopping = threading.Event()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=THREAD, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(_STOP_SECONDS)
        with self._writing:
            pass  # From here on it writes nothing, even if it hangs in a reading and goes on.

    def _run(self) -> None:
        try:
            # Since the machine was started, or since never: it counts for each thread.
            _read(self._collectors)
            while not self._stopping.wait(self._pause()):
                self._write(_read(self._collectors))
        except Exception as error:
            self._warn(f"tracking: no system metrics any more: {error}")

    def _pause(self) -> float:
        return max(self._seconds, (time.monotonic() - self._began) / _STEADY_POINTS)

    def _write(self, figures: Mapping[str, float]) -> None:
        with self._writing:
            if self._stopping.is_set() or not figures:
                return
            self._journal.system_metrics(
                {f"{PREFIX}{name}": value for name, value in figures.items()}, self._step
            )
        # Nobody is woken: they are sent with what else there is, or some seconds later.
        self._step += 1


def _collectors() -> Iterator[Any]:
    """MLflow's, of what there is in this machine."""
    quiet_mlflow()
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
    from mlflow.system_metrics.metrics.rocm_monitor import ROCMMonitor

    for kinds in ((CPUMonitor,), (DiskMonitor,), (NetworkMonitor,), (GPUMonitor, ROCMMonitor)):
        for kind in kinds:
            with suppress(Exception):  # No such device, or no library to ask it.
                yield kind()
                break


def _read(collectors: list[Any]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for collector in collectors:
        collector.collect_metrics()
        figures |= {name: float(value) for name, value in collector.aggregate_metrics().items()}
        collector.clear_metrics()
    return figures
