"""`hydra.sweeper` of a search by Optuna: how long, by what, and when it gives a trial up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, ValidationError

from convforge.errors import InputError
from convforge.pipeline.settings.explanation import explain
from convforge.pipeline.settings.group import Group

#: What `hydra/sweeper=optuna` names as its sweeper.
TARGET = "hydra_plugins.convforge_optuna_sweeper.OptunaSweeper"

Epochs: TypeAlias = Annotated[int, Field(ge=1, le=1_000_000)]
Trials: TypeAlias = Annotated[int, Field(ge=0, le=100_000)]


class TPE(Group):
    """Optuna's tree-structured Parzen estimator."""

    name: Literal["tpe"]
    n_startup_trials: Trials


class Random(Group):
    """Every trial drawn alone."""

    name: Literal["random"]


class Median(Group):
    """Gives up what is worse than the median of the trials before it."""

    name: Literal["median"]
    n_startup_trials: Trials
    min_epochs: Epochs


class Hyperband(Group):
    """Gives up all but the best of every so many trials, in rounds."""

    name: Literal["hyperband"]
    min_epochs: Epochs
    reduction_factor: Annotated[int, Field(ge=2, le=100)]


class NoPruner(Group):
    """Trains every trial to its end."""

    name: Literal["none"]


class SearchSettings(Group):
    """A search."""

    n_trials: Annotated[int, Field(ge=1, le=100_000)]
    n_jobs: Annotated[int, Field(ge=1, le=1024)]
    figure: Annotated[str, Field(pattern=r"^[a-z_]+$")] | None
    direction: Literal["minimize", "maximize"] | None
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    sampler: TPE | Random = Field(discriminator="name")
    pruner: Median | Hyperband | NoPruner = Field(discriminator="name")

    @classmethod
    def parse(cls, sweeper: Mapping[str, Any]) -> SearchSettings:
        """The settings that `hydra.sweeper`, composed and resolved, describes.

        Raises:
            InputError: naming every wrong key.
        """
        keys = {name: value for name, value in sweeper.items() if not name.startswith("_")}
        config = {"hydra": {"sweeper": keys}}
        try:
            return _Config.model_validate_json(json.dumps(config), strict=True).hydra.sweeper
        except ValidationError as error:
            lines = dict.fromkeys(explain(item, config, _Config) for item in error.errors())
            raise InputError("\n".join(lines)) from error


class _Hydra(Group):
    sweeper: SearchSettings


class _Config(Group):
    hydra: _Hydra
