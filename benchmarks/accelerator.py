"""One part of what `benchmarks/accelerator.sh` measures, as JSON lines on standard output.

    KERAS_BACKEND=jax python benchmarks/accelerator.py step|torch|feed|together|cifar [--small]

It needs JAX, Keras, Hydra and pydantic, and no TensorFlow: what reads shards does, so the images
here are arrays, which take the way of `trainer.feed=device` from the device's memory on. `--small`
is for processors: little work, to see that all of it runs. Figures are of the second half of a
measurement, after the compilation.

- `step`: images a second of training steps on a batch that lies on the device, many in one program,
  in float32 and in half precision.
- `torch`: the same nets in PyTorch, eager and by `torch.compile`, channels last, one step after
  another, waiting for the device at the end alone; half precision by `autocast`.
- `feed`: an epoch of `trainer.feed=device`, with augmentation, metrics and the watch over the loss,
  beside a bare `lax.scan`.
- `together`: an epoch of 16 runs of the default net in one program, beside one run's times 16.
- `cifar`: `experiment=cifar10_90` in half precision, with the archive that CIFAR names: the test's
  accuracy and the seconds of training, without its compilation, for each of three seeds.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import statistics
import tarfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "jax")

HALF = "mixed_bfloat16"


@dataclass(frozen=True)
class Sizes:
    """How much work there is."""

    steps: int
    batches: dict[str, int]
    examples: int
    epochs: int
    runs: int
    seeds: int
    #: Whether the nets have four maps a layer: loops over convolutions are slow on processors.
    narrow: bool = False


LARGE = Sizes(
    steps=200,
    batches={"lecture_cnn": 100, "wide_cnn": 500},
    examples=50_000,
    epochs=6,
    runs=16,
    seeds=3,
)
SMALL = Sizes(
    steps=2,
    batches={"lecture_cnn": 4},
    examples=20,
    epochs=2,
    runs=2,
    seeds=1,
    narrow=True,
)
#: The convolutions of the nets.
CONVOLUTIONS = {"lecture_cnn": 2, "wide_cnn": 6, "maxout_cnn": 2}


def report(part: str, **figures: Any) -> None:
    """One line of the results."""
    print(json.dumps({"part": part, **figures}), flush=True)


@dataclass(frozen=True)
class Arrays:
    """Images in memory in the place of a prepared data set: what the device's feed asks for."""

    settings: Any
    splits: dict[str, tuple[Any, Any]]
    class_weights: None = None
    manifest: Any = field(init=False)

    def __post_init__(self) -> None:
        shape = self.splits["train"][0].shape[1:]
        object.__setattr__(self, "manifest", SimpleNamespace(image_shape=shape))

    @property
    def stream(self) -> Arrays:
        return self

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.examples("train") // self.settings.trainer.batch_size)

    def examples(self, split: str) -> int:
        return len(self.splits[split][0]) if split in self.splits else 0

    def whole(self, split: str) -> tuple[Any, Any, Any]:
        images, labels = self.splits[split]
        return images, labels, np.arange(len(labels))

    def standardized(self, labels: Any) -> Any:
        return labels

    def orders(self, first_epoch: int = 0) -> Iterator[Any]:
        draw = np.random.default_rng(self.settings.seed)
        while True:
            yield draw.permutation(self.examples("train"))


def settings_of_run(sizes: Sizes, net: str, *overrides: str) -> Any:
    """The typed config of a run that trains `net`."""
    from convforge.pipeline.composition import compose_config, settings_of
    from convforge.pipeline.project import project_root

    config = ["tracking=none", "trainer.feed=device", *overrides]
    # The experiment chooses its model.
    config += [] if any(each.startswith("experiment=") for each in overrides) else [f"model={net}"]
    if sizes.narrow:
        layers = range(1, CONVOLUTIONS[net] + 1)
        config += [f"model.layers.conv{number}.filters=4" for number in layers]
    return settings_of(compose_config(project_root(), config))


