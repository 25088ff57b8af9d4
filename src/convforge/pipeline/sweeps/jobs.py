"""Training from the command line: one run, or a sweep of them, through Hydra.

Hydra makes each job's folder, expands the choices of a multirun and launches the jobs, here or on
a cluster. Data are prepared beside DVC's, so a sweep touches no file of DVC's.
"""

from __future__ import annotations

import os
import shutil
import sys
import traceback
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from convforge.errors import InputError, UnfinishedError
from convforge.pipeline.composition import (
    compose_config,
    explain,
    hydra_config,
    is_hydras,
    settings_of,
    sweep_jobs,
)
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.metrics import monitored
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.project import CONFIG_NAME, project_root
from convforge.pipeline.report import run_report
from convforge.pipeline.run_folder import RunFolder
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.settings.tracking import MLflowTracking
from convforge.pipeline.settings.trainer import CheckpointSettings
from convforge.pipeline.stages.preprocess import prepared
from convforge.pipeline.stages.train import RunLabel, finished_figures, run_name, train
from convforge.pipeline.sweeps.parent_run import sweep_parent
from convforge.pipeline.tracking.journal import PARENT_TAG
from convforge.pipeline.tracking.store import store_of
from convforge.pipeline.training.resume.resumable import has_stopped_run, resumable_sweep

_PARENT = "tracking.parent_run"
# A launcher may run the jobs in other processes: they learn these from their environment.
_VERBOSITY = "CONVFORGE_VERBOSITY"
_SWEPT_KEYS = "CONVFORGE_SWEPT_KEYS"


def run_jobs(overrides: Sequence[str], *, multirun: bool, progress: Progress) -> None:
    """Train with `overrides`; with `multirun`, once for each combination of their choices.

    Every combination is composed and validated before the first job starts.

    Raises:
        InputError: a wrong key or value in any combination.
    """
    root = project_root()
    own = hydra_config(root, overrides)
    if not multirun and any(item.startswith("hydra/launcher=") for item in overrides):
        raise InputError("hydra/launcher is for the jobs of a sweep: add -m")
    jobs = sweep_jobs(root, overrides) if multirun else [list(overrides)]
    settings = [settings_of(compose_config(root, _config_overrides(job))) for job in jobs]
    for job in settings:
        manifest = Manifest.read(prepared(job.data, root, progress))
        job.costs(job.input_shape(manifest.image_shape), len(manifest.classes))
    _warn_of_local_store(own, settings[0], root, progress)
    os.environ[_VERBOSITY] = str(int(progress.verbosity))
    # Hydra then raises what goes wrong instead of printing it and ending the process.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    arguments = list(overrides)
    with ExitStack() as stack:
        if multirun:
            arguments.insert(0, "--multirun")
            os.environ[_SWEPT_KEYS] = " ".join(_swept_keys(jobs))
            # Hydra would name the folder by the second in which it starts.
            folder = Path(own.sweep.dir).absolute()
            sweep = stack.enter_context(
                resumable_sweep(settings, overrides, folder, root, progress)
            )
            if sweep.has_begun:
                progress.say(f"the sweep in {sweep.folder} goes on")
            arguments.append(f"hydra.sweep.dir='{sweep.folder}'")
            tracking = settings[0].tracking
            if isinstance(tracking, MLflowTracking):
                stack.enter_context(
                    sweep_parent(
                        tracking,
                        root,
                        sweep.folder,
                        overrides,
                        len(jobs),
                        progress,
                        key=sweep.key,
                        has_begun=sweep.has_begun,
                        other_code=sweep.other_code,
                    )
                )
                arguments.append(f"{_PARENT}='{sweep.key}'")
        sys.argv = ["train", "--config-dir", str(root / "conf"), *arguments]
        with _lost_jobs_explained():
            _job()


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


def _swept_keys(jobs: Sequence[Sequence[str]]) -> list[str]:
    """The keys whose values differ between the jobs; all of them where none does."""
    values = defaultdict(set)
    for job in jobs:
        for override in job:
            values[_key(override)].add(override)
    return [key for key, seen in values.items() if len(seen) > 1] or list(values)


def _key(override: str) -> str:
    return override.split("=")[0]


def _config_overrides(overrides: Sequence[str]) -> list[str]:
    """Without those of Hydra's own, which the composition API does not take."""
    return [item for item in overrides if not is_hydras(item)]


@hydra.main(version_base="1.3", config_path=None, config_name=CONFIG_NAME)
def _job(config: DictConfig) -> float | None:
    """One job; returns its `objective`."""
    root = project_root()
    try:
        settings = settings_of(config)
    except OmegaConfBaseException as error:
        raise explain(error, root, ()) from error
    progress = Progress(Verbosity(int(os.environ.get(_VERBOSITY, Verbosity.NORMAL))))
    job = HydraConfig.get()
    label = _label(settings, job.overrides.task)
    out = Path(job.runtime.output_dir)
    figures = finished_figures(out)
    if figures is not None and not has_stopped_run(out, root):
        progress.say(f"train: {label.name} has finished in {out}")
        return objective(settings.trainer.checkpoint, figures)
    progress.say(f"train: {label.name} → {out}")
    try:
        data = prepared(settings.data, root, progress)
        figures = train(settings, data, out, root, progress, label, run_report)
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
    return objective(settings.trainer.checkpoint, figures)


def objective(checkpoint: CheckpointSettings, figures: Mapping[str, float]) -> float | None:
    """What a search over the jobs goes by: the last epoch's figure of `checkpoint.monitor`.

    Without one it is the loss on the validation images, or else on the training images. To be
    maximised or minimised as `convforge.pipeline.metrics.higher_is_better` says of its name: an
    accuracy is better the higher, a loss or an error the lower.
    """
    return figures.get(monitored(checkpoint.monitor, figures))


def _label(settings: Settings, overrides: Sequence[str]) -> RunLabel:
    """A job of a sweep is called by what sets it apart, and belongs to the sweep's run.

    A single run is called by the overrides, too.
    """
    tracking = settings.tracking
    parent = tracking.parent_run if isinstance(tracking, MLflowTracking) else None
    tags = {PARENT_TAG: parent} if parent else {}
    keys = os.environ.get(_SWEPT_KEYS, "").split()
    choices = " ".join(item for item in overrides if _key(item) in keys)
    if choices:
        return RunLabel(choices[:250], tags)
    apart = " ".join(item for item in overrides if not _key(item).startswith("tracking"))
    return RunLabel(run_name(settings, apart), tags)
