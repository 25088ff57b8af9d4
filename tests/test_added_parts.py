"""The how-to pages that add to the code are true: who does what they say has what they promise."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from followed_pages import ROOT, commands, copied_tree, follow, run_command, run_python

#: Page → how many files of the source and of conf/ it touches, its own among them.
PLACES = {"own-layer": 5, "own-format": 4, "own-augmentation": 9, "own-export": 2}
PAGES = {name: (ROOT / "docs/how-to" / f"{name}.md").read_text("utf-8") for name in PLACES}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree, changed as all of the pages say."""
    folder = copied_tree(tmp_path_factory.mktemp("added"))
    for name, page in PAGES.items():
        touched = [file for file in follow(page, folder) if file.startswith(("src/", "conf/"))]
        assert len(touched) == PLACES[name], touched
    return folder


@pytest.fixture(scope="module")
def tree_with_digits(tree: Path) -> Path:
    """The same with the data, of which the repository's own tests want all."""
    (tree / "data").mkdir()
    shutil.copy2(ROOT / "data" / "mnist-5k.zip", tree / "data")
    return tree


def test_the_code_on_the_pages_is_in_the_projects_style(tree: Path) -> None:
    run_python(tree, "-m", "ruff", "check", "--quiet", "src", "tests")
    run_python(tree, "-m", "ruff", "format", "--check", "--quiet", "src", "tests")


def test_configs_name_what_was_added_and_what_needs_no_keras_does_it(tree: Path) -> None:
    code = """
import sys
from pathlib import Path
from convforge.pipeline.cli import main
from convforge.pipeline.composition import compose_config, settings_of
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.stages.preprocess import preprocess
sys.path.insert(0, "tests")
from data_sets import random_splits, write_npy
assert main(["summary", "model=swish_cnn", "augment.flip.probability=0.5"]) == 0
assert main(["summary", "model=swish_cnn", "model.layers.swish2.initial_beta=-1"]) == 2
assert main(["summary", "augment.flip.probability=2"]) == 2
path = write_npy(Path("arrays"), random_splits((6, 5)))
settings = settings_of(compose_config(Path.cwd(), ["data=npy", f"data.path={path}"]))
manifest = preprocess(settings.data, Path("prepared"), Path.cwd(), Progress(Verbosity.QUIET))
print("test", manifest.splits["test"].examples, manifest.image_shape)
assert "keras" not in sys.modules
"""
    printed = [line.rstrip() for line in run_python(tree, "-c", code).splitlines()]
    (shown,) = re.findall(r"^```text\n(.*?)^```", PAGES["own-layer"], re.M | re.S)
    assert [line for line in shown.splitlines() if line not in printed] == []
    assert "test 20 [6, 5, 3]" in printed


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_the_commands_of_a_page_run(tree_with_digits: Path, name: str) -> None:
    small = "data.split.validation=50 data.split.test=100 tracking=none"
    backend = "tensorflow" if name == "own-export" else "jax"
    printed = [
        run_command(
            tree_with_digits, f"{command} {small}" if " train " in command else command, backend
        )
        for command in commands(PAGES[name])
    ]
    tested = [text for text in printed if re.search(r"^\d+ passed", text, re.M)]
    assert len(tested) == len(re.findall(r"^\$ pytest ", PAGES[name], re.M)) >= 1
    if name == "own-layer":
        learned = dict(re.findall(r"^(\w+) β (\S+)$", printed[-1], re.M))
        assert float(learned["swish1"]) != 1.0
        assert float(learned["swish2"]) != 0.5


@pytest.mark.slow
def test_the_repositorys_own_tests_hold_of_all(tree_with_digits: Path) -> None:
    """Once the editors' schemas are written again, as the pages say."""
    run_command(tree_with_digits, "make schema")
    files = (
        *("augment/test_augment_documentation.py", "augment/test_preview.py"),
        *("layers/test_documentation.py", "models/test_specs_and_layers.py"),
        *("models/test_costs.py", "pipeline/test_dependencies.py", "test_config_schema.py"),
        *("test_floors.py", "test_imports.py", "test_public_signatures.py", "test_settings.py"),
        "test_site.py",
    )
    run_command(tree_with_digits, f"pytest {' '.join(f'tests/{name}' for name in files)}")
