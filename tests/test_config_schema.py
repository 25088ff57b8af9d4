"""`docs/schema/`: what editors check `conf/` by is the code's own, and finds what is wrong."""

from __future__ import annotations

import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import config_schema
import pytest
import yaml
from jsonschema import Draft7Validator

from convforge.geometry import ArgumentError
from convforge.models import specs

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "conf").rglob("*.yaml"))
MAPPED: dict[str, list[str]] = json.loads((ROOT / config_schema.EDITOR).read_text())["yaml.schemas"]


def _schemas_of(file: Path) -> list[str]:
    """The schemas that an editor takes for a file of conf/; `*` is a name, as editors read it."""
    return [
        schema
        for schema, patterns in MAPPED.items()
        for pattern in patterns
        if fnmatch(file.as_posix(), pattern) and file.as_posix().count("/") == pattern.count("/")
    ]


def _mistakes(file: str, content: Any) -> list[str]:
    (schema,) = _schemas_of(Path(file))
    validator = Draft7Validator(json.loads((ROOT / schema).read_text(encoding="utf-8")))
    return [error.message for error in validator.iter_errors(content)]


def test_the_committed_schemas_are_those_of_the_code() -> None:
    """Else `make schema` writes them again."""
    made = config_schema.files()
    assert made == {path: (ROOT / path).read_text(encoding="utf-8") for path in made}
    there = {path.relative_to(ROOT) for path in (ROOT / config_schema.FOLDER).iterdir()}
    assert there == made.keys() - {config_schema.EDITOR}


@pytest.mark.parametrize("schema", MAPPED)
def test_it_is_a_schema(schema: str) -> None:
    Draft7Validator.check_schema(json.loads((ROOT / schema).read_text(encoding="utf-8")))


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_file_of_conf_is_right_by_its_one_schema(file: Path) -> None:
    assert _mistakes(file.as_posix(), _read(file.as_posix())) == []


def _read(file: str) -> Any:
    return yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("conf/config.yaml", "sede", 1),
        ("conf/config.yaml", "seed", "one"),
        ("conf/config.yaml", "optimizer.learning_rat", 0.1),
        ("conf/experiment/alexnet.yaml", "trainer.epoch", 90),
        ("conf/experiment/alexnet.yaml", "trainer.epochs", 9.5),
        ("conf/debug/one_step.yaml", "model.layers.conv1.filter", 3),
        ("conf/augment/full.yaml", "crop.scale", 0.5),
        ("conf/augment/full.yaml", "crop.scale", [0.5, 0.6, 0.7]),
        ("conf/augment/full.yaml", "flip", True),
        ("conf/data/folder.yaml", "path", 3),
        ("conf/data/folder.yaml", "channels", 2),
        ("conf/data/folder.yaml", "file_column", "file"),
        ("conf/data/folder.yaml", "format", "zip"),
        ("conf/data/folder.yaml", "split.test", "some"),
        ("conf/distribute/ray.yaml", "coordinator", "host:1"),
        ("conf/loss/hinge.yaml", "name", "hing"),
        ("conf/model/alexnet.yaml", "activation", "swish"),
        ("conf/model/alexnet.yaml", "layers.conv1.rate", 0.5),
        ("conf/model/alexnet.yaml", "layers.conv1.filters", "many"),
        ("conf/model/alexnet.yaml", "layers.conv1.kernel_size", [3]),
        ("conf/model/alexnet.yaml", "layers.conv1.type", "conv3d"),
        ("conf/model/layers_19pct.yaml", "layers.logits.unit", 3),
        ("conf/optimizer/adam.yaml", "rho", 0.9),
        ("conf/optimizer/adam.yaml", "beta_1", 1),
        ("conf/schedule/step.yaml", "at_epochs", []),
        ("conf/task/regression.yaml", "drawn", "rotation"),
        ("conf/tracking/mlflow.yaml", "registry.when", "always"),
        ("conf/trainer/default.yaml", "deterministic", "yes please"),
        ("conf/trainer/cpu_quick.yaml", "checkpoint.keeps", 3),
        ("conf/hydra/launcher/ray.yaml", "cpus", 1),
        ("conf/hydra/launcher/slurm.yaml", "timeout_min", "long"),
        ("conf/hydra/launcher/together.yaml", "most_together", 1.5),
        ("conf/hydra/sweeper/claim.yaml", "tracked", "maybe"),
        ("conf/hydra/sweeper/optuna.yaml", "n_trials", 0),
        ("conf/hydra/sweeper/pruner/hyperband.yaml", "n_startup_trials", 1),
        ("conf/hydra/sweeper/sampler/tpe.yaml", "name", "grid"),
        ("conf/claim/relu.yaml", "arms.relu.override", []),
        ("conf/claim/relu.yaml", "tuned_by", 3),
        ("conf/claim/scale/cpu.yaml", "seeds", 1),
    ],
)
def test_a_wrong_key_and_a_wrong_value_are_found(file: str, key: str, value: Any) -> None:
    content = _read(file)
    *way, last = key.split(".")
    place = content
    for step in way:
        place = place.setdefault(step, {})
    place[last] = value
    assert _mistakes(file, content)


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("conf/data/folder.yaml", "split"),
        ("conf/data/folder.yaml", "format"),
        ("conf/optimizer/adam.yaml", "epsilon"),
        ("conf/model/alexnet.yaml", "layers"),
        ("conf/trainer/default.yaml", "epochs"),
        ("conf/claim/relu.yaml", "arms"),
    ],
)
def test_a_key_that_no_other_file_brings_is_missed(file: str, key: str) -> None:
    content = {name: value for name, value in _read(file).items() if name != key}
    assert _mistakes(file, content)


