"""TFRecord files of chunks of examples, without TensorFlow.

Importing TensorFlow takes seconds and preprocessing needs nothing else of it, so the two formats
are produced here: TFRecord's framing, and `tf.train.Example` through the protobuf runtime.
One record holds many examples, since reading a record costs the same for one as for a thousand.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import google_crc32c
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from numpy.typing import NDArray

#: Of a record: its length, the checksum of that, the data, and their checksum.
HEAD_BYTES, TAIL_BYTES = 12, 4

Labels: TypeAlias = NDArray[np.int64] | NDArray[np.float32]
#: Bytes, or an array of them in one dimension.
Buffer: TypeAlias = bytes | NDArray[np.uint8]


class Chunk(NamedTuple):
    """Examples as a record holds them."""

    #: One value of the pixels of all images, or one for the file of each; a value is in parts.
    images: Sequence[Sequence[Buffer]]
    #: Classes `(n,)` int64, or targets `(n, targets)` float32.
    labels: Labels
    #: The examples' numbers within their split.
    indices: NDArray[np.int64]


class Record(NamedTuple):
    """Where one record lies in its shard."""

    examples: int
    #: Of the data, behind the record's head.
    offset: int
    length: int
    #: TFRecord's checksum of the data.
    checksum: int


def frame(parts: Sequence[Buffer]) -> tuple[bytes, bytes]:
    """What stands before and after a record in a TFRecord file."""
    length = struct.pack("<Q", sum(map(len, parts)))
    return length + masked_crc([length]), masked_crc(parts)


def masked_crc(parts: Iterable[Buffer]) -> bytes:
    """TFRecord's checksum: CRC-32C, rotated and shifted."""
    crc = 0
    for part in parts:
        crc = google_crc32c.extend(crc, part)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def encode(chunk: Chunk) -> list[Buffer]:
    """A `tf.train.Example` of the features `images`, `indices`, and `labels` or `targets`.

    In parts, so that megabytes of pixels are not copied: what stands before the images is written
    here, the rest by protobuf.
    """
    features = _Features()
    feature = features.feature
    if chunk.labels.dtype == np.int64:
        feature["labels"].int64_list.value.extend(chunk.labels.tolist())
    else:
        feature["targets"].float_list.value.extend(chunk.labels.ravel().tolist())
    feature["indices"].int64_list.value.extend(chunk.indices.tolist())
    rest = features.SerializeToString(deterministic=True)
    values: list[Buffer] = []
    for parts in chunk.images:
        values += [_head(1, sum(map(len, parts))), *parts]
    entry = _entry_heads(sum(map(len, values)))
    images = len(entry) + sum(map(len, values))
    return [_head(1, images + len(rest)) + entry, *values, rest]


def parse(record: bytes, targets: int) -> Chunk:
    """The chunk that `encode` made `record` of."""
    feature = _Example.FromString(record).features.feature
    images = [[value] for value in feature["images"].bytes_list.value]
    return Chunk(images, *_numbers(feature, targets))


def pixels_at(record_bytes: int, pixel_bytes: int) -> int:
    """Where the pixels begin in a record of so many bytes that `encode` made."""
    value = _head(1, pixel_bytes)
    entry = _entry_heads(len(value) + pixel_bytes)
    # The first head says how much follows it, and its own length depends on that.
    first = next(n for n in range(2, 12) if len(_head(1, record_bytes - n)) == n)
    return first + len(entry) + len(value)


def parse_numbers(rest: bytes, targets: int) -> tuple[Labels, NDArray[np.int64]]:
    """Labels and indices, from what stands behind the images."""
    return _numbers(_Features.FromString(rest).feature, targets)


def _entry_heads(values: int) -> bytes:
    """What stands before the values of the feature `images`, of so many bytes together."""
    name = _head(1, len(b"images")) + b"images"
    bytes_list = _head(1, values)
    feature = _head(2, len(bytes_list) + values)
    heads = name + feature + bytes_list
    return _head(1, len(heads) + values) + heads


def _head(field: int, length: int) -> bytes:
    """Protobuf's head of a field of bytes: its number and kind, and its length as a varint."""
    head = bytearray([field << 3 | 2])
    while length >= 0x80:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head)


def _numbers(feature: Any, targets: int) -> tuple[Labels, NDArray[np.int64]]:
    indices = np.array(feature["indices"].int64_list.value, np.int64)
    if targets:
        values = np.array(feature["targets"].float_list.value, np.float32)
        return values.reshape(-1, targets), indices
    return np.array(feature["labels"].int64_list.value, np.int64), indices


def _message_classes() -> tuple[Any, Any]:
    """`tf.train.Example` and `tf.train.Features`, in a pool of their own.

    TensorFlow registers the same messages in protobuf's default pool, which refuses a second
    definition in one process.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name="convforge/example.proto", package="tensorflow", syntax="proto3"
    )
    field = descriptor_pb2.FieldDescriptorProto
    many, one = field.LABEL_REPEATED, field.LABEL_OPTIONAL
    lists = {
        "BytesList": field.TYPE_BYTES,
        "FloatList": field.TYPE_FLOAT,
        "Int64List": field.TYPE_INT64,
    }
    for name, kind in lists.items():
        file.message_type.add(name=name).field.add(name="value", number=1, label=many, type=kind)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    members = {"bytes_list": "BytesList", "float_list": "FloatList", "int64_list": "Int64List"}
    for number, (name, kind) in enumerate(members.items(), start=1):
        feature.field.add(
            name=name,
            number=number,
            label=one,
            type=field.TYPE_MESSAGE,
            type_name=f".tensorflow.{kind}",
            oneof_index=0,
        )
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=one, type=field.TYPE_STRING)
    entry.field.add(
        name="value",
        number=2,
        label=one,
        type=field.TYPE_MESSAGE,
        type_name=".tensorflow.Feature",
    )
    features.field.add(
        name="feature",
        number=1,
        label=many,
        type=field.TYPE_MESSAGE,
        type_name=".tensorflow.Features.FeatureEntry",
    )
    file.message_type.add(name="Example").field.add(
        name="features",
        number=1,
        label=one,
        type=field.TYPE_MESSAGE,
        type_name=".tensorflow.Features",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    example, features = (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tensorflow.{name}"))
        for name in ("Example", "Features")
    )
    return example, features


_Example, _Features = _message_classes()
