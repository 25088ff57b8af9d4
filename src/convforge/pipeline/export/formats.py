"""How a model is written in each format, and how that format's own runtime runs it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convforge.errors import InputError
from convforge.pipeline.export import litert_runtime
from convforge.pipeline.export.preprocessing import network_input, network_input_of_files
from convforge.serving.predictor import Predictor

# Images that say how large the numbers between the layers become.
CALIBRATION = 200


class Format(ABC):
    """A format that a model is exported to."""

    #: The end of the file's name, or the folder's.
    ending: str
    #: The modules that the extra `export` brings for it.
    needs: tuple[str, ...] = ()
    #: Whether it computes as exactly as Keras does.
    is_exact = True
    #: Whether it takes images of any size, whole numbers 0..255, and prepares them itself.
    takes_any_size = False

    def check(self) -> None:
        """Refuse where a package is missing, before anything is loaded.

        Raises:
            InputError: names what to install.
        """
        for module in self.needs:
            if find_spec(module) is None:
                raise InputError(f"{module} is not installed: pip install 'convforge[export]'")

    @abstractmethod
    def write(self, predictor: Predictor, path: Path, images: NDArray[np.float32]) -> None:
        """Write the model to `path`; `images` are of the training split, for calibration."""

    @abstractmethod
    def run(self, path: Path, batches: Sequence[NDArray[Any]]) -> list[NDArray[np.float32]]:
        """What the model at `path` answers for batches of images `(n, height, width, channels)`.

        Pixels are whole numbers 0..255: uint8 where it takes any size, else float32.
        """


class SavedModel(Format):
    """TensorFlow's, for TensorFlow Serving, with three signatures.

    `files` takes the bytes of JPEG, PNG, GIF and BMP files, `images` pixels uint8 of any size and
    colours, `serve` those that the network itself takes, float32.
    """

    ending = "-savedmodel"
    takes_any_size = True

    def write(self, predictor: Predictor, path: Path, images: NDArray[np.float32]) -> None:
        """A folder."""
        import tensorflow as tf
        from keras.export import ExportArchive

        model, card = predictor.model, predictor.card
        archive = ExportArchive()
        archive.track(model)

        def serve(pixels: Any) -> Any:
            return model(pixels, training=False)

        def of_images(pixels: Any) -> Any:
            return serve(network_input(pixels, card))

        def of_files(contents: Any) -> Any:
            return serve(network_input_of_files(contents, card))

        for name, endpoint, spec in (
            ("serve", serve, tf.TensorSpec((None, *card.image_shape), tf.float32, "pixels")),
            ("images", of_images, tf.TensorSpec((None,) * 4, tf.uint8, "images")),
            ("files", of_files, tf.TensorSpec((None,), tf.string, "files")),
        ):
            archive.add_endpoint(name, endpoint, [spec])
        archive.write_out(str(path), verbose=False)

    def run(self, path: Path, batches: Sequence[NDArray[Any]]) -> list[NDArray[np.float32]]:
        """By TensorFlow."""
        import tensorflow as tf

        loaded = tf.saved_model.load(str(path))  # Whose variables live as long as it does.
        return [np.asarray(loaded.images(images)) for images in batches]


class Onnx(Format):
    """ONNX, with the card among its metadata; it takes pixels uint8 of any size and colours."""

    ending = ".onnx"
    needs = ("onnx", "onnxruntime", "tf2onnx")
    takes_any_size = True

    def write(self, predictor: Predictor, path: Path, images: NDArray[np.float32]) -> None:
        """Not by Keras, whose export leaves the numbers of a normalisation to be given as inputs.

        Tried with Keras 3.15.1 and tf2onnx 1.17: a graph whose variables are constants has one
        input.
        """
        import onnx
        import tensorflow as tf
        from keras.src.export.tf2onnx_lib import patch_tf2onnx
        from tensorflow.python.framework.convert_to_constants import (
            convert_variables_to_constants_v2,
        )

        model, card = predictor.model, predictor.card
        answer = tf.function(
            lambda images: model(network_input(images, card), training=False), autograph=False
        )
        concrete = answer.get_concrete_function(tf.TensorSpec((None,) * 4, tf.uint8, "images"))
        frozen = convert_variables_to_constants_v2(concrete)
        # It knows the NumPy of before 2.0.
        patch_tf2onnx()
        import tf2onnx

        exported, _ = tf2onnx.convert.from_graph_def(
            frozen.graph.as_graph_def(),
            input_names=[frozen.inputs[0].name],
            output_names=[frozen.outputs[0].name],
        )
        onnx.helper.set_model_props(exported, {"convforge.card": card.model_dump_json()})
        onnx.save(exported, str(path))

    def run(self, path: Path, batches: Sequence[NDArray[Any]]) -> list[NDArray[np.float32]]:
        """By ONNX Runtime."""
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return [np.asarray(session.run(None, {name: images})[0]) for images in batches]


class LiteRT(Format):
    """LiteRT, once TensorFlow Lite: for phones and small devices.

    It takes the network's own size alone: its arithmetic is in single precision, and its resizing
    does not average over what is reduced. Who calls it resizes, as the card says.
    """

    ending = ".tflite"
    needs = ("ai_edge_litert",)

    def write(self, predictor: Predictor, path: Path, images: NDArray[np.float32]) -> None:
        """A file."""
        predictor.model.export(str(path), format="litert", verbose=False)

    def run(self, path: Path, batches: Sequence[NDArray[Any]]) -> list[NDArray[np.float32]]:
        """By LiteRT's interpreter."""
        return [self._run(path, images) for images in batches]

    def _run(self, path: Path, images: NDArray[Any]) -> NDArray[np.float32]:
        with tempfile.TemporaryDirectory() as folder:
            given, outputs = Path(folder) / "images.npy", Path(folder) / "outputs.npy"
            np.save(given, images)
            command = [sys.executable, "-m", litert_runtime.__name__, path, given, outputs]
            done = subprocess.run(
                list(map(str, command)), capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise RuntimeError(f"LiteRT cannot run {path}:\n{done.stderr}")
            found: NDArray[np.float32] = np.load(outputs)
            return found


class QuantizedLiteRT(LiteRT):
    """The same in whole numbers of 8 bits: a quarter of the size, and pixels as they are."""

    ending = "-int8.tflite"
    is_exact = False

    def write(self, predictor: Predictor, path: Path, images: NDArray[np.float32]) -> None:
        """Quantised by what `images` lead to between the layers."""
        import tensorflow as tf

        from convforge.pipeline.export.quantization import quantizable

        with tempfile.TemporaryDirectory() as folder:
            quantizable(predictor.model).export(folder, format="tf_saved_model", verbose=False)
            converter = tf.lite.TFLiteConverter.from_saved_model(folder)
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([image[None]] for image in images)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = tf.uint8
            path.write_bytes(converter.convert())


#: What `--to` may be.
FORMATS: dict[str, Format] = {
    "savedmodel": SavedModel(),
    "onnx": Onnx(),
    "litert": LiteRT(),
    "litert-int8": QuantizedLiteRT(),
}


def size(path: Path) -> int:
    """Bytes of a file, or of all in a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def is_saved_model(path: Path) -> bool:
    """Whether TensorFlow has written it."""
    return (path / "saved_model.pb").is_file()


def make_room(path: Path) -> None:
    """Remove an earlier export at `path`.

    Raises:
        InputError: something else is there.
    """
    if path.is_dir():
        if not is_saved_model(path):
            raise InputError(f"--out={path} is a folder that holds something else")
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
