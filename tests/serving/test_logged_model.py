"""What MLflow keeps of a trained model: both flavours, and all that one must know to use it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import mlflow
import numpy as np
import pytest
import yaml
from mlflow.models import Model

from convforge.layers import MaxoutConv2D, PReLU
from convforge.pipeline.tracking import logged_model
from convforge.pipeline.tracking.logged_model import write_mlflow_model
from convforge.serving.model_card import ModelCard
from convforge.serving.predictor import load_predictor, save_model


def test_it_is_a_keras_model_to_mlflow(logged: Path, trained: Path) -> None:
    model = mlflow.keras.load_model(str(logged))
    assert isinstance(model, keras.Model)
    expected = load_predictor(trained).model.get_weights()
    for one, other in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.integration
def test_a_keras_project_loads_our_layers_without_the_pipeline(tmp_path: Path) -> None:
    """In a fresh process, `import convforge` is enough for Keras to know them."""
    image = keras.Input((6, 6, 1))
    flat = keras.layers.Flatten()(PReLU()(MaxoutConv2D(2, 3, padding=1)(image)))
    model = keras.Model(image, keras.layers.Dense(2, activation="softmax")(flat))
    card = ModelCard(
        name="net", classes=["no", "yes"], image_shape=[6, 6, 1], data_digest="0", version="0"
    )
    save_model(tmp_path / "model", model, card)
    write_mlflow_model(tmp_path / "model", tmp_path / "logged", Model())
    code = f"""
import sys, convforge, mlflow
model = mlflow.keras.load_model({str(tmp_path / "logged")!r})
print([type(layer).__name__ for layer in model.layers[1:3]])
print([name for name in sys.modules if name.startswith("convforge.pipeline")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["['MaxoutConv2D', 'PReLU']", "[]"]


def test_its_example_is_an_image_of_the_data_and_gets_an_answer(logged: Path) -> None:
    served = mlflow.pyfunc.load_model(str(logged))
    (answer,) = served.predict(served.input_example)
    assert set(answer) == {"class", "probability"}
    assert answer["class"] in "0123456789"


def test_its_metadata_say_what_goes_in_and_what_comes_out(logged: Path) -> None:
    model = Model.load(str(logged))
    assert model.metadata["classes"] == list("0123456789")
    assert model.metadata["preprocessing"] == {
        "image_shape": [28, 28, 1],
        "resized_to": [28, 28],
        "geometry": "resize",
        "background": 255,
        "pixels": "0..255; the model normalises them itself",
    }
    assert [spec.name for spec in model.signature.outputs] == ["class", "probability", "top"]
    assert model.signature.params.to_dict()[0]["name"] == "top"


def test_its_code_and_requirements_are_those_that_it_needs_to_answer(logged: Path) -> None:
    names = set(zipfile.ZipFile(logged / "code" / "convforge.zip").namelist())
    assert {"convforge/serving/mlflow_model.py", "convforge/layers/maxout.py"} <= names
    assert not [name for name in names if "pipeline" in name]
    needed = {line.partition("==")[0] for line in logged_model.requirements()}
    assert needed == {"keras", "numpy", "mlflow", "pillow", "pydantic", "tensorflow"}
    conda = yaml.safe_load((logged / "conda.yaml").read_text())
    assert logged_model.requirements() == conda["dependencies"][-1]["pip"]


@pytest.mark.integration
def test_where_convforge_is_not_installed_its_own_copy_answers(logged: Path) -> None:
    code = f"""
import sys
sys.path = [folder for folder in sys.path if not folder.endswith("src")]
from importlib.util import find_spec
assert find_spec("convforge") is None
import mlflow
model = mlflow.pyfunc.load_model({str(logged)!r})
print(model.predict(model.input_example)[0]["class"])
import convforge
print(convforge.__file__)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        cwd=logged,
    )
    assert done.returncode == 0, done.stderr
    digit, file = done.stdout.split()
    assert digit in "0123456789"
    assert file == str(logged / "code" / "convforge.zip" / "convforge" / "__init__.py")
