"""What one training step takes, beside the same net written in plain PyTorch.

    python benchmarks/step.py [--rounds 5] [--models lecture_cnn maxout_cnn layers_18pct]

An arm is a process of its own: it trains the net on one ready batch of 100 images (CIFAR-10's size,
`maxout_cnn` MNIST's), float32, with momentum and weight decay, for 60 steps, reads every loss,
and reports the milliseconds of the median step. The arms take turns, round after round; they are
compared with the faster of PyTorch's two memory formats. Needs `convforge[pipeline,jax,torch]`; an
arm whose packages are missing says so. Start nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from measurement import NotHereError, Row, figure, measure, options, python_with, report

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

BATCH, STEPS = 100, 60
SIZES = {"lecture_cnn": (32, 32, 3), "layers_18pct": (32, 32, 3), "maxout_cnn": (28, 28, 1)}
PYTORCH = ("pytorch", "pytorch channels last")
ARMS = {
    **dict.fromkeys(PYTORCH, "torch"),
    "ours on tensorflow": "tensorflow",
    "ours on jax": "jax",
    "ours on torch": "torch",
}


def step_of_ours(model: str, steps: int) -> float:
    """Milliseconds of a step as `convforge train` compiles it, on the backend of KERAS_BACKEND."""
    from convforge.pipeline.composition import compose_config, settings_of
    from convforge.pipeline.project import project_root

    settings = settings_of(compose_config(project_root(), [f"model={model}", "augment=none"]))
    return step_of_net(settings, settings.model.specs(), SIZES[model], BATCH, steps)


def step_of_net(
    settings: Any, layers: Any, size: tuple[int, int, int], rows: int, steps: int
) -> float:
    """The same of any layers, on batches of `rows` images of `size`."""
    from convforge.pipeline.training import backend

    backend.start(seed=0, deterministic=settings.trainer.deterministic, precision="float32")
    import keras

    from convforge.models.build import build_model, trained_model
    from convforge.pipeline.training.objective import training_loss, training_metrics
    from convforge.pipeline.training.optimization import build_optimizer, make_optimizer

    net = trained_model(
        build_model(
            layers,
            image_shape=size,
            num_classes=10,
            normalize=settings.model.normalize,
            mean=[120.0] * size[-1],
            std=[60.0] * size[-1],
        )
    )
    optimizer = make_optimizer(
        settings.optimizer, settings.schedule, epochs=1, steps_per_epoch=steps
    )
    build_optimizer(optimizer, net.trainable_variables, settings.optimizer)
    net.compile(
        optimizer=optimizer,
        loss=training_loss("cross_entropy", 10),
        metrics=training_metrics("cross_entropy", None),
    )
    times: list[float] = []

    class Times(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            float(logs["loss"])
            times.append(time.perf_counter())

    batches = _endless(*_batch(size, rows))
    net.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[Times()])
    return _median_step(times)


def _endless(images: Any, labels: Any) -> Any:
    """The same batch for ever, as the backend's `fit` takes it fastest."""
    import keras

    batch = keras.ops.convert_to_tensor(images), keras.ops.convert_to_tensor(labels)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.data.Dataset.from_tensors(batch).repeat()
    return (each for each in itertools.repeat(batch))


def _batch(size: tuple[int, int, int], rows: int = BATCH) -> tuple[Any, Any]:
    import numpy as np

    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (rows, *size)).astype("float32")
    return images, draw.integers(0, 10, rows)


