"""`.github/CONTRIBUTING.md` is true: what it adds is added by doing what it says, and no more."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from followed_pages import ROOT, copied_tree, follow, run_python

FOLDER = ROOT / ".github"
PAGE = (FOLDER / "CONTRIBUTING.md").read_text(encoding="utf-8")
MODEL = "pooled_cnn"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree, changed as the page says."""
    folder = copied_tree(tmp_path_factory.mktemp("contributor"))
    touched = follow(PAGE, folder)
    assert len({file for file in touched if "models/" in file or "model/" in file}) == 3
    assert len(touched) == 4, "three places for the layer, one for the metric"
    return folder


def test_the_layer_is_counted_and_the_metric_measured(tree: Path) -> None:
    code = """
import numpy as np
from convforge.pipeline.cli import main
from convforge.pipeline.report.scores import target_scores
assert main(["summary", "model=pooled_cnn"]) == 0
actual, said = np.array([[0.0], [1.0], [2.0]]), np.array([[0.5], [1.0], [9.0]])
print("median", target_scores(actual, said, ["size"], [1.0], "mse")["test_median_error"])
"""
    printed = run_python(tree, "-c", code)
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
    run_python(tree, "-m", "convforge", "train", *few, *own, *drawn)
    (run,) = (tree / "outputs" / "train").iterdir()
    assert "test_median_error" in (run / "evaluate" / "metrics.json").read_text()
    with_image = tree / "digit.png"
    shutil.copy2(run / "model" / "example.png", with_image)
    assert run_python(tree, "-m", "convforge", "predict", str(run), str(with_image))


@pytest.mark.slow
def test_the_repositorys_own_tests_hold_of_both(tree: Path) -> None:
    """Once the editors' schemas are written again, as the page says."""
    run_python(tree, "docs/config_schema.py")
    assert "global_average_pool" in (tree / "docs" / "schema" / "model.json").read_text()
    files = ("models/test_specs_and_layers.py", "test_metrics.py", "test_config_schema.py")
    named = [f"tests/{name}" for name in files]
    run_python(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", *named)


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
