"""From the folders of a claim's runs to its result."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from convforge.errors import InputError
from convforge.pipeline.claims.claim import Protocol, files_of
from convforge.pipeline.claims.comparison import compared
from convforge.pipeline.claims.figures import FIGURES, Curves, figures_of
from convforge.pipeline.claims.jobs import TUNING_SEED, ClaimJob, ClaimJobs
from convforge.pipeline.claims.result import (
    ArmRecord,
    ClaimResult,
    FigureRecord,
    ProtocolRecord,
    RunRecord,
)
from convforge.pipeline.composition import compose_config, read_params, settings_of
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.machine import hardware, versions
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.run_folder import RunFolder
from convforge.pipeline.stages.preprocess import prepared
from convforge.pipeline.sweeps.results import run_seconds
from convforge.pipeline.tracking.journal import Journal
from convforge.pipeline.tracking.replay import State

_ERROR_TAG = "convforge.error"


def record_of(job: ClaimJob, folder: Path, protocol: Protocol, data: Manifest) -> RunRecord:
    """What the run in `folder` has left.

    Args:
        job: that it was.
        folder: of the run.
        protocol: that asked for it.
        data: that it has seen.
    """
    journal = Journal(folder)
    run_id = State.read(folder).run_id
    if journal.status != "FINISHED":
        return RunRecord(
            seed=job.seed,
            rate=job.rate,
            status="FAILED",
            run_id=run_id,
            why=journal.last_tags.get(_ERROR_TAG, f"ended as {journal.status or 'KILLED'}"),
        )
    per_step = read_params(RunFolder(folder).config).trainer.examples_per_step
    steps = math.ceil(data.splits["train"].examples / per_step)
    curves = Curves.of(folder)
    figures, not_reached = figures_of(
        folder,
        [comparison.figure for comparison in protocol.comparisons],
        target=protocol.target,
        steps_per_epoch=steps,
        classes=len(data.classes),
    )
    return RunRecord(
        seed=job.seed,
        rate=job.rate,
        status="FINISHED",
        figures=figures,
        not_reached=not_reached,
        history={
            "training_error": [round(error, 3) for error in curves.training],
            "validation_error": [round(error, 3) for error in curves.validation],
        },
        steps_per_epoch=steps,
        run_id=run_id,
        seconds=run_seconds(journal),
    )


def chosen_rates(
    records: Mapping[str, Sequence[RunRecord]], tuned_by: str
) -> dict[str, float | None]:
    """The learning rate of each arm whose run has the lowest figure; the smallest of equals.

    Where no run has reached what the figure waits for, that with the lowest training error. An arm
    whose runs have all failed is left out.

    Args:
        records: the tuning runs, by arm.
        tuned_by: the figure.
    """

    def rank(record: RunRecord) -> tuple[bool, float, float]:
        missed = tuned_by in record.not_reached
        value = record.figures["last_training_error" if missed else tuned_by]
        assert record.rate is not None
        return missed, value, record.rate

    done = {
        arm: [record for record in runs if record.status == "FINISHED"]
        for arm, runs in records.items()
    }
    return {arm: min(runs, key=rank).rate for arm, runs in done.items() if runs}


def largest_rates(runs: Sequence[RunRecord], seeds: Sequence[int]) -> list[RunRecord]:
    """For each seed, the largest learning rate whose run has reached the target.

    The largest of those tried is that or more. A seed of which none has reached it has failed.
    """
    end = max(run.rate for run in runs if run.rate is not None)
    found = []
    for seed in seeds:
        own = [run for run in runs if run.seed == seed]
        rates = [
            run.rate
            for run in own
            if run.rate is not None
            and run.status == "FINISHED"
            and "steps_to_target" not in run.not_reached
        ]
        largest = max(rates, default=None)
        found.append(
            RunRecord(
                seed=seed,
                rate=None,
                status="FAILED" if largest is None else "FINISHED",
                figures={} if largest is None else {"largest_rate": largest},
                not_reached=["largest_rate"] if largest == end else [],
                seconds=sum(run.seconds or 0.0 for run in own),
                why="no learning rate reaches the target" if largest is None else None,
            )
        )
    return found


def result_of(
    jobs: ClaimJobs,
    folder: Path,
    root: Path,
    *,
    commit: str | None,
    command: str,
    backend: str,
    wall_seconds: float,
) -> ClaimResult:
    """The result of the runs below `folder`.

    Args:
        jobs: that were run.
        folder: of the sweep.
        root: the project's folder.
        commit: of Git, that has the protocol.
        command: that repeats it.
        backend: of Keras, that trained them.
        wall_seconds: that it took.
    """
    protocol, claim = jobs.protocol, jobs.protocol.claim
    data = data_of(jobs, folder, root)
    tuning = _by_arm(jobs.tuning, folder, protocol, data)
    chosen = rates_of(protocol, tuning)
    runs = _by_arm(jobs.compared(chosen), folder, protocol, data)
    if claim.all_rates:
        runs = {arm: largest_rates(found, protocol.seeds) for arm, found in tuning.items()}
    arms = {
        arm: _arm(arm, protocol, root, data, chosen.get(arm), tuning[arm], runs[arm])
        for arm in protocol.arms
    }
    figures = {each.figure: figure_of(each.figure, protocol, data) for each in protocol.comparisons}
    comparisons = [
        compared(arms, each, each.smallest(protocol.scale), figures[each.figure], protocol.seeds)
        for each in protocol.comparisons
    ]
    everything = [run for arm in arms.values() for run in (*arm.tuning, *arm.runs)]
    counted = (
        [run for arm in arms.values() for run in arm.tuning] if claim.all_rates else everything
    )
    return ClaimResult(
        claim=protocol.name,
        scale=protocol.scale,
        scale_title=protocol.at_scale.title,
        title=claim.title,
        sentence=claim.sentence,
        slide=claim.slide,
        sources=claim.sources,
        method=claim.method,
        command=command,
        protocol=ProtocolRecord(
            commit=commit,
            files=[file.as_posix() for file in files_of(protocol.name, protocol.scale)],
            digest=protocol.digest,
            seeds=protocol.seeds,
            rates=protocol.rates,
            tuned_by=claim.tuned_by,
            tuning_seeds=[TUNING_SEED] if claim.tuned_by else [],
            target=protocol.target,
        ),
        figures=figures,
        arms=arms,
        comparisons=comparisons,
        main=protocol.main_comparison,
        outcome=comparisons[protocol.main_comparison].outcome,
        data={
            "name": data.name,
            "digest": data.digest,
            **{split: part.examples for split, part in data.splits.items()},
        },
        versions=versions(backend),
        hardware=hardware(),
        run_seconds=round(sum(run.seconds or 0.0 for run in counted), 1),
        wall_seconds=round(wall_seconds, 1),
        finished=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        parent_run_id=State.read(folder).run_id,
    )


def rates_of(
    protocol: Protocol, tuning: Mapping[str, Sequence[RunRecord]]
) -> dict[str, float | None]:
    """The learning rate of each arm; None for its own."""
    if protocol.claim.all_rates:
        return {}
    if protocol.claim.tuned_by is None:
        return dict.fromkeys(protocol.arms)
    return chosen_rates(tuning, protocol.claim.tuned_by)


def tuning_records(jobs: ClaimJobs, folder: Path, root: Path) -> dict[str, list[RunRecord]]:
    """What the runs that choose have left, by arm.

    Args:
        jobs: of the claim.
        folder: of the sweep.
        root: the project's folder.
    """
    data = data_of(jobs, folder, root)
    return _by_arm(jobs.tuning, folder, jobs.protocol, data)


def data_of(jobs: ClaimJobs, folder: Path, root: Path) -> Manifest:
    """What the runs in a sweep's folder have seen.

    Raises:
        InputError: none has finished.
    """
    for number in range(jobs.count):
        run = folder / str(number)
        if Journal(run).status == "FINISHED":
            settings = read_params(RunFolder(run).config)
            return Manifest.read(prepared(settings.data, root, Progress(Verbosity.QUIET)))
    raise InputError(f"{folder}: no run of {jobs.protocol.name} has finished")


def _by_arm(
    jobs: Sequence[ClaimJob], folder: Path, protocol: Protocol, data: Manifest
) -> dict[str, list[RunRecord]]:
    found: dict[str, list[RunRecord]] = {arm: [] for arm in protocol.arms}
    for job in jobs:
        found[job.arm].append(record_of(job, folder / str(job.number), protocol, data))
    return found


def _arm(
    name: str,
    protocol: Protocol,
    root: Path,
    data: Manifest,
    rate: float | None,
    tuning: list[RunRecord],
    runs: list[RunRecord],
) -> ArmRecord:
    overrides = protocol.overrides(name)
    settings = settings_of(compose_config(root, overrides))
    costs = settings.costs(settings.input_shape(data.image_shape), len(data.classes))
    return ArmRecord(
        title=protocol.arms[name].title,
        overrides=overrides,
        parameters=sum(layer.parameters for layer in costs),
        multiply_adds=sum(layer.multiply_adds for layer in costs),
        rate=rate,
        tuning=tuning,
        runs=runs,
    )


def figure_of(name: str, protocol: Protocol, data: Manifest) -> FigureRecord:
    """A figure, with the steps that it has on this data."""
    counted = {"test_error": "test", "gap": "test", "validation_error": "validation"}
    counted["training_error"] = "train"
    known: dict[str, float] = {}
    if name in counted:
        known["resolution"] = 100 / data.splits[counted[name]].examples
    elif name == "largest_rate":
        known["step_factor"] = max(
            larger / smaller for smaller, larger in pairwise(sorted(protocol.rates))
        )
    else:  # Interpolated between epochs.
        known["resolution"] = 0.0
    return FIGURES[name].model_copy(update=known)