def _median_step(times: list[float]) -> float:
    steps = [
        after - before for before, after in itertools.pairwise(times[min(10, len(times) // 3) :])
    ]
    return 1000 * statistics.median(steps)


def step_of_pytorch(model: str, steps: int, *, channels_last: bool) -> float:
    """Milliseconds of a step of the net as one would write it in PyTorch."""
    import torch

    torch.manual_seed(0)
    pixels, classes = _batch(SIZES[model])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    labels = torch.from_numpy(classes)
    net = pytorch_net(model)
    if channels_last:
        images = images.to(memory_format=torch.channels_last)
        net = net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
    loss_of = torch.nn.CrossEntropyLoss()
    times = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(net(images), labels)
        loss.backward()
        optimizer.step()
        loss.item()
        times.append(time.perf_counter())
    return _median_step(times)


def pytorch_net(model: str) -> Any:
    """The layers of `conf/model/MODEL.yaml`, from logits on left to the loss."""
    import torch
    from torch import nn

    class Normalize(nn.Module):
        def forward(self, pixels: Any) -> Any:
            return (pixels - 120.0) / 60.0

    class Maxout(nn.Module):
        def forward(self, maps: Any) -> Any:
            # Whichever is faster in the format that the maps come in.
            if maps.is_contiguous(memory_format=torch.channels_last):
                return nn.functional.max_pool3d(maps.unsqueeze(1), (2, 1, 1)).squeeze(1)
            images, channels, *size = maps.shape
            return maps.view(images, channels // 2, 2, *size).amax(2)

    class ResponseNormalization(nn.Module):
        def forward(self, maps: Any) -> Any:
            energy = 9 * nn.functional.avg_pool2d(maps * maps, 3, 1, 1)
            return maps * torch.pow(1.0 + 5.555556e-6 * energy, -0.75)

    match model:
        case "lecture_cnn":
            layers = [
                *(nn.Conv2d(3, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)),
                *(nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)),
                *(nn.Flatten(), nn.Linear(4096, 128), nn.ReLU(), nn.Dropout(0.5)),
                nn.Linear(128, 10),
            ]
        case "maxout_cnn":
            layers = [
                *(nn.Conv2d(1, 48, 5, padding=2), Maxout(), nn.MaxPool2d(3, 2, 1)),
                *(nn.Conv2d(24, 96, 3, padding=1), Maxout(), nn.MaxPool2d(3, 2, 1)),
                *(nn.Flatten(), nn.Linear(48 * 49, 128), nn.PReLU(128), nn.Dropout(0.5)),
                nn.Linear(128, 10),
            ]
        case "layers_18pct":
            pool = {"kernel_size": 3, "stride": 2, "ceil_mode": True}
            layers = [
                *(nn.Conv2d(3, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(**pool)),
                *(ResponseNormalization(), nn.Conv2d(32, 32, 5, padding=2), nn.ReLU()),
                *(nn.AvgPool2d(**pool), ResponseNormalization()),
                *(nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.AvgPool2d(**pool)),
                *(nn.Flatten(), nn.Linear(1024, 10)),
            ]
        case "wide_cnn":
            layers, before = [], 3
            pooled = (False, True, True, False, True, True)
            for maps, pools in zip((32, 64, 128, 256, 256, 256), pooled, strict=True):
                layers.append(nn.Conv2d(before, maps, 3, padding=1, bias=False))
                layers += [nn.MaxPool2d(2)] if pools else []
                layers += [nn.BatchNorm2d(maps, eps=1e-3), nn.ReLU()]
                before = maps
            layers += [nn.Flatten(), nn.Linear(1024, 10)]
    return nn.Sequential(Normalize(), *layers)


def measured(arm: str, model: str, steps: int) -> float:
    """Milliseconds, by a process of its own."""
    package = ARMS[arm]
    # Ours needs its backend in this environment; PyTorch's own net may run in another.
    python = python_with("torch") if arm in PYTORCH else sys.executable
    if arm not in PYTORCH and python_with(package) != sys.executable:
        raise NotHereError(f"{package} is not installed beside convforge")
    given = [python, __file__, "--arm", arm, "--models", model, "--steps", str(steps)]
    return figure(given, {"KERAS_BACKEND": package})


def rows(given: argparse.Namespace) -> Iterator[Row]:
    """A row for each net."""
    for model in given.models:
        arms = {arm: partial(measured, arm, model, given.steps) for arm in given.arms}
        row = measure(Row(f"{model}, {'×'.join(map(str, SIZES[model]))}", "ms"), arms, given.rounds)
        row.base = min((arm for arm in PYTORCH if arm in row.rounds), key=row.median, default=None)
        yield row


def main() -> None:
    parser = options(__doc__, rounds=5)
    parser.add_argument("--steps", type=int, default=STEPS, help="of each arm and round")
    parser.add_argument("--models", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.arm is None:
        report(rows(given), given.json)
    elif given.arm in PYTORCH:
        last = given.arm.endswith("last")
        print(step_of_pytorch(given.models[0], given.steps, channels_last=last))
    else:
        print(step_of_ours(given.models[0], given.steps))


if __name__ == "__main__":
    main()
