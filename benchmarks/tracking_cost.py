"""What tracking costs a run: each epoch's figures, and the model at its end.

    python benchmarks/tracking_cost.py [--rounds 10] [--steps 1000] [--milliseconds 5]

A loop does matrix products of some milliseconds, on one thread and without Python's lock, as a
training step does, and after each writes two figures to a run's journal and wakes the sender, as an
epoch does: the worst case, since an epoch takes longer than a step. The sender delivers meanwhile,
to a SQLite file or to `mlflow server` on loopback. Beside it the same loop without tracking, and
with MLflow's own `log_metrics` after each step. In turn, round after round, each with a run of its
own; what begins and ends a run is not counted, what its end waits for is a row of its own.

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
from measurement import ROOT, Row, measure, options, report, trained_for_one_step

# The server that the tests use.
sys.path.insert(0, str(ROOT / "tests" / "tracking"))

from mlflow_server import running_server

from convforge.pipeline.composition import compose_config, settings_of
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.project import project_root
from convforge.pipeline.tracking.clients import Clients
from convforge.pipeline.tracking.store import Store, quiet_mlflow
from convforge.pipeline.tracking.tracker import Tracker

NONE = "not tracked"
QUIET = Progress(Verbosity.QUIET)
_MATRIX = np.random.default_rng(0).normal(size=(256, 256)).astype("float32")


def products_in(milliseconds: float) -> int:
    """How many matrix products take so long here, by the fastest of some tries."""
    times = []
    for _ in range(20):
        start = time.perf_counter()
        work(50)
        times.append((time.perf_counter() - start) / 50)
    return max(1, round(milliseconds / 1e3 / min(times)))


def work(products: int) -> None:
    """What stands for a step."""
    for _ in range(products):
        _MATRIX @ _MATRIX


def loop(steps: int, products: int, after: Callable[[int], object]) -> float:
    """Milliseconds a step."""
    start = time.perf_counter()
    for step in range(steps):
        work(products)
        after(step)
    return 1e3 * (time.perf_counter() - start) / steps


def tracked(uri: str, folder: Path, steps: int, products: int, ends: list[float]) -> float:
    """Milliseconds a step of a loop with our tracker; how long its end took goes to `ends`."""
    config = compose_config(project_root(), ["tracking.system_metrics=false"])
    settings = settings_of(config).tracking.model_copy(update={"uri": uri})
    run = Path(tempfile.mkdtemp(dir=folder))
    tracker = Tracker(settings, run, folder, QUIET, kind="train")
    tracker.journal.begin(name="loop", tags={}, params={}, key=tracker.key, store=tracker.store)
    tracker.start()
    # Until it has made the run: a real one builds its network meanwhile.
    time.sleep(1)

    def after(step: int) -> None:
        tracker.journal.metrics({"loss": 1 / (step + 1), "accuracy": 0.5}, step)
        tracker.wake()

    taken = loop(steps, products, after)
    tracker.journal.end("FINISHED")
    start = time.perf_counter()
    tracker.finish()
    ends.append(time.perf_counter() - start)
    assert tracker.delivered, f"{uri} has not got all of the run"
    return taken


def logged_by_mlflow(uri: str, steps: int, products: int) -> float:
    """Milliseconds a step of a loop that calls MLflow itself."""
    import mlflow

    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("convforge")
    with mlflow.start_run():
        return loop(
            steps,
            products,
            lambda step: mlflow.log_metrics({"loss": 1 / (step + 1), "accuracy": 0.5}, step),
        )


def rows_of_figures(given: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """The loop, and its end."""
    quiet_mlflow()
    products = products_in(given.milliseconds)
    ends: dict[str, list[float]] = {}
    with ExitStack() as stack:
        (folder / "server").mkdir()
        server = stack.enter_context(running_server(folder / "server"))
        stores = {"SQLite": f"sqlite:///{folder}/mlflow.db", "a server": server.uri}
        arms: dict[str, Callable[[], float]] = {
            NONE: partial(loop, given.steps, products, lambda step: None)
        }
        for name, uri in stores.items():
            of = ends.setdefault(f"ours to {name}", [])
            arms[f"ours to {name}"] = partial(tracked, uri, folder, given.steps, products, of)
        # Fewer steps: each waits for the store.
        arms["mlflow.log_metrics to SQLite"] = partial(
            logged_by_mlflow, stores["SQLite"], max(1, given.steps // 10), products
        )
        name = f"{given.steps * given.rounds:,} steps of {given.milliseconds:g} ms"
        row = measure(Row(name, "ms", base=NONE), arms, given.rounds)
        yield row
    yield Row("the end of such a run", "s", rounds={arm: ends[arm] for arm in ends if ends[arm]})


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
    parser = options(__doc__, rounds=10)
    parser.add_argument("--steps", type=int, default=1000, help="of each arm and round")
    parser.add_argument("--milliseconds", type=float, default=5.0, help="of a step")
    parser.add_argument("--model-rounds", type=int, default=3)
    given = parser.parse_args()
    report(rows(given), given.json)


if __name__ == "__main__":
    main()
