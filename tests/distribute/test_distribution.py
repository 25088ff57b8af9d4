"""Several devices, or several processes, train what one does."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from jobs import (
    SMALL,
    changed,
    difference,
    ended,
    free_port,
    none_left,
    start,
    weights,
    with_normalization,
    write_configs,
)

from convforge.errors import InputError
from convforge.pipeline.data.reading.stream import Share
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.training.distribution.batch_statistics import BatchStatistics
from convforge.pipeline.training.distribution.setup import check_backend

# Twenty times what was seen after 12 steps: 5e-8 to 1e-7.
TOLERANCE = 2e-6
# TensorFlow sums the gradients of batch normalisation's own weights less exactly: 1.3e-6 were seen.
TOLERANCE_NORMALIZED = 2e-5
FOUR = {"name": "devices", "devices": 4}
#: One by default, all where there is time.
SOME_PLACES = [
    pytest.param(("step",), id="step"),
    pytest.param(("input", "model"), id="others", marks=pytest.mark.slow),
]

needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="jax is not installed: pip install jax"
)


def _two(coordinator: str | None = None, **others: object) -> dict[str, object]:
    keys = {"coordinator": coordinator, "count": None, "rank": None, "patience": 10}
    return {"name": "processes", **keys, **others}


def _places(
    settings: Settings, places: tuple[str, ...], **groups: dict[str, object]
) -> dict[str, Settings]:
    """The same run with the pixels moved in each of `places`."""
    return {
        place: changed(settings, **groups).model_copy(
            update={"augment": dataclasses.replace(settings.augment, place=place)}
        )
        for place in places
    }


def _assert_same(one: Path, other: Path, tolerance: float = TOLERANCE) -> None:
    apart = difference(one, other)
    print(f"{other.name}: weights at most {apart:.1e} apart")
    assert apart < tolerance
    assert max(np.abs(weight).max() for weight in weights(one).values()) > 0.1
    for left, right in zip(_history(one), _history(other), strict=True):
        for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
            assert left[name] == pytest.approx(right[name], rel=10 * tolerance), name


def _history(run: Path) -> list[dict[str, float]]:
    with (run / "history.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


CLIPPED = {"clip_global_norm": 0.5}


@pytest.fixture(scope="module")
def settings(compose: Callable[..., Settings]) -> Settings:
    return compose(*SMALL)


@pytest.fixture(scope="module")
def by_one_device(
    settings: Settings, digits: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """JAX on one device; the gradients clipped."""
    folder = tmp_path_factory.mktemp("one")
    runs = {"input": with_normalization(settings, optimizer=CLIPPED)}
    configs = write_configs(folder / "configs", runs)
    status, output = ended(start(configs, digits, folder / "out", "jax", 1))
    assert status == 0, output
    return folder / "out"


@pytest.mark.slow
@needs_jax
@pytest.mark.parametrize("places", SOME_PLACES)
def test_four_devices_of_jax_train_as_one_wherever_the_pixels_are_moved(
    settings: Settings, digits: Path, by_one_device: Path, tmp_path: Path, places: tuple[str, ...]
) -> None:
    runs = _places(with_normalization(settings), places, optimizer=CLIPPED, distribute=FOUR)
    configs = write_configs(tmp_path / "configs", runs)
    status, output = ended(start(configs, digits, tmp_path / "out", "jax", 4))
    assert status == 0, output
    assert output.count("shared by 4 devices") == len(places)
    for place in places:
        _assert_same(by_one_device / "input", tmp_path / "out" / place)


@pytest.mark.slow
@pytest.mark.parametrize("places", SOME_PLACES)
def test_four_devices_of_tensorflow_train_as_one_wherever_the_pixels_are_moved(
    settings: Settings, digits: Path, tmp_path: Path, places: tuple[str, ...]
) -> None:
    """The reference comes from a process of its own, which has but one device."""
    normalized = with_normalization(settings)
    runs = _places(settings, places, distribute=FOUR)
    one = write_configs(tmp_path / "one", {"input": settings, "norm": normalized})
    four = write_configs(tmp_path / "four", runs | {"norm": changed(normalized, distribute=FOUR)})
    for configs, devices in ((one, 1), (four, 4)):
        out = tmp_path / f"by {devices}"
        status, output = ended(start(configs, digits, out, "tensorflow", devices))
        assert status == 0, output
        assert "ran out of data" not in output
    for place in places:
        _assert_same(tmp_path / "by 1" / "input", tmp_path / "by 4" / place)
    _assert_same(tmp_path / "by 1" / "norm", tmp_path / "by 4" / "norm", TOLERANCE_NORMALIZED)
    (norm,) = (layer for layer in _layers(tmp_path / "by 4" / "norm") if layer["name"] == "norm1")
    assert norm["synchronized"] is False, "the saved model is an ordinary one"


# All that a run may bring along, with the weights of the run `by_one_device`.
def _brought(settings: Settings, source: Path, **groups: dict[str, object]) -> Settings:
    trainer = {"start_from": str(source), "freeze": ["conv1", "norm1"]}
    weighed = {"class_weights": {"3": 3.0}, "label_smoothing": 0.1}
    groups["trainer"] = trainer | groups.get("trainer", {})
    return with_normalization(settings, loss=weighed, **groups)


@pytest.mark.slow
@needs_jax
def test_four_devices_train_parts_from_anothers_weights_as_one_does(
    settings: Settings, digits: Path, by_one_device: Path, tmp_path: Path
) -> None:
    """On JAX a batch of 88 in parts of 44, whose last has 74 digits; on TensorFlow whole ones."""
    source = by_one_device / "input"
    for backend, parts in (("jax", 2), ("tensorflow", 1)):
        accumulated = {"accumulate": parts}
        for devices in (1, 4):
            shared = {"distribute": FOUR} if devices == 4 else {}
            run = _brought(settings, source, trainer=accumulated, **shared)
            configs = write_configs(tmp_path / f"{backend} {devices}", {"run": run})
            out = tmp_path / f"{backend} by {devices}"
            status, output = ended(start(configs, digits, out, backend, devices))
            assert status == 0, output
            assert "not trained: conv1, norm1" in output
        one, four = (tmp_path / f"{backend} by {devices}" / "run" for devices in (1, 4))
        _assert_same(one, four)
        held = [name for name in weights(one) if name.startswith(("conv1", "norm1"))]
        assert len(held) == 6
        assert all(np.array_equal(weights(four)[name], weights(source)[name]) for name in held)


def test_the_moments_of_batch_normalization_are_those_of_float64_to_a_millionth() -> None:
    """Off by 4e-6 with Keras' own on one device, by 1e-4 with its own on several."""
    inputs = np.random.default_rng(0).normal(3, 1, (44, 28, 28, 4)).astype(np.float32)
    exact = inputs.astype(np.float64)
    for axis in (-1, 1):
        others = tuple(number for number in range(4) if number != axis % 4)
        mean, variance = BatchStatistics(axis)(tf.constant(inputs), None)
        np.testing.assert_allclose(mean.numpy(), exact.mean(others), rtol=1e-6)
        np.testing.assert_allclose(variance.numpy(), exact.var(others), rtol=1e-6)


