"""Which shards there are, and the job of each: all of it follows from the index.

The jobs are independent of one another, so that other machines may do some of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from convforge.errors import BadItemError
from convforge.pipeline.data.preparation.containers import Read, ReadAlready
from convforge.pipeline.data.preparation.index.item_index import Index
from convforge.pipeline.data.preparation.index.items import Stored
from convforge.pipeline.data.preparation.shard_writer import Example, ShardJob
from convforge.pipeline.data.preparation.sources import Source
from convforge.pipeline.data.preparation.split import SPLITS
from convforge.serving.decode import Decoding

# Contents of a source that can only be read forward, held in memory at once.
_FORWARD_BYTES = 256 << 20


class ShardSpec(NamedTuple):
    """One shard: its split, its number there, and how many items it is to be made of."""

    split: str
    number: int
    of: int
    items: int

    @property
    def file(self) -> str:
        """Its name."""
        return f"{self.split}-{self.number:05d}-of-{self.of:05d}.tfrecord"


@dataclass(frozen=True)
class ShardPlan:
    """All shards of one data set."""

    index: Index
    source: Source
    decoding: Decoding
    image_shape: tuple[int, int, int]
    shard_examples: int
    encoded: bool

    def specs(self) -> list[ShardSpec]:
        """Every shard, by split and number."""
        found = []
        for split in SPLITS:
            items = self.index.splits.count(split)
            of = -(-items // self.shard_examples)
            for number in range(of):
                left = items - number * self.shard_examples
                found.append(ShardSpec(split, number, of, min(left, self.shard_examples)))
        return found

    def job(self, spec: ShardSpec) -> ShardJob:
        """What makes the shard `spec`."""
        classes = {name: number for number, name in enumerate(self.classes())}
        start = spec.number * self.shard_examples
        examples = [
            Example(
                row.id,
                row.size,
                row.locator,
                _label(row.label, row.targets, classes),
                row.position,
            )
            for row in self.index.shards.rows(spec.split, start, start + spec.items)
        ]
        return ShardJob(
            spec.file,
            examples,
            self.source.contents,
            self.source.codec,
            self.decoding,
            self.image_shape,
            self.encoded,
            statistics=spec.split == "train",
        )

    def jobs(self, specs: Sequence[ShardSpec]) -> Iterator[ShardJob]:
        """What makes the shards `specs`; the contents of a forward-only source are read already."""
        if not self.source.contents.forward_only:
            yield from map(self.job, specs)
            return
        for together in self.passes(specs):
            yield from self._read_ahead([self.job(spec) for spec in together])

    def passes(self, specs: Sequence[ShardSpec]) -> list[list[ShardSpec]]:
        """Which shards of a forward-only source are made in each pass over it."""
        together: list[list[ShardSpec]] = []
        room = 0
        for spec in specs:
            start = spec.number * self.shard_examples
            size = self.index.shards.bytes_within(spec.split, start, start + spec.items)
            if not together or size > room:
                together.append([])
                room = _FORWARD_BYTES
            together[-1].append(spec)
            room -= size
        return together

    def classes(self) -> list[str]:
        """By number."""
        return list(json.loads(self.index.fact("classes")))

    def _read_ahead(self, jobs: Sequence[ShardJob]) -> Iterator[ShardJob]:
        wanted = sorted(
            (example.id, number, example)
            for number, job in enumerate(jobs)
            for example in job.examples
        )
        contents: list[dict[bytes, bytes | str]] = [{} for _ in jobs]
        with self.source.contents.reader() as read:
            for _, number, example in wanted:
                contents[number][example.locator] = read_or_reason(read, example)
        for number, job in enumerate(jobs):
            yield replace(job, contents=ReadAlready(contents[number]))
            contents[number] = {}


def read_or_reason(read: Read, item: Example | Stored) -> bytes | str:
    """The content of `item`, or why there is none."""
    try:
        return read(item.locator, item.size)
    except BadItemError as error:
        return str(error)


def _label(name: str, targets: bytes | None, classes: dict[str, int]) -> int | tuple[float, ...]:
    if targets is None:
        return classes[name]
    return tuple(np.frombuffer(targets, np.float64).tolist())
