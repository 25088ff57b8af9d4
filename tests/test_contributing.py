"""`.github/CONTRIBUTING.md` is true: what it adds is added by doing what it says, and no more."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".github"
PAGE = (FOLDER / "CONTRIBUTING.md").read_text(encoding="utf-8")
MODEL = "pooled_cnn"


def _follow(tree: Path) -> set[str]:
    """Do to the files in `tree` what the page's code blocks say; the files that it names."""
    block = r"^(?:`([\w/.]+)`, [^\n]*\n\n)?```(diff|yaml)\n(.*?)^```"
    blocks = re.findall(block, PAGE, re.M | re.S)
    file, touched = "", set()
    for named, kind, text in blocks:
        file = named or file
        path = tree / file
        if kind == "yaml":
            assert not path.exists(), f"{file} is no new file"
            path.write_text(text, encoding="utf-8")
        else:
            _change(path, text.splitlines())
        touched.add(file)
    return touched


def _change(path: Path, lines: list[str]) -> None:
    assert all(line[:1] in (" ", "+") for line in lines)
    before = "".join(f"{line[1:]}\n" for line in lines if line[0] == " ")
    after = "".join(f"{line[1:]}\n" for line in lines)
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{path.name} has not once:\n{before}"
    path.write_text(text.replace(before, after), encoding="utf-8")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree, changed as the page says."""
    folder = tmp_path_factory.mktemp("contributor")
    ignored = shutil.ignore_patterns("__pycache__", "*.png")
    for name in ("src", "conf", "docs", "tests", ".vscode", "claims"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy2(ROOT / "pyproject.toml", folder)
    touched = _follow(folder)
    assert len({file for file in touched if "models/" in file or "model/" in file}) == 3
    assert len(touched) == 4, "three places for the layer, one for the metric"
    return folder


def _run(tree: Path, *command: str) -> str:
    """What a command of this environment prints, run by the code in `tree`."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree / "src"), "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_layer_is_counted_and_the_metric_measured(tree: Path) -> None:
    code = """
import numpy as np
from convforge.pipeline.cli import main
from convforge.pipeline.report.scores import target_scores
assert main(["summary", "model=pooled_cnn"]) == 0
actual, said = np.array([[0.0], [1.0], [2.0]]), np.array([[0.5], [1.0], [9.0]])
print("median", target_scores(actual, said, ["size"], [1.0], "mse")["test_median_error"])
"""
    printed = _run(tree, "-c", code)
    (pooled,) = (line for line in printed.splitlines() if "global_average_pool" in line)
    assert " 64 " in f"{pooled} ", "one number for each map of lecture_cnn's second convolution"
    assert "median 0.5" in printed


@pytest.mark.slow
def test_the_layer_trains_and_its_model_is_evaluated_and_predicts(
    tree: Path, digits_archive: Path
) -> None:
    (tree / "data").mkdir()
    shutil.copy2(digits_archive, tree / "data" / "mnist-5k.zip")
    few = ("data.split.validation=50", "data.split.test=100", "trainer.epochs=1", "pictures=false")
    own = (f"model={MODEL}", "evaluate=true", "task=regression", "loss=mse", "tracking=none")
    drawn = ("task.drawn=[rotation]", "augment.geometry.rotation=30")
    _run(tree, "-m", "convforge", "train", *few, *own, *drawn)
    (run,) = (tree / "outputs" / "train").iterdir()
    assert "test_median_error" in (run / "evaluate" / "metrics.json").read_text()
    with_image = tree / "digit.png"
    shutil.copy2(run / "model" / "example.png", with_image)
    assert _run(tree, "-m", "convforge", "predict", str(run), str(with_image))


@pytest.mark.slow
def test_the_repositorys_own_tests_hold_of_both(tree: Path) -> None:
    """Once the editors' schemas are written again, as the page says."""
    _run(tree, "docs/config_schema.py")
    assert "global_average_pool" in (tree / "docs" / "schema" / "model.json").read_text()
    files = ("models/test_specs_and_layers.py", "test_metrics.py", "test_config_schema.py")
    named = [f"tests/{name}" for name in files]
    _run(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", *named)


def test_the_page_names_files_that_there_are() -> None:
    table = PAGE.partition("## Where things go")[2].partition("\n## ")[0]
    named = [name for name in re.findall(r"`([\w/.]+?)`", table) if "." in name or "/" in name]
    bases = [ROOT, ROOT / "src/convforge", ROOT / "src/convforge/pipeline"]
    bases.append(ROOT / "src/convforge/pipeline/data/preparation/sources")
    real = [name for name in named if "NAME" not in name]
    assert len(real) > 20
    assert [name for name in real if not any((base / name).exists() for base in bases)] == []


@pytest.mark.parametrize(
    "page", [*FOLDER.glob("*.md"), ROOT / "CHANGELOG.md"], ids=lambda p: p.name
)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_its_commands_are_targets_of_make() -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.M)
    asked = re.findall(r"\bmake ([a-z][a-z-]+)\b", PAGE)
    assert {"repro", "lint", "test", "schema"} <= set(asked) <= set(targets)
