"""What the stages are made of: every own file that a stage imports stands in `dvc.yaml`, or here.

A file that is neither listed nor exempted with its reason could change without DVC's noticing, and
leave stale results; one that is listed and never imported would run a stage again for nothing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "src"
# Hydra finds these by itself: no import leads to all of them.
PLUGINS = "src/hydra_plugins"
STAGES: dict[str, dict[str, Any]] = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]


_VALUES = "types and ranges of values that DVC knows itself"
_WITHOUT_KERAS = "made known to Keras when it is imported, which this stage never does"
_CHECKED = "checks a config, or the data's path in it, and alters nothing"
_SERVING = "lies beside the decoder; serves models"
_OTHERS = "which processes share the same batches"
_TOGETHER = "trains several runs of a sweep, which no stage is"
_PREPARED = "decides about build/data, on which this stage depends"

# What every stage runs, and why it decides about nothing that the stage leaves.
EXEMPT = {
    "src/convforge/__init__.py": "a version, and layers made known to Keras",
    "src/convforge/keras_registry.py": "finds the layers of a saved model; they decide themselves",
    "src/convforge/errors.py": "kinds of mistakes",
    "src/convforge/pipeline/credentials.py": "keeps passwords out of what the stage leaves",
    "src/convforge/pipeline/filesystem": "how a file is written and locked, not what is in it",
    "src/convforge/pipeline/pluralize.py": "words on the screen",
    "src/convforge/pipeline/printable.py": "words on the screen",
    "src/convforge/pipeline/progress.py": "words and bars on the screen",
    "src/convforge/pipeline/project.py": "finds the project's folder",
    "src/convforge/pipeline/ray_cluster.py": "the address of those that help with the same work",
    "src/convforge/pipeline/stages/entry.py": "options, and errors without a traceback",
    "src/convforge/pipeline/tracking": "tells MLflow of what the stage leaves",
}

# What all run but compose, which makes what these read.
_AFTER_COMPOSE = {
    "src/convforge/pipeline/composition.py": "reads params.yaml, of which DVC knows the values",
    "src/convforge/pipeline/settings/distribution.py": _VALUES,
    "src/convforge/pipeline/settings/explanation.py": _VALUES,
    "src/convforge/pipeline/settings/group.py": _VALUES,
    "src/convforge/pipeline/settings/nearest.py": _VALUES,
    "src/convforge/pipeline/settings/objective.py": _VALUES,
    "src/convforge/pipeline/settings/optimization.py": _VALUES,
    "src/convforge/pipeline/settings/search.py": "a sweep's, which no stage is",
    "src/convforge/pipeline/settings/patterns.py": _VALUES,
    "src/convforge/pipeline/settings/tracking.py": _VALUES,
    "src/convforge/pipeline/settings/trainer.py": _VALUES,
    "src/hydra_plugins": _CHECKED,
}

# MLflow's server loads these, long after any stage.
_ANSWERS = {
    "src/convforge/serving/__init__.py": _SERVING,
    "src/convforge/serving/mlflow_model.py": _SERVING,
    "src/convforge/serving/request.py": _SERVING,
}

# What one stage runs besides.
EXEMPT_OF = {
    "compose": {
        "src/convforge/augment/__init__.py": _WITHOUT_KERAS,
        "src/convforge/augment/layer.py": _WITHOUT_KERAS,
        "src/convforge/augment/numpy_ops.py": _WITHOUT_KERAS,
        "src/convforge/augment/parameters.py": _WITHOUT_KERAS,
        "src/convforge/augment/warp.py": _WITHOUT_KERAS,
        "src/convforge/layers": _WITHOUT_KERAS,
        "src/convforge/losses.py": _WITHOUT_KERAS,
        "src/convforge/optimizers": _WITHOUT_KERAS,
        "src/convforge/quiet_start.py": _WITHOUT_KERAS,
        "src/convforge/pipeline/data/preparation": _CHECKED,
        "src/convforge/serving": _CHECKED,
    },
    "preprocess": {
        "src/convforge/pipeline/data/absent_classes.py": "a warning",
        **_AFTER_COMPOSE,
        "src/convforge/augment": _WITHOUT_KERAS,
        "src/convforge/geometry.py": _WITHOUT_KERAS,
        "src/convforge/layers": _WITHOUT_KERAS,
        "src/convforge/losses.py": _WITHOUT_KERAS,
        "src/convforge/models": _CHECKED,
        "src/convforge/optimizers": _WITHOUT_KERAS,
        "src/convforge/quiet_start.py": _WITHOUT_KERAS,
        "src/convforge/pipeline/data/preparation/ray_worker_pool.py": "who does the same work",
        "src/convforge/pipeline/data/preparation/worker_pool.py": "who does the same work",
        "src/convforge/pipeline/settings/model.py": _CHECKED,
        "src/convforge/pipeline/settings/run.py": _CHECKED,
        "src/convforge/serving/model_archive.py": _SERVING,
        "src/convforge/serving/model_card.py": _SERVING,
        **_ANSWERS,
        "src/convforge/serving/predictor.py": _SERVING,
    },
    "train": {
        **_AFTER_COMPOSE,
        **_ANSWERS,
        "src/convforge/serving/loader.py": _SERVING,
        "src/convforge/serving/model_archive.py": _SERVING,
        "src/convforge/pipeline/settings/data.py": _PREPARED,
        "src/convforge/pipeline/training/distribution/multihost.py": _OTHERS,
        "src/convforge/pipeline/training/distribution/ray_train.py": _OTHERS,
        "src/convforge/pipeline/training/distribution/setup.py": _OTHERS,
        "src/convforge/pipeline/training/divergence.py": "says why a run failed",
        "src/convforge/pipeline/training/out_of_memory.py": "says why a run failed",
        "src/convforge/pipeline/training/pruning.py": "ends trials of a search, which no stage is",
        "src/convforge/pipeline/training/resume/code_fingerprint.py": "whether a run may go on",
        "src/convforge/pipeline/training/resume/resumable.py": "whether a run may go on",
        "src/convforge/pipeline/training/resume/signals.py": "when a run is stopped",
        "src/convforge/pipeline/training/run_group.py": _TOGETHER,
        "src/convforge/pipeline/training/run_numbers.py": _TOGETHER,
        "src/convforge/pipeline/training/shared_program.py": _TOGETHER,
        "src/convforge/pipeline/training/traced_numbers.py": _TOGETHER,
    },
    "evaluate": {
        **_AFTER_COMPOSE,
        **_ANSWERS,
        "src/convforge/serving/loader.py": _SERVING,
        "src/convforge/losses.py": "known to Keras; the model is loaded without its loss",
        "src/convforge/models/specs.py": _CHECKED,
        "src/convforge/models/summary.py": _CHECKED,
        "src/convforge/pipeline/settings/data.py": _PREPARED,
        "src/convforge/pipeline/settings/model.py": _CHECKED,
        "src/convforge/optimizers": "known to Keras; the model is loaded without its optimizer",
    },
}


def _modules() -> dict[str, Path]:
    """Every own module by its full name."""
    names = {
        ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): file
        for file in sorted(SOURCE.rglob("*.py"))
    }
    assert "convforge.pipeline.stages.train" in names
    return names


MODULES = _modules()


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _running_code(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below `node`, those inside functions too, without what only a type checker sees."""
    for child in ast.iter_child_nodes(node):
        if _is_type_checking(child):
            assert isinstance(child, ast.If)
            for other in child.orelse:
                yield from (other, *_running_code(other))
        else:
            yield from (child, *_running_code(child))