def compiled_model(settings: Any, images: Any, steps: int) -> Any:
    """The net as `convforge train` trains it, with the metrics' variables."""
    import keras

    from convforge.models.build import build_model, trained_model
    from convforge.pipeline.training.augmentation_placement import with_augmentation
    from convforge.pipeline.training.objective import training_loss, training_metrics
    from convforge.pipeline.training.optimization import build_optimizer, make_optimizer

    keras.utils.clear_session()
    keras.config.set_dtype_policy(settings.trainer.precision)
    keras.utils.set_random_seed(settings.seed)
    some = images[:1000].astype("float64")
    net = build_model(
        settings.model.specs(regression=False),
        image_shape=images.shape[1:],
        num_classes=10,
        normalize=settings.model.normalize,
        mean=some.mean((0, 1, 2)).tolist(),
        std=some.std((0, 1, 2)).tolist(),
        name=settings.model.name,
    )
    augmentation = settings.augmentation_in_training
    basis = basis_of_noise(settings)
    model = with_augmentation(
        trained_model(net), augmentation, seed=settings.seed, colour_basis=basis
    )
    epochs = settings.trainer.epochs
    optimizer = make_optimizer(
        settings.optimizer, settings.schedule, epochs=epochs, steps_per_epoch=steps
    )
    build_optimizer(optimizer, model.trainable_variables, settings.optimizer)
    loss = training_loss(settings.loss.name, 10, settings.loss.label_smoothing)
    metrics = training_metrics(settings.loss.name, None)
    model.compile(optimizer=optimizer, loss=loss, metrics=metrics)
    model.optimizer.build(model.trainable_variables)
    model.compute_metrics(None, np.zeros(1), np.zeros((1, 10), np.float32))
    return model


def basis_of_noise(settings: Any) -> Any:
    """Directions of three colours: as much work as those of photographs; None where none alter."""
    return np.eye(3) * 20.0 if settings.augment.colour.active else None


def noise(examples: int, shape: Sequence[int]) -> tuple[Any, Any]:
    """Images and classes without meaning."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (examples, *shape), np.uint8)
    return images, draw.integers(0, 10, examples).astype("int64")


def step(sizes: Sizes) -> None:
    """Our training step, many in one program."""
    import jax

    from convforge.pipeline.training.device_feed import Split, Steps, state_of

    for model_name, batch in sizes.batches.items():
        for precision in ("float32", HALF):
            images, labels = noise(batch, (32, 32, 3))
            settings = settings_of_run(
                sizes, model_name, "augment=none", f"trainer.precision={precision}"
            )
            model = compiled_model(settings, images, sizes.steps)
            data = Split(*map(jax.device_put, (images, labels, np.arange(batch, dtype="int32"))),
                         None)  # fmt: skip
            places = jax.device_put(np.tile(np.arange(batch, dtype="int32"), (sizes.steps, 1)))
            train = jax.jit(Steps(model, None).train)
            state, seconds = state_of(model), []
            for _ in range(3):
                start = time.perf_counter()
                jax.block_until_ready(train(state, data, places, 0, 0, sizes.steps))
                seconds.append(time.perf_counter() - start)
            report(
                "step",
                arm="ours, jax",
                net=model_name,
                batch=batch,
                precision=precision,
                images_a_second=round(batch * sizes.steps / min(seconds[1:])),
                compilation_seconds=round(seconds[0], 1),
            )


def pytorch(sizes: Sizes) -> None:
    """The same step in PyTorch."""
    if importlib.util.find_spec("torch") is None:
        report("torch", not_measured="no module named torch")
        return
    import torch
    from step import pytorch_net

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    for model_name, batch in sizes.batches.items():
        images, labels = noise(batch, (32, 32, 3))
        pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float()
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        classes = torch.from_numpy(labels).to(device)
        for precision in ("float32", HALF):
            for compiled in (False, True):
                net = pytorch_net(model_name).to(device, memory_format=torch.channels_last)
                optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
                loss_of = torch.nn.CrossEntropyLoss()
                forward = torch.compile(net) if compiled else net

                def steps(
                    forward: Any = forward,
                    optimizer: Any = optimizer,
                    loss_of: Any = loss_of,
                    precision: str = precision,
                    pixels: Any = pixels,
                    classes: Any = classes,
                ) -> float:
                    start = time.perf_counter()
                    for _ in range(sizes.steps):
                        optimizer.zero_grad()
                        half = precision == HALF
                        with torch.autocast(device, torch.bfloat16, enabled=half):
                            loss = loss_of(forward(pixels), classes)
                        loss.backward()
                        optimizer.step()
                    loss.item()
                    return time.perf_counter() - start

                said = {"arm": "pytorch compiled" if compiled else "pytorch eager"}
                said |= {"net": model_name, "precision": precision}
                try:
                    seconds = [steps() for _ in range(3)]
                except Exception as error:
                    report("torch", **said, not_measured=str(error)[:300])
                    continue
                rate = round(batch * sizes.steps / min(seconds[1:]))
                report("torch", **said, batch=batch, images_a_second=rate)


class Clock:
    """When each epoch ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def seconds(self) -> float:
        """The median epoch but the first, which compiles, and the second, which finds its pace."""
        taken = np.diff(self.ends)
        return float(statistics.median(taken[min(1, len(taken) - 1) :]))

    @cached_property
    def callback(self) -> Any:
        import keras

        return keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: self.ends.append(time.perf_counter())
        )