def _layers(run: Path) -> list[dict[str, object]]:
    from convforge.serving.predictor import load_predictor

    return [layer.get_config() for layer in load_predictor(run).model.layers]


@needs_jax
@pytest.mark.parametrize(
    "places",
    [
        pytest.param(("input",), id="input", marks=pytest.mark.slow),
        pytest.param(("model", "step"), id="others", marks=pytest.mark.slow),
    ],
)
def test_two_processes_train_as_one_and_only_the_first_leaves_anything(
    settings: Settings, digits: Path, by_one_device: Path, tmp_path: Path, places: tuple[str, ...]
) -> None:
    """Several runs come after each other in the same processes; each has two devices."""
    runs = _places(with_normalization(settings), places, optimizer=CLIPPED, distribute=_two())
    configs = write_configs(tmp_path / "configs", runs)
    variables = {"CONVFORGE_COORDINATOR": f"127.0.0.1:{free_port()}", "CONVFORGE_PROCESSES": "2"}
    processes = [
        start(
            configs, digits, tmp_path / f"by {rank}", "jax", 2,
            **variables, CONVFORGE_RANK=str(rank),
        )
        for rank in range(2)
    ]  # fmt: skip
    with none_left(processes):
        for process in processes:
            status, output = ended(process)
            assert status == 0, output
    for place in runs:
        _assert_same(by_one_device / "input", tmp_path / "by 0" / place)
    assert list((tmp_path / "by 1").rglob("*")) == []