@pytest.mark.parametrize("value", ["${seed}", "???"])
@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("conf/config.yaml", "seed"),
        ("conf/optimizer/adam.yaml", "learning_rate"),
        ("conf/trainer/default.yaml", "precision"),
        ("conf/augment/full.yaml", "size"),
    ],
)
def test_an_interpolation_stands_for_any_value(file: str, key: str, value: str) -> None:
    assert _mistakes(file, {**_read(file), key: value}) == []


VALUES = [
    *(0, 1, 3, 1.5, True, -1, None, "same", "valid", "full", [3], [1, 2], [0, 1], [1, 2, 3]),
    *([[0, 1], [2, 3]], [[0, 1], 2], [[0, 1], [2, -3]], "he_normal", "he", {"normal": 0.1}),
    *({"normal": 0}, {"uniform": 1}, {"uniform": 1, "normal": 1}, {"constant": 1}),
]


@pytest.mark.parametrize("value", VALUES, ids=str)
@pytest.mark.parametrize(
    ("kind", "argument"),
    [
        ("conv2d", "kernel_size"),
        ("conv2d", "strides"),
        ("conv2d", "padding"),
        ("conv2d", "kernel_initializer"),
        ("max_pool", "pool_size"),
        ("max_pool", "strides"),
    ],
)
def test_what_code_decides_is_decided_alike(kind: str, argument: str, value: Any) -> None:
    """Of windows, paddings and initial weights, whose types Python alone can say."""
    made, given = {
        "conv2d": (specs.Conv2DSpec, {"filters": 4, "kernel_size": 3}),
        "max_pool": (specs.MaxPoolSpec, {"pool_size": 4}),
    }[kind]
    try:
        made(**{**given, argument: value})
        allowed = True
    except ArgumentError:
        allowed = False
    layer = {"type": kind, **given, argument: value}
    mistakes = _mistakes("conf/model/x.yaml", {"defaults": [], "layers": {"layer": layer}})
    assert (not mistakes) == allowed, mistakes


def test_a_key_says_what_the_comment_above_it_says() -> None:
    schema = json.loads((ROOT / "docs/schema/trainer.json").read_text(encoding="utf-8"))
    assert schema["properties"]["freeze"]["description"].startswith("Regular expressions")
    (settings,) = (part for name, part in schema["definitions"].items() if "Checkpoint" in name)
    assert settings["properties"]["keep"]["description"] == "The newest so many are kept."
