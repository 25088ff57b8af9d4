"""`examples/layers_in_keras.ipynb`: it runs where the package is, and shows what it then shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from source_imports import imports

ROOT = Path(__file__).resolve().parents[1]
RUN = ROOT / "examples" / "run_notebook.py"
NOTEBOOK = ROOT / "examples" / "layers_in_keras.ipynb"
#: What a cell shows of a training is another number on another processor.
VARIES = "varies"


def _code(notebook: Path) -> list[dict[str, Any]]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def _printed(cell: dict[str, Any], stream: str = "stdout") -> str:
    return "".join("".join(each["text"]) for each in cell["outputs"] if each.get("name") == stream)


def _pictures(cell: dict[str, Any]) -> int:
    return sum("image/png" in each.get("data", {}) for each in cell["outputs"])


def test_the_committed_notebook_was_run_from_its_first_cell_to_its_last() -> None:
    cells = _code(NOTEBOOK)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {each["output_type"] for cell in cells for each in cell["outputs"]}
    assert kinds == {"stream", "display_data"}, "an error, or a value left over"
    assert [_printed(cell, "stderr") for cell in cells] == [""] * len(cells)


def test_it_is_small_and_says_nothing_of_the_machine() -> None:
    assert NOTEBOOK.stat().st_size < 300_000
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert set(content["metadata"]) == {"kernelspec", "language_info"}
    assert content["metadata"]["kernelspec"]["name"] == "python3"
    assert content["metadata"]["language_info"] == {"name": "python"}
    assert {key for cell in content["cells"] for key in cell["metadata"]} == {"tags"}
    for cell in _code(NOTEBOOK):
        assert not re.search(r"(?<![\w.])/\w+/|\b[A-Z]:\\|\d ?m?s\b", _printed(cell))


def test_its_cells_are_short_and_import_the_library_alone(tmp_path: Path) -> None:
    sources = ["".join(cell["source"]) for cell in _code(NOTEBOOK)]
    assert max(len(source.splitlines()) for source in sources) < 30
    file = tmp_path / "cells.py"
    file.write_text("\n".join(sources), encoding="utf-8")
    names = [name for statement in imports(file) for name in statement.names]
    parts = {name.split(".")[1] for name in names if name.startswith("convforge.")}
    assert parts == {"augment", "geometry", "layers", "optimizers"}


@pytest.mark.slow
def test_it_runs_where_only_the_package_and_the_digits_are(tmp_path: Path) -> None:
    shutil.copy2(ROOT / "data" / "mnist-5k.zip", tmp_path)
    # Without what the committed notebook shows.
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
    (tmp_path / NOTEBOOK.name).write_text(json.dumps(content), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(RUN), NOTEBOOK.name, "run.ipynb"],
        cwd=tmp_path,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    committed, cells = _code(NOTEBOOK), _code(tmp_path / "run.ipynb")
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert [_pictures(cell) for cell in cells] == [_pictures(cell) for cell in committed]
    steady = [i for i, cell in enumerate(cells) if VARIES not in cell["metadata"].get("tags", [])]
    assert [_printed(cells[i]) for i in steady] == [_printed(committed[i]) for i in steady]
    (training,) = [cell for i, cell in enumerate(cells) if i not in steady]
    accuracies = re.findall(r"([\d.]+)% of the held-out", _printed(training))
    assert float(accuracies[-1]) > 90
