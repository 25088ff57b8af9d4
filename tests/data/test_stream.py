"""Batches as a pure function of (seed, epoch, example): the ground of exact repetition."""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prepared_data import prepared
from scipy.ndimage import rotate

from convforge.augment import colour_basis, draw, numpy_ops
from convforge.augment.settings import Augmentation, Colour, Crop, Geometry, Reflection
from convforge.geometry import ArgumentError
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.data.preparation.prepare import prepare
from convforge.pipeline.data.reading import tensorflow_ops
from convforge.pipeline.data.reading.stream import AugmentedExample, Stream
from convforge.pipeline.progress import Progress, Verbosity

PLAIN = Augmentation()
MOVED = Augmentation(
    crop=Crop(scale=(0.7, 1.0)),
    reflection=Reflection(probability=0.5),
    geometry=Geometry(rotation=15.0, translation=0.1),
)
WHOLE = 1 << 30
EXAMPLES, BATCH = 250, 40
STEPS = 7  # 250 examples are six batches of 40 and one of 10.

AT: dict[str, Any] = {"image_size": (28, 28), "output_size": (28, 28), "ops": numpy_ops}

Pair = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def stream(digits: Path) -> Stream:
    return Stream(digits, Manifest.read(digits), BATCH)


@pytest.fixture(scope="module")
def sharded(shared_project: Path, tmp_path_factory: pytest.TempPathFactory, compose: Any) -> Stream:
    """The same digits in nine shards of 30."""
    out = tmp_path_factory.mktemp("sharded") / "data"
    data = compose("data.shard_examples=30").data
    manifest = prepare(data, shared_project / data.path, out, Progress(Verbosity.QUIET))
    assert len(manifest.splits["train"].shards) == 9
    return Stream(out, manifest, BATCH)


def _batches(stream: Stream, count: int, **changes: Any) -> list[Pair]:
    # A run of one epoch: so few digits are not worth a compilation.
    options: dict[str, Any] = {
        "seed": 3, "epochs": 1, "augmentation": PLAIN, "shuffle_bytes": WHOLE,
    }  # fmt: skip
    batches = stream.training(**{**options, **changes}).take(count)
    return [(images.numpy(), labels.numpy()) for images, labels in batches]


def _keys(batches: list[Pair]) -> list[tuple[bytes, int]]:
    return [
        (image.tobytes(), int(label))
        for images, labels in batches
        for image, label in zip(images, labels, strict=True)
    ]


def _assert_same(left: list[Pair], right: list[Pair]) -> None:
    for (images, labels), (other_images, other_labels) in zip(left, right, strict=True):
        np.testing.assert_array_equal(images, other_images)
        np.testing.assert_array_equal(labels, other_labels)


def _all_examples(stream: Stream, split: str = "train") -> list[tuple[bytes, int]]:
    batches = stream.sequential(split)
    return _keys([(images.numpy(), labels.numpy()) for images, labels in batches])


@pytest.fixture(params=["one shard", "nine shards, tiny blocks"])
def read(
    request: pytest.FixtureRequest, stream: Stream, sharded: Stream
) -> Callable[..., list[Pair]]:
    if request.param == "one shard":
        return lambda count, **changes: _batches(stream, count, **changes)
    return lambda count, **changes: _batches(sharded, count, **{"shuffle_bytes": 1, **changes})


def test_an_epoch_has_every_example_once_the_last_smaller_batch_included(
    read: Callable[..., list[Pair]], stream: Stream
) -> None:
    batches = read(3 * STEPS)
    expected = sorted(_all_examples(stream))
    assert len(expected) == len(set(expected)) == EXAMPLES
    for epoch in range(3):
        of_epoch = batches[epoch * STEPS : (epoch + 1) * STEPS]
        assert [len(labels) for _, labels in of_epoch] == [BATCH] * 6 + [10]
        assert sorted(_keys(of_epoch)) == expected


def test_every_epoch_has_another_order(read: Callable[..., list[Pair]]) -> None:
    batches = read(2 * STEPS)
    assert _keys(batches[:STEPS]) != _keys(batches[STEPS:])


