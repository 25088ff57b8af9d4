"""A search's memory: Optuna's study, in a file of the sweep's folder, for all its processes."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from convforge.errors import DivergenceError, InputError, PrunedError
from convforge.pipeline.pluralize import pluralize
from convforge.pipeline.settings.search import Hyperband, Median, Random, SearchSettings
from convforge.pipeline.sweeps.search_space import SearchSpace

_FILE = "optuna.journal"
# One study a folder. Hyperband draws a trial's round from the name, so it is always the same.
_NAME = "search"
_WHY_FAILED = "failed"
_SAME_AS = "same as"


def check_installed() -> None:
    """Refuse a search without Optuna.

    Raises:
        InputError: says what to install.
    """
    if find_spec("optuna") is None:
        raise InputError("hydra/sweeper=optuna is not installed: pip install 'convforge[sweep]'")


def check_new(folder: Path) -> None:
    """Refuse a folder that has the study of another search, whose trials would count.

    Raises:
        InputError: names the file.
    """
    if (folder / _FILE).exists():
        raise InputError(
            f"{folder / _FILE} is another search's: remove it, or give another hydra.sweep.dir"
        )


@dataclass(frozen=True)
class Job:
    """A trial to be run: the job of its number, with these values of what is searched."""

    number: int
    values: Mapping[str, str]


class Study:
    """The trials of one search, kept in `folder` after each step.

    Args:
        folder: of the sweep.
        settings: of the search; `figure` and `direction` are known.
        space: what is searched.
    """

    def __init__(self, folder: Path, settings: SearchSettings, space: SearchSpace) -> None:
        self._settings = settings
        self._space = space
        folder.mkdir(parents=True, exist_ok=True)
        self._study = _load(folder, settings, create=True)

    @property
    def figure(self) -> str | None:
        """What the search goes by."""
        return self._settings.figure

    def batches(self) -> Iterator[list[Job]]:
        """What is to be run next, until there are `n_trials`; the numbers of a batch are in a row.

        First the trials that an earlier process has begun and not ended.
        """
        unfinished = [trial for trial in self._study.trials if not trial.state.is_finished()]
        yield from _in_rows([self._job(self._trial(trial.number)) for trial in unfinished])
        while (done := len(self._study.trials)) < self._settings.n_trials:
            wanted = min(self._settings.n_jobs, self._settings.n_trials - done)
            asked = [self._ask() for _ in range(wanted)]
            yield from _in_rows([job for job in asked if job is not None])

    def _ask(self) -> Job | None:
        """The next trial, or None where one with the same values has ended: it has its result."""
        from optuna.trial import TrialState

        self._study.sampler = _sampler(self._settings, len(self._study.trials))
        trial = self._study.ask()
        job = self._job(trial)
        done = (TrialState.COMPLETE, TrialState.PRUNED)
        for other in self._study.get_trials(deepcopy=False, states=done):
            if other.params == trial.params:
                trial.set_user_attr(_SAME_AS, other.number)
                for epoch, value in other.intermediate_values.items():
                    trial.report(value, epoch)
                value = other.value if other.state == TrialState.COMPLETE else None
                self._study.tell(trial, value, state=other.state)
                return None
        return job

    def _trial(self, number: int) -> Any:
        # Its sampler is that of its number, should it have died before it had all its values.
        self._study.sampler = _sampler(self._settings, number)
        return _trial(self._study, number)

    def _job(self, trial: Any) -> Job:
        values = {key: domain.suggest(trial, key) for key, domain in self._space.domains.items()}
        return Job(trial.number, values)

    def tell(self, number: int, result: object) -> None:
        """What has become of a trial: its figure, or the error that ended it."""
        from optuna.trial import TrialState

        if isinstance(result, float):
            self._study.tell(number, result)
            return
        # One that has diverged counts as a bad one, of which the sampler learns; of one that has
        # failed it does not.
        bad = isinstance(result, (PrunedError, DivergenceError))
        if not isinstance(result, PrunedError):
            self._trial(number).set_user_attr(_WHY_FAILED, str(result))
        self._study.tell(number, state=TrialState.PRUNED if bad else TrialState.FAIL)

    @property
    def nothing_works(self) -> bool:
        """Whether each of several trials has failed, and no search will help."""
        from optuna.trial import TrialState

        trials = self._study.get_trials(deepcopy=False)
        states = [trial.state for trial in trials if trial.state.is_finished()]
        return len(states) > 2 and set(states) == {TrialState.FAIL}

    def best(self) -> tuple[int, float] | None:
        """Number and figure of the best trial, or None where none has ended well."""
        from optuna.trial import TrialState

        if not self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            return None
        trial = self._study.best_trial
        assert trial.value is not None
        return trial.number, trial.value

    def epochs_of(self, number: int) -> Mapping[int, float]:
        """The figure after each epoch of a trial."""
        return dict(self._study.trials[number].intermediate_values)

    def summary(self) -> str:
        """How many trials there were, by what became of them.

        Such as `20 trials: 12 finished, 7 pruned, 1 failed`.
        """
        counts = Counter(map(_outcome, self._study.get_trials(deepcopy=False)))
        order = ("finished", "pruned", "failed", "repeated", "unfinished")
        parts = ", ".join(f"{counts[name]} {name}" for name in order if counts[name])
        return f"{pluralize(sum(counts.values()), 'trial')}: {parts}"

    def best_job(self) -> list[str] | None:
        """The overrides of the best trial, those that all share included."""
        best = self.best()
        if best is None:
            return None
        return self._space.job(self._job(self._trial(best[0])).values)


def _outcome(trial: Any) -> str:
    if _SAME_AS in trial.user_attrs:
        return "repeated"
    if _WHY_FAILED in trial.user_attrs:
        return "failed"
    return {"COMPLETE": "finished", "PRUNED": "pruned"}.get(trial.state.name, "unfinished")


def _in_rows(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """The jobs in groups whose numbers follow one another, as a launcher counts them."""
    row: list[Job] = []
    for job in jobs:
        if row and job.number != row[-1].number + 1:
            yield row
            row = []
        row.append(job)
    if row:
        yield row


@dataclass(frozen=True)
class StudyTrial:
    """One trial, as the job that runs it sees it, in whatever process.

    Args:
        folder: of the sweep.
        number: of the trial.
        settings: of the search; `figure` is known.
    """

    folder: Path
    number: int
    settings: SearchSettings

    @property
    def figure(self) -> str:
        """What the search goes by."""
        assert self.settings.figure is not None
        return self.settings.figure

    def gives_up(self, epoch: int, value: float) -> bool:
        """Tell the study of the figure after an epoch; whether the trial is to end."""
        study = _load(self.folder, self.settings)
        if epoch not in study.trials[self.number].intermediate_values:
            _trial(study, self.number).report(value, epoch)
        return bool(_trial(study, self.number).should_prune())


def _load(folder: Path, settings: SearchSettings, *, create: bool = False) -> Any:
    import optuna
    from optuna.samplers import RandomSampler
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    # It would tell of every trial, in its own way.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = JournalStorage(JournalFileBackend(str(folder / _FILE)))
    how = {"study_name": _NAME, "storage": storage, "pruner": _pruner(settings)}
    # Where trials are begun, it is replaced by that of each trial.
    how["sampler"] = RandomSampler()
    if not create:
        return optuna.load_study(**how)
    return optuna.create_study(direction=settings.direction, load_if_exists=True, **how)


def _trial(study: Any, number: int) -> Any:
    """A trial that there is, to be reported of; Optuna keeps its id to itself."""
    from optuna.trial import Trial

    return Trial(study, study.trials[number]._trial_id)


def _sampler(settings: SearchSettings, number: int) -> Any:
    """Seeded for each trial alone, so that a search that goes on draws what it would have drawn."""
    from optuna.samplers import RandomSampler, TPESampler

    seed = int(np.random.SeedSequence([settings.seed, number]).generate_state(1)[0])
    if isinstance(settings.sampler, Random):
        return RandomSampler(seed=seed)
    return TPESampler(n_startup_trials=settings.sampler.n_startup_trials, seed=seed)


def _pruner(settings: SearchSettings) -> Any:
    from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner

    asked = settings.pruner
    if isinstance(asked, Median):
        return MedianPruner(asked.n_startup_trials, n_warmup_steps=asked.min_epochs)
    if isinstance(asked, Hyperband):
        return HyperbandPruner(asked.min_epochs, reduction_factor=asked.reduction_factor)
    return NopPruner()


def command_of(job: Sequence[str]) -> str:
    """How one trains with the overrides of a job alone."""
    words = [item for item in job if not item.startswith("tracking.parent_run=")]
    return shlex.join(["convforge", "train", *words])
