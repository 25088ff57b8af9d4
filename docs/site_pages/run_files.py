"""What a run leaves, from the properties of its folder."""

from __future__ import annotations

import inspect
from pathlib import Path

from convforge.pipeline.run_folder import EvaluationFolder, RunFolder

_RUN = Path("RUN")


def run_files() -> str:
    """A table of paths and what lies there, in Markdown."""
    rows = ["| path | what it is |", "|---|---|"]
    for folder in (RunFolder(_RUN), EvaluationFolder(_RUN / "evaluate")):
        for name, each in inspect.getmembers(type(folder), lambda each: isinstance(each, property)):
            value = getattr(folder, name)
            path = value if isinstance(value, Path) else value.path
            words = (inspect.getdoc(each) or "").replace("\n", " ").replace("|", "\\|")
            rows.append(f"| `{path.as_posix()}` | {words} |")
    return "\n".join(dict.fromkeys(rows)) + "\n"
