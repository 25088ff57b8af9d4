"""Training from the command line: one run, or a sweep of them, through Hydra.

Hydra makes each job's folder, expands the choices of a multirun and launches the jobs, here or on
a cluster. Data are prepared beside DVC's, so a sweep touches no file of DVC's.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from convforge.errors import DivergenceError, InputError, PrunedError, UnfinishedError
from convforge.pipeline.composition import (
    compose_config,
    explain,
    hydra_config,
    is_hydras,
    search_settings,
    settings_of,
)
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.metrics import monitored
from convforge.pipeline.progress import Progress
from convforge.pipeline.project import CONFIG_NAME, project_root
from convforge.pipeline.report import run_report
from convforge.pipeline.report.by_class import right_by_class
from convforge.pipeline.run_folder import RunFolder
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.settings.tracking import MLflowTracking
from convforge.pipeline.settings.trainer import CheckpointSettings
from convforge.pipeline.stages.evaluate import evaluate
from convforge.pipeline.stages.preprocess import prepared
from convforge.pipeline.stages.train import (
    RunLabel,
    finished_figures,
    run_name,
    train,
    why_pruned,
)
from convforge.pipeline.sweeps.parent_run import SweepSummary, sweep_parent
from convforge.pipeline.sweeps.plan import (
    SweepPlan,
    fed_from_device,
    fed_together,
    key_of,
    plan_sweep,
    searched_by,
    trains_together,
)
from convforge.pipeline.sweeps.search import VERBOSITY, progress_of_sweep
from convforge.pipeline.sweeps.study import Study, StudyTrial, check_new, command_of
from convforge.pipeline.tracking.journal import PARENT_TAG, Journal
from convforge.pipeline.tracking.store import store_of
from convforge.pipeline.training.backend import import_keras
from convforge.pipeline.training.resume.resumable import has_stopped_run, resumable_sweep
from convforge.pipeline.training.run_group import GroupedRun

_PARENT = "tracking.parent_run"
# A launcher may run the jobs in other processes: they learn this from their environment.
_SWEPT_KEYS = "CONVFORGE_SWEPT_KEYS"


def run_jobs(overrides: Sequence[str], *, multirun: bool, progress: Progress) -> None:
    """Train with `overrides`; with `multirun`, once for each combination of their choices.

    Every combination is composed and validated before the first job starts.

    Raises:
        InputError: a wrong key or value in any combination.
    """
    root = project_root()
    own = hydra_config(root, overrides)
    if multirun:
        run_sweep(plan_sweep(root, overrides, own), own, root, progress)
        return
    _refuse_sweeps(overrides)
    _check_data(_composed([overrides], root), own, root, progress)
    sys.argv = _hydra_arguments(root, overrides, progress)
    _job()


def run_sweep(
    plan: SweepPlan,
    own: DictConfig,
    root: Path,
    progress: Progress,
    after: Callable[[Path], None] = lambda folder: None,
) -> None:
    """Run the jobs of a plan, after each was composed and validated.

    Args:
        plan: of them.
        own: Hydra's part of the config.
        root: the project's folder.
        progress: told what happens.
        after: called with the sweep's folder when all jobs have ended. Where it is not reached, the
            same command comes to it again.

    Raises:
        InputError: a wrong key or value in any job.
    """
    settings = _composed(plan.jobs, root)
    overrides = plan.overrides
    if trains_together(own):
        overrides = fed_together(overrides, settings, own)
        settings = [fed_from_device(job) for job in settings]
        _check_backend(progress)
    validates = _check_data(settings, own, root, progress)
    if plan.search is not None:
        plan = plan.searching(searched_by(plan.search, settings, validates))
    arguments = _hydra_arguments(root, overrides, progress)
    with _sweep(plan, settings, own, root, progress) as (folder, more), _lost_jobs_explained():
        sys.argv = [*arguments, *more, "--multirun"]
        _job()
        after(folder)


def _composed(jobs: Sequence[Sequence[str]], root: Path) -> list[Settings]:
    return [settings_of(compose_config(root, _config_overrides(job))) for job in jobs]


def _check_data(jobs: Sequence[Settings], own: DictConfig, root: Path, progress: Progress) -> bool:
    """Whether there are validation images; refuses a job that does not fit its data."""
    for job in jobs:
        manifest = Manifest.read(prepared(job.data, root, progress))
        job.costs(job.input_shape(manifest.image_shape), len(manifest.classes))
        _check_evaluation(job, manifest)
    _warn_of_local_store(own, jobs[0], root, progress)
    return manifest.splits["validation"].examples > 0


def _hydra_arguments(root: Path, overrides: Sequence[str], progress: Progress) -> list[str]:
    os.environ[VERBOSITY] = str(int(progress.verbosity))
    # Hydra then raises what goes wrong instead of printing it and ending the process.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    return ["train", "--config-dir", str(root / "conf"), *overrides]


def _check_backend(progress: Progress) -> None:
    """Refuse a wrong backend now, since every job would."""
    import_keras(progress)
    # Late: a sweep's own process may do without.
    import keras

    if keras.config.backend() != "jax":
        raise InputError(
            f"hydra/launcher=together is not allowed with KERAS_BACKEND={keras.config.backend()}: "
            "give KERAS_BACKEND=jax"
        )


def _refuse_sweeps(overrides: Sequence[str]) -> None:
    for group in ("hydra/launcher", "hydra/sweeper"):
        if any(item.startswith(f"{group}=") for item in overrides):
            raise InputError(f"{group} is for the jobs of a sweep: add -m")


def _check_evaluation(settings: Settings, manifest: Manifest) -> None:
    if settings.evaluate and not manifest.splits["test"].examples:
        raise InputError(
            "evaluate=true is not allowed: give false, or test images: "
            f"data.split.test={settings.data.split.test}"
        )


@contextmanager
def _sweep(
    plan: SweepPlan, settings: Sequence[Settings], own: DictConfig, root: Path, progress: Progress
) -> Iterator[tuple[Path, list[str]]]:
    """A sweep's folder, its parent run, and the end of it; with the overrides that say so."""
    os.environ[_SWEPT_KEYS] = " ".join(plan.naming_keys)
    # Hydra would name the folder by the second in which it starts.
    folder = Path(own.sweep.dir).absolute()
    with resumable_sweep(settings, plan.identity, folder, root, progress) as sweep:
        if sweep.has_begun:
            progress.say(f"the sweep in {sweep.folder} goes on")
        more = [f"hydra.sweep.dir='{sweep.folder}'"]
        asked = plan.search.settings if plan.search else None
        if asked is not None:
            if not sweep.has_begun:
                check_new(sweep.folder)
            more.append(f"hydra.sweeper.figure={asked.figure}")
            more.append(f"hydra.sweeper.direction={asked.direction}")
        summary = SweepSummary(
            title=" ".join(plan.overrides),
            command=plan.command,
            swept=plan.swept,
            count=plan.count,
            figure=asked.figure if asked else None,
        )
        tracking = settings[0].tracking
        if isinstance(tracking, MLflowTracking):
            more.append(f"{_PARENT}='{sweep.key}'")
            with sweep_parent(tracking, root, sweep, sweep.folder, summary, progress):
                yield sweep.folder, more
        else:
            try:
                yield sweep.folder, more
            finally:
                summary.write(sweep.folder, None)
        if plan.search is not None:
            _tell_best(Study(sweep.folder, plan.search.settings, plan.search.space), progress)
    progress.say(f"jobs:  {sweep.folder / 'jobs.md'}")


