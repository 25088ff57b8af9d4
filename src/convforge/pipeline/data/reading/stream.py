"""From shards to batches, as a pure function of (seed, epoch, example index).

Nothing here keeps state: the order of an epoch follows from (seed, epoch), the augmentation of an
example from (seed, epoch, index). So a run that starts at any epoch sees what an uninterrupted one
would have seen, whatever the number of threads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from convforge import augment
from convforge.augment.colour import scaled_directions
from convforge.augment.settings import Augmentation, Size
from convforge.augment.streams import threefry
from convforge.errors import InputError
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.data.reading import tensorflow_ops
from convforge.pipeline.data.reading.shard_reader import Examples, ShardReader
from convforge.pipeline.settings.run import Settings

#: Images `(batch, height, width, channels)` float32 in 0..255, and labels: the classes `(batch,)`
#: int64, or `(batch, number of targets)` float32: the numbers that the data bring for prediction,
#: or the drawn parameters that were asked for.
Batches = Any

# Records read ahead of the one being used; each holds some megabytes.
_READ_AHEAD = 2

# Finished batches that wait for the training step. tf.data's own choice grows with the memory that
# it finds, up to half of it.
_BATCHES_AHEAD = 2

# Pixels from which on a compilation, 0.8 s of one core, pays: a core moves 8 to 20 million pixels a
# second with TensorFlow's own kernels, and 130 million compiled.
_WORTH_COMPILING = 1 << 23

#: Epochs that no training reaches: their draws are those of the splits read in order.
_DRAWS_IN_ORDER = {"train": -1, "validation": -2, "test": -3}


class Share(NamedTuple):
    """The part of every batch that one of several processes reads.

    Whole batches are divided evenly. One that cannot be divided among the devices comes whole to
    all of them.
    """

    rank: int
    processes: int
    devices: int

    def rows(self, whole: int) -> int:
        """How many of a batch's rows come to this process."""
        return whole if whole % self.devices else whole // self.processes

    def of(self, columns: tuple[Any, ...]) -> tuple[Any, ...]:
        """This process's rows of a batch's columns."""
        rows = tf.shape(columns[0])[0]
        even = tf.equal(rows % self.devices, 0)
        size = tf.where(even, rows // self.processes, rows)
        first = tf.where(even, self.rank * size, 0)
        return tuple(column[first : first + size] for column in columns)


class Draw(NamedTuple):
    """What one draw makes of an image `(height, width, channels)`, and its parameters."""

    image: NDArray[np.float32]
    parameters: dict[str, NDArray[np.float32]]


class AugmentedExample(NamedTuple):
    """An image of the training split, uint8 `(height, width, channels)`, and its draws by epoch."""

    number: int
    image: NDArray[np.uint8]
    draws: list[Draw]


@dataclass(frozen=True)
class Stream:
    """Reads one prepared data set.

    Args:
        folder: what `convforge preprocess` made.
        manifest: of that folder.
        batch_size: examples in a batch; the last of an epoch may be smaller.
        threads: for augmentation, or None for tf.data to choose.
        share: of every batch, where several processes read one; then the number of rows of the
            whole batch comes as a third thing beside inputs and labels.

    Raises:
        InputError: a shard is missing or has another length; other damage is found when it is
            read, see `translate_damage_errors`.
    """

    folder: Path
    manifest: Manifest
    batch_size: int
    threads: int | None = None
    share: Share | None = None

    def __post_init__(self) -> None:
        self._reader.check_sizes()

    def training(
        self,
        *,
        seed: int,
        first_epoch: int = 0,
        first_step: int = 0,
        epochs: int | None = None,
        augmentation: Augmentation,
        shuffle_bytes: int,
        limit_examples: int | None = None,
        limit_steps: int | None = None,
        targets: Sequence[str] = (),
    ) -> Batches:
        """The shuffled, augmented batches of `first_epoch` and all that follow, without end.

        The shards of an epoch come in an order drawn from (seed, epoch); the examples of a block
        of `shuffle_bytes` are shuffled among one another. A training split that fits into one
        block is shuffled perfectly.

        Args:
            seed: of the order and of the augmentation.
            first_epoch: the epoch to start with, as after a resume.
            first_step: the batch of that epoch to start with.
            epochs: how many the whole run will use, those before `first_epoch` included, or None
                for any number. For a few small images, compiling is not worth its time.
            augmentation: what is drawn for each example anew in every epoch.
            shuffle_bytes: memory of a shuffled block.
            limit_examples: use the first so many of the split only.
            limit_steps: end each epoch after so many batches.
            targets: names from `convforge.augment.TARGETS`; with some, the labels are these drawn
                parameters of each image, `(batch, len(targets))` float32, instead of its class.

        With `augmentation.place` other than "input" the images come as they are, uint8, in a
        mapping with what a draw follows from: "image", "index" `(batch,)` int32 and "epoch"
        `(batch,)` int32. The labels are the same in all places.

        Raises:
            ArgumentError: `augmentation` draws one of `targets` the same for all images.
        """
        examples = limit_examples or self.examples("train")
        example = self._example(
            seed,
            augmentation,
            targets,
            moves=augmentation.place == "input",
            examples=examples,
            images=None if epochs is None else epochs * examples,
        )

        def epoch_batches(epoch: Any) -> Batches:
            shuffled = self._shuffled_epoch(self._read, epoch, seed, shuffle_bytes, limit_examples)
            batches = shuffled.rebatch(self.batch_size)
            if limit_steps is not None:
                batches = batches.take(limit_steps)
            if first_step:
                here = tf.equal(epoch, first_epoch)
                batches = batches.skip(tf.cast(here, tf.int64) * first_step)
            return self._shared(batches).map(
                lambda images, labels, indices, *whole: (
                    *example(epoch, images, labels, indices),
                    *whole,
                ),
                num_parallel_calls=self._parallel,
                deterministic=True,
            )

        counter = tf.data.Dataset.counter(first_epoch)
        return counter.flat_map(epoch_batches).prefetch(_BATCHES_AHEAD)

    def orders(
        self,
        *,
        seed: int,
        first_epoch: int = 0,
        shuffle_bytes: int,
        limit_examples: int | None = None,
    ) -> Any:
        """The order of `training`'s examples, an array for each epoch: their places in `whole`.

        For who has the pixels in memory already; the arguments are those of `training`.
        """
        examples = limit_examples or self.examples("train")

        def order(epoch: Any) -> Any:
            places = self._shuffled_epoch(self._places, epoch, seed, shuffle_bytes, limit_examples)
            return places.rebatch(examples)

        counter = tf.data.Dataset.counter(first_epoch)
        # Out of the tuple of one column.
        return counter.flat_map(order).map(lambda places: places).prefetch(1)

    def whole(self, split: str) -> Examples:
        """All of `split` at once, in the order of the shards."""
        parts = list(self._read(self._files(split)).as_numpy_iterator())
        return Examples(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def _shuffled_epoch(
        self,
        read: Callable[[Any], Batches],
        epoch: Any,
        seed: int,
        shuffle_bytes: int,
        limit_examples: int | None,
    ) -> Batches:
        """What `read` gives of the training shards, in blocks, in the order of `epoch`."""
        if limit_examples is None:
            chunks = read(_shuffled(self._files("train"), seed, epoch))
        else:  # The first examples of the split: the same ones in all epochs.
            chunks = read(self._files("train")).rebatch(limit_examples).take(1)
        block = max(self.batch_size, shuffle_bytes // self._image_bytes)
        blocks = chunks.rebatch(block).enumerate()
        return blocks.map(lambda number, rows: _permuted(rows, seed, epoch, number))

    def sequential(
        self,
        split: str,
        limit_steps: int | None = None,
        *,
        seed: int = 0,
        augmentation: Augmentation | None = None,
        size: Size | None = None,
        targets: Sequence[str] = (),
        numbered: bool = False,
    ) -> Batches:
        """The batches of `split` in the order of the shards, the same ones in every pass.

        Args:
            split: "train", "validation" or "test".
            limit_steps: end after so many batches.
            seed: of the draws; only `augmentation` uses it.
            augmentation: None leaves the images alone, as an evaluation of classes wants them.
                Otherwise each image has one draw for good, that of an epoch which belongs to the
                split and which no training reaches.
            size: without `augmentation`, give the centre window of so many pixels, (height, width);
                None gives whole images.
            targets: as in `training`: "predict the rotation" is evaluated on
                `sequential("test", seed=…, augmentation=…, targets=("rotation",))`.
            numbered: give the images in a mapping with "index" and "epoch", for a model that
                augments what it is trained on; see `training`.

        Raises:
            ArgumentError: `augmentation` draws one of `targets` the same for all images.
        """
        count = ceil(self.examples(split) / self.batch_size)
        count = min(count, limit_steps or count)
        batches = self._read(self._files(split)).rebatch(self.batch_size).take(count)
        example = self._example(
            seed,
            augmentation or Augmentation(size=size),
            targets,
            moves=True,
            examples=self.examples(split),
            images=count * self.batch_size,
        )
        epoch = _DRAWS_IN_ORDER[split]

        def in_order(images: Any, labels: Any, indices: Any, *whole: Any) -> tuple[Any, ...]:
            inputs, labels = example(epoch, images, labels, indices)
            return _numbered(inputs, epoch, indices) if numbered else inputs, labels, *whole

        batches = self._shared(batches).map(
            in_order,
            num_parallel_calls=self._parallel,
            deterministic=True,
        )
        # TFRecord files do not say how many records they hold; Keras warns where it is unknown.
        batches = batches.apply(tf.data.experimental.assert_cardinality(count))
        return batches.prefetch(_BATCHES_AHEAD)

    def augmentations(
        self, *, seed: int, augmentation: Augmentation, images: int, epochs: int
    ) -> list[AugmentedExample]:
        """`images` of the training split, evenly spread over it, in each of the first `epochs`.

        What `training` yields for them, since a draw depends on nothing else; where training
        compiles, it may round the last bits of a grey level otherwise.
        """
        there = self.examples("train")
        count = min(images, there)
        originals, indices = self._training_examples([there * n // count for n in range(count)])
        draw, augmented = self._drawer(augmentation, seed), self._augmenter(augmentation, seed)
        pixels, parameters = [], []
        for epoch in range(epochs):
            number = tf.constant(epoch, tf.int64)
            pixels.append(augmented(originals, number, indices).numpy())
            drawn = draw(number, indices)
            parameters.append({name: value.numpy() for name, value in drawn.items()})
        return [
            AugmentedExample(
                number=int(indices[row]),
                image=originals[row].numpy(),
                draws=[
                    Draw(image[row], {name: value[row] for name, value in drawn.items()})
                    for image, drawn in zip(pixels, parameters, strict=True)
                ],
            )
            for row in range(count)
        ]

    def colour_basis(self, augmentation: Augmentation) -> NDArray[np.float64] | None:
        """The training split's principal colours, scaled; None where no colours are altered."""
        if not augmentation.colour.active:
            return None
        components = self.manifest.statistics.principal_components
        return scaled_directions(
            [component.variance for component in components],
            [component.direction for component in components],
            augmentation.colour.reading,
        )

    def examples(self, split: str) -> int:
        """The number of examples in `split`."""
        return self.manifest.splits[split].examples

    @property
    def _parallel(self) -> int:
        return int(self.threads or tf.data.AUTOTUNE)

    @property
    def _image_bytes(self) -> int:
        height, width, channels = self.manifest.image_shape
        return height * width * channels

    def _files(self, split: str) -> list[str]:
        return [shard.file for shard in self.manifest.splits[split].shards]

    def _read(self, files: Sequence[str] | Any) -> Batches:
        """Chunks of images, labels and indices, in the order of `files`."""
        targets = len(self.manifest.targets)
        types = (tf.uint8, tf.float32 if targets else tf.int64, tf.int64)

        def chunk(file: Any, number: Any) -> tuple[Any, Any, Any]:
            read = self._reader.read_named
            images, labels, indices = tf.numpy_function(read, (file, number), types)
            return (
                tf.ensure_shape(images, (None, *self.manifest.image_shape)),
                tf.ensure_shape(labels, (None, targets) if targets else (None,)),
                tf.ensure_shape(indices, (None,)),
            )

        # Reading pixels ahead needs no more; images that must be decoded keep all cores busy.
        parallel = self._parallel if self._reader.decodes else _READ_AHEAD
        return self._records(files).map(chunk, num_parallel_calls=parallel, deterministic=True)

    def _places(self, files: Sequence[str] | Any) -> Any:
        """Chunks of the examples' places in `whole("train")`, in the order of `files`."""
        counts = [shard.examples for shard in self.manifest.splits["train"].shards]
        firsts = dict(zip(self._files("train"), accumulate(counts, initial=0), strict=False))

        def chunk(file: Any, number: Any) -> tuple[Any]:
            def read(name: bytes, record: int) -> NDArray[np.int64]:
                rows = self._reader.rows(name.decode(), int(record))
                return np.arange(rows.start, rows.stop) + firsts[name.decode()]

            places = tf.numpy_function(read, (file, number), tf.int64)
            return (tf.ensure_shape(places, (None,)),)

        return self._records(files).map(chunk)

    def _records(self, files: Sequence[str] | Any) -> Any:
        """File and number of every record."""
        given = tf.convert_to_tensor(files, tf.string)
        records = tf.numpy_function(self._reader.records_named, (given,), (tf.string, tf.int64))
        return tf.data.Dataset.from_tensor_slices(
            tuple(tf.ensure_shape(part, (None,)) for part in records)
        )

    @cached_property
    def _reader(self) -> ShardReader:
        return ShardReader(self.folder, self.manifest)

    def _training_examples(self, places: Sequence[int]) -> tuple[Any, Any]:
        """Images and indices of the examples at rising `places` in the order of the shards."""
        first, wanted, found = 0, list(places), []
        for shard in self.manifest.splits["train"].shards:
            last = first + shard.examples
            if wanted and wanted[0] < last:
                for images, _, indices in self._read([shard.file]):
                    here = [place - first for place in wanted if place < first + len(images)]
                    rows = tf.constant(here, tf.int64)
                    found.append((tf.gather(images, rows), tf.gather(indices, rows)))
                    first, wanted = first + len(images), wanted[len(here) :]
            first = last
        return tuple(tf.concat(parts, axis=0) for parts in zip(*found, strict=True))

    def _example(
        self,
        seed: int,
        augmentation: Augmentation,
        targets: Sequence[str],
        *,
        moves: bool,
        examples: int,
        images: int | None,
    ) -> Callable[..., tuple[Any, Any]]:
        """A function of epoch, images, classes and indices that gives inputs and labels."""
        names = augment.check_targets(targets, augmentation)
        draw = self._drawer(augmentation, seed)
        augmented = self._augmenter(augmentation, seed)
        height, width, _ = self.manifest.image_shape
        many = images is None or images * height * width >= _WORTH_COMPILING
        if moves and augmentation.active and many:
            augmented = tensorflow_ops.compiled(augmented, self._most_rows(examples))

        def example(epoch: Any, images: Any, classes: Any, indices: Any) -> tuple[Any, Any]:
            labels = classes
            if names:
                labels = augment.target_values(draw(epoch, indices), names, tensorflow_ops)
            if moves:
                return augmented(images, epoch, indices), labels
            return _numbered(images, epoch, indices), labels

        return example

    def _shared(self, batches: Batches) -> Batches:
        """Of images, labels and indices: this process's rows, and how many the batch has."""
        share = self.share
        if share is None:
            return batches
        return batches.map(lambda *columns: (*share.of(columns), tf.shape(columns[0])[0]))

    def _most_rows(self, examples: int) -> int:
        """Of the batches that this process gets of `examples`."""
        if self.share is None:
            return self.batch_size
        return max(self.share.rows(self.batch_size), self.share.rows(examples % self.batch_size))

    def _drawer(self, augmentation: Augmentation, seed: int) -> Callable[[Any, Any], Any]:
        """A function of epoch and indices that draws the parameters of a batch."""
        height, width, _ = self.manifest.image_shape

        def drawn(epoch: Any, indices: Any) -> Any:
            return augment.draw(
                augmentation,
                seed=seed,
                epoch=epoch,
                index=indices,
                image_size=(height, width),
                output_size=augmentation.size or (height, width),
                ops=tensorflow_ops,
            )

        return drawn

    def _augmenter(self, augmentation: Augmentation, seed: int) -> Callable[[Any, Any, Any], Any]:
        """A function of images, epoch and indices that moves the pixels."""
        if not augmentation.active:
            return lambda images, epoch, indices: tf.cast(
                augment.centre_window(images, augmentation.size), tf.float32
            )
        basis = self.colour_basis(augmentation)

        def augmented(images: Any, epoch: Any, indices: Any) -> Any:
            return augment.draw_and_apply(
                images,
                augmentation,
                seed=seed,
                epoch=epoch,
                index=indices,
                colour_basis=basis,
                ops=tensorflow_ops,
            )

        return augmented


def held_out(
    stream: Stream,
    split: str,
    settings: Settings,
    limit_steps: int | None = None,
    *,
    numbered: bool = False,
) -> Any:
    """The batches of `split`, augmented only where the draws are what is to be predicted."""
    drawn = settings.drawn_targets
    return stream.sequential(
        split,
        limit_steps,
        seed=settings.seed,
        augmentation=settings.augment if drawn else None,
        size=settings.augment.size,
        targets=drawn,
        numbered=numbered,
    )


def _numbered(images: Any, epoch: Any, indices: Any) -> dict[str, Any]:
    """The images and what their draws follow from."""
    index = tf.cast(indices, tf.int32)
    return {"image": images, "index": index, "epoch": tf.fill(tf.shape(index), _word(epoch))}


@contextmanager
def translate_damage_errors() -> Iterator[None]:
    """An InputError that was raised while TensorFlow read becomes one again.

    TensorFlow raises an error of its own for it, with the first one's text in it.
    """
    try:
        yield
    except tf.errors.OpError as error:
        told = re.search(rf"{InputError.__name__}: (.+)", error.message)
        if told is None:
            raise
        raise InputError(told[1]) from error


# Numbers of the independent orders that one seed gives.
_SHARDS, _EXAMPLES = 0, 1


def _shuffled(files: Sequence[str], seed: int, epoch: Any) -> Any:
    order = _permutation(len(files), (seed, epoch), (_SHARDS, 0))
    return tf.gather(tf.constant(list(files)), order)


def _permuted(rows: tuple[Any, Any, Any], seed: int, epoch: Any, block: Any) -> tuple[Any, ...]:
    """The rows of one block in an order drawn from (seed, epoch, number of the block)."""
    order = _permutation(tf.shape(rows[0])[0], (seed, epoch), (_EXAMPLES, block))
    return tuple(tf.gather(column, order) for column in rows)


def _permutation(length: Any, key: tuple[Any, Any], counter: tuple[Any, Any]) -> Any:
    # index_shuffle uses 32 bits of each of its two seeds: four numbers must be hashed into them.
    words = threefry(_words(key), _words(counter), tensorflow_ops)
    return tf.random.experimental.index_shuffle(tf.range(length), tf.stack(words), length - 1)


def _words(pair: tuple[Any, Any]) -> tuple[Any, Any]:
    return _word(pair[0]), _word(pair[1])


def _word(number: Any) -> Any:
    return tf.cast(number, tf.int32)
