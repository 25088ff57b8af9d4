"""How a batch is shared: on one device, not at all; the engines' strategies extend this one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from convforge.errors import InputError
from convforge.pipeline.settings.distribution import shareable

if TYPE_CHECKING:
    import keras

    from convforge.pipeline.data.reading.stream import Share

T = TypeVar("T")


class Distribution:
    """Training on one device; the others extend it."""

    #: Of all devices, what one step's batch is divided among.
    devices = 1
    #: Whether this process writes the run's folder and tracks it.
    leads = True
    #: The rows of each batch that this process reads, or None for all.
    share: Share | None = None
    #: Whether `batches` go on after the last one, so that `fit` must be told how many there are.
    endless = False

    def scope(self) -> AbstractContextManager[Any]:
        """The block in which the model is built and trained."""
        return nullcontext()

    def check(self, batch_size: int, rows: tuple[int, ...]) -> None:
        """Refuse what could not equal one device.

        Args:
            batch_size: of a whole one.
            rows: the sizes of all that there will be.

        Raises:
            InputError: names the keys, and the nearest values that work.
        """

    def prepare(self, model: keras.Model) -> None:
        """Make the layers of `model` compute over the whole batch, however it is divided."""
        import keras

        if keras.config.backend() == "tensorflow":
            from convforge.pipeline.training.distribution.batch_statistics import (
                use_exact_batch_statistics,
            )

            use_exact_batch_statistics(model)

    def loss(self, loss: keras.losses.Loss) -> keras.losses.Loss:
        """The loss whose gradient, added up over the devices, is that of the whole batch."""
        return loss

    def batches(self, batches: Any) -> Any:
        """The batches as `fit` wants them, from those of the stream."""
        return batches

    def broadcast(self, value: T) -> T:
        """What the process that leads has for `value`; the same in all."""
        return value

    def has_lost_one(self, error: Exception) -> bool:
        """Whether `error` says that another process has ended."""
        return False


def check_shares(batch_size: int, devices: int, key: str) -> None:
    """Refuse a batch size that `devices` cannot share evenly.

    Raises:
        InputError: names the batch sizes that they can.
    """
    if batch_size % devices:
        raise InputError(
            f"trainer.batch_size={batch_size} is not allowed: give "
            f"{shareable(batch_size, devices)}, a multiple of the {devices} devices of {key}"
        )


def check_count(count: int | None, there: Sequence[object], engine: str) -> None:
    """Refuse more devices than the `engine` finds.

    Raises:
        InputError: names those that are there.
    """
    if count is not None and count > len(there):
        raise InputError(
            f"distribute.devices={count} is not allowed: {engine} finds {len(there)} "
            f"({', '.join(map(str, there))}); give {len(there)} or null"
        )
