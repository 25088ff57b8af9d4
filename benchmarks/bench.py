"""Every benchmark, one after the other, into one table.

    make bench                                 # all of it: outputs/bench/table.md and results.json
    make bench BENCH='--only step,loops'       # some sections; the others stay as they were
    make bench BENCH=--quick                   # whether all of it runs: the figures mean nothing
    make bench BENCH='--last --check'          # the last measurements beside benchmarks/bounds.py
    make bench BENCH='--last --write'          # to benchmarks/results.json, and into the pages
    make bench-pages                           # the pages again, from benchmarks/results.json

Each section is a script of this folder in a process of its own, and is written when it is there.
One that fails, or takes four times its time, says so in the table and leaves the others alone; the
command then ends with status 1. What cannot be measured here stands in the table with the reason:
the archives of photographs that must be named, an accelerator, and the peers that
`make bench-peers` installs. Start nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import page
from bounds import verdicts
from machine import machine, moment, versions
from measurement import PROGRESS, ROOT, last_words
from sections import SECTIONS, Section

OUT = ROOT / "outputs" / "bench"
COMMITTED = ROOT / "benchmarks" / "results.json"
# How many times its minutes a section may take, and minutes for the start.
_PATIENCE, _START = 4.0, 5.0
# What a person's shell may say must not decide where runs go, nor that every start compiles anew.
_FOREIGN = ("DVC_", "HYDRA_", "KERAS_", "MLFLOW_", "CONVFORGE_", "PYTHONDONTWRITEBYTECODE")
_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "1",
    "PYTHONUNBUFFERED": "1",
    # What is compared is compared on the processor.
    "CUDA_VISIBLE_DEVICES": "",
    "JAX_PLATFORMS": "cpu",
}


def measure_all(chosen: Iterable[str], given: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Run the sections; what is done is in `out` at once, as JSON and as Markdown."""
    out.mkdir(parents=True, exist_ok=True)
    results = read(out / "results.json") if given.only else {}
    if results.get("machine") != machine():
        results = {"machine": machine(), "sections": {}}
    results["versions"] = versions()
    chosen = list(chosen)
    share = given.minutes / sum(section.minutes for section in SECTIONS.values())
    for number, name in enumerate(chosen):
        section = SECTIONS[name]
        rounds = 1 if given.quick else max(1, round(section.rounds * share))
        print(f"{name} ({number + 1} of {len(chosen)}): {section.title}", flush=True)
        results["sections"][name] = _measured(name, section, rounds, given, out)
        write(results, out / "results.json")
        (out / "table.md").write_text(page.table(results), encoding="utf-8")
    return results


def _measured(
    name: str, section: Section, rounds: int, given: argparse.Namespace, out: Path
) -> dict[str, Any]:
    """A section of the results."""
    lacks = section.lacks(given)
    if lacks is not None:
        print(f"  not measured: {lacks}", flush=True)
        return {"not_measured": lacks}
    start = time.monotonic()
    found: dict[str, Any] = {"measured": {**moment(), "quick": given.quick}}
    minutes = section.minutes * rounds / section.rounds
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.json"
        options = section.quick if given.quick else section.options
        if name == "preprocess":
            for option, value in (("--sample", given.photographs), ("--cifar", given.cifar)):
                options = (*options, option, str(value)) if value else options
        always = ("--rounds", str(rounds), "--json", str(rows))
        script = Path(__file__).parent / section.script
        failure = _run(
            [sys.executable, str(script), *always, *options],
            section.environment,
            60 * (_PATIENCE * minutes + _START),
            out / f"{name}.log",
        )
        found["rows"] = json.loads(rows.read_text()) if rows.exists() else []
    if failure:
        found["failed"] = failure
        print(f"  failed: {failure}", flush=True)
    found["measured"]["minutes"] = round((time.monotonic() - start) / 60, 1)
    print(f"  {found['measured']['minutes']} minutes", flush=True)
    return found


def _run(command: list[str], environment: dict[str, str], limit: float, log: Path) -> str | None:
    """Run a script and pass its progress on; how it failed, or None.

    It and all that it has started end with it: first by Ctrl-C, so that it ends its servers itself.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**kept, **_ENVIRONMENT, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    late = threading.Event()

    def stop() -> None:
        late.set()
        _end(process)

    timer = threading.Timer(limit, stop)
    timer.start()
    assert process.stderr is not None
    said = []
    try:
        with log.open("w", encoding="utf-8") as file:
            for line in process.stderr:
                said.append(line)
                file.write(line)
                file.flush()
                if line.startswith(PROGRESS):
                    print(line, end="", flush=True)
        process.wait()
    finally:
        timer.cancel()
        _end(process)
    if late.is_set():
        return f"it took longer than {limit / 60:.0f} minutes"
    return f"{last_words(''.join(said))} (all of it: {_shown(log)})" if process.returncode else None


def _shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


def _end(process: subprocess.Popen[str]) -> None:
    for number, seconds in ((signal.SIGINT, 20), (signal.SIGKILL, 20)):
        try:
            os.killpg(process.pid, number)
            process.wait(seconds)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def read(path: Path) -> dict[str, Any]:
    """Results, or none."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found


