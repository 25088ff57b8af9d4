"""`trainer`: how long, in what portions, and how exactly."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from convforge.pipeline.settings.group import Group


class CheckpointSettings(Group):
    """How a run can go on after a stop."""

    seconds: Annotated[float, Field(ge=0, le=31_536_000)]
    keep: Annotated[int, Field(ge=1, le=1000)]
    monitor: Annotated[str, Field(pattern=r"^[a-z_]+$")] | None
    #: `other_code` also where the code or the packages are no longer those of the beginning.
    resume: bool | Literal["other_code"]
    #: Of a run from before there was a choice, too.
    weights: Literal["last", "best"] = "last"


class EarlyStoppingSettings(Group):
    """When a run ends before its last epoch."""

    patience: Annotated[int, Field(ge=1, le=1_000_000)] | None
    min_delta: Annotated[float, Field(ge=0)]


#: Of a run from before there was any.
_NEVER = EarlyStoppingSettings(patience=None, min_delta=0.0)


class TrainerSettings(Group):
    """How long, in what portions, and how exactly."""

    epochs: Annotated[int, Field(ge=1, le=1_000_000)]
    batch_size: Annotated[int, Field(ge=1, le=1_048_576)]
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"]
    limit_examples: Annotated[int, Field(ge=1, le=10**12)] | None
    limit_steps: Annotated[int, Field(ge=1, le=10**12)] | None
    deterministic: bool
    shuffle_megabytes: Annotated[int, Field(ge=1, le=1_048_576)]
    input_threads: Annotated[int, Field(ge=1, le=1024)] | None
    largest_loss: Annotated[float, Field(gt=0)]
    early_stopping: EarlyStoppingSettings = _NEVER
    checkpoint: CheckpointSettings