@pytest.mark.integration
@needs_jax
def test_processes_that_were_started_to_train_something_else_all_refuse(
    settings: Settings, digits: Path, tmp_path: Path
) -> None:
    where = f"127.0.0.1:{free_port()}"
    processes = []
    for rank in range(2):
        part = _two(where, count=2, rank=rank)
        runs = {"run": with_normalization(settings, distribute=part, trainer={"epochs": 1 + rank})}
        configs = write_configs(tmp_path / str(rank), runs)
        processes.append(start(configs, digits, tmp_path / "out", "jax", 1))
    with none_left(processes):
        for process in processes:
            status, output = ended(process)
            assert status == 2
            assert "rank 1 was started to train something else than rank 0" in output
            assert "trainer.epochs 1 → 2" in output
            assert "Traceback" not in output
    assert not (tmp_path / "out" / "run").exists()


@pytest.mark.integration
@needs_jax
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_waits_for_others_in_vain_says_so(rank: int) -> None:
    place = f"coordinator='127.0.0.1:{free_port()}', count=2, rank={rank}, patience=10"
    script = f"""
from convforge.pipeline.settings.distribution import ProcessDistribution
from convforge.pipeline.training.distribution import multihost as processes
processes._SECONDS_TO_JOIN = 1
processes.join(ProcessDistribution(name="processes", {place}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "not all 2 met at 127.0.0.1:" in line
    assert done.returncode == 2


@needs_jax
@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_others_and_all_together_go_on_later(
    settings: Settings, digits: Path, tmp_path: Path, victim: int
) -> None:
    """Started by the variables of SLURM; killed after some steps of some epoch."""
    epochs = 12
    kept = {"seconds": 0, "keep": 2, "monitor": None, "resume": True}
    job = with_normalization(
        settings, trainer={"epochs": epochs, "checkpoint": kept}, distribute=_two()
    )
    configs = write_configs(tmp_path / "configs", {"run": job})
    history = tmp_path / "by 0" / "run" / "history.csv"

    def started(number: int, name: str = "by") -> list:
        return [
            start(
                configs, digits, tmp_path / f"{name} {rank}", "jax", 1,
                SLURM_JOB_ID=str(free_port() if rank is None else number),
                SLURM_STEP_NODELIST="localhost", SLURM_NTASKS="2",
                SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank),
            )
            for rank in range(2)
        ]  # fmt: skip

    processes = started(4000 + victim)
    with none_left(processes):
        while not history.exists() or len(history.read_text().splitlines()) < 4:
            assert all(process.poll() is None for process in processes)
            time.sleep(0.1)
        processes[victim].send_signal(signal.SIGKILL)
        killed = time.monotonic()
        status, output = ended(processes[1 - victim], 60)
        print(f"rank {victim} killed: the other ended after {time.monotonic() - killed:.1f} s")
        assert status != 0
        assert "another process" in output or "another task died" in output
    processes = started(4002 + victim)
    with none_left(processes):
        outputs = [ended(process) for process in processes]
    assert [status for status, _ in outputs] == [0, 0], outputs
    assert "goes on after epoch" in outputs[0][1]
    whole = started(4004 + victim, "never killed")
    with none_left(whole):
        assert [ended(process)[0] for process in whole] == [0, 0]
    # Not with one device: twelve epochs multiply what summing in another order rounds.
    apart = difference(tmp_path / "never killed 0" / "run", tmp_path / "by 0" / "run")
    print(f"after {epochs} epochs the weights are {apart:.1e} apart")
    assert apart == 0
    assert [row["epoch"] for row in _history(tmp_path / "by 0" / "run")] == list(
        range(1, epochs + 1)
    )


def test_a_batch_that_cannot_be_shared_is_refused_with_the_nearest_that_can(
    compose: Callable[..., Settings],
) -> None:
    for overrides in (
        ("distribute=devices", "distribute.devices=4"),
        ("distribute=processes", "distribute.count=4"),
    ):
        with pytest.raises(InputError) as refusal:
            compose(*overrides, "trainer.batch_size=50")
        assert "trainer.batch_size=50 is not allowed: give 48 or 52" in str(refusal.value)


@pytest.mark.parametrize(
    ("overrides", "backend", "told"),
    [
        (("distribute=devices",), "torch", "KERAS_BACKEND=torch: Keras distributes on"),
        (("distribute=processes",), "torch", "KERAS_BACKEND=torch: Keras distributes on"),
        (("distribute=processes",), "tensorflow", "keras-team/keras#20585"),
        (
            ("distribute=devices", "optimizer.clip_global_norm=1.0"),
            "tensorflow",
            "optimizer.clip_global_norm=1.0 is not allowed with distribute=devices on TensorFlow",
        ),
        (
            ("distribute=devices", "optimizer.clip_value=1.0"),
            "tensorflow",
            "optimizer.clip_value=1.0",
        ),
        (
            ("distribute=devices", "trainer.precision=mixed_float16"),
            "tensorflow",
            "trainer.precision='mixed_float16'",
        ),
        (
            ("distribute=devices", "trainer.accumulate=2"),
            "tensorflow",
            "trainer.accumulate=2 is not allowed with distribute=devices on TensorFlow",
        ),
    ],
)
def test_what_would_be_silently_wrong_is_refused(
    compose: Callable[..., Settings], overrides: tuple[str, ...], backend: str, told: str
) -> None:
    with pytest.raises(InputError) as refusal:
        check_backend(compose(*overrides), backend)
    assert told in str(refusal.value)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("distribute.coordinator=node1",), "distribute.coordinator='node1' is not allowed"),
        (("distribute.count=2", "distribute.rank=2"), "distribute.rank=2 is not allowed"),
    ],
)
def test_a_place_that_no_process_can_have_is_refused(
    compose: Callable[..., Settings], overrides: tuple[str, ...], told: str
) -> None:
    with pytest.raises(InputError) as refusal:
        compose("distribute=processes", *overrides)
    assert told in str(refusal.value)


@pytest.mark.parametrize("rows", [48, 12, 10, 1])
def test_the_shares_of_a_batch_are_the_batch(rows: int) -> None:
    """Divided where all devices get as many rows; whole for everybody where not."""
    batch = tf.range(rows)
    parts = [Share(rank, processes=2, devices=4).of((batch,))[0].numpy() for rank in range(2)]
    if rows % 4:
        assert all(part.tolist() == batch.numpy().tolist() for part in parts)
    else:
        assert np.concatenate(parts).tolist() == batch.numpy().tolist()
        assert len(parts[0]) == len(parts[1]) == Share(0, 2, 4).rows(rows)


@pytest.mark.slow
@needs_jax
def test_more_devices_than_there_are_is_refused_with_their_number(
    settings: Settings, digits: Path, tmp_path: Path
) -> None:
    runs = {"run": with_normalization(settings, distribute=FOUR)}
    configs = write_configs(tmp_path / "configs", runs)
    for backend in ("tensorflow", "jax"):
        status, output = ended(start(configs, digits, tmp_path / "out", backend, 1))
        assert status == 2
        assert "error: distribute.devices=4 is not allowed" in output
        assert "give 1 or null" in output
        assert "Traceback" not in output


def test_the_config_of_a_run_says_how_it_was_distributed(settings: Settings) -> None:
    kept = json.loads(settings.model_dump_json(by_alias=True))
    assert kept["distribute"] == {"name": "none"}
