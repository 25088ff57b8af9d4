"""Starting Keras: quiet, seeded, and deterministic where asked."""

from __future__ import annotations

import os


def quiet_tensorflow() -> None:
    """Silence TensorFlow's start-up lines; it reads these variables when it is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def start(*, seed: int, deterministic: bool) -> None:
    """Prepare Keras for one run.

    Args:
        seed: of the initial weights and of dropout.
        deterministic: the same weights bit for bit on every repetition on this type of machine.
    """
    quiet_tensorflow()
    import keras

    # A sweep runs many jobs in one process; layer names and memory start afresh in each.
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if deterministic:
            tf.config.experimental.enable_op_determinism()
