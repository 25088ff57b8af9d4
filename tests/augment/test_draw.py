"""Draws depend on (seed, epoch, index) alone, and are as random as they should be."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import all_methods
import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from convforge.augment import draw, numpy_ops
from convforge.augment.settings import Augmentation, Colour, Crop, Geometry, Reflection
from convforge.augment.streams import LEVELS, STREAMS, random_words, threefry
from convforge.geometry import ArgumentError
from convforge.pipeline.data.reading import tensorflow_ops

SIZES: dict[str, Any] = {"image_size": (32, 32), "output_size": (32, 32)}
MANY = np.arange(200_000)
# Below this a true hypothesis is rejected once in a million times; the seeds are fixed.
UNLIKELY = 1e-6


def drawn(
    index: Any = MANY, seed: Any = 1, epoch: Any = 0, what: Augmentation = all_methods.ALL
) -> dict[str, np.ndarray]:
    return draw(what, seed=seed, epoch=epoch, index=index, ops=numpy_ops, **SIZES)


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return all(np.array_equal(first[key], np.asarray(second[key])) for key in first)


# The published answers to zeros, ones and digits of π (Random123, kat_vectors, 20 rounds).
ANSWERS = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((-1, -1), (-1, -1), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]


@pytest.mark.parametrize(("key", "counter", "answer"), ANSWERS)
def test_the_hash_gives_the_published_answers(
    key: tuple[int, int], counter: tuple[int, int], answer: tuple[int, int]
) -> None:
    def words(pair: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        first, second = (np.array([value & 0xFFFFFFFF], dtype="uint32") for value in pair)
        return first.view("int32"), second.view("int32")

    result = threefry(words(key), words(counter), numpy_ops)
    assert tuple(int(word.view("uint32")[0]) for word in result) == answer


def test_batch_size_and_order_change_no_draw() -> None:
    index = np.arange(60)
    whole = drawn(index)
    for size in (1, 7, 16):
        batches = [drawn(index[at : at + size]) for at in range(0, 60, size)]
        assert same(whole, {key: np.concatenate([b[key] for b in batches]) for key in whole})
    order = np.random.default_rng(0).permutation(60)
    assert same({key: value[order] for key, value in whole.items()}, drawn(order))


def test_batch_size_changes_no_draw_inside_a_graph_either() -> None:
    at: dict[str, Any] = {"seed": 1, "epoch": 0, "ops": tensorflow_ops}
    whole = drawn(np.arange(60))
    for size in (1, 7, 60):
        batches = tf.data.Dataset.range(60).batch(size)
        batches = batches.map(lambda index: draw(all_methods.ALL, index=index, **at, **SIZES))
        rows = list(batches.as_numpy_iterator())
        assert same(whole, {key: np.concatenate([b[key] for b in rows]) for key in whole})


def test_threads_change_no_draw() -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: drawn(np.arange(500)), range(8)))
    assert all(same(results[0], other) for other in results)


def test_seed_and_epoch_change_every_draw() -> None:
    index = np.arange(500)
    here = drawn(index)
    for other in (drawn(index, epoch=1), drawn(index, seed=2), drawn(index, seed=0, epoch=1)):
        for key in ("rotation", "shear", "scale", "translation"):
            assert np.mean(here[key] == other[key]) < 0.01
        assert not np.any(np.all(here["matrix"] == other["matrix"], axis=(1, 2)))


def test_turning_a_method_on_leaves_the_draws_of_the_others() -> None:
    alone = drawn(np.arange(99), what=Augmentation(geometry=all_methods.GEOMETRY))
    together = drawn(np.arange(99))
    for key in ("rotation", "shear", "scale", "translation"):
        assert np.array_equal(alone[key], together[key])


def test_large_seeds_and_tensors_of_any_integer_type_are_seeds() -> None:
    index = np.arange(9)
    assert same(drawn(index, seed=5, epoch=2), drawn(index, np.int64(5), np.array(2)))
    assert same(drawn(index, seed=-1), drawn(index, seed=2**32 - 1))
    assert same(drawn(index.astype("uint8")), drawn(index.astype("int64")))
    assert not same(drawn(index, seed=2**31 + 1), drawn(index, seed=1))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"image_size": (32, 0)}, "image_size=(32, 0)"),
        ({"output_size": (32,)}, "output_size=(32,)"),
        ({"output_size": (32.0, 32)}, "output_size=(32.0, 32)"),
        ({"seed": 1.5}, "seed or epoch=1.5"),
        ({"epoch": "first"}, "seed or epoch='first'"),
    ],
)
def test_what_is_no_size_or_no_integer_is_refused(wrong: dict[str, Any], said: str) -> None:
    at = {"seed": 1, "epoch": 0, **SIZES, **wrong}
    with pytest.raises(ArgumentError, match=re.escape(said)):
        draw(all_methods.ALL, index=np.arange(3), ops=numpy_ops, **at)


def under_xla(index: Any) -> Any:
    compiled = tf.function(
        lambda seed, epoch, index: random_words(seed, epoch, index, tensorflow_ops),
        jit_compile=True,
    )
    return compiled(tf.constant(1, tf.int64), tf.constant(4, tf.int64), tf.constant(index))


def in_tf_data(index: Any) -> Any:
    epochs = tf.data.Dataset.from_tensors(tf.constant(4, tf.int64))
    return next(iter(epochs.map(lambda epoch: random_words(1, epoch, index, tensorflow_ops))))


ELSEWHERE = {
    "TensorFlow": lambda index: random_words(1, 4, tf.constant(index), tensorflow_ops),
    "a tf.data graph": in_tf_data,
    "XLA": under_xla,
    "keras.ops": lambda index: random_words(1, 4, index, keras.ops),
}


@pytest.mark.parametrize("place", ELSEWHERE)
def test_random_bits_are_the_same_everywhere(place: str) -> None:
    index = np.arange(1000) * 1_000_003
    expected = random_words(1, 4, index, numpy_ops)
    assert np.array_equal(np.asarray(ELSEWHERE[place](index)), expected)


def test_parameters_are_the_same_bit_for_bit_wherever_products_are_not_fused() -> None:
    """XLA fuses them: test_same_everywhere.py."""
    index = np.arange(333)
    expected = drawn(index, epoch=4)
    for ops in (tensorflow_ops, keras.ops):
        assert same(expected, draw(all_methods.ALL, seed=1, epoch=4, index=index, ops=ops, **SIZES))


@pytest.mark.backends
@pytest.mark.parametrize("backend", ["jax", "torch", "tensorflow"])
def test_other_backends_draw_and_move_the_same(backend: str, tmp_path: Path) -> None:
    assert importlib.util.find_spec(backend), f"no {backend}: make test-backends installs it"
    script, file = Path(__file__).with_name("replay.py"), tmp_path / "replay.npz"
    environment = {**os.environ, "KERAS_BACKEND": backend, "OMP_NUM_THREADS": "1"}
    run = [sys.executable, str(script), str(file)]
    subprocess.run(run, check=True, env=environment, capture_output=True, timeout=300)
    import replay

    expected, found = replay.results(numpy_ops), np.load(file)
    assert str(found["backend"]) == backend
    assert np.array_equal(found["words"], expected["words"])
    for key, value in expected.items():
        if key != "backend":
            assert np.abs(found[key] - value).max() < (0.05 if key == "pixels" else 1e-5), key


def test_the_words_of_the_lectures_methods_are_fixed_for_good() -> None:
    """Another order or number of streams would augment every example of every config anew."""
    words = random_words(1, 2, np.arange(5), numpy_ops)[:16]
    assert zlib.crc32(words.astype("<i4").tobytes()) == 0x77764EC1


def test_streams_are_uniform_and_independent_of_one_another() -> None:
    words = random_words(1, 0, MANY, numpy_ops).view("uint32")
    for word in words:
        for shift in (24, 8):
            counts = np.bincount((word >> shift) & 0xFF, minlength=256)
            assert stats.chisquare(counts).pvalue > UNLIKELY
    uniform = words.astype("float64") / 2**32
    correlation = np.corrcoef(uniform) - np.eye(len(STREAMS))
    assert np.abs(correlation).max() < 6 / np.sqrt(len(MANY))


@pytest.mark.parametrize(
    "neighbour",
    [
        lambda: random_words(1, 0, MANY + 1, numpy_ops),
        lambda: random_words(1, 1, MANY, numpy_ops),
        lambda: random_words(2, 0, MANY, numpy_ops),
    ],
    ids=["index", "epoch", "seed"],
)
def test_neighbouring_indices_epochs_and_seeds_are_independent(neighbour: Any) -> None:
    here = random_words(1, 0, MANY, numpy_ops).view("uint32")
    there = neighbour().view("uint32")
    for first, second in zip(here, there, strict=True):
        table = np.bincount((first >> 28) * 16 + (second >> 28), minlength=256)
        assert stats.chisquare(table).pvalue > UNLIKELY
        assert abs(np.corrcoef(first, second)[0, 1]) < 6 / np.sqrt(len(MANY))


def test_one_example_sees_uniform_draws_over_the_epochs() -> None:
    words = np.concatenate([random_words(1, e, [17], numpy_ops) for e in range(4000)], axis=1)
    for word in words.view("uint32"):
        assert stats.chisquare(np.bincount(word >> 28, minlength=16)).pvalue > UNLIKELY


def uniformly(values: np.ndarray, low: float, high: float) -> bool:
    """Whether values are uniform, to the 4,096 levels that tables have."""
    distance = stats.kstest(values, "uniform", (low, high - low)).statistic
    return bool(distance < 2.5 / np.sqrt(len(values)) + 1 / LEVELS)


def test_strengths_are_distributed_as_the_settings_say() -> None:
    found = drawn()
    assert uniformly(found["rotation"], -20, 20)
    assert uniformly(found["shear"], -12, 12)
    assert uniformly(np.log(found["scale"]), np.log(0.8), np.log(1.25))
    assert uniformly(found["translation"][:, 0], -0.15 * 32, 0.15 * 32)
    top, left, height, width = found["crop"].T
    assert uniformly(height * width, 0.5, 1.0)
    assert uniformly(top[height < 1] / (1 - height[height < 1]), 0, 1)
    assert uniformly(left[width < 1] / (1 - width[width < 1]), 0, 1)
    assert np.all(top + height <= 1 + 1e-6)
    assert np.all(left + width <= 1 + 1e-6)
    alpha = found["colour"]
    assert stats.kstest(alpha[:, 0], "norm", (0, 0.1)).statistic < 2.5 / np.sqrt(len(MANY)) + 1e-3
    assert np.allclose(np.cov(alpha.T), 0.01 * np.eye(3), atol=2e-4)


def test_ratios_are_log_uniform_where_the_crop_leaves_room() -> None:
    small = Augmentation(crop=Crop(scale=(0.1, 0.2), ratio=(0.5, 2.0)))
    height, width = drawn(what=small)["crop"].T[2:]
    assert uniformly(np.log(width / height), np.log(0.5), np.log(2.0))


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_each_method_takes_its_share_of_the_images(share: float) -> None:
    each = Augmentation(
        crop=dataclasses.replace(all_methods.CROP, probability=share),
        reflection=Reflection(probability=share),
        colour=Colour(probability=share, strength=0.1),
        geometry=dataclasses.replace(all_methods.GEOMETRY, probability=share),
    )
    found = drawn(what=each)
    changed = {
        "crop": np.any(found["crop"] != [0, 0, 1, 1], axis=1),
        "reflection": found["reflected"] == 1,
        "colour": np.any(found["colour"] != 0, axis=1),
        "geometry": found["rotation"] != 0,
    }
    for method, mask in changed.items():
        assert abs(mask.mean() - share) < 0.006, method
    if share == 0.0:
        assert same(found, drawn(what=Augmentation()))


def test_a_rotation_of_nothing_draws_nothing() -> None:
    found = drawn(np.arange(9), what=Augmentation(geometry=Geometry(translation=0.1)))
    assert np.all(found["rotation"] == 0)
    assert np.all(found["matrix"][:, :2, :2] == np.eye(2))
