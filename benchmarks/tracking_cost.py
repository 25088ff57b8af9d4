"""What tracking costs a run: each epoch's figures, and the model at its end.

    python benchmarks/tracking_cost.py [--rounds 5] [--steps 2000] [--milliseconds 5]

A step is one matrix product of some milliseconds, on one thread and without Python's lock, as a
training step is one call of the backend. A run writes two figures to its journal and wakes the
sender, which delivers them meanwhile, to a SQLite file or to `mlflow server` on loopback: after
each 100 steps, a short epoch, which is what `convforge train` does; and after every step, the worst
case, for a tenth of the steps. Beside it the same loop without tracking, and with MLflow's own
`log_metrics` after every step. In turn, round after round, each with a run of its own; what begins
and ends a run is not counted, and what its end waits for is a row of its own.

The model: ours, as the sender logs it, beside `mlflow.keras.log_model` of the same network.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")

import numpy as np
from measurement import ROOT, Row, measure, options, report, say, trained_for_one_step

# The server that the tests use.
sys.path.insert(0, str(ROOT / "tests" / "tracking"))

from mlflow_server import running_server

from convforge.pipeline.composition import compose_config, settings_of
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.project import project_root
from convforge.pipeline.tracking.clients import Clients
from convforge.pipeline.tracking.replay import State
from convforge.pipeline.tracking.store import Store, quiet_mlflow
from convforge.pipeline.tracking.tracker import Tracker

NONE = "not tracked"
QUIET = Progress(Verbosity.QUIET)
_EPOCH = 100


def matrix_for(milliseconds: float) -> Any:
    """A matrix whose product with itself takes so long here, by the fastest of some tries."""
    side = 256
    matrix = _random(side)
    fastest = min(loop(20, matrix, lambda step: None) for _ in range(10))
    return _random(max(16, round(side * (milliseconds / fastest) ** (1 / 3))))


def _random(side: int) -> Any:
    return np.random.default_rng(0).normal(size=(side, side)).astype("float32")


def loop(steps: int, matrix: Any, after: Callable[[int], object]) -> float:
    """Milliseconds a step."""
    start = time.perf_counter()
    for step in range(steps):
        matrix @ matrix
        after(step)
    return 1e3 * (time.perf_counter() - start) / steps


def tracked(
    uri: str, folder: Path, steps: int, matrix: Any, every: int, ends: list[float]
) -> float:
    """Milliseconds a step of a loop with our tracker; how long its end took goes to `ends`."""
    config = compose_config(project_root(), ["tracking.system_metrics=false"])
    settings = settings_of(config).tracking.model_copy(update={"uri": uri})
    run = Path(tempfile.mkdtemp(dir=folder))
    tracker = Tracker(settings, run, folder, QUIET, kind="train")
    tracker.journal.begin(name="loop", tags={}, params={}, key=tracker.key, store=tracker.store)
    tracker.start()
    # A real run builds its network meanwhile.
    while State.read(tracker.journal.folder).run_id is None:
        time.sleep(0.05)

    def after(step: int) -> None:
        if (step + 1) % every == 0:
            tracker.journal.metrics({"loss": 1 / (step + 1), "accuracy": 0.5}, step)
            tracker.wake()

    taken = loop(steps, matrix, after)
    tracker.journal.end("FINISHED")
    start = time.perf_counter()
    tracker.finish()
    ends.append(time.perf_counter() - start)
    assert tracker.delivered, f"{uri} has not got all of the run"
    return taken


def logged_by_mlflow(uri: str, steps: int, matrix: Any) -> float:
    """Milliseconds a step of a loop that calls MLflow itself."""
    import mlflow

    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("convforge")
    with mlflow.start_run():
        return loop(
            steps,
            matrix,
            lambda step: mlflow.log_metrics({"loss": 1 / (step + 1), "accuracy": 0.5}, step),
        )


def rows_of_figures(given: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """The loop, and its end."""
    quiet_mlflow()
    matrix = matrix_for(given.milliseconds)
    few = max(1, given.steps // 10)
    ends: dict[str, list[float]] = {}
    arms: dict[str, Callable[[], float]] = {
        NONE: partial(loop, given.steps, matrix, lambda step: None)
    }
    with ExitStack() as stack:
        (folder / "server").mkdir()
        server = stack.enter_context(running_server(folder / "server"))
        stores = {"SQLite": f"sqlite:///{folder}/mlflow.db", "a server": server.uri}
        for steps, every, how in ((given.steps, _EPOCH, "each epoch"), (few, 1, "each step")):
            for name, uri in stores.items():
                if every > 1:
                    say(f"{name}: makes the store")
                    tracked(uri, folder, 1, matrix, 1, [])
                arm = f"{how}, {name}"
                of = ends.setdefault(arm, [])
                arms[arm] = partial(tracked, uri, folder, steps, matrix, every, of)
        arms["each step, mlflow.log_metrics to SQLite"] = partial(
            logged_by_mlflow, stores["SQLite"], few, matrix
        )
        name = f"{given.steps * given.rounds:,} steps of {given.milliseconds:g} ms"
        row = measure(Row(name, "ms", base=NONE), arms, given.rounds)
        yield row
    found = {arm: values for arm, values in ends.items() if values}
    yield Row("the end of such a run", "s", rounds=found)


def row_of_model(given: argparse.Namespace, folder: Path) -> Row:
    """The model of a run of one step."""
    run = trained_for_one_step(folder)
    store = Store(f"sqlite:///{folder}/models.db", "convforge")
    client: Any = Clients(QUIET.warn).of(store)

    def ours() -> float:
        run_id, _ = client.begin(
            str(time.time_ns()), name="r", time=time.time_ns() // 10**6, tags={}, completes=None
        )
        start = time.perf_counter()
        for _ in client.model(run_id, run / "model", None):
            pass
        return time.perf_counter() - start

    def theirs() -> float:
        import keras
        import mlflow

        network = keras.saving.load_model(run / "model" / "model.keras")
        mlflow.set_tracking_uri(store.uri)
        mlflow.set_experiment("convforge")
        with mlflow.start_run():
            start = time.perf_counter()
            mlflow.keras.log_model(network, name="model")
            return time.perf_counter() - start

    ours()  # The first makes the store and imports.
    arms = {"ours": ours, "mlflow.keras.log_model": theirs}
    row = Row("logging a trained model", "s", base="mlflow.keras.log_model")
    return measure(row, arms, given.model_rounds)


def rows(given: argparse.Namespace) -> Iterator[Row]:
    """Figures, then models."""
    with tempfile.TemporaryDirectory() as folder:
        yield from rows_of_figures(given, Path(folder))
        yield row_of_model(given, Path(folder))


def main() -> None:
    parser = options(__doc__, rounds=5)
    parser.add_argument("--steps", type=int, default=2000, help="of each arm and round")
    parser.add_argument("--milliseconds", type=float, default=5.0, help="of a step")
    parser.add_argument("--model-rounds", type=int, default=3)
    given = parser.parse_args()
    report(rows(given), given.json)


if __name__ == "__main__":
    main()