def test_every_seed_has_another_order(read: Callable[..., list[Pair]]) -> None:
    assert _keys(read(STEPS, seed=3)) != _keys(read(STEPS, seed=4))


def test_the_same_seed_repeats_images_and_order(read: Callable[..., list[Pair]]) -> None:
    _assert_same(read(STEPS + 2, augmentation=MOVED), read(STEPS + 2, augmentation=MOVED))


def test_starting_at_an_epoch_is_the_tail_of_starting_at_the_first(
    read: Callable[..., list[Pair]],
) -> None:
    from_start = read(3 * STEPS, augmentation=MOVED)
    _assert_same(read(STEPS, augmentation=MOVED, first_epoch=2), from_start[2 * STEPS :])


@pytest.mark.parametrize(
    ("sizes", "first_epoch", "limit"),
    [("one shard", 2, None), ("nine shards", 1, None), ("nine shards", 0, 100)],
)
def test_an_epochs_order_without_its_pixels_is_that_of_its_batches(
    stream: Stream, sharded: Stream, sizes: str, first_epoch: int, limit: int | None
) -> None:
    read, block = (stream, WHOLE) if sizes == "one shard" else (sharded, 1)
    options: dict[str, Any] = {
        "seed": 3, "first_epoch": first_epoch, "shuffle_bytes": block, "limit_examples": limit
    }  # fmt: skip
    order = next(read.orders(**options).as_numpy_iterator())
    whole = read.whole("train")
    steps = -(-(limit or EXAMPLES) // BATCH)
    expected = _keys(_batches(read, steps, **options))
    pixels = whole.images[order].astype(np.float32)
    assert _keys([(pixels, whole.labels[order])]) == expected


@pytest.mark.integration
def test_the_number_of_threads_changes_nothing(stream: Stream, sharded: Stream) -> None:
    for one in (stream, sharded):
        batches = [
            _batches(replace(one, threads=threads), STEPS, augmentation=MOVED)
            for threads in (1, 4, None)
        ]
        for other in batches[1:]:
            _assert_same(batches[0], other)


def test_a_whole_shuffle_reaches_across_the_epoch(stream: Stream) -> None:
    """Where the examples of the split's first tenth come to lie."""
    place = {key: number for number, key in enumerate(_all_examples(stream))}
    order = [place[key] for key in _keys(_batches(stream, STEPS))]
    positions = [position for position, number in enumerate(order) if number < 25]
    assert min(positions) < 80
    assert max(positions) > 170


def test_a_tiny_shuffle_stays_within_its_blocks_and_shards_change_places(sharded: Stream) -> None:
    """Blocks are no smaller than a batch, so memory and disorder are both bounded."""
    place = {key: number for number, key in enumerate(_all_examples(sharded))}
    order = [place[key] // 30 for key in _keys(_batches(sharded, STEPS, shuffle_bytes=1))]
    shards_of_blocks = [set(order[start : start + BATCH]) for start in range(0, EXAMPLES, BATCH)]
    assert all(len(shards) <= 4 for shards in shards_of_blocks)
    first_seen = list(dict.fromkeys(order))
    assert first_seen != sorted(first_seen), "the shards come in an order of their own"


def test_no_seed_and_no_epoch_repeats_anothers_order(stream: Stream) -> None:
    """Seeds lie side by side in a sweep; their orders must be independent of one another."""
    orders = [
        tuple(_keys(_batches(stream, STEPS, seed=seed, first_epoch=epoch)))
        for seed in range(2)
        for epoch in range(2)
    ]
    assert len(set(orders)) == 4


def test_an_examples_augmentation_does_not_depend_on_the_batch_size(stream: Stream) -> None:
    """Nor on its place in the batch."""
    by_size = [
        sorted(_keys(_batches(replace(stream, batch_size=size), steps, augmentation=MOVED)))
        for size, steps in ((1, 250), (7, 36), (250, 1))
    ]
    assert by_size[0] == by_size[1] == by_size[2]


@pytest.mark.integration
def test_an_examples_augmentation_does_not_depend_on_the_shuffle_or_the_shards(
    stream: Stream, sharded: Stream
) -> None:
    """The order changes, the images of the epoch do not."""
    first, *others = (
        _keys(_batches(one, STEPS, augmentation=MOVED, shuffle_bytes=shuffle_bytes))
        for one in (stream, sharded)
        for shuffle_bytes in (WHOLE, 1)
    )
    for other in others:
        assert other != first
        assert sorted(other) == sorted(first)


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batch sizes that are compiled for."""
    sizes: list[int] = []
    compiled = tensorflow_ops.compiled

    def noted(function: Any, batch_size: int) -> Any:
        sizes.append(batch_size)
        return compiled(function, batch_size)

    monkeypatch.setattr(tensorflow_ops, "compiled", noted)
    return sizes


@pytest.mark.integration
def test_augmentation_is_compiled_where_the_images_are_worth_it(
    stream: Stream, compilations: list[int]
) -> None:
    """A step of 250 digits is not, forty epochs of them are, and an unknown number is."""
    for epochs, expected in ((1, []), (39, []), (50, [BATCH]), (None, [BATCH, BATCH])):
        stream.training(seed=3, augmentation=MOVED, shuffle_bytes=WHOLE, epochs=epochs)
        assert compilations == expected
    stream.training(seed=3, augmentation=PLAIN, shuffle_bytes=WHOLE)
    stream.training(seed=3, augmentation=replace(MOVED, place="step"), shuffle_bytes=WHOLE)
    assert compilations == expected, "nothing to compile"


@pytest.mark.integration
def test_compiled_batches_are_those_of_the_draws_whatever_size_threads_and_start(
    stream: Stream, compilations: list[int]
) -> None:
    expected = _in_order(stream)
    options: dict[str, Any] = {"augmentation": MOVED, "epochs": None}
    whole = _batches(stream, 2 * STEPS, **options)
    seen = np.concatenate([images for images, _ in whole[:STEPS]])
    nearest = [np.abs(seen - image).max(axis=(1, 2, 3)).min() for image in expected]
    assert len(seen) == EXAMPLES
    assert max(nearest) < 0.05
    _assert_same(whole, _batches(replace(stream, threads=1), 2 * STEPS, **options))
    _assert_same(whole[STEPS:], _batches(stream, STEPS, first_epoch=1, **options))
    small = _batches(replace(stream, batch_size=9), 28, **options)
    rows = np.concatenate([images for images, _ in small])
    # The same bits on the machines tried, but a compiler may round a lone batch otherwise.
    assert np.abs(rows - seen).max() < 1e-3
    assert compilations == [BATCH, BATCH, BATCH, 9]


def test_an_example_is_augmented_otherwise_in_another_epoch_and_with_another_seed(
    stream: Stream,
) -> None:
    def drawn(seed: int) -> list[AugmentedExample]:
        return stream.augmentations(seed=seed, augmentation=MOVED, images=4, epochs=3)

    for here, other in zip(drawn(3), drawn(4), strict=True):
        images = {here.image.astype("float32").tobytes()}
        images |= {draw.image.tobytes() for draw in (*here.draws, *other.draws)}
        assert len(images) == 1 + 3 + 3


def test_the_examples_of_the_sheet_are_those_of_the_split_spread_over_it(
    stream: Stream, sharded: Stream
) -> None:
    plain = [np.frombuffer(pixels, "float32") for pixels, _ in _all_examples(stream)]
    for one in (stream, sharded):
        rows = one.augmentations(seed=3, augmentation=PLAIN, images=5, epochs=1)
        assert [row.number for row in rows] == [0, 50, 100, 150, 200]
        for row in rows:
            np.testing.assert_array_equal(row.image.ravel(), plain[row.number])
    many = sharded.augmentations(seed=3, augmentation=PLAIN, images=300, epochs=1)
    assert [row.number for row in many] == list(range(EXAMPLES))


@pytest.mark.integration
def test_the_sheet_of_augmented_images_shows_what_training_sees(
    stream: Stream, sharded: Stream
) -> None:
    for one in (stream, sharded):
        rows = one.augmentations(seed=3, augmentation=MOVED, images=5, epochs=2)
        for epoch in range(2):
            batches = _batches(one, STEPS, augmentation=MOVED, first_epoch=epoch)
            seen = {pixels for pixels, _ in _keys(batches)}
            assert all(row.draws[epoch].image.tobytes() in seen for row in rows)


def test_the_parameters_of_the_sheet_are_those_of_its_images(stream: Stream) -> None:
    rows = stream.augmentations(seed=3, augmentation=MOVED, images=5, epochs=2)
    for row in rows:
        for epoch, shown in enumerate(row.draws):
            expected = draw(MOVED, seed=3, epoch=epoch, index=np.array([row.number]), **AT)
            for name, value in expected.items():
                np.testing.assert_allclose(shown.parameters[name], value[0], atol=1e-6)


def test_without_augmentation_the_pixels_are_those_of_the_files(stream: Stream) -> None:
    images, _ = _batches(stream, 1)[0]
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images, np.round(images))
    assert images.max() == 255


def test_a_limit_takes_the_same_first_examples_in_every_epoch(stream: Stream) -> None:
    batches = _batches(stream, 4, limit_examples=50)
    assert [len(labels) for _, labels in batches] == [40, 10, 40, 10]
    assert sorted(_keys(batches[:2])) == sorted(_keys(batches[2:]))
    assert sorted(_keys(batches[:2])) == sorted(_all_examples(stream)[:50])
    assert _keys(batches[:2]) != _keys(batches[2:]), "in another order"


def test_a_limit_of_steps_ends_the_epoch_early(stream: Stream) -> None:
    whole = _batches(stream, 2 * STEPS)
    _assert_same(_batches(stream, 4, limit_steps=2), [*whole[:2], *whole[STEPS : STEPS + 2]])


def test_a_limit_above_what_is_there_is_no_limit(stream: Stream) -> None:
    expected = sorted(_all_examples(stream))
    assert sorted(_keys(_batches(stream, STEPS, limit_examples=10_000))) == expected


@pytest.mark.parametrize(("split", "examples"), [("validation", 50), ("test", 100)])
def test_held_out_splits_come_once_and_in_order(stream: Stream, split: str, examples: int) -> None:
    batches = stream.sequential(split)
    assert int(batches.cardinality()) == -(-examples // BATCH)
    assert _all_examples(stream, split) == _all_examples(stream, split)
    assert len(set(_all_examples(stream, split))) == examples
    assert not set(_all_examples(stream, split)) & set(_all_examples(stream))


def test_the_colour_basis_is_the_training_splits_in_both_readings(stream: Stream) -> None:
    covariance = stream.manifest.statistics.covariance
    for reading in ("sqrt", "lambda"):
        basis = stream.colour_basis(Augmentation(colour=Colour(strength=0.1, reading=reading)))
        np.testing.assert_allclose(basis, colour_basis(covariance, reading), rtol=1e-9)
    assert stream.colour_basis(MOVED) is None


TURNS = ("rotation", "translation_right")


def test_drawn_parameters_as_labels_belong_to_their_images(stream: Stream) -> None:
    """The image that a label's draw makes of its example is the one that comes with it."""
    drawn = draw(MOVED, seed=3, epoch=0, index=np.arange(EXAMPLES), **AT)
    expected = np.stack([drawn["rotation"], drawn["translation"][:, 0]], axis=1)
    by_image = dict(
        zip(
            (image.tobytes() for image in _in_order(stream)),
            map(tuple, expected),
            strict=True,
        )
    )
    seen = _batches(stream, STEPS, augmentation=MOVED, targets=TURNS)
    for images, labels in seen:
        assert labels.shape == (len(images), 2)
        assert labels.dtype == np.float32
        for image, label in zip(images, labels, strict=True):
            np.testing.assert_allclose(label, by_image[image.tobytes()], atol=1e-5)


def _in_order(stream: Stream) -> list[np.ndarray]:
    """What training sees of each example in epoch 0."""
    rows = stream.augmentations(seed=3, augmentation=MOVED, images=EXAMPLES, epochs=1)
    return [row.draws[0].image for row in rows]


@pytest.mark.integration
def test_asking_for_labels_changes_no_image_and_no_order(stream: Stream) -> None:
    plain = _batches(stream, STEPS + 1, augmentation=MOVED)
    labelled = _batches(stream, STEPS + 1, augmentation=MOVED, targets=TURNS)
    for (images, _), (others, _) in zip(plain, labelled, strict=True):
        np.testing.assert_array_equal(images, others)


def _held_out(stream: Stream, split: str, **changes: Any) -> list[Pair]:
    options: dict[str, Any] = {"seed": 3, "augmentation": MOVED, "targets": TURNS}
    batches = stream.sequential(split, **{**options, **changes})
    return [(images.numpy(), labels.numpy()) for images, labels in batches]


@pytest.mark.integration
def test_a_held_out_split_has_the_same_draws_in_every_pass_and_no_epochs_draws(
    stream: Stream,
) -> None:
    first = _held_out(stream, "test")
    _assert_same(first, _held_out(stream, "test"))
    labels = np.concatenate([labels for _, labels in first])
    assert labels.shape == (100, 2)
    for other in (
        np.concatenate([labels for _, labels in _held_out(stream, "test", seed=4)]),
        np.concatenate([labels for _, labels in _held_out(stream, "validation")]),
        *(draw(MOVED, seed=3, epoch=n, index=np.arange(100), **AT)["rotation"] for n in range(5)),
    ):
        rotation = other.reshape(len(other), -1)[:50, 0]
        assert abs(np.corrcoef(rotation, labels[:50, 0])[0, 1]) < 0.5


def test_held_out_images_show_what_their_labels_say(stream: Stream) -> None:
    """Turned back by its label, a digit looks like the original again."""
    turned = Augmentation(geometry=Geometry(rotation=40.0))
    plain = np.concatenate([images for images, _ in _held_out_plain(stream)])
    (images, labels), *_ = _held_out(stream, "test", augmentation=turned, targets=("rotation",))
    back = rotate_back(images, labels[:, 0])
    wrong = rotate_back(images, -labels[:, 0])
    far = np.abs(labels[:, 0]) > 10
    originals = plain[: len(images)]
    assert np.abs(back - originals)[far].mean() < 0.5 * np.abs(wrong - originals)[far].mean()


def _held_out_plain(stream: Stream) -> list[Pair]:
    return [(images.numpy(), labels.numpy()) for images, labels in stream.sequential("test")]


def rotate_back(images: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """SciPy turns counter-clockwise for negative angles of the (row, column) plane."""
    turned = [
        rotate(image, -angle, axes=(1, 0), reshape=False, order=1)
        for image, angle in zip(images, degrees, strict=True)
    ]
    return np.stack(turned)


def test_a_target_that_nothing_draws_is_refused_before_any_batch(stream: Stream) -> None:
    for make in (stream.training, stream.sequential):
        options: dict[str, Any] = {"seed": 3, "augmentation": PLAIN, "targets": ("rotation",)}
        first = {"shuffle_bytes": WHOLE} if make == stream.training else {"split": "test"}
        with pytest.raises(ArgumentError, match=r"augment\.geometry\.rotation"):
            make(**first, **options)


STATM = Path("/proc/self/statm")


@pytest.mark.skipif(not STATM.exists(), reason="only Linux says how much memory a process has")
def test_memory_does_not_grow_with_the_data_set(tmp_path: Path) -> None:
    """An epoch of 300 MB as float32, shuffled in blocks of 4 MB, in a few batches' memory."""
    shape = (40, 40, 3)
    images = np.random.default_rng(0).integers(0, 256, (16_000, *shape), np.uint8)
    labels = np.zeros(16_000, np.int64)
    manifest = prepared(tmp_path, images, labels, ["one", "none"], shard_examples=2_000)
    del images
    batches = Stream(tmp_path, manifest, 100).training(
        seed=0, augmentation=MOVED, shuffle_bytes=4 << 20
    )
    rows = iter(batches)
    for _ in range(30):
        next(rows)
    before, highest = _resident_bytes(), 0
    for _ in range(160):
        next(rows)
        highest = max(highest, _resident_bytes())
    assert highest - before < 60 << 20


def _resident_bytes() -> int:
    return int(STATM.read_text().split()[1]) * resource.getpagesize()