def _tell_best(study: Study, progress: Progress) -> None:
    job, best = study.best_job(), study.best()
    progress.say(f"search: {study.summary()}")
    if job is not None and best is not None:
        progress.say(f"best:  trial {best[0] + 1}, {study.figure} {best[1]:.4g}")
        progress.say(f"train: {command_of(job)}")


def show_config(overrides: Sequence[str], part: str) -> None:
    """Let Hydra show the config with `overrides`.

    Args:
        overrides: of one job.
        part: of the config: "job", "hydra" or "all".

    Raises:
        InputError: a wrong key or value.
    """
    root = project_root()
    hydra_config(root, overrides)
    compose_config(root, _config_overrides(overrides))
    sys.argv = ["train", "--config-dir", str(root / "conf"), "--cfg", part, *overrides]
    _job()


def _warn_of_local_store(
    own: DictConfig, settings: Settings, root: Path, progress: Progress
) -> None:
    """SQLite's locks do not hold between machines."""
    store = store_of(settings.tracking, root)
    slurm = str(own.launcher.get("_target_")).endswith("SlurmLauncher")
    several = slurm or own.launcher.get("address") or getattr(settings.distribute, "address", None)
    if store is not None and store.is_local and several:
        progress.warn(
            f"{store.uri} is for the processes of one machine: for jobs on several give "
            "tracking.uri=http://HOST:PORT of an MLflow server"
        )


@contextmanager
def _lost_jobs_explained() -> Iterator[None]:
    """Of the launchers of joblib and submitit, which give up the sweep; Ray's goes on without."""
    try:
        yield
    except Exception as error:
        kinds = {kind.__name__ for kind in type(error).__mro__}
        if not kinds & {"TerminatedWorkerError", "UncompletedJobError"}:
            raise
        why = " ".join(str(error).splitlines()[:2])
        raise UnfinishedError(
            f"a job of the sweep was killed, perhaps for want of memory: {why}"
        ) from error


def _config_overrides(overrides: Sequence[str]) -> list[str]:
    """Without those of Hydra's own, which the composition API does not take."""
    return [item for item in overrides if not is_hydras(item)]


