"""One process of one run after another: `python train_part.py CONFIGS DATA OUT DEVICES`.

CONFIGS holds a file for each run, OUT gets a folder of the same name, and the processor counts as
so many DEVICES.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def virtual_devices(count: int) -> None:
    """Before anything starts a backend."""
    if os.environ.get("KERAS_BACKEND") == "jax":
        os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={count}"
    elif count > 1:
        import tensorflow as tf

        (processor,) = tf.config.list_physical_devices("CPU")
        parts = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
        tf.config.set_logical_device_configuration(processor, parts)


def main(configs: Path, data: Path, out: Path) -> int:
    """The exit status of the last run, or of the first that failed."""
    from convforge.pipeline.composition import read_params
    from convforge.pipeline.progress import Progress, Verbosity
    from convforge.pipeline.stages.entry import run_guarded
    from convforge.pipeline.stages.train import train

    def runs() -> None:
        for config in sorted(configs.glob("*.yaml")):
            settings = read_params(config)
            train(settings, data, out / config.stem, out, Progress(Verbosity.NORMAL))

    return run_guarded(runs)


if __name__ == "__main__":
    virtual_devices(int(sys.argv[4]))
    sys.exit(main(*map(Path, sys.argv[1:4])))
