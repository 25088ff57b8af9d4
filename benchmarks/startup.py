"""What one waits for before anything happens: commands, DVC with nothing to do, MLflow's pages.

    python benchmarks/startup.py [--rounds 5]

Rows: `convforge --help` and `convforge summary` beside `import keras`, which brings TensorFlow;
`dvc repro` with nothing to do in a clone of this working tree beside `dvc repro` of as many stages
that do nothing; `convforge ui` until its page answers beside `mlflow server` of one worker. Each a
process of its own, in turn, round after round, with files that are in the page cache and byte code
that is there. Start nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from measurement import ROOT, Row, last_words, measure, options, output, report, say

# The clone and the ports that the tests use.
sys.path.insert(0, str(ROOT / "tests" / "pipeline"))
sys.path.insert(0, str(ROOT / "tests" / "tracking"))

# A start is measured with byte code, as it is installed.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

from clone import STAGES, Clone, make_clone
from mlflow_server import free_port

CONVFORGE = (sys.executable, "-m", "convforge")
COMMANDS = {
    "python -c pass": (sys.executable, "-c", "pass"),
    "convforge --help": (*CONVFORGE, "--help"),
    "convforge summary": (*CONVFORGE, "summary"),
    "import keras": (sys.executable, "-c", "import keras"),
}
#: As long as one would wait for a page.
UI_SECONDS = 120


def seconds(command: tuple[str, ...], **how: object) -> float:
    """What a program takes."""
    start = time.perf_counter()
    output(command, {"TF_CPP_MIN_LOG_LEVEL": "3"}, **how)
    return time.perf_counter() - start


def rows(given: argparse.Namespace) -> Iterator[Row]:
    """One after the other."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        arms = {name: partial(seconds, command) for name, command in COMMANDS.items()}
        yield measure(Row("a command", "s", base="import keras"), arms, given.rounds)
        clone = reproduced(folder / "clone" / "convforge")
        alone = idle_stages(folder / "alone", len(STAGES), clone.environment)
        arms = {
            "DVC alone": partial(seconds_of_repro, alone),
            "dvc repro": partial(seconds_of_repro, clone),
        }
        row = Row("dvc repro with nothing to do", "s", base="DVC alone")
        yield measure(row, arms, given.rounds)
        arms = {
            "mlflow server": partial(seconds_until_answer, server_of_mlflow, folder, clone),
            "convforge ui": partial(seconds_until_answer, ui, folder, clone),
        }
        row = Row("pages until they answer", "s", base="mlflow server")
        yield measure(row, arms, given.ui_rounds)


def reproduced(folder: Path) -> Clone:
    """A clone in which everything has run, one step of training for all."""
    say("a clone runs the pipeline once")
    clone = make_clone(folder)
    # So that it runs its own code, as an installed project does.
    environment = {**clone.environment, "PYTHONPATH": str(folder / "src")}
    clone = Clone(folder, environment)
    data = ROOT / "data"
    if data.is_dir():
        shutil.copytree(data, folder / "data")
    else:
        clone.run("dvc", "pull", "data.dvc")
    clone.repro()
    return clone


def idle_stages(folder: Path, count: int, environment: Mapping[str, str]) -> Clone:
    """A repository with a chain of stages that copy a line, all of which have run."""
    folder.mkdir()
    stages = [
        f"  stage{number}:\n    cmd: cp {number}.txt {number + 1}.txt\n"
        f"    deps: [{number}.txt]\n    outs: [{number + 1}.txt]\n"
        for number in range(count)
    ]
    (folder / "dvc.yaml").write_text("stages:\n" + "".join(stages))
    (folder / "0.txt").write_text("a line\n")
    alone = Clone(folder, environment)
    alone.run("git", "init", "-q")
    alone.run("dvc", "init", "-q")
    alone.run("dvc", "config", "core.check_update", "false")
    alone.repro()
    return alone


def seconds_of_repro(clone: Clone) -> float:
    """Of one that finds nothing to do."""
    start = time.perf_counter()
    said = clone.run("dvc", "repro").stdout
    taken = time.perf_counter() - start
    assert "Running stage" not in said, said
    return taken


def ui(clone: Clone, port: int) -> list[str]:
    """Our command."""
    return [*CONVFORGE, "ui", "--port", str(port)]


def server_of_mlflow(clone: Clone, port: int) -> list[str]:
    """MLflow's, on the same store."""
    store = ["--backend-store-uri", f"sqlite:///{clone.folder / 'mlflow.db'}"]
    where = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return [sys.executable, "-m", "mlflow", "server", *store, *where]


def seconds_until_answer(of: object, folder: Path, clone: Clone) -> float:
    """From the start of the command to its page."""
    assert callable(of)
    port = free_port()
    environment = {**clone.environment, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    log = folder / "server.log"
    start = time.perf_counter()
    with log.open("wb") as file:
        process = subprocess.Popen(
            of(clone, port),
            cwd=clone.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        while time.perf_counter() - start < UI_SECONDS:
            if process.poll() is not None:
                raise RuntimeError(last_words(log.read_text()))
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5):
                    return time.perf_counter() - start
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"no answer in {UI_SECONDS} s")
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def main() -> None:
    parser = options(__doc__, rounds=5)
    parser.add_argument("--ui-rounds", type=int, default=3, help="of the pages")
    given = parser.parse_args()
    report(rows(given), given.json)


if __name__ == "__main__":
    main()
