"""`distribute`: the devices and processes that share each batch."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from convforge.geometry import ArgumentError
from convforge.pipeline.settings.group import Group


class NoDistribution(Group):
    """One device."""

    name: Literal["none"]

    def parts(self) -> int | None:
        """Among how many devices a batch is shared, where the config says it."""
        return None


class DeviceDistribution(Group):
    """Several devices of this machine."""

    name: Literal["devices"]
    #: null takes all that there are.
    devices: Annotated[int, Field(ge=1, le=65536)] | None

    def parts(self) -> int | None:
        """Among how many devices a batch is shared, where the config says it."""
        return self.devices


class ProcessDistribution(Group):
    """Several processes, on as many machines; null asks the environment."""

    name: Literal["processes"]
    coordinator: str | None
    count: Annotated[int, Field(ge=1, le=65536)] | None
    rank: Annotated[int, Field(ge=0, lt=65536)] | None
    patience: Annotated[int, Field(ge=5, le=3600)]

    def parts(self) -> int | None:
        """Among how many devices a batch is shared at least, where the config says it."""
        return self.count

    @model_validator(mode="after")
    def _one_of_the_processes(self) -> Self:
        if self.rank is not None and self.count is not None and self.rank >= self.count:
            allowed = f"0 to {self.count - 1}, less than distribute.count"
            raise ArgumentError("rank", self.rank, allowed)
        if self.coordinator is not None and not is_address(self.coordinator):
            allowed = "HOST:PORT of the process of rank 0"
            raise ArgumentError("coordinator", self.coordinator, allowed)
        return self


class RayDistribution(Group):
    """Several processes that Ray Train starts on a cluster."""

    name: Literal["ray"]
    #: As `RayCluster` has it.
    address: str | None
    count: Annotated[int, Field(ge=1, le=65536)]
    cpus_per_process: Annotated[float, Field(ge=0, le=65536)]
    gpus_per_process: Annotated[int, Field(ge=0, le=1024)]
    retries: Annotated[int, Field(ge=0, le=1000)]
    patience: Annotated[int, Field(ge=5, le=3600)]

    def parts(self) -> int | None:
        """Among how many devices a batch is shared at least."""
        return self.count * max(1, self.gpus_per_process)

    def resources(self) -> dict[str, float]:
        """What a process is given, by Ray's names."""
        given = {"CPU": self.cpus_per_process, "GPU": float(self.gpus_per_process)}
        return {name: number for name, number in given.items() if number}


def is_address(text: str) -> bool:
    """Whether `text` is HOST:PORT.

    Example:
        >>> is_address("node1:1234"), is_address("node1"), is_address("node1:http")
        (True, False, False)
    """
    host, colon, port = text.rpartition(":")
    return bool(host and colon) and port.isdecimal() and 0 < int(port) < 2**16


DistributionSettings: TypeAlias = (
    NoDistribution | DeviceDistribution | ProcessDistribution | RayDistribution
)


def shareable(batch_size: int, parts: int) -> str:
    """The batch sizes nearest to `batch_size` that `parts` devices can share evenly.

    Example:
        >>> shareable(50, 4), shareable(3, 4)
        ('48 or 52', '4')
    """
    below = batch_size // parts * parts
    return " or ".join(str(size) for size in (below, below + parts) if size)
