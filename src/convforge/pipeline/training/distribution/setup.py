"""Data-parallel training: one batch shared by several devices, the weights those of one device.

What the config group `distribute` asks for, by the engines that the backends have: on TensorFlow
`tf.distribute.MirroredStrategy`, on JAX `keras.distribution.DataParallel`, over several processes
with `jax.distributed`, started by hand, by SLURM or by Ray Train. The rest of the pipeline sees a
`Distribution` and no engine.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from convforge.errors import InputError
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.settings.distribution import ProcessDistribution
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.settings.tracking import NoTracking
from convforge.pipeline.training.distribution.ray_train import check_devices, place_on_ray
from convforge.pipeline.training.distribution.strategy import Distribution


@dataclass(frozen=True)
class Part:
    """What one process does of a run: the settings, folders and voice that it has for it."""

    distribution: Distribution
    settings: Settings
    out: Path
    root: Path
    progress: Progress


@contextmanager
def distributed(
    settings: Settings, manifest: Manifest, out: Path, root: Path, progress: Progress
) -> Iterator[Part]:
    """This process's part in the run, for as long as the block lasts.

    Waits for the other processes, where there are any, and makes sure that they train the same.
    Those that do not lead get a folder that is deleted afterwards, no tracking and no voice.

    Raises:
        InputError: the backend cannot do what `distribute` asks for, there are not as many devices
            or processes, or the processes were started with different configs, data or code.
    """
    import keras

    check_backend(settings, keras.config.backend())
    with ExitStack() as stack:
        match settings.distribute.name:
            case "none":
                distribution = Distribution()
            case "devices":
                distribution = _devices(settings.distribute.devices)
            case "processes":
                distribution = stack.enter_context(
                    _processes(settings, settings.distribute, manifest)
                )
            case "ray":
                place = place_on_ray(settings.distribute)
                distribution = stack.enter_context(_processes(settings, place, manifest))
                check_devices(settings.distribute)
        if distribution.devices > 1:
            progress.say(f"each batch is shared by {distribution.devices} devices")
        if not distribution.leads:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="convforge-")))
            out = root / "run"
            settings = settings.model_copy(update={"tracking": NoTracking(name="none")})
            progress = Progress(Verbosity.QUIET)
        yield Part(distribution, settings, out, root, progress)


def check_backend(settings: Settings, backend: str) -> None:
    """Refuse what Keras' `backend` cannot do as `distribute` and `trainer.feed` ask for it.

    Raises:
        InputError: names the key, the reason and what works.
    """
    if settings.trainer.feed == "device" and backend != "jax":
        raise InputError(
            f"trainer.feed=device is not allowed with KERAS_BACKEND={backend}: give "
            "trainer.feed=stream, or KERAS_BACKEND=jax"
        )
    name = settings.distribute.name
    if name == "none":
        return
    if backend not in ("tensorflow", "jax"):
        raise InputError(
            f"distribute={name} is not allowed with KERAS_BACKEND={backend}: Keras distributes on "
            "TensorFlow and JAX alone; give distribute=none, or KERAS_BACKEND=jax"
        )
    if name in ("processes", "ray") and backend == "tensorflow":
        raise InputError(
            f"distribute={name} is not allowed with KERAS_BACKEND=tensorflow: Keras 3 cannot fit "
            "under MultiWorkerMirroredStrategy (keras-team/keras#20585); give KERAS_BACKEND=jax"
        )
    if backend == "tensorflow":
        _check_mirrored(settings)


def _check_mirrored(settings: Settings) -> None:
    """Refuse what each replica would do by itself."""
    if settings.trainer.accumulate > 1:
        raise InputError(
            f"trainer.accumulate={settings.trainer.accumulate} is not allowed with "
            "distribute=devices on TensorFlow: its devices cannot meet within the loop over a "
            "batch's parts; give 1, or KERAS_BACKEND=jax"
        )
    for key in ("clip_value", "clip_norm", "clip_global_norm"):
        bound = getattr(settings.optimizer, key)
        if bound is not None:
            raise InputError(
                f"optimizer.{key}={bound} is not allowed with distribute=devices on TensorFlow: "
                "each device would clip the gradient of its own part of the batch; give null, or "
                "KERAS_BACKEND=jax"
            )
    if settings.trainer.precision == "mixed_float16":
        raise InputError(
            "trainer.precision='mixed_float16' is not allowed with distribute=devices on "
            "TensorFlow: each device would scale its loss by itself; give mixed_bfloat16, or "
            "KERAS_BACKEND=jax"
        )


def _devices(count: int | None) -> Distribution:
    import keras

    if keras.config.backend() == "tensorflow":
        from convforge.pipeline.training.distribution.tensorflow_data_parallel import (
            MirroredDevices,
        )

        return MirroredDevices(count)
    from convforge.pipeline.training.distribution.jax_data_parallel import (
        ShardedBatches,
        local_devices,
    )

    return ShardedBatches(local_devices(count), "distribute=devices")


@contextmanager
def _processes(
    settings: Settings, asked: ProcessDistribution, manifest: Manifest
) -> Iterator[Distribution]:
    from convforge.pipeline.training.distribution.jax_data_parallel import (
        ShardedBatches,
        all_devices,
    )
    from convforge.pipeline.training.distribution.multihost import (
        check_same,
        join,
        run_identity,
        together,
    )

    # Ray shows each process its own alone.
    join(asked, alone_on_devices=settings.distribute.name == "ray")
    with together(asked.patience):
        check_same(run_identity(settings, manifest))
        yield ShardedBatches(all_devices(), f"distribute={settings.distribute.name}")
