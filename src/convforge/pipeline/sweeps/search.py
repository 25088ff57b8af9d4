"""The loop of a search: ask for trials, launch them, tell what became of them."""

from __future__ import annotations

import os
from pathlib import Path

from hydra.core.utils import JobStatus
from hydra.plugins.launcher import Launcher

from convforge.errors import InputError
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.settings.search import SearchSettings
from convforge.pipeline.sweeps.search_space import SearchSpace
from convforge.pipeline.sweeps.study import Study

#: A launcher may run the jobs in other processes: they learn this from their environment.
VERBOSITY = "CONVFORGE_VERBOSITY"


def progress_of_sweep() -> Progress:
    """What says what is going on, as loud as the command was told to be."""
    return Progress(Verbosity(int(os.environ.get(VERBOSITY, Verbosity.NORMAL))))


def search(folder: Path, settings: SearchSettings, space: SearchSpace, launcher: Launcher) -> None:
    """Run the trials of the study in `folder` that there are not yet.

    A trial that fails by what was chosen for it costs the search that trial. A bug ends it.

    Raises:
        InputError: the first trials have all failed; by the last one's.
    """
    study = Study(folder, settings, space)
    progress = progress_of_sweep()
    for batch in study.batches():
        jobs = [space.job(job.values) for job in batch]
        returns = launcher.launch(jobs, initial_job_idx=batch[0].number)
        bug: object = None
        for job, returned in zip(batch, returns, strict=True):
            # The property of that name would print and raise.
            result = returned._return_value
            if returned.status == JobStatus.FAILED and not isinstance(result, InputError):
                bug = bug or result
                continue
            study.tell(job.number, result)
            _say(progress, study, job.number, settings, result)
        if isinstance(bug, BaseException):
            raise bug
        if isinstance(result, InputError) and study.nothing_works:
            raise result


def _say(
    progress: Progress, study: Study, number: int, settings: SearchSettings, result: object
) -> None:
    label = f"trial {number + 1} of {settings.n_trials}"
    if isinstance(result, float):
        best = study.best()
        so_far = " (the best so far)" if best is not None and best[0] == number else ""
        progress.say(f"{label}: {settings.figure} {result:.4g}{so_far}")
    else:
        progress.say(f"{label}: {result}")
