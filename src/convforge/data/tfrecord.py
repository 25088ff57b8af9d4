"""TFRecord files of image chunks, written without TensorFlow.

Importing TensorFlow takes seconds and preprocessing needs nothing else of it, so the two formats
are produced here: TFRecord's framing, and `tf.train.Example` through the protobuf runtime.
One record holds many images of one shape, since reading a record costs the same for one image as
for a thousand.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from numpy.typing import NDArray


def write_records(path: Path, records: Iterable[bytes]) -> None:
    """Write `records` in TFRecord framing: length, its checksum, data, its checksum."""
    with path.open("wb") as file:
        for record in records:
            length = struct.pack("<Q", len(record))
            file.write(length + _masked_crc(length) + record + _masked_crc(record))


def encode_chunk(
    images: NDArray[np.uint8],
    answers: NDArray[np.int64] | NDArray[np.float32],
    indices: NDArray[np.int64],
) -> bytes:
    """A `tf.train.Example` of the features `images` (bytes), `indices`, and the right answers.

    Integers `(n,)` are the feature `labels`; floats `(n, targets)` are `targets`, row by row.
    """
    example = _Example()
    feature = example.features.feature
    feature["images"].bytes_list.value.append(np.ascontiguousarray(images).tobytes())
    if answers.dtype == np.int64:
        feature["labels"].int64_list.value.extend(answers.tolist())
    else:
        feature["targets"].float_list.value.extend(answers.ravel().tolist())
    feature["indices"].int64_list.value.extend(indices.tolist())
    return bytes(example.SerializeToString(deterministic=True))


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _example_class() -> Any:
    """The message class of `tf.train.Example`, in a pool of its own.

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
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


_Example = _example_class()