def write(results: dict[str, Any], path: Path) -> None:
    """Results, figures to four digits, which is more than they mean."""

    def rounded(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.4g}")
        if isinstance(value, dict):
            return {key: rounded(each) for key, each in value.items()}
        return [rounded(each) for each in value] if isinstance(value, list) else value

    path.write_text(json.dumps(rounded(results), indent=1) + "\n", encoding="utf-8")


def commit(results: dict[str, Any]) -> None:
    """Put what was measured into the committed results, section by section, and into the pages.

    A smoke run's sections are left out; on another machine all sections are replaced.
    """
    sections = {
        name: section
        for name, section in results.get("sections", {}).items()
        if not section.get("measured", {}).get("quick")
    }
    there = read(COMMITTED)
    if there.get("machine") == results.get("machine"):
        # What was measured once is not replaced by the reason why it was not now.
        kept = there.get("sections", {})
        sections = {
            name: kept[name] if "not_measured" in section and name in kept else section
            for name, section in {**kept, **sections}.items()
        }
    if not any("measured" in section for section in sections.values()):
        sys.exit("error: nothing to write: no section was measured but by a smoke run")
    ordered = {name: sections[name] for name in SECTIONS if name in sections}
    write({**results, "sections": ordered}, COMMITTED)
    for file in page.redraw(read(COMMITTED)):
        print(f"written: {file.relative_to(ROOT)}")


def check(results: dict[str, Any]) -> bool:
    """Print each bound beside what was measured; whether none is broken."""
    is_kept = True
    for verdict in verdicts(results.get("sections", {}), page.slope_of):
        bound = verdict.bound
        what = f"{bound.section}: {verdict.row}: {bound.arm or 'slope'}"
        what += f" / {verdict.over}" if bound.arm else ""
        if verdict.value is None:
            print(f"not measured  {what}: {verdict.why}")
        else:
            is_kept &= not verdict.is_broken
            word = "OUT OF BOUNDS" if verdict.is_broken else "kept         "
            print(f"{word} {what} = {verdict.value:.3g}, {bound.allowed}: {bound.reason}")
    return is_kept


def failures(results: dict[str, Any], chosen: Collection[str] = SECTIONS) -> list[str]:
    """What failed of the chosen sections, section by section and arm by arm."""
    found = []
    for name, section in results.get("sections", {}).items():
        if name not in chosen:
            continue
        if "failed" in section:
            found.append(f"{name}: {section['failed']}")
        for row in section.get("rows", ()):
            found += [f"{name}: {row['name']}: {a}: {why}" for a, why in row["failed"].items()]
    return found


def sections_named(text: str) -> list[str]:
    """Of `--only`."""
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        allowed = ", ".join(SECTIONS)
        raise argparse.ArgumentTypeError(f"no section {', '.join(unknown)}; there are {allowed}")
    return names


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    every = sum(section.minutes for section in SECTIONS.values())
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", type=sections_named, help=f"of {','.join(SECTIONS)}")
    parser.add_argument("--quick", action="store_true", help="one tiny round of each: a smoke run")
    parser.add_argument(
        "--minutes",
        type=float,
        default=every,
        help="for all sections, by fewer or more rounds (%(default)g)",
    )
    parser.add_argument("--photographs", type=Path, help="a .tar of photographs in class folders")
    parser.add_argument("--cifar", type=Path, help="CIFAR-10 as JPEG in an archive")
    parser.add_argument("--last", action="store_true", help="measure nothing: the last results")
    parser.add_argument("--check", action="store_true", help="compare ratios with their bounds")
    parser.add_argument("--write", action="store_true", help="commit: results.json and the pages")
    parser.add_argument("--pages", action="store_true", help="the pages from results.json alone")
    parser.add_argument("--out", type=Path, default=OUT, help="where to write (outputs/bench)")
    given = parser.parse_args(arguments)
    if given.pages:
        for file in page.redraw(read(COMMITTED)):
            print(f"written: {file.relative_to(ROOT)}")
        return 0
    for archive in ("photographs", "cifar"):
        path = getattr(given, archive)
        if path is not None:
            if not path.is_file():
                parser.error(f"--{archive}: there is no file {path}")
            setattr(given, archive, path.resolve())
    if given.last:
        results = read(given.out / "results.json")
        if not results:
            parser.error(f"--last: there is no {given.out / 'results.json'}; measure first")
    else:
        try:
            results = measure_all(given.only or SECTIONS, given, given.out.resolve())
        except KeyboardInterrupt:
            print(f"\nstopped; what was measured is in {given.out}", file=sys.stderr)
            return 130
        print(f"\ntable: {given.out / 'table.md'}    figures: {given.out / 'results.json'}")
    is_well = True
    if given.check:
        is_well = check(results)
    for line in failures(results, given.only or SECTIONS):
        print(f"failed: {line}", file=sys.stderr)
        is_well = False
    if given.write:
        commit(results)
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
