"""Nothing is imported, and no source parsed, by the thread that sends while training traces.

CPython counts the depth of syntax trees for all threads together: a module that parses source while
TensorFlow does ended in a SystemError, in either thread, in 3 of 40 runs of a loaded machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from convforge.pipeline.settings.run import Settings
from convforge.pipeline.stages.train import dump

WATCHED = """
import ast, sys, threading

seen, parse = [], ast.parse

def elsewhere():
    return threading.current_thread() is not threading.main_thread()

class Watch:
    def find_spec(self, name, path=None, target=None):
        if elsewhere():
            seen.append(name)

def watched(*arguments, **options):
    if elsewhere():
        seen.append("ast.parse")
    return parse(*arguments, **options)

sys.meta_path.insert(0, Watch())
ast.parse = watched
from convforge.pipeline.stages.train import main
assert main(sys.argv[1:]) == 0
print(*seen)
"""
BUSY = "while True: pass"
STARTS = 60


@pytest.fixture
def arguments(compose: Callable[..., Settings], digits: Path, tmp_path: Path) -> list[str]:
    """Of a train stage of one iteration, in a project of its own."""
    settings = compose("model=softmax_linear", "trainer.epochs=1", "trainer.limit_steps=1")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").touch()
    params = tmp_path / "params.yaml"
    params.write_text(OmegaConf.to_yaml(OmegaConf.create(dump(settings))), encoding="utf-8")
    folders = ["--data", str(digits), "--out", str(tmp_path / "run")]
    return ["-q", "--params", str(params), *folders]


@pytest.mark.integration
def test_the_sending_thread_imports_nothing(arguments: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *arguments],
        cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # MLflow asks each time whether there is a pyspark; Alembic reads its migrations as files, which
    # need two modules and parse nothing.
    allowed = ("pyspark", "mlflow.store.db.trace_analytics_")
    seen = [name for name in done.stdout.split() if not name.startswith(allowed)]
    assert seen == []


@contextmanager
def busy_cores() -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(os.cpu_count() or 1):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", BUSY]))
            stack.callback(process.kill)
        yield


@pytest.mark.slow
def test_sixty_starts_on_busy_cores_end_without_a_traceback(
    arguments: list[str], tmp_path: Path
) -> None:
    failed = []
    with busy_cores():
        for _ in range(STARTS):
            done = subprocess.run(
                [sys.executable, "-m", "convforge.pipeline.stages.train", *arguments],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode or "Traceback" in done.stderr or "tracking" in done.stderr:
                failed.append(done.stderr)
    print(f"\n{STARTS} starts on busy cores, {len(failed)} with a traceback or a warning")
    assert failed == []