@hydra.main(version_base="1.3", config_path=None, config_name=CONFIG_NAME)
def _job(config: DictConfig) -> float | None:
    """One job; returns its `objective`."""
    return run_job(job_settings(config), HydraConfig.get(), progress_of_sweep())


def job_settings(config: DictConfig) -> Settings:
    """What Hydra gives a job, typed.

    Raises:
        InputError: a wrong key or value.
    """
    try:
        return settings_of(config)
    except OmegaConfBaseException as error:
        raise explain(error, project_root(), ()) from error


def run_job(
    settings: Settings, job: DictConfig, progress: Progress, grouped: GroupedRun | None = None
) -> float | None:
    """Train, and test where asked, unless that is done already.

    Args:
        settings: of the job.
        job: Hydra's own part of its config.
        progress: told what happens.
        grouped: the run in its group, where several are trained together.

    Returns:
        Its `objective`.
    """
    root = project_root()
    label = job_label(settings, job)
    out = Path(job.runtime.output_dir)
    trial = _trial(job)
    figures = finished_figures(out)
    if has_stopped_run(out, root):
        figures = None
    elif pruned := why_pruned(out):
        raise PrunedError(pruned)
    try:
        data = prepared(settings.data, root, progress)
        if figures is None:
            progress.say(f"train: {label.name} → {out}")
            # Processes of a cluster do not prune: they would have to agree.
            told = None if settings.distribute.name == "ray" else trial
            report = run_report if settings.pictures else None
            figures = train(settings, data, out, root, progress, label, report, told, grouped)
        else:
            progress.say(f"train: {label.name} has finished in {out}")
        if settings.evaluate:
            _evaluate(settings, data, out, root, progress)
        if job.mode != RunMode.MULTIRUN and RunFolder(out).config.is_file():
            progress.say(_next(out, evaluated=settings.evaluate))
    except DivergenceError as error:
        # Without the model, which need not travel.
        raise DivergenceError(str(error)) from None
    except (InputError, KeyboardInterrupt):
        raise
    except Exception:
        # Hydra shows a job's exception only when all jobs have ended.
        progress.warn(f"{label.name} failed:\n{traceback.format_exc()}")
        raise
    if not RunFolder(out).config.is_file():
        # Of several processes the first alone leaves anything but Hydra's record.
        shutil.rmtree(out / ".hydra", ignore_errors=True)
        with suppress(OSError):
            out.rmdir()
    if trial is not None:
        return figures[trial.figure]
    return objective(settings.trainer.checkpoint, figures)


def _next(out: Path, *, evaluated: bool) -> str:
    """What to type next, about a single run."""
    folder = shlex.quote(str(out))
    test = "" if evaluated else f"convforge evaluate {folder} (on the test images), "
    return f"next: {test}convforge predict {folder} IMAGE, convforge ui"


def _trial(job: DictConfig) -> StudyTrial | None:
    """The job as a trial of its sweep's search, which has given it the trial's number."""
    if job.mode != RunMode.MULTIRUN:
        return None
    asked = search_settings(job)
    return None if asked is None else StudyTrial(Path(job.sweep.dir), job.job.num, asked)


def _evaluate(settings: Settings, data: Path, out: Path, root: Path, progress: Progress) -> None:
    """Add the figures on the test images to the run, once."""
    folder = RunFolder(out)
    if folder.config.is_file() and Journal(folder.evaluation.path).status != "FINISHED":
        evaluate(settings, out, data, folder.evaluation.path, root, progress)
        if line := right_by_class(folder.evaluation.predictions):
            progress.say(line)


def objective(checkpoint: CheckpointSettings, figures: Mapping[str, float]) -> float | None:
    """What a search over the jobs goes by: the last epoch's figure of `checkpoint.monitor`.

    Without one it is the loss on the validation images, or else on the training images. To be
    maximised or minimised as `convforge.pipeline.metrics.higher_is_better` says of its name: an
    accuracy is better the higher, a loss or an error the lower.
    """
    return figures.get(monitored(checkpoint.monitor, figures))


def job_label(settings: Settings, job: DictConfig) -> RunLabel:
    """A job of a sweep is called by what sets it apart, and belongs to the sweep's run.

    A single run is called by the overrides, too.

    Args:
        settings: of the job.
        job: Hydra's own part of its config.
    """
    overrides: Sequence[str] = job.overrides.task
    tracking = settings.tracking
    parent = tracking.parent_run if isinstance(tracking, MLflowTracking) else None
    tags = {PARENT_TAG: parent} if parent else {}
    keys = os.environ.get(_SWEPT_KEYS, "").split()
    own = [item for item in overrides if not key_of(item).startswith("tracking")]
    command = command_of(own)
    choices = " ".join(item for item in overrides if key_of(item) in keys)
    if choices:
        return RunLabel(choices[:250], tags, command)
    return RunLabel(run_name(settings, " ".join(own)), tags, command)
