"""Data parallelism on JAX: one program over the whole batch, which XLA divides among the devices.

Since the program is that of one device, batch normalisation, clipping and dropout are those of the
whole batch without more ado; only the rows lie on different devices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import keras
import numpy as np

from convforge.pipeline.data.reading.stream import Share
from convforge.pipeline.training.distribution.keras_internals import jax_batches_placed_by
from convforge.pipeline.training.distribution.multihost import broadcast, says_lost
from convforge.pipeline.training.distribution.strategy import (
    Distribution,
    T,
    check_count,
    check_shares,
)


def local_devices(count: int | None) -> list[jax.Device]:
    """The first `count` devices of this process, or all.

    Raises:
        InputError: there are not as many.
    """
    there: list[jax.Device] = jax.local_devices()
    check_count(count, there, "JAX")
    return there[:count]


def all_devices() -> list[jax.Device]:
    """Those of all processes, in the order of the ranks."""
    return sorted(jax.devices(), key=lambda device: (device.process_index, device.id))


class ShardedBatches(Distribution):
    """`keras.distribution.DataParallel` over `devices`, of one process or of several.

    Args:
        devices: what the rows of a batch are divided among, in that order.
        key: what asked for them, as messages name it.
    """

    def __init__(self, devices: Sequence[jax.Device], key: str) -> None:
        self.devices = len(devices)
        self.leads = jax.process_index() == 0
        self._key = key
        processes = {device.process_index for device in devices}
        if len(processes) > 1:
            self.share = Share(jax.process_index(), len(processes), self.devices)
        names = [f"{device.platform}:{device.id}" for device in devices]
        # The stream reads each process's rows itself.
        self._engine = keras.distribution.DataParallel(devices=names, auto_shard_dataset=False)
        mesh = self._engine.device_mesh.backend_mesh
        by_rows = jax.sharding.PartitionSpec(self._engine.batch_dim_name)
        self._by_rows = jax.sharding.NamedSharding(mesh, by_rows)
        self._everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Variables are made, and batches placed, on all devices."""
        with self._engine.scope(), jax_batches_placed_by(self._placed):
            yield

    def check(self, batch_size: int, rows: tuple[int, ...]) -> None:
        """Refuse a batch that cannot be divided; a smaller last one of an epoch can be.

        Raises:
            InputError: names the batch sizes that can.
        """
        check_shares(batch_size, self.devices, self._key)

    def broadcast(self, value: T) -> T:
        """What the process of rank 0 has for `value`."""
        return value if self.share is None else broadcast(value)

    def has_lost_one(self, error: Exception) -> bool:
        """Whether `error` says that another process has ended."""
        return self.share is not None and says_lost(error)

    def _placed(self, batch: tuple[Any, ...]) -> tuple[Any, ...]:
        """Inputs, labels and any weights on the devices: row by row, or all of them everywhere.

        The last rows of an epoch may not be divisible. Then every device computes all of them,
        which is one step of few rows, and exactly what one device does.
        """
        columns, rows = batch, len(batch[1])
        if self.share is not None:
            columns, rows = batch[:-1], int(batch[-1])
        sharding = self._everywhere if rows % self.devices else self._by_rows
        return tuple(
            keras.tree.map_structure(
                lambda part: jax.make_array_from_process_local_data(sharding, np.asarray(part)),
                columns,
            )
        )