def fitted(settings: Any, splits: Any, run: Any = None) -> tuple[Any, Clock, list[Any]]:
    """A model after `trainer.feed=device`, when its epochs ended, and their losses."""
    from convforge.pipeline.training.device_feed import DeviceFit
    from convforge.pipeline.training.resume.checkpoints import START
    from convforge.pipeline.training.run_state import RunState
    from convforge.pipeline.training.shared_program import GroupedProgram

    feed: Any = Arrays(settings, splits)
    model = compiled_model(settings, splits["train"][0], feed.steps_per_epoch)
    state = RunState(None, steps_per_epoch=feed.steps_per_epoch, largest_loss=1e6)
    clock = Clock()
    program = GroupedProgram(model, feed, run) if run else None
    if run:
        run.wait(-1)
    DeviceFit(model, feed, program).fit(START, [state, clock.callback])
    return model, clock, state.rows


def feed(sizes: Sizes) -> None:
    """An epoch of the device's feed beside a bare scan."""
    from device_feed import bare_scan

    for model_name, batch in sizes.batches.items():
        examples = sizes.examples // batch * batch
        images, labels = noise(examples, (32, 32, 3))
        settings = settings_of_run(
            sizes,
            model_name,
            "augment=full",
            f"trainer.batch_size={batch}",
            f"trainer.epochs={sizes.epochs}",
        )
        model = compiled_model(settings, images, examples // batch)
        bare = bare_scan(
            model,
            images,
            labels,
            np.arange(examples),
            rows=batch,
            epochs=max(3, sizes.epochs // 2),
            augmentation=settings.augment,
            basis=basis_of_noise(settings),
        )
        _, clock, _ = fitted(settings, {"train": (images, labels)})
        ours = clock.seconds()
        report(
            "feed",
            net=model_name,
            batch=batch,
            bare_scan_images_a_second=round(examples / bare),
            ours_images_a_second=round(examples / ours),
            ratio=round(bare / ours, 3),
        )


def together(sizes: Sizes) -> None:
    """An epoch of several runs in one program beside an epoch of each."""
    from functools import partial

    from convforge.pipeline.training.resume.signals import StopRequest
    from convforge.pipeline.training.run_group import run_together

    examples = min(4000, sizes.examples)
    splits = {"train": noise(examples, (28, 28, 1))}
    epochs = f"trainer.epochs={3 * sizes.epochs}"
    _, clock, _ = fitted(settings_of_run(sizes, "maxout_cnn", epochs), splits)
    alone = clock.seconds()
    remarks: list[str] = []

    def run(seed: int, grouped: Any) -> Clock:
        settings = settings_of_run(sizes, "maxout_cnn", epochs, f"seed={seed}")
        return fitted(settings, splits, grouped)[1]

    runs = [partial(run, seed) for seed in range(sizes.runs)]
    clocks = run_together(runs, stop=StopRequest(), mapped=None, say=remarks.append)
    for each in clocks:
        if isinstance(each, BaseException):
            raise each
    # Between two steps the host hands each run its figures, so all have one clock's epochs.
    shared = clocks[-1].seconds()
    report(
        "together",
        runs=sizes.runs,
        one_run_seconds_an_epoch=round(alone, 4),
        together_seconds_an_epoch=round(shared, 4),
        speedup=round(sizes.runs * alone / shared, 2),
        said=remarks,
    )


def cifar(sizes: Sizes) -> None:
    """CIFAR-10 to 90 %."""
    archive = os.environ.get("CIFAR")
    if archive:
        train, test = images_of(Path(archive))
    else:
        train, test = noise(sizes.examples, (32, 32, 3)), noise(sizes.examples, (32, 32, 3))
    few = ["trainer.batch_size=4", "trainer.epochs=1", "schedule.warmup_epochs=0.5"]
    if sizes.narrow:
        train, test = [tuple(column[: sizes.examples] for column in each) for each in (train, test)]
    for seed in range(sizes.seeds):
        settings = settings_of_run(
            sizes,
            "wide_cnn",
            "experiment=cifar10_90",
            f"trainer.precision={HALF}",
            f"seed={seed}",
            *(few if sizes.narrow else []),
        )
        whole, figures = _seconds_and_figures(settings, {"train": train, "test": test})
        report(
            "cifar",
            images="cifar-10" if archive else "noise",
            seed=seed,
            epochs=settings.trainer.epochs,
            training_seconds=round(whole, 2),
            test_accuracy=round(figures["accuracy"], 4),
            reached_90=bool(figures["accuracy"] >= 0.9),
        )


def _seconds_and_figures(settings: Any, splits: Any) -> tuple[float, dict[str, float]]:
    """Of a run whose program is compiled: its training's seconds, and the test's figures."""
    import jax

    from convforge.pipeline.training.device_feed import (
        DeviceFit,
        Program,
        assign,
        state_of,
    )
    from convforge.pipeline.training.resume.checkpoints import START
    from convforge.pipeline.training.run_state import RunState

    feed: Any = Arrays(settings, splits)
    model = compiled_model(settings, splits["train"][0], feed.steps_per_epoch)
    first = jax.device_get(state_of(model))
    program = Program(model, settings.augment.size)
    fit = DeviceFit(model, feed, program)
    places = np.arange(feed.examples("train")).astype("int32")
    rows = settings.trainer.batch_size
    places = jax.device_put(places[: len(places) // rows * rows].reshape(-1, rows))
    done = 0
    # The chunks find their length.
    while done < len(places):
        done += len(program.train(program.split(feed, "train"), places, 0, done)["loss"])
    assign(model, first)
    state = RunState(None, steps_per_epoch=feed.steps_per_epoch, largest_loss=1e6)
    start = time.perf_counter()
    fit.fit(START, [state])
    jax.block_until_ready(state_of(model))
    seconds = time.perf_counter() - start
    model.reset_metrics()
    test = program.split(feed, "test")
    at_once = min(1000, len(test.labels))
    rows_of_test = np.arange(len(test.labels), dtype="int32").reshape(-1, at_once)
    return seconds, program.test(test, rows_of_test, 0)


def images_of(archive: Path) -> list[tuple[Any, Any]]:
    """The images and classes of `train/` and `test/` in an archive of SPLIT/CLASS/ folders."""
    from PIL import Image

    found: dict[str, list[tuple[Any, str]]] = {"train": [], "test": []}
    with tarfile.open(archive) as files:
        for member in files:
            *_, split, name, _ = ("", "", *Path(member.name).parts)[-3:]
            if member.isfile() and split in found:
                stored = files.extractfile(member)
                assert stored is not None
                image = Image.open(io.BytesIO(stored.read())).convert("RGB")
                found[split].append((np.asarray(image), name))
    classes = sorted({name for _, name in found["train"]})
    return [
        (
            np.stack([image for image, _ in found[split]]),
            np.array([classes.index(name) for _, name in found[split]], "int64"),
        )
        for split in ("train", "test")
    ]


def machine(sizes: Sizes) -> None:
    """What it runs on."""
    import platform

    import jax
    import keras

    device = jax.devices()[0]
    torch = importlib.util.find_spec("torch") and __import__("torch").__version__
    report(
        "machine",
        device=device.device_kind,
        platform=device.platform,
        python=platform.python_version(),
        jax=jax.__version__,
        keras=keras.__version__,
        torch=torch,
        cores=os.cpu_count(),
    )


PARTS = {
    "machine": machine,
    "step": step,
    "torch": pytorch,
    "feed": feed,
    "together": together,
    "cifar": cifar,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--small", action="store_true", help="little work, for processors")
    given = parser.parse_args()
    PARTS[given.part](SMALL if given.small else LARGE)


if __name__ == "__main__":
    main()
