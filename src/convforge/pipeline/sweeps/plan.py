"""What a sweep is to run, worked out before its first job: all combinations, or a search."""

from __future__ import annotations

import json
import shlex
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig

from convforge.errors import InputError
from convforge.pipeline.composition import (
    is_hydras,
    parsed_overrides,
    search_settings,
    sweep_jobs,
)
from convforge.pipeline.metrics import higher_is_better, metrics_of, monitored
from convforge.pipeline.settings.nearest import nearest
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.settings.search import SearchSettings
from convforge.pipeline.sweeps.search_space import SearchSpace
from convforge.pipeline.sweeps.study import check_installed

#: What `hydra/launcher=together` names as its launcher, which has a condition of its own.
_TOGETHER = "hydra_plugins.convforge_together_launcher.TogetherLauncher"
_FEED = "trainer.feed"
# What a search may be given more of, and be the same.
_AMOUNTS = {"n_trials", "n_jobs"}


@dataclass(frozen=True)
class Search:
    """The part of a plan that only a search has."""

    settings: SearchSettings
    space: SearchSpace


@dataclass(frozen=True)
class SweepPlan:
    """A sweep before it begins.

    Args:
        overrides: as given.
        jobs: the overrides of every job; where not all are known yet, those that show whether
            their values are allowed.
        swept: the choices of each key that has any, as given.
        search: where there is one.
        repeated_by: what a person types to repeat it, where that is not `convforge train -m`.
        identified_by: what a stopped sweep is found again by, where that is not `overrides`.
        planned: how many jobs there will be, where `jobs` are not all.
        named_by: the keys whose values name a job; None for those whose values differ.
    """

    overrides: Sequence[str]
    jobs: Sequence[Sequence[str]]
    swept: Mapping[str, str]
    search: Search | None = None
    repeated_by: str | None = None
    identified_by: Sequence[str] | None = None
    planned: int | None = None
    named_by: Sequence[str] | None = None

    @property
    def count(self) -> int:
        """How many jobs there will be."""
        if self.search:
            return self.search.settings.n_trials
        return self.planned or len(self.jobs)

    @property
    def naming_keys(self) -> list[str]:
        """The keys whose values differ between the jobs; all of them where none does."""
        if self.named_by is not None:
            return list(self.named_by)
        if self.search:
            return list(self.search.space.domains)
        values = defaultdict(set)
        for job in self.jobs:
            for override in job:
                values[key_of(override)].add(override)
        return [key for key, seen in values.items() if len(seen) > 1] or list(values)

    @property
    def identity(self) -> list[str]:
        """What a stopped sweep is found again by: a search may go on for longer."""
        if not self.search:
            return list(self.identified_by or self.overrides)
        others = [item for item in self.overrides if not item.startswith(("hydra.sw", "hydra/sw"))]
        return [*others, json.dumps(self.search.settings.model_dump(mode="json", exclude=_AMOUNTS))]

    def searching(self, settings: SearchSettings) -> SweepPlan:
        """The same with these settings of its search."""
        assert self.search is not None
        return replace(self, search=replace(self.search, settings=settings))

    @property
    def command(self) -> str:
        """How one repeats it."""
        return self.repeated_by or shlex.join(["convforge", "train", "-m", *self.overrides])


def plan_sweep(root: Path, overrides: Sequence[str], own: DictConfig) -> SweepPlan:
    """The plan of a multirun with `overrides`, `own` being Hydra's part of the config.

    Raises:
        InputError: a wrong override, choice or setting of the search.
    """
    asked = search_settings(own)
    if asked is None:
        jobs = sweep_jobs(root, overrides)
        space = SearchSpace.of(parsed_overrides(root, overrides))
        return SweepPlan(overrides, jobs, space.written, None)
    check_installed()
    config = [item for item in overrides if not is_hydras(item)]
    space = SearchSpace.of(parsed_overrides(root, config))
    if not space.domains:
        raise InputError(
            "hydra/sweeper=optuna has nothing to search: give KEY=interval(…), choice(…), range(…) "
            "or a list"
        )
    basic = str(own.launcher.get("_target_")).endswith(".BasicLauncher")
    if asked.n_jobs > 1 and basic:
        raise InputError(
            f"hydra.sweeper.n_jobs={asked.n_jobs} is not allowed: give 1, or a launcher that runs "
            "several jobs at once, as hydra/launcher=joblib"
        )
    return SweepPlan(overrides, space.probes(), space.written, Search(asked, space))


