"""Looking into a `.keras` archive before Keras loads it: a model from elsewhere is data, not code.

Keras builds what `config.json` says and fills it with `model.weights.h5`. Here both are held
against what a saved model of this project can be: its parts, its classes, its input and outputs,
and no more weights than the archive holds.
"""

from __future__ import annotations

import hashlib
import io
import json
import traceback
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from threading import get_ident
from typing import Any

import numpy as np

from convforge.errors import InputError

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_MEMBERS = {"metadata.json", _CONFIG, _WEIGHTS}
_LARGEST_CONFIG = 64 * 2**20
# Deflate reaches 1000; Keras stores its members as they are.
_MOST_EXPANSION = 100
_DEEPEST = 100
# Numbers in a map; three channels of the largest image have fewer.
_LARGEST_MAP = 2**30
# Letters of a value that a message repeats.
_MOST_SHOWN = 160

_MODEL_MODULES = {
    *("keras", "keras.models"),
    *("keras.src.models.functional", "keras.src.models.sequential"),
}
_MODELS = {"Functional", "Sequential"}
# Where the classes of a network and its settings live.
_MODULES = {
    *("keras", "keras.layers", "keras.initializers", "keras.constraints", "keras.regularizers"),
    *("keras.dtype_policies", "keras.quantizers"),
}
# Layers of Keras' that run code from the file, or read other files that it names.
_WITH_CODE = {
    *("Lambda", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer"),
    *("TextVectorization", "StringLookup", "IntegerLookup", "IndexLookup"),
}


class ModelArchive:
    """A `.keras` file, its structure checked.

    Args:
        path: of the file.

    Raises:
        InputError: it is not what Keras saves, or has parts that are refused.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self._check_members(archive)
                self.config = self._read_config(archive)
                #: How many numbers the weights hold.
                self.stored_numbers = self._count_numbers(archive)
        # The module zipfile raises NotImplementedError and RuntimeError for what it cannot unpack.
        except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError) as error:
            raise self._refusal(f"it is no intact archive ({error})") from error
        self._check_classes()

    @property
    def weights_digest(self) -> str:
        """The SHA-256 of the weights, whenever and wherever the archive was written."""
        with zipfile.ZipFile(self._path) as archive:
            return hashlib.sha256(archive.read(_WEIGHTS)).hexdigest()

    def _refusal(self, reason: str) -> InputError:
        return InputError(f"{self._path} is refused: {reason}")

    def _check_members(self, archive: zipfile.ZipFile) -> None:
        names = [item.filename for item in archive.infolist()]
        for name in names:
            if name not in _MEMBERS:
                raise self._refusal(f"{_shown(name)} in it is no part of a saved model")
            if names.count(name) > 1:
                raise self._refusal(f"{name} is in it twice")
        for name in (_CONFIG, _WEIGHTS):
            if name not in names:
                raise self._refusal(f"{name} is missing")
        for item in archive.infolist():
            if item.flag_bits & 1:
                raise self._refusal(f"{item.filename} is encrypted")
            if item.file_size > _MOST_EXPANSION * max(item.compress_size, 1):
                raise self._refusal(
                    f"{item.filename} would unpack {item.compress_size:,} bytes to "
                    f"{item.file_size:,}"
                )

    def _read_config(self, archive: zipfile.ZipFile) -> Mapping[str, Any]:
        if archive.getinfo(_CONFIG).file_size > _LARGEST_CONFIG:
            raise self._refusal(f"{_CONFIG} has more than {_LARGEST_CONFIG:,} bytes")
        try:
            config = json.loads(archive.read(_CONFIG))
        except (ValueError, RecursionError, zlib.error) as error:
            raise self._refusal(f"{_CONFIG} is no JSON ({_first_line(error)})") from error
        if not isinstance(config, dict):
            raise self._refusal(f"{_CONFIG} holds a {type(config).__name__}, not a model")
        return config

    def _count_numbers(self, archive: zipfile.ZipFile) -> int:
        """The numbers in the weights, which lie in the archive itself and are all there."""
        import h5py

        size = archive.getinfo(_WEIGHTS).file_size
        try:
            with h5py.File(io.BytesIO(archive.read(_WEIGHTS)), "r") as file:
                total = 0
                for name, data in self._datasets(file):
                    total += data.size
                    if data.size * data.dtype.itemsize > size or total > size:
                        raise self._refusal(
                            f"{name} claims {data.shape} numbers, and all of {_WEIGHTS} has "
                            f"{size:,} bytes"
                        )
                return total
        except InputError:
            raise
        # What h5py makes of damaged files: it has no exception of its own.
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise self._refusal(f"{_WEIGHTS} is damaged ({_first_line(error)})") from error

    def _datasets(self, group: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
        import h5py

        if depth > _DEEPEST:
            raise self._refusal(f"{_WEIGHTS} is nested too deeply")
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise self._refusal(f"{_shown(name)} in {_WEIGHTS} leads elsewhere")
            item = group[name]
            if isinstance(item, h5py.Group):
                yield from self._datasets(item, depth + 1)
            elif item.external or item.is_virtual:
                raise self._refusal(f"{_shown(name)} in {_WEIGHTS} lies in another file")
            elif item.dtype.kind not in "fiub" and item.dtype.name != "bfloat16":
                raise self._refusal(f"{_shown(name)} in {_WEIGHTS} holds no numbers")
            else:
                yield item.name, item

    def _check_classes(self) -> None:
        """Refuse every class that is neither Keras' nor this project's, and all that carry code."""
        name, module = self.config.get("class_name"), self.config.get("module")
        # As text, since a file may hold a list there, which no set takes.
        if str(name) not in _MODELS or str(module) not in _MODEL_MODULES:
            raise self._refusal(f"{_CONFIG} describes {_shown(name)}, not a Keras model")
        if not isinstance(self._inner.get("layers"), list) or not self._inner["layers"]:
            raise self._refusal(f"{_CONFIG} lists no layers")
        left: list[tuple[Any, int]] = [(self._inner, 0)]
        while left:
            value, depth = left.pop()
            if depth > _DEEPEST:
                raise self._refusal(f"{_CONFIG} is nested too deeply")
            if isinstance(value, dict):
                if "class_name" in value:
                    self._check_class(value)
                left += [(item, depth + 1) for item in value.values()]
            elif isinstance(value, list):
                left += [(item, depth + 1) for item in value]

    def _check_class(self, value: Mapping[str, Any]) -> None:
        name, module = value["class_name"], value.get("module")
        registered = value.get("registered_name")
        if str(name) in _WITH_CODE or name == "__lambda__":
            what = "a Lambda" if name == "__lambda__" else f"the layer {name}"
            raise self._refusal(
                f"{what} in it brings code or reads files of its own, and nothing that a model's "
                "file brings is executed"
            )
        if name == "__keras_tensor__":
            return
        if isinstance(registered, str) and registered.startswith("convforge>"):
            return
        if not isinstance(name, str) or str(module) not in _MODULES:
            raise self._refusal(
                f"the class {_shown(name)} of {_shown(module)} is neither Keras' nor convforge's"
            )

    @property
    def _inner(self) -> Mapping[str, Any]:
        inner = self.config.get("config")
        return inner if isinstance(inner, dict) else {}

    def check_input(self, image_shape: list[int]) -> None:
        """Refuse a model that takes other images than its card says.

        Raises:
            InputError: it does, or does not say what it takes.
        """
        inputs = [
            layer["config"].get("batch_shape")
            for layer in self._inner["layers"]
            if isinstance(layer, dict)
            and layer.get("class_name") == "InputLayer"
            and isinstance(layer.get("config"), dict)
        ]
        if inputs != [[None, *image_shape]]:
            raise self._refusal(
                f"it takes {_shown(inputs[0] if len(inputs) == 1 else inputs)}, but its card says "
                f"image_shape={image_shape}"
            )

    def load(self, outputs: int | None = None) -> Any:
        """The model.

        Args:
            outputs: how many numbers it must give for an image; None for any number.

        Raises:
            InputError: its settings or weights are none that its layers can have.
        """
        import keras

        try:
            with _at_most(self.stored_numbers):
                model = keras.saving.load_model(self._path, compile=False)
        except _TooManyWeightsError as error:
            raise self._refusal(str(error)) from error
        # Keras raises whatever its layers stumble over.
        except Exception as error:
            cause = _first_cause(error)
            if _is_bug(cause):
                raise
            raise self._refusal(f"Keras cannot build it: {_first_line(cause)}") from error
        if outputs is not None and model.output_shape != (None, outputs):
            raise self._refusal(
                f"its output is {_shown(model.output_shape)}, but its card names {outputs}"
            )
        for layer in model.layers:
            self._check_layer(layer)
        return model

    def _check_layer(self, layer: Any) -> None:
        import keras

        try:
            maps = [tensor.shape[1:] for tensor in keras.tree.flatten(layer.output)]
        # Keras' way to say that a layer has several outputs or none.
        except (AttributeError, ValueError) as error:
            raise self._refusal(f"the layer {layer.name} is not called once") from error
        for sizes in maps:
            if None in sizes or prod(sizes) > _LARGEST_MAP:
                raise self._refusal(f"the layer {layer.name} makes a map of {sizes} of each image")
        for weight in layer.weights:
            value = keras.ops.convert_to_numpy(weight)
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise self._refusal(f"the layer {layer.name} has weights that are not finite")


class _TooManyWeightsError(Exception):
    pass


@contextmanager
def _at_most(numbers: int) -> Iterator[None]:
    """Refuse to make weights of more than `numbers` numbers, before memory is taken for them."""
    import keras

    add_weight, thread, taken = keras.layers.Layer.add_weight, get_ident(), 0

    def bounded(self: Any, shape: Any = None, *arguments: Any, **options: Any) -> Any:
        nonlocal taken
        if get_ident() == thread:
            taken += prod(shape or ())
            if taken > numbers:
                raise _TooManyWeightsError(
                    f"its layers want more than the {numbers:,} weights that it holds"
                )
        return add_weight(self, shape, *arguments, **options)

    keras.layers.Layer.add_weight = bounded
    try:
        yield
    finally:
        keras.layers.Layer.add_weight = add_weight


def _first_cause(error: BaseException) -> BaseException:
    """What Keras' errors about errors began with."""
    while cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = cause
    return error


def _is_bug(error: BaseException) -> bool:
    """Whether `error` is this project's own fault: raised by its source, and no refusal."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    own = frame.f_globals.get("__name__", "").startswith("convforge.")
    return own and not isinstance(error, ValueError | TypeError | _TooManyWeightsError)


def _first_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return _shown(text)[1:-1]


def _shown(value: Any) -> str:
    """`value` in a message: one line without control characters, and not too long."""
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
