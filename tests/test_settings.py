"""The schema: every key is known, typed, used, and round-trips through the files."""

from __future__ import annotations

import ast
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest
from pydantic import BaseModel

import convforge
from convforge.errors import InputError
from convforge.models.specs import LayerSpec
from convforge.pipeline.project import resolve_path
from convforge.pipeline.settings.nearest import nearest
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.stages.train import dump

SOURCE = Path(convforge.__file__).parent
_ATTRIBUTES_READ = {
    node.attr
    for file in SOURCE.rglob("*.py")
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    if isinstance(node, ast.Attribute)
}


def test_settings_survive_the_file_that_a_run_keeps_of_them(compose: Callable[..., Any]) -> None:
    overrides = ("augment=full", "schedule=step", "model=prelu_cnn", "trainer.input_threads=2")
    settings = compose(*overrides)
    assert Settings.parse(json.loads(json.dumps(dump(settings)))) == settings


def test_settings_cannot_be_changed_after_they_were_checked(compose: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="frozen"):
        compose().seed = 3


def test_nearest_names_one_close_name_or_all_of_them() -> None:
    assert nearest("filter", ["filters", "groups"]) == "; did you mean filters?"
    assert nearest("xyz", ["filters", "groups"]) == "; known are filters, groups"


def test_a_path_counts_from_the_project_unless_it_is_absolute(tmp_path: Path) -> None:
    assert resolve_path("data/a.zip", tmp_path) == tmp_path / "data" / "a.zip"
    assert resolve_path("/else/a.zip", tmp_path) == Path("/else/a.zip")
    assert resolve_path("~/a.zip", tmp_path) == Path.home() / "a.zip"


def test_a_config_that_is_empty_names_every_missing_key() -> None:
    with pytest.raises(InputError) as refusal:
        Settings.parse({})
    missing = {line.removesuffix(" is missing") for line in str(refusal.value).splitlines()}
    groups = {"data", "augment", "model", "task", "loss", "optimizer", "schedule", "trainer"}
    assert missing == {"seed", "schema", "distribute", "tracking", *groups}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["trainer.freeze=[konv1]"], r"trainer\.freeze='konv1' .*; did you mean conv1\?"),
        (["trainer.freeze=['(conv']"], r"trainer\.freeze='\(conv' is not allowed: .* expression"),
        (["trainer.freeze=[conv, '.']"], r"leave one of conv1, conv2, dense1, logits, prelu1 to"),
        (["trainer.freeze=conv"], r"trainer\.freeze='conv': .*array"),
        (["trainer.start_from='models:digits'"], r"trainer\.start_from='models:digits' is not"),
        (["trainer.start_from=' '"], r"trainer\.start_from=' ' is not allowed: give null, the"),
        (["trainer.accumulate=0"], r"trainer\.accumulate=0: .*greater than or equal to 1"),
        (["loss.class_weights=balance"], r"class_weights='balance' .* null, balanced, or \{CLASS"),
        (["loss.class_weights={a: -1}"], r"loss\.class_weights=\{'a': -1\} is not allowed"),
        (["loss.class_weights={a: x}"], r"loss\.class_weights=\{'a': 'x'\} is not allowed"),
        (
            ["task=regression", "loss=mse", "task.drawn=[rotation]", "loss.class_weights=balanced"],
            r"loss\.class_weights='balanced' is not allowed: give null with task=regression",
        ),
    ],
)
def test_what_cannot_be_trained_so_is_refused_when_it_is_composed(
    compose: Callable[..., Any], overrides: list[str], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        compose("augment.geometry.rotation=30", *overrides)


def test_a_layer_is_frozen_by_a_pattern_found_in_its_name(compose: Callable[..., Any]) -> None:
    assert compose().frozen == set()
    assert compose("trainer.freeze=[conv]", "trainer.start_from=run").warnings == []
    assert "random weights" in compose("trainer.freeze=[conv]").warnings[0]
    assert compose("trainer.freeze=['^conv', 'relu']").frozen == {"conv1", "conv2", "prelu1"}


def _groups(annotation: Any) -> Iterator[type]:
    """All models and dataclasses that the schema is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from _groups(field.annotation)
    elif dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        yield annotation
        for name in annotation.__annotations__:
            yield from _groups(annotation.__annotations__[name])
    elif get_origin(annotation) is Annotated:
        yield from _groups(get_args(annotation)[0])
    else:
        for part in get_args(annotation):
            yield from _groups(part)


def _keys() -> set[tuple[str, str]]:
    keys = set()
    for group in _groups(Settings):
        if issubclass(group, LayerSpec):
            continue  # Their fields go to the Keras layer of the same argument, all at once.
        fields = (
            group.model_fields
            if issubclass(group, BaseModel)
            else [field.name for field in dataclasses.fields(group)]
        )
        # The version is checked by the schema itself, and that is its use.
        keys |= {(group.__name__, name) for name in fields if name != "version"}
    return keys


@pytest.mark.parametrize(("group", "key"), sorted(_keys()))
def test_every_key_is_read_by_some_code(group: str, key: str) -> None:
    assert key in _ATTRIBUTES_READ, f"no code reads {group}.{key}"


def test_every_group_of_the_schema_was_looked_at() -> None:
    groups = {group for group, _ in _keys()}
    assert {
        "FolderData",
        "TableData",
        "Crop",
        "StepSchedule",
        "MLflowTracking",
        "NoTracking",
    } <= groups
    assert len(_keys()) > 40
