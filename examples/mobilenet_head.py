"""Keras' own MobileNet with a Maxout head, trained by the lecture's momentum with weight decay.

    KERAS_BACKEND=jax python examples/mobilenet_head.py      # or tensorflow, torch

Nothing is downloaded: `weights="imagenet"`, with three channels, begins with weights that know
photographs. Of digits so small five of the thirteen blocks see all.
"""

import keras
from subclassed_model import read_digits

from convforge.layers import MaxoutDense
from convforge.optimizers import NO_DECAY, MomentumSGD

keras.utils.set_random_seed(0)
images, classes = read_digits()

mobile = keras.applications.MobileNet((32, 32, 1), alpha=0.5, include_top=False, weights=None)
for layer in mobile.layers:
    if isinstance(layer, keras.layers.BatchNormalization):
        # Averages over the last 10 steps, not 100: there are two hundred in all.
        layer.momentum = 0.9
body = keras.Model(mobile.input, mobile.get_layer("conv_pw_5_relu").output, name="body")

image = keras.Input((28, 28, 1))
x = body(keras.layers.Resizing(32, 32)(keras.layers.Rescaling(1 / 127.5, offset=-1)(image)))
x = MaxoutDense(64, num_pieces=3, name="head")(keras.layers.GlobalAveragePooling2D()(x))
net = keras.Model(image, keras.layers.Dense(10, name="logits")(x))

optimizer = MomentumSGD(
    keras.optimizers.schedules.CosineDecay(0.02, decay_steps=3 * 71),
    weight_decay=0.0005,
    # By the paths of variables: depthwise kernels, biases, gamma and beta do not decay.
    no_decay=(*NO_DECAY, "conv_dw_"),
    learning_rate_factors={"^(head|logits)/": 2.0},
    clipnorm=1.0,
)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
net.compile(optimizer, loss, metrics=["accuracy"])
net.fit(images[500:], classes[500:], batch_size=64, epochs=3, verbose=2)
print("held-out accuracy", net.evaluate(images[:500], classes[:500], verbose=0)[1])
