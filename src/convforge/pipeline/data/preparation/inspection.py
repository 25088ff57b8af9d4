"""A first look at every item: is it an image, how large, and which is its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from convforge.errors import BadItemError
from convforge.pipeline.data.preparation.containers import Read, Readable
from convforge.pipeline.data.preparation.index.items import InspectedItem, Stored
from convforge.pipeline.data.preparation.worker_pool import Stopped, StoppedError
from convforge.serving.decode import Codec, Decoding

#: Three independent numbers of 64 bits, see `convforge.pipeline.data.preparation.split`.
HASH_BYTES = 24


@dataclass(frozen=True)
class InspectionJob:
    """Some items to look at."""

    items: Sequence[Stored]
    contents: Readable
    codec: Codec
    decoding: Decoding


def inspect_items(job: InspectionJob, stopped: Stopped) -> list[InspectedItem]:
    """What is to be known of each item of `job`.

    Only headers are read; damage further on shows when the item's shard is made.

    Raises:
        StoppedError: `stopped` said so.
    """
    found = []
    with job.contents.reader() as read:
        for item in job.items:
            if stopped():
                raise StoppedError
            try:
                found.append(_inspected(item, read, job))
            except BadItemError as error:
                found.append(InspectedItem(item.id, problem=str(error)))
    return found


def _inspected(item: Stored, read: Read, job: InspectionJob) -> InspectedItem:
    content = read(item.locator, item.size)
    seen = job.codec.probe(content, job.decoding)
    digest = hashlib.blake2b(content, digest_size=HASH_BYTES).digest()
    return InspectedItem(item.id, digest, seen.format, seen.height, seen.width)
