"""Arms measured in turn, round after round; what became of each, printed and as JSON.

Every benchmark of this folder measures rows by `measure` and gives them to `report`; `bench.py`
reads what `report` wrote. Nothing but the standard library is imported here, so that an arm's own
process holds only what the arm needs.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
#: The environment of `make bench-peers`, with libraries that cannot stand beside ours.
PEERS = ROOT / ".venv-bench" / "bin" / "python"
PROGRESS = "  · "
# As the pipeline sets it: all arms' TensorFlow, peers' too, has its fast kernels on any processor.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
#: Our command in this environment.
CONVFORGE = (sys.executable, "-m", "convforge.pipeline.cli")
#: Of these more is faster, of bytes less is better; all other units are times.
RATES = ("images/s", "requests/s", "GB/s")
SIZES = ("MB",)


class NotHereError(Exception):
    """An arm cannot be measured on this machine, and why."""


@dataclass
class Row:
    """One thing measured in several ways.

    Attributes:
        name: of the thing.
        unit: of the values, such as "ms" or "images/s".
        base: the arm that the others are compared with.
        rounds: arm → its value in each round.
        missing: arm → why it cannot be measured here.
        failed: arm → how it failed.
    """

    name: str
    unit: str
    base: str | None = None
    rounds: dict[str, list[float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def median(self, arm: str) -> float:
        """Of the arm's rounds."""
        return statistics.median(self.rounds[arm])

    def ratio(self, arm: str, over: str) -> float:
        """The median of the quotients of both arms' values in the same round.

        Neighbours in time share what else the machine does, so it varies less than the quotient of
        the medians.
        """
        pairs = zip(self.rounds[arm], self.rounds[over], strict=False)
        return statistics.median(one / other for one, other in pairs)

    def times_as_fast(self, arm: str, over: str) -> float:
        """How many times as fast as `over` the arm is; of sizes, how many times as large."""
        is_time = self.unit not in (*RATES, *SIZES)
        return self.ratio(over, arm) if is_time else self.ratio(arm, over)


def measure(row: Row, arms: Mapping[str, Callable[[], float]], rounds: int) -> Row:
    """Measure the arms in turn; one that fails says why and leaves the others alone."""
    for number in range(rounds):
        for arm, value in arms.items():
            if arm in row.missing or arm in row.failed:
                continue
            start = time.monotonic()
            try:
                found = value()
            except NotHereError as error:
                row.missing[arm] = str(error)
                say(f"{row.name}, {arm}: not measured: {error}")
            except (Exception, SystemExit) as error:
                row.failed[arm] = _one_line(error)
                say(f"{row.name}, {arm}: failed: {row.failed[arm]}")
            else:
                row.rounds.setdefault(arm, []).append(found)
                taken = time.monotonic() - start
                say(
                    f"{row.name}, {arm}: {written(found)} {row.unit}"
                    f" (round {number + 1} of {rounds}, {taken:.0f} s)"
                )
    return row


def say(line: str) -> None:
    """Progress, marked so that it is told from what libraries write."""
    print(f"{PROGRESS}{line}", file=sys.stderr, flush=True)


def written(value: float) -> str:
    """A value to three digits, or whole where it has more before the point.

    Example:
        >>> written(0.01234), written(12.34), written(12345.6)
        ('0.0123', '12.3', '12,346')
    """
    return f"{value:,.0f}" if value == 0 or abs(value) >= 100 else f"{value:#.3g}"


def last_words(text: str) -> str:
    """What a program said last: of a traceback the error, else the last line."""
    lines = [line for line in text.splitlines() if line.strip()]
    traces = [n for n, line in enumerate(lines) if line.startswith("Traceback (most recent")]
    if traces:
        after = lines[traces[-1] + 1 :]
        errors = [n for n, line in enumerate(after) if not line.startswith(" ")]
        lines = [" ".join(line.strip() for line in after[errors[0] :])] if errors else lines
    return lines[-1].strip()[:300] if lines else "it said nothing"


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def output(command: Sequence[str], environment: Mapping[str, str] | None = None, **how: Any) -> str:
    """What a program prints.

    Raises:
        RuntimeError: it failed; with the last line of its errors.
    """
    done = subprocess.run(
        command,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        **how,
    )
    if done.returncode:
        raise RuntimeError(f"status {done.returncode}: {last_words(done.stderr or done.stdout)}")
    return done.stdout


