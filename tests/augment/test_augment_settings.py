"""Settings: off by default, refused by name where they are wrong, checked without Keras."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError
from yaml import safe_load

from convforge.augment.settings import Augmentation, Colour, Crop, Geometry, Reflection
from convforge.geometry import ArgumentError
from convforge.pipeline import cli

CONFIGS = sorted((Path(__file__).parents[2] / "conf" / "augment").glob("*.yaml"))

WRONG: list[tuple[Any, str, Any]] = [
    (Crop, "probability", 1.5),
    (Crop, "probability", -0.1),
    (Crop, "scale", (0.0, 1.0)),
    (Crop, "scale", (0.9, 0.8)),
    (Crop, "scale", (0.5, 1.1)),
    (Crop, "scale", (float("nan"), 1.0)),
    (Crop, "ratio", (0.0, 1.0)),
    (Crop, "ratio", (1.2, 0.8)),
    (Crop, "ratio", (0.8, 1.2)),
    (Reflection, "probability", 2.0),
    (Reflection, "probability", float("nan")),
    (Colour, "strength", -0.1),
    (Colour, "reading", "variance"),
    (Geometry, "rotation", 181.0),
    (Geometry, "rotation", -1.0),
    (Geometry, "translation", 1.5),
    (Geometry, "scale", (0.0, 1.0)),
    (Geometry, "scale", (1.1, 0.9)),
    (Geometry, "shear", 90.0),
    (Augmentation, "fill", "wrap"),
    (Augmentation, "fill_value", 256.0),
    (Augmentation, "interpolation", "cubic"),
    (Augmentation, "place", "gpu"),
]


@pytest.mark.parametrize(("method", "argument", "value"), WRONG)
def test_a_bad_value_is_refused_by_its_name(method: Any, argument: str, value: Any) -> None:
    with pytest.raises(ArgumentError, match=argument) as refusal:
        method(**{argument: value})
    assert refusal.value.argument == argument
    assert refusal.value.value is value


def test_defaults_leave_images_alone() -> None:
    assert not Augmentation().active
    for method in (Crop(), Reflection(), Colour(), Geometry()):
        assert not method.active


@pytest.mark.parametrize(
    "method",
    [
        Crop(scale=(0.5, 1.0)),
        Crop(scale=(0.9, 0.9), ratio=(1.0, 1.1)),
        Reflection(probability=0.1),
        Colour(strength=0.1),
        Geometry(rotation=1.0),
        Geometry(translation=0.1),
        Geometry(scale=(1.0, 1.1)),
        Geometry(shear=1.0),
    ],
)
def test_any_strength_turns_a_method_on(method: Any) -> None:
    assert method.active


def test_a_probability_of_nothing_turns_a_method_off() -> None:
    assert not Geometry(probability=0.0, rotation=10.0).active
    assert not Crop(probability=0.0, scale=(0.5, 1.0)).active
    assert not Colour(probability=0.0, strength=0.1).active


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_configs_are_strictly_valid_and_name_every_key(file: Path) -> None:
    values = safe_load(file.read_text("utf-8"))
    adapter = TypeAdapter(Augmentation)
    settings = adapter.validate_json(json.dumps(values), strict=True)
    assert json.loads(adapter.dump_json(settings)) == values


def test_the_configs_do_what_their_names_say() -> None:
    found = {
        file.stem: TypeAdapter(Augmentation).validate_python(safe_load(file.read_text("utf-8")))
        for file in CONFIGS
    }
    methods = ("crop", "reflection", "colour", "geometry")
    on = {
        name: {method for method in methods if getattr(settings, method).active}
        for name, settings in found.items()
    }
    assert on["none"] == set()
    assert on["light"] == {"geometry"}
    assert on["alexnet"] == {"crop", "reflection", "colour"}
    assert on["full"] == set(methods)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"crop": {"scales": [0.5, 1.0]}}, ("crop", "scales")),
        ({"cutout": {}}, ("cutout",)),
        ({"crop": {"scale": [0.0, 1.0]}}, ("crop",)),
        ({"geometry": {"rotation": "ten"}}, ("geometry", "rotation")),
    ],
)
def test_validation_names_the_key(values: dict[str, Any], key: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as refusal:
        TypeAdapter(Augmentation).validate_python(values)
    assert refusal.value.errors()[0]["loc"] == key


def test_checking_a_config_does_not_import_keras() -> None:
    code = "import sys, convforge.augment.settings; sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_colour_on_images_of_one_channel_is_said_to_alter_brightness_alone(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said = r"augment\.colour\.strength=0\.1: with data\.channels=1 .* brightness alone"
    assert cli.main(["compose", "augment=full"]) == 0
    assert re.search(said, capfd.readouterr().err)
    for plain in (["augment=full", "data.channels=3"], ["augment=light"]):
        assert cli.main(["compose", *plain]) == 0
        assert "brightness" not in capfd.readouterr().err
