"""`trainer`: how long, in what portions, and how exactly."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from convforge.geometry import ArgumentError
from convforge.pipeline.settings.group import Group
from convforge.pipeline.settings.patterns import check_patterns


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
    #: How many batches' gradients make one step.
    accumulate: Annotated[int, Field(ge=1, le=65_536)] = 1
    #: A model, as `convforge predict` takes one, whose weights are the first ones.
    start_from: str | None = None
    #: Patterns of the names of layers that are not trained.
    freeze: list[str] = Field(default_factory=list)
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"]
    limit_examples: Annotated[int, Field(ge=1, le=10**12)] | None
    limit_steps: Annotated[int, Field(ge=1, le=10**12)] | None
    deterministic: bool
    shuffle_megabytes: Annotated[int, Field(ge=1, le=1_048_576)]
    input_threads: Annotated[int, Field(ge=1, le=1024)] | None
    #: Of a run from before there was a choice, too.
    feed: Literal["stream", "device"] = "stream"
    largest_loss: Annotated[float, Field(gt=0)]
    early_stopping: EarlyStoppingSettings = _NEVER
    checkpoint: CheckpointSettings

    @property
    def examples_per_step(self) -> int:
        """What one iteration, that is one update of the weights, is computed from."""
        return self.batch_size * self.accumulate

    @field_validator("start_from")
    @classmethod
    def _names_a_model(cls, reference: str | None) -> str | None:
        if reference is not None and not is_model_reference(reference):
            allowed = (
                "null, the folder of a run, a .keras file, the id of a run, runs:/RUN/model, "
                "models:/NAME/VERSION or models:/NAME@ALIAS"
            )
            raise ArgumentError("start_from", reference, allowed)
        return reference

    @field_validator("freeze")
    @classmethod
    def _patterns(cls, patterns: list[str]) -> list[str]:
        check_patterns("freeze", patterns)
        return patterns


# What MLflow writes before a name.
_ADDRESS = re.compile(r"([a-zA-Z][\w+.-]*):/")
_OF_MLFLOW = re.compile(r"runs:/[^/\s]+/\S+|runs:/[0-9a-f]{32}|models:/[^/@\s]+([/@][^/@\s]+)?")


def is_model_reference(text: str) -> bool:
    """Whether `text` is of the form of a model's path or of its address in MLflow.

    Example:
        >>> [is_model_reference(text) for text in ("build/train", "models:/digits@champion")]
        [True, True]
        >>> [is_model_reference(text) for text in ("models:digits", "runs:/", "s3://bucket/m", " ")]
        [False, False, False, False]
    """
    if not text.strip() or "\n" in text:
        return False
    if _ADDRESS.match(text) or text.startswith(("runs:", "models:")):
        return _OF_MLFLOW.fullmatch(text) is not None
    return True
