"""Running a claim: one sweep, whose runs first choose learning rates and then are compared."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from hydra.core.utils import JobStatus
from hydra.plugins.launcher import Launcher

from convforge.errors import InputError, UnfinishedError
from convforge.pipeline.claims.claim import FOLDER as PROTOCOLS
from convforge.pipeline.claims.claim import files_of, read_protocol
from convforge.pipeline.claims.jobs import ClaimJob, ClaimJobs
from convforge.pipeline.claims.records import rates_of, result_of, tuning_records
from convforge.pipeline.claims.result import ClaimResult, result_path
from convforge.pipeline.composition import compose_config, hydra_config, is_hydras, settings_of
from convforge.pipeline.pluralize import pluralize
from convforge.pipeline.progress import Progress
from convforge.pipeline.project import project_root
from convforge.pipeline.settings.tracking import MLflowTracking
from convforge.pipeline.sweeps.jobs import run_sweep
from convforge.pipeline.sweeps.plan import SweepPlan, key_of
from convforge.pipeline.tracking.provenance import git

_SWEEPER = "claim"
# What decides nothing: where runs are kept, and how they are computed.
_FREE = ("tracking", "data.path", "distribute", "trainer.checkpoint", "trainer.input_threads")
_FEED = "trainer.feed"


def run_claim(
    name: str, scale: str, overrides: Sequence[str], progress: Progress, *, tune_only: bool = False
) -> None:
    """Run the claim `name` at `scale` and write its result.

    The test images are seen only once the protocol is committed: before that, and with `tune_only`,
    each arm's learning rate is chosen, and the same command goes on from there later.

    Args:
        name: of a file in conf/claim.
        scale: digits, cpu or full.
        overrides: of what decides nothing, as hydra/launcher=together or tracking.uri=….
        progress: told what happens.
        tune_only: do not compare.

    Raises:
        InputError: no such claim or scale, or an override that would change the protocol.
    """
    root = project_root()
    protocol = read_protocol(root, name, scale)
    _refuse_changes(overrides, name)
    jobs = ClaimJobs(protocol, _is_tracked(root, overrides))
    _refuse_equal_arms(jobs, root)
    commit, why_not = _committed(root, files_of(name, scale))
    compare = not tune_only and why_not is None
    plan = _plan(jobs, overrides, compare=compare)
    arms = pluralize(len(protocol.arms), "arm")
    progress.say(f"{name}, {scale}: {pluralize(plan.count, 'run')} of {arms}")
    start = time.monotonic()

    def write(folder: Path) -> None:
        result = result_of(
            jobs,
            folder,
            root,
            commit=commit,
            command=plan.command,
            backend=os.environ.get("KERAS_BACKEND") or "tensorflow",
            wall_seconds=time.monotonic() - start,
        )
        path = result_path(root, name, scale)
        result.write(path)
        for line in _summary(result):
            progress.say(line)
        progress.say(f"result: {path}")

    def wait(folder: Path) -> None:
        raise _TuningAloneError

    try:
        own = hydra_config(root, plan.overrides)
        run_sweep(plan, own, root, progress, write if compare else wait)
    except _TuningAloneError:
        if why_not is not None and not tune_only:
            raise UnfinishedError(
                f"{why_not}: commit it, then the same command goes on with the test images"
            ) from None
        progress.say("the learning rates are chosen; without --tune-only it goes on from here")


class _TuningAloneError(UnfinishedError):
    """Leaves a sweep as it is, to go on with the test images later."""


def _summary(result: ClaimResult) -> list[str]:
    lines = [f"{comparison.title}: {comparison.outcome}" for comparison in result.comparisons]
    return lines + [f"failed: {failure}" for failure in result.failed]


def train_arms(
    folder: Path,
    name: str,
    scale: str,
    overrides: Sequence[str],
    launcher: Launcher,
    *,
    tracked: bool,
    compare: bool,
) -> None:
    """Launch the runs of a claim into `folder`: those that choose, then those compared.

    A run that diverges is a result. A bug ends the sweep.

    Args:
        folder: of the sweep.
        name: of the claim.
        scale: of it.
        overrides: of every run, after the protocol's.
        launcher: of Hydra.
        tracked: whether the runs are in MLflow.
        compare: whether to go on with the test images.
    """
    root = project_root()
    jobs = ClaimJobs(read_protocol(root, name, scale), tracked)
    _launch(jobs.tuning, overrides, launcher)
    if compare:
        # Where nothing is tuned, no run has finished yet that could say what the data are.
        tuning = tuning_records(jobs, folder, root) if jobs.tuning else {}
        chosen = rates_of(jobs.protocol, tuning)
        _launch(jobs.compared(chosen), overrides, launcher)


def _launch(jobs: Sequence[ClaimJob], overrides: Sequence[str], launcher: Launcher) -> None:
    if not jobs:
        return
    returns = launcher.launch(
        [[*job.overrides, *overrides] for job in jobs], initial_job_idx=jobs[0].number
    )
    for returned in returns:
        # The property of that name would print and raise.
        error = returned._return_value
        if returned.status == JobStatus.FAILED and not isinstance(error, InputError):
            raise error


def _plan(jobs: ClaimJobs, overrides: Sequence[str], *, compare: bool) -> SweepPlan:
    protocol = jobs.protocol
    words = ["convforge", "claim", protocol.name, f"scale={protocol.scale}", *overrides]
    own = [
        f"hydra/sweeper={_SWEEPER}",
        f"hydra.sweeper.claim={protocol.name}",
        f"hydra.sweeper.scale={protocol.scale}",
        f"hydra.sweeper.tracked={str(jobs.tracked).lower()}",
        f"hydra.sweeper.compare={str(compare).lower()}",
    ]
    swept = {"seed": " ".join(map(str, protocol.seeds))}
    if protocol.rates:
        swept["optimizer.learning_rate"] = " ".join(f"{rate:g}" for rate in protocol.rates)
    return SweepPlan(
        overrides=[*own, *overrides],
        jobs=[[*job.overrides, *overrides] for job in jobs.probes],
        swept=swept,
        repeated_by=shlex.join(words),
        identified_by=[*words, protocol.digest],
        named_by=(),
        planned=jobs.count if compare else len(jobs.tuning),
    )


def _refuse_equal_arms(jobs: ClaimJobs, root: Path) -> None:
    """An override that sets what is set already makes a comparison of a net with itself."""
    seen: dict[str, str] = {}
    for arm in jobs.protocol.arms:
        config = compose_config(root, jobs.protocol.overrides(arm))
        settings = settings_of(config).model_dump_json()
        if settings in seen:
            raise InputError(
                f"arms.{arm} of the claim {jobs.protocol.name} is the same as {seen[settings]} at "
                f"scale={jobs.protocol.scale}"
            )
        seen[settings] = arm


def _is_tracked(root: Path, overrides: Sequence[str]) -> bool:
    config = compose_config(root, [item for item in overrides if not is_hydras(item)])
    return isinstance(settings_of(config).tracking, MLflowTracking)


def _refuse_changes(overrides: Sequence[str], name: str) -> None:
    for item in overrides:
        key = key_of(item).lstrip("+~")
        free = is_hydras(item) or key == _FEED or key.startswith(_FREE)
        if not free or key.startswith("hydra/sweeper"):
            raise InputError(
                f"{item} is not allowed: a claim's protocol stands in {PROTOCOLS / name}.yaml, and "
                f"an override may say where and how it is computed ({', '.join(_FREE)}, {_FEED}, "
                "hydra/launcher)"
            )


def _committed(root: Path, files: Sequence[Path]) -> tuple[str | None, str | None]:
    """The commit that has these files as they are; or None and why there is none.

    Outside Git there is no commit, and nothing to wait for.
    """
    if not git(root, "rev-parse", "--git-dir"):
        return None, None
    names = [file.as_posix() for file in files]
    commit = git(root, "log", "-1", "--format=%H", "--", *names)
    changed = git(root, "status", "--porcelain", "--", *names)
    if changed or not commit:
        first = changed.split()[-1] if changed else names[0]
        return None, f"{first} is not committed as it is"
    return commit, None