def imported(code: str, package: str) -> set[str]:
    """The own modules that `code`, in `package`, imports or names for an import by its name.

    A name is a string that is a whole module's, such as those of the registry of layers, or that of
    a neighbour, such as those of `convforge.augment`'s late imports.
    """
    names: set[str] = set()
    for node in _running_code(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            named = {node.value, f"{package}.{node.value}"} & MODULES.keys()
            names |= named if "import_module" in code else set()
    found = {_module_of(name) for name in names}
    # Importing a module runs the packages that it lies in.
    return {part for name in found if name for part in _with_packages(name)}


def _module_of(name: str) -> str:
    """The module itself, or the one that holds the thing of this name; empty for foreign ones."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name


def _with_packages(name: str) -> Iterator[str]:
    while name:
        if name in MODULES:
            yield name
        name = name.rpartition(".")[0]


@cache
def _imports_of(module: str) -> frozenset[str]:
    file = MODULES[module]
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    return frozenset(imported(file.read_text(encoding="utf-8"), package) - {module})


def reached(start: str, imports: Mapping[str, frozenset[str]] | None = None) -> dict[str, str]:
    """The own files that importing and running module `start` reaches, and the way to each."""
    ways = dict.fromkeys(_with_packages(start), start)
    left = list(ways)
    while left:
        module = left.pop()
        others = _imports_of(module) if imports is None else imports.get(module, frozenset())
        for other in sorted(others - ways.keys()):
            ways[other] = f"{ways[module]} → {other}"
            left.append(other)
    return {_path(name): way for name, way in ways.items()}


def _path(module: str) -> str:
    return MODULES[module].relative_to(REPOSITORY).as_posix()


def entry(stage: str) -> str:
    """The module that the stage's command runs."""
    match = re.search(r"-m ([\w.]+)", STAGES[stage]["cmd"])
    assert match is not None
    return match[1]


def listed(stage: str) -> list[str]:
    """The own files and folders that the stage depends on."""
    return [dependency for dependency in STAGES[stage]["deps"] if dependency.startswith("src/")]


def covers(entry: str, file: str) -> bool:
    """Whether a file or folder is `file`, or holds it."""
    return file == entry or file.startswith(f"{entry}/")


def missing(stage: str, listed: Sequence[str], exempt: Mapping[str, str]) -> list[str]:
    """The ways to files that `stage` reaches and that stand nowhere."""
    known = [*listed, *exempt]
    return [
        way
        for file, way in reached(entry(stage)).items()
        if not any(covers(place, file) for place in known) and not _is_empty(file)
    ]


def _is_empty(file: str) -> bool:
    """Whether it holds a docstring alone."""
    body = ast.parse((REPOSITORY / file).read_text(encoding="utf-8")).body
    return [type(node) for node in body] == [ast.Expr]


def exempt(stage: str) -> dict[str, str]:
    """Files and folders by the reason why an edit of them need not run the stage."""
    return {**EXEMPT, **EXEMPT_OF[stage]}


@pytest.mark.parametrize("stage", STAGES)
def test_every_file_that_a_stage_runs_is_listed_or_exempted(stage: str) -> None:
    assert missing(stage, listed(stage), exempt(stage)) == []


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_lists_a_file_that_it_does_not_run(stage: str) -> None:
    files = reached(entry(stage))
    others = [
        place
        for place in listed(stage)
        if not any(covers(place, file) for file in files) and place != PLUGINS
    ]
    assert others == []
    assert all((REPOSITORY / place).exists() for place in listed(stage))


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_is_exempted_that_need_not_be(stage: str) -> None:
    files = [
        file
        for file in reached(entry(stage))
        if not any(covers(place, file) for place in listed(stage))
    ]
    needless = [
        place for place in EXEMPT_OF[stage] if not any(covers(place, file) for file in files)
    ]
    assert needless == []


def test_what_is_exempted_everywhere_is_run_somewhere() -> None:
    files = [file for stage in STAGES for file in reached(entry(stage))]
    assert [place for place in EXEMPT if not any(covers(place, file) for file in files)] == []


@pytest.mark.parametrize("stage", STAGES)
def test_whatever_is_taken_out_of_a_stage_is_missed(stage: str) -> None:
    for place in listed(stage):
        left = [other for other in listed(stage) if other != place]
        assert missing(stage, left, exempt(stage)) or place == PLUGINS, place


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import convforge.losses", {"convforge.losses"}),
        ("from convforge import geometry", {"convforge.geometry"}),
        ("from convforge.losses import Hinge", {"convforge.losses"}),
        ("def f():\n    from convforge.losses import Hinge", {"convforge.losses"}),
        ("if TYPE_CHECKING:\n    from convforge.losses import Hinge", set()),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    import convforge.losses", {"convforge.losses"}),
        ("import_module('convforge.losses')", {"convforge.losses"}),
        ("T = {'Hinge': 'losses'}\nimport_module(T['Hinge'])", {"convforge.losses"}),
        ("import keras", set()),
    ],
)
def test_an_import_is_seen_wherever_it_stands(code: str, found: set[str]) -> None:
    assert imported(code, "convforge") - {"convforge"} == found


def test_imports_are_followed_from_file_to_file() -> None:
    chain = {
        "convforge.losses": frozenset({"convforge.geometry"}),
        "convforge.geometry": frozenset({"convforge.errors"}),
    }
    assert reached("convforge.losses", chain)["src/convforge/errors.py"].count("→") == 2
