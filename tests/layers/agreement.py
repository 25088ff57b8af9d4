"""Run by test_backends.py in a process for each backend: train, save, load what others saved.

    python agreement.py train FOLDER     twenty steps from FOLDER/start.npz, saved as a model
    python agreement.py load FOLDER      every saved model must give the outputs it gave at home

The loading side imports `convforge` and nothing of it by name: Keras must find the classes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np

import convforge  # noqa: F401

STEPS = 20


def network() -> keras.Model:
    from convforge import layers

    image = keras.Input((12, 12, 3), name="image")
    x = layers.MaxoutConv2D(6, 3, 2, padding=1, groups=3, name="maxout1")(image)
    x = layers.MaxPooling2D(3, 2, 1, name="pool1")(x)
    x = layers.LocalResponseNormalization(3, 0.1, name="norm1")(x)
    x = layers.Conv2D(8, 3, padding=((1, 0), (0, 1)), mode="convolution", name="conv2")(x)
    x = layers.PReLU(name="act2")(x)
    x = layers.AveragePooling2D(3, 2, "same", name="pool2")(x)
    x = layers.LocallyConnected2D(4, 2, activation="tanh", name="local3")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = layers.MaxoutDense(8, 3, name="maxout4")(x)
    x = layers.Maxout(2, name="maxout5")(x)
    return keras.Model(image, keras.layers.Dense(5, name="logits")(x))


def train(folder: Path) -> None:
    from convforge.optimizers import MomentumSGD

    start = np.load(folder / "start.npz")
    model = network()
    model.set_weights([start[f"weight{i}"] for i in range(len(model.weights))])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(MomentumSGD(0.02, learning_rate_factors={"bias$": 2.0}), loss)
    images, classes = start["images"], start["classes"]
    model.fit(images, classes, batch_size=8, epochs=STEPS // 4, shuffle=False, verbose=0)
    name = keras.backend.backend()
    model.save(folder / f"{name}.keras")
    outputs = model.predict(images, verbose=0)
    weights = {f"weight{i}": weight for i, weight in enumerate(model.get_weights())}
    np.savez(folder / f"{name}.npz", **weights, **optimizer_state(model), outputs=outputs)


def optimizer_state(model: keras.Model) -> dict[str, np.ndarray]:
    variables = map(keras.ops.convert_to_numpy, model.optimizer.variables)
    return {f"optimizer{i}": np.array(value) for i, value in enumerate(variables)}


def load(folder: Path) -> None:
    images = np.load(folder / "start.npz")["images"]
    for path in sorted(folder.glob("*.keras")):
        model = keras.models.load_model(path, safe_mode=True)
        at_home = np.load(path.with_suffix(".npz"))
        expected = at_home["outputs"]
        # Not `predict`: a model saved where XLA compiled asks PyTorch to compile for minutes.
        outputs = keras.ops.convert_to_numpy(model(images))
        difference = np.abs(outputs - expected).max()
        assert difference <= 1e-5 * np.abs(expected).max(), f"{path.name}: {difference}"
        assert int(model.optimizer.iterations) == STEPS
        for key, value in optimizer_state(model).items():
            np.testing.assert_array_equal(value, at_home[key], err_msg=f"{path.name}: {key}")
    print("loaded", len(list(folder.glob("*.keras"))))


if __name__ == "__main__":
    {"train": train, "load": load}[sys.argv[1]](Path(sys.argv[2]))
