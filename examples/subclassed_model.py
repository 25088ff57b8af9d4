"""A subclassed `keras.Model` that augments its own input, saved and loaded again.

On TensorFlow, JAX (`KERAS_BACKEND=jax`) or PyTorch (`=torch`), in half a minute on two cores.
"""

import tempfile
import zipfile
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from convforge.augment import Augment, Augmentation, Geometry
from convforge.layers import MaxoutConv2D, MaxPooling2D, PReLU
from convforge.optimizers import MomentumSGD


@keras.saving.register_keras_serializable(package="examples")
class DigitNet(keras.Model):
    """Convolutions and overlapping pooling (3×3, stride 2): logits of ten digits from pixels."""

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        # In training alone: turned by up to 10°, shifted by up to 7 % of the width and height.
        self.augment = Augment(Augmentation(geometry=Geometry(rotation=10.0, translation=0.07)))
        self.scale = keras.layers.Rescaling(1 / 255)
        self.conv1 = MaxoutConv2D(16, 5, num_pieces=2, padding=2)
        self.conv2, self.slopes = keras.layers.Conv2D(32, 3, padding="same"), PReLU()
        self.pool1, self.pool2 = MaxPooling2D(3, strides=2), MaxPooling2D(3, strides=2)
        self.flatten, self.logits = keras.layers.Flatten(), keras.layers.Dense(10)

    def call(self, images, training=False):
        x = self.scale(self.augment(images, training=training))
        x = self.pool1(self.conv1(x))
        x = self.pool2(self.slopes(self.conv2(x)))
        return self.logits(self.flatten(x))


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """5,000 images `(28, 28, 1)` in 0..255 and their classes, from CLASS/NUMBER.png in a zip."""
    with zipfile.ZipFile(Path(__file__).parents[1] / "data" / "mnist-5k.zip") as file:
        names = sorted((n for n in file.namelist() if n.endswith(".png")), key=lambda n: n[2:])
        images = np.stack([np.array(Image.open(file.open(name))) for name in names])
    return images[..., None], np.array([int(name[0]) for name in names])


if __name__ == "__main__":
    keras.utils.set_random_seed(0)
    images, classes = read_digits()
    net, loss = DigitNet(), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    net.compile(MomentumSGD(0.02, momentum=0.9, weight_decay=0.0005), loss, metrics=["accuracy"])
    net.fit(images[500:], classes[500:], batch_size=64, epochs=3, verbose=2)
    accuracy = net.evaluate(images[:500], classes[:500], verbose=0)[1]
    with tempfile.TemporaryDirectory() as folder:
        net.save(f"{folder}/net.keras")
        again = keras.saving.load_model(f"{folder}/net.keras")
    loaded = again.evaluate(images[:500], classes[:500], verbose=0)[1]
    print("held-out accuracy", accuracy, "and loaded again", loaded)
