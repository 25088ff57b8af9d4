"""One process of a run: `python train_part.py CONFIG DATA OUT [VIRTUAL DEVICES]`."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main(config: Path, data: Path, out: Path, devices: int) -> int:
    # Before anything starts a backend.
    if os.environ.get("KERAS_BACKEND") == "jax":
        os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    elif devices > 1:
        import tensorflow as tf

        (processor,) = tf.config.list_physical_devices("CPU")
        parts = [tf.config.LogicalDeviceConfiguration() for _ in range(devices)]
        tf.config.set_logical_device_configuration(processor, parts)

    from convforge.composition import read_params
    from convforge.progress import Progress, Verbosity
    from convforge.stages.entry import run_guarded
    from convforge.stages.train import train

    progress = Progress(Verbosity.NORMAL)
    return run_guarded(lambda: train(read_params(config), data, out, out.parent, progress))


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:4]), int(sys.argv[4])))  # type: ignore[call-arg]
