"""A trained model's folder as an MLflow model, of the flavours `keras` and `python_function`."""

from __future__ import annotations

import base64
import re
import shutil
import tempfile
import warnings
import zipfile
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import convforge
from convforge.serving import loader
from convforge.serving.model_card import EXAMPLE, ModelCard, read_card

# Below the folder that MLflow makes.
_DATA = "data"
_LOADER = "convforge_loader"
# All that answers; one archive, since a server is sent file by file.
_TRAVELS = re.compile(r"(?!pipeline/|__main__)[\w/]+\.py")
# A model of 21,841 classes would write a page of YAML of them; its card has them all.
_MOST_CLASSES = 1000


def write_mlflow_model(folder: Path, target: Path, model: Any) -> None:
    """Write what is in `folder` (weights, card, example) to `target` as MLflow wants it.

    The files are copied, not made anew: nothing is loaded into memory, and
    `mlflow.keras.load_model` finds the very weights that the run has left.

    Args:
        folder: of the trained model.
        target: a folder that does not exist yet.
        model: MLflow's `Model` with the ids of this one.
    """
    import mlflow
    from mlflow.models import Model

    card = read_card(folder)
    assert isinstance(model, Model)
    model.metadata = _metadata(card)
    model.add_flavor(
        "keras",
        # It looks for `model.keras` in here.
        data=f"{_DATA}/{folder.name}",
        keras_version=version("keras"),
        keras_backend="tensorflow",
        save_exported_model=False,
    )
    with tempfile.TemporaryDirectory() as code, warnings.catch_warnings():
        _write_code(Path(code))
        # It asks for an input example where there is none.
        warnings.filterwarnings("ignore", ".*An input example was not provided", UserWarning)
        mlflow.pyfunc.save_model(
            str(target),
            loader_module=_LOADER,
            data_path=str(folder),
            code_paths=[str(file) for file in sorted(Path(code).iterdir())],
            mlflow_model=model,
            signature=_signature(card),
            input_example=_example(folder),
            pip_requirements=requirements(),
        )


def requirements() -> list[str]:
    """What the logged model needs to answer, as it is installed here, but convforge itself.

    Its code travels with the model. Any backend of Keras would do; TensorFlow is Keras' default.
    """
    needed = [
        re.split(r"[^\w-]", line)[0]
        for line in requires("convforge") or ()
        if "extra ==" not in line or re.search(r"extra == .serve.", line)
    ]
    return [f"{name}=={version(name)}" for name in (*needed, "tensorflow")]


def _write_code(folder: Path) -> None:
    """The loader, and the half of the package that it needs."""
    package = Path(convforge.__file__).parent
    shutil.copyfile(loader.__file__, folder / f"{_LOADER}.py")
    with zipfile.ZipFile(folder / loader.ARCHIVE, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(package.rglob("*.py")):
            name = file.relative_to(package).as_posix()
            if _TRAVELS.fullmatch(name):
                # Without the time, so that the same code is the same archive.
                archive.writestr(zipfile.ZipInfo(f"convforge/{name}"), file.read_bytes())


def _metadata(card: ModelCard) -> dict[str, Any]:
    """What one must know of it besides its weights."""
    outputs = card.outputs if len(card.outputs) <= _MOST_CLASSES else len(card.outputs)
    return {
        "name": card.name,
        "weights": card.weights,
        "classes" if card.classes else "targets": outputs,
        "preprocessing": {
            "image_shape": card.image_shape,
            "resized_to": card.stored_size or card.image_shape[:2],
            "geometry": card.geometry,
            "background": card.background,
            "pixels": "0..255; the model normalises them itself",
        },
        "data_digest": card.data_digest,
        "convforge_version": card.version,
    }


def _signature(card: ModelCard) -> Any:
    """Files or pixels in, an answer for each image out, and how many classes to name."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec
    from mlflow.types.schema import Array, ColSpec, Object, Property

    # Whatever is sent is seen as it is: with numbers of its own type MLflow would cut 0.5 to 0.
    inputs = Schema([TensorSpec(np.dtype("object"), (-1,))])
    if card.targets:
        return ModelSignature(
            inputs, Schema([ColSpec(DataType.double, name) for name in card.targets])
        )
    named = [Property("class", DataType.string), Property("probability", DataType.double)]
    outputs = [
        ColSpec(DataType.string, "class"),
        ColSpec(DataType.double, "probability"),
        ColSpec(Array(Object(named)), "top", required=False),
    ]
    return ModelSignature(
        inputs, Schema(outputs), ParamSchema([ParamSpec("top", DataType.long, 1)])
    )


def _example(folder: Path) -> Any:
    """A request with one image file, where the run has kept one."""
    import numpy as np

    file = folder / EXAMPLE
    if not file.is_file():
        return None
    return np.array([base64.b64encode(file.read_bytes()).decode()], dtype=object)
