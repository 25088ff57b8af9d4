"""The jobs of a sweep that differ in numbers alone, trained by one program (JAX)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from omegaconf import DictConfig

from convforge.pipeline.pluralize import pluralize
from convforge.pipeline.progress import Progress
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.sweeps.jobs import job_label, run_job
from convforge.pipeline.training.resume.signals import stop_requests
from convforge.pipeline.training.run_group import GroupedRun, run_together
from convforge.pipeline.training.run_numbers import program_key


def groups_of(jobs: Mapping[int, Settings], most: int) -> list[list[int]]:
    """The numbers of the jobs that one program can train, `most` of them at most, in their order.

    Args:
        jobs: by number.
        most: how many a group has at most.
    """
    groups: dict[str, list[int]] = {}
    for number, settings in jobs.items():
        groups.setdefault(program_key(settings), []).append(number)
    return [
        group[first : first + most]
        for group in groups.values()
        for first in range(0, len(group), most)
    ]


def train_together(
    jobs: Mapping[int, tuple[Settings, DictConfig]],
    most: int,
    mapped: bool | None,
    progress: Progress,
) -> dict[int, Any]:
    """Run all jobs, group after group; none stops another.

    Args:
        jobs: settings and Hydra's own part of the config, by number.
        most: how many one program trains at most.
        mapped: see `RunGroup`.
        progress: told what happens.

    Returns:
        What each job has returned, or the error that has ended it.

    Raises:
        KeyboardInterrupt: a signal asked for an end, and the state of each run is saved.
    """
    groups = groups_of({number: settings for number, (settings, _) in jobs.items()}, most)
    if len(groups) > 1:
        sizes = ", ".join(str(len(group)) for group in groups)
        progress.say(f"{pluralize(len(groups), 'group')} of jobs, of {sizes}: a program for each")
    results: dict[int, Any] = {}
    with stop_requests() as stop:
        for group in groups:
            runs = [partial(_run, *jobs[number], progress) for number in group]
            done = run_together(runs, stop=stop, mapped=mapped, say=progress.say)
            results |= zip(group, done, strict=True)
            if stop.came:
                raise KeyboardInterrupt
    return results


def _run(
    settings: Settings, job: DictConfig, progress: Progress, grouped: GroupedRun
) -> float | None:
    return run_job(settings, job, progress.named(job_label(settings, job).name), grouped)
