"""Starting Keras: quiet, seeded, and deterministic where asked."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

# What TensorFlow's C++ says at informational and warning level, and absl's preface to it.
_START_UP_NOISE = re.compile(
    rb"^(I\d{4} |W\d{4} |WARNING: All log messages before absl|To enable )"
)


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


def import_keras() -> None:
    """Import Keras and its backend without TensorFlow's start-up lines.

    TensorFlow 2.21 writes some of them to the process's standard error before it reads
    TF_CPP_MIN_LOG_LEVEL, so while it is imported they are held back. Everything else that is
    written meanwhile, errors above all, is passed on.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "keras" in sys.modules:
        return
    with _without_start_up_noise():
        import keras  # noqa: F401
        import tensorflow  # noqa: F401  tf.data reads the shards whatever the backend is


@contextmanager
def _without_start_up_noise() -> Iterator[None]:
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
            held.seek(0)
            for line in held:
                if not _START_UP_NOISE.match(line):
                    os.write(2, line)
