"""The layers in a plain Keras script, on real digits: no pipeline, no config.

    python examples/reuse_layers.py            # ten seconds on two cores

Prints the accuracy on 500 held-out digits, 50 of each class: about 95 % after two passes.
"""

import zipfile
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from convforge.layers import Conv2D, MaxoutConv2D, MaxoutDense, MaxPooling2D, PReLU
from convforge.optimizers import MomentumSGD

keras.utils.set_random_seed(0)
archive = zipfile.ZipFile(Path(__file__).parents[1] / "data" / "mnist-5k.zip")
# CLASS/NUMBER.png, sorted by number: the first 500 are 50 of each class.
names = sorted(filter(lambda name: name.endswith(".png"), archive.namelist()), key=lambda n: n[2:])
images = np.stack([np.array(Image.open(archive.open(n))) for n in names])[..., None] / 255
classes = np.array([int(name[0]) for name in names])

first = [MaxoutConv2D(16, 5, num_pieces=2, padding=2), MaxPooling2D(3, strides=2)]
second = [Conv2D(32, 3, padding=1), PReLU(), MaxPooling2D(3, strides=2), keras.layers.Flatten()]
net = keras.Sequential([*first, *second, MaxoutDense(64, num_pieces=3), keras.layers.Dense(10)])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
net.compile(MomentumSGD(0.05), loss, metrics=["accuracy"])
net.fit(images[500:], classes[500:], batch_size=64, epochs=2, verbose=2)
print("held-out accuracy", net.evaluate(images[:500], classes[:500], verbose=0)[1])