def searched_by(search: Search, jobs: Sequence[Settings], validates: bool) -> SearchSettings:
    """The settings of the search with its figure and direction, which `jobs` must have.

    Args:
        search: as asked for.
        jobs: its probes.
        validates: whether there are validation images.

    Raises:
        InputError: an epoch has no such figure, or trials cannot be pruned on several machines.
    """
    asked = search.settings
    for job in jobs:
        figures = epoch_figures(job, validates=validates)
        figure = asked.figure or monitored(job.trainer.checkpoint.monitor, figures)
        if figure not in figures:
            key = "hydra.sweeper.figure" if asked.figure else "trainer.checkpoint.monitor"
            raise InputError(
                f"{key}={figure} is not allowed: give one of {', '.join(figures)}"
                f"{nearest(figure, list(figures))}"
            )
        name = job.distribute.name
        if name == "processes":
            raise InputError(
                "hydra/sweeper=optuna is not allowed with distribute=processes, each of which "
                "would search: give distribute=ray or none"
            )
        if name == "ray" and asked.pruner.name != "none":
            raise InputError(
                f"hydra/sweeper/pruner={asked.pruner.name} is not allowed with distribute=ray: "
                "give none"
            )
    direction = asked.direction or ("maximize" if higher_is_better(figure) else "minimize")
    return asked.model_copy(update={"figure": figure, "direction": direction})


def trains_together(own: DictConfig) -> bool:
    """Whether Hydra's part of the config, `own`, names the launcher of runs in one program."""
    return bool(own.launcher.get("_target_") == _TOGETHER)


def fed_together(overrides: Sequence[str], jobs: Sequence[Settings], own: DictConfig) -> list[str]:
    """`overrides` with the feed that runs in one program need.

    Args:
        overrides: of the sweep.
        jobs: the settings that these make.
        own: Hydra's part of the config.

    Raises:
        InputError: they ask for what such runs cannot have.
    """
    most, mapped = own.launcher.most_together, own.launcher.mapped
    if type(most) is not int or most < 1:
        raise InputError(
            f"hydra.launcher.most_together={most} is not allowed: give a number of runs, 1 or more"
        )
    if mapped is not None and type(mapped) is not bool:
        raise InputError(f"hydra.launcher.mapped={mapped} is not allowed: give true, false or null")
    given = "hydra/launcher=together is not allowed with"
    for override in overrides:
        if key_of(override).lstrip("+") == _FEED and override.partition("=")[2] != "device":
            raise InputError(f"{given} {override}: give {_FEED}=device")
    for job in jobs:
        if job.distribute.name != "none":
            raise InputError(f"{given} distribute={job.distribute.name}: give none")
        if job.drawn_targets:
            raise InputError(f"{given} task.drawn: give null, or another launcher")
    search = search_settings(own)
    if search is not None and search.n_jobs == 1:
        raise InputError(
            f"{given} hydra.sweeper.n_jobs=1: give how many trials are to be trained together"
        )
    return [*(item for item in overrides if key_of(item).lstrip("+") != _FEED), f"{_FEED}=device"]


def fed_from_device(settings: Settings) -> Settings:
    """The same with the data in the device's memory.

    Raises:
        InputError: it cannot have them there.
    """
    config = settings.model_dump(mode="json", by_alias=True)
    config["trainer"]["feed"] = "device"
    return Settings.parse(config)


def epoch_figures(settings: Settings, *, validates: bool) -> Collection[str]:
    """The figures that every epoch of a run will have."""
    table = metrics_of(settings.loss.name, regression=bool(settings.predicted_numbers))
    names = ["loss", *(metric.name for metric in table if metric.in_training)]
    return names + [f"val_{name}" for name in names if validates]


def key_of(override: str) -> str:
    """The key of an override, with its prefix."""
    return override.partition("=")[0]
