"""Starting Keras: quiet, seeded, and deterministic where asked."""

from __future__ import annotations

import gc
import sys

from convforge.pipeline.progress import Progress
from convforge.quiet_start import import_quietly


def start(*, seed: int, deterministic: bool, precision: str) -> None:
    """Prepare Keras for one run.

    Args:
        seed: of the initial weights and of dropout.
        precision: Keras' dtype policy for the layers that the run makes.
        deterministic: the same weights bit for bit on every repetition on this type of machine with
            this number of cores.
    """
    import_keras()
    import keras

    # A sweep runs many jobs in one process; layer names and memory start afresh in each.
    keras.utils.clear_session()
    keras.config.set_dtype_policy(precision)
    keras.utils.set_random_seed(seed)
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            if deterministic:
                tf.config.experimental.enable_op_determinism()
        case "torch":
            import torch

            # Told of, not refused, where PyTorch has no other kernel for an accelerator.
            torch.use_deterministic_algorithms(deterministic, warn_only=True)


def import_keras(progress: Progress | None = None) -> None:
    """Import Keras, its backend and TensorFlow without TensorFlow's start-up lines.

    Whatever the backend is, `tf.data` reads the shards.

    Args:
        progress: told that this takes a while.
    """
    if "keras" in sys.modules and "tensorflow" in sys.modules:
        return
    if progress:
        progress.say("importing Keras and its backend")
    import_quietly("keras", "tensorflow")
    # Each run clears Keras' session, which collects garbage: half a second, of which most went into
    # looking at what these packages have brought and keep.
    gc.collect()
    gc.freeze()