def convforge(*words: str, environment: Mapping[str, str] | None = None, **how: Any) -> str:
    """What a command of ours prints, in a process of its own."""
    return output([*CONVFORGE, *words], environment, **how)


def watched(command: Sequence[str], folder: Path) -> tuple[str, float]:
    """What a program prints, and the megabytes that the largest of its processes held.

    Raises:
        RuntimeError: it failed.
    """
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, cwd=folder, stdout=said, stderr=errors, stdin=subprocess.DEVNULL
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        errors.seek(0)
        if process.returncode:
            raise RuntimeError(f"status {process.returncode}: {last_words(errors.read())}")
        # Linux counts in KiB, macOS in bytes.
        return said.read(), used.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def make_project(folder: Path) -> Path:
    """A folder with the configs and data of this one, for what a command leaves in `outputs/`."""
    folder.mkdir()
    for name in ("conf", "data"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def trained_for_one_step(folder: Path) -> Path:
    """A run's folder with the default net, whose weights do not matter, in `folder`."""
    run, project = folder / "run", make_project(folder / "project")
    convforge(
        *("train", "-q", "tracking=none", "trainer.limit_steps=1", "trainer.epochs=1"),
        *("augment=none", f"hydra.run.dir={run}"),
        cwd=project,
    )
    return run


def epochs_after_the_first(run: Path) -> float:
    """The median seconds of a run's epochs but the first, which compiles."""
    with (run / "history.csv").open(newline="") as file:
        seconds = [float(row["epoch_seconds"]) for row in csv.DictReader(file)]
    return statistics.median(seconds[1:])


def figure(command: Sequence[str], environment: Mapping[str, str] | None = None) -> float:
    """The last word that a program prints, as a number."""
    return float(output(command, environment).split()[-1])


@functools.cache
def _import_error(python: str, packages: tuple[str, ...]) -> str | None:
    """What a Python says where it cannot import them; a broken installation says it too."""
    try:
        output([python, "-c", f"import {', '.join(packages)}"], {"TF_CPP_MIN_LOG_LEVEL": "3"})
    except RuntimeError as error:
        return str(error)
    return None


def python_with(*packages: str) -> str:
    """A Python that imports these: this one, or that of `make bench-peers`.

    Raises:
        NotHereError: neither does.
    """
    for python in (sys.executable, str(PEERS)):
        if Path(python).exists():
            error = _import_error(python, packages)
            if error is None:
                return python
    raise NotHereError(f"{error} (`make bench-peers` installs the peers)")


def peers_with(*packages: str) -> str:
    """The Python of `make bench-peers`, or this one where there is none, if it imports these.

    Raises:
        NotHereError: it does not.
    """
    python = str(PEERS) if PEERS.exists() else sys.executable
    error = _import_error(python, packages)
    if error is not None:
        raise NotHereError(f"{error} (`make bench-peers` installs the peers)")
    return python


def options(description: str | None, rounds: int, **how: Any) -> argparse.ArgumentParser:
    """A parser with what all benchmarks understand."""
    parser = argparse.ArgumentParser(
        description=description if how else (description or "").split("\n")[0], **how
    )
    parser.add_argument("--rounds", type=int, default=rounds, help="in turn (%(default)s)")
    parser.add_argument("--json", type=Path, help="write the rows there too")
    return parser


def report(rows: Iterable[Row], path: Path | None) -> None:
    """Print each row when it is there, and write those that are there to `path`."""
    done = []
    for row in rows:
        done.append(row)
        print("\n".join(lines(row)), flush=True)
        if path is not None:
            path.write_text(json.dumps([dataclasses.asdict(each) for each in done], indent=1))


def lines(row: Row) -> list[str]:
    """The row as text."""
    wide = max(map(len, [*row.rounds, *row.missing, *row.failed]), default=0)
    found = [f"\n{row.name} ({row.unit})"]
    for arm, values in row.rounds.items():
        spread = f"{written(min(values))} … {written(max(values))}"
        line = f"  {arm:{wide}} {written(row.median(arm)):>9}  {spread:>20}"
        if row.base in row.rounds and arm != row.base:
            line += f"  {row.times_as_fast(arm, row.base):.2f} × {row.base}"
        found.append(line)
    found += [f"  {arm:{wide}} not measured: {why}" for arm, why in row.missing.items()]
    found += [f"  {arm:{wide}} failed: {why}" for arm, why in row.failed.items()]
    return found
