"""What every layer must do beside its formula; one call checks one layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numeric import FORWARD_ERROR, relative_error

Make = Callable[..., keras.layers.Layer]

TRANSPOSED = (0, 3, 1, 2)


@keras.saving.register_keras_serializable(package="convforge_tests")
class Subclassed(keras.Model):
    """A model that holds the layer as an attribute and calls it in code."""

    def __init__(self, layer: keras.layers.Layer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer = layer

    def call(self, inputs: Any) -> Any:
        return self.layer(inputs)

    def get_config(self) -> dict[str, Any]:
        layer = keras.saving.serialize_keras_object(self.layer)
        return {**super().get_config(), "layer": layer}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Subclassed:
        return cls(keras.saving.deserialize_keras_object(config.pop("layer")), **config)


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=shape).astype("float32")


def model_of(layer: keras.layers.Layer, *shape: int | None) -> keras.Model:
    inputs = keras.Input(shape)
    return keras.Model(inputs, layer(inputs))


def check_symbolic_shape(make: Make, shape: tuple[int, ...]) -> None:
    layer, inputs = make(), images(2, *shape)
    symbolic = layer(keras.Input(shape))
    actual = layer(inputs)
    assert tuple(actual.shape) == layer.compute_output_shape(inputs.shape)
    assert symbolic.shape == layer.compute_output_shape((None, *shape))
    assert symbolic.shape[1:] == tuple(actual.shape)[1:]


def check_unknown_size(make: Make, shape: tuple[int, ...]) -> None:
    """Dynamic batch, height and width: one model takes several sizes, as the layer alone does."""
    known = model_of(make(), *shape)
    unknown = model_of(make(), None, None, shape[-1])
    unknown.set_weights(known.get_weights())
    for batch in (images(1, *shape), images(3, *shape)):
        expected = known(batch)
        assert relative_error(unknown(batch), expected) <= FORWARD_ERROR
        assert relative_error(unknown.predict(batch, verbose=0), expected) <= FORWARD_ERROR


def check_config(make: Make, shape: tuple[int, ...]) -> None:
    layer = make()
    config = layer.get_config()
    again = type(layer).from_config(config)
    assert again.get_config() == config
    model = model_of(layer, *shape)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    assert relative_error(clone(images(2, *shape)), model(images(2, *shape))) <= FORWARD_ERROR


def check_saving(make: Make, shape: tuple[int, ...], folder: Path) -> None:
    """Functional and subclassed models come back from a .keras file without custom objects."""
    batch = images(2, *shape)
    for model in (model_of(make(), *shape), Subclassed(make())):
        expected = model(batch)
        model.save(folder / "model.keras")
        loaded = keras.models.load_model(folder / "model.keras")
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(loaded(batch)), keras.ops.convert_to_numpy(expected)
        )


def check_mixed_precision(make: Make, shape: tuple[int, ...]) -> None:
    full, batch = make(), images(2, *shape)
    expected = full(batch)
    for policy, error in (("mixed_float16", 2e-2), ("mixed_bfloat16", 5e-2)):
        mixed = make(dtype=policy)
        mixed.build(batch.shape)
        mixed.set_weights(full.get_weights())
        actual = mixed(batch)
        assert keras.backend.standardize_dtype(actual.dtype) == policy.removeprefix("mixed_")
        assert all(weight.dtype == "float32" for weight in mixed.weights)
        assert relative_error(keras.ops.cast(actual, "float32"), expected) <= error


def check_channels_first(make: Make, shape: tuple[int, ...]) -> None:
    last, first = make(), make(data_format="channels_first")
    batch = images(2, *shape)
    expected = keras.ops.convert_to_numpy(last(batch)).transpose(TRANSPOSED)
    transposed = batch.transpose(TRANSPOSED)
    first.build(transposed.shape)
    # A slope for each element has the axes of the map, and their order.
    first.set_weights(
        [
            weight.transpose(2, 0, 1) if weight.shape == batch.shape[1:] else weight
            for weight in last.get_weights()
        ]
    )
    assert first.compute_output_shape(transposed.shape) == expected.shape
    assert relative_error(first(transposed), expected) <= FORWARD_ERROR


def check_training(make: Make, shape: tuple[int, ...], policy: str) -> None:
    """`fit` changes every weight of the layer."""
    inputs = keras.Input(shape)
    outputs = make(name="checked", dtype=policy)(inputs)
    outputs = keras.layers.Dense(1)(keras.layers.Flatten()(outputs))
    model = keras.Model(inputs, outputs)
    before = model.get_layer("checked").get_weights()
    model.compile(keras.optimizers.SGD(0.1), "mse")
    history = model.fit(images(4, *shape), images(4, 1), epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    after = model.get_layer("checked").get_weights()
    assert all((old != new).any() for old, new in zip(before, after, strict=True))
