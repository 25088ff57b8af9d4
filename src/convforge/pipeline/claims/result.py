"""What a claim's runs gave, as `claims/NAME/SCALE/result.json` keeps it in Git."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from convforge.errors import InputError
from convforge.pipeline.claims.claim import Rule, ScaleName
from convforge.pipeline.filesystem.atomic_file import write_text

#: Of results, in the project's folder.
FOLDER = Path("claims")
_FILE = "result.json"

Outcome: TypeAlias = Literal["reproduced", "not reproduced", "undecided"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RunRecord(_Record):
    """One run.

    Args:
        seed: of it.
        rate: its learning rate; null where the arm has its own.
        status: FINISHED, or FAILED where it diverged or broke.
        figures: by name; those on test images of compared runs alone.
        not_reached: figures whose value is the end of the run, since what they wait for was not
            reached by then.
        history: of the epochs: `training_error` and `validation_error`, in percent.
        steps_per_epoch: iterations.
        run_id: in MLflow.
        seconds: of the run.
        why: what a failed one says.
    """

    seed: int
    rate: float | None
    status: Literal["FINISHED", "FAILED"]
    figures: dict[str, float] = Field(default_factory=dict)
    not_reached: list[str] = Field(default_factory=list)
    history: dict[str, list[float]] = Field(default_factory=dict)
    steps_per_epoch: int | None = None
    run_id: str | None = None
    seconds: float | None = None
    why: str | None = None


class ArmRecord(_Record):
    """An arm: what sets it apart, what it costs, its runs.

    Args:
        title: of it.
        overrides: all, the scale's first; without seed and learning rate.
        parameters: trained numbers of the net.
        multiply_adds: for one image.
        rate: the learning rate that was chosen; null where there was no choice.
        tuning: the runs that it was chosen by.
        runs: those that are compared.
    """

    title: str
    overrides: list[str]
    parameters: int
    multiply_adds: int
    rate: float | None
    tuning: list[RunRecord]
    runs: list[RunRecord]


class ComparisonRecord(_Record):
    """A comparison and what it found.

    Args:
        title: the claim in one line.
        better: the arm that the lecture says does better.
        than: the arm that it is compared with; null where that is a published figure.
        published: that figure.
        figure: that decides.
        rule: difference, ratio or equivalence.
        smallest_effect: that counts.
        effects: of each seed, above 0 as the lecture says, or above 1 of a ratio: that of `than`
            less, or over, that of `better` where lower is better; null where a run failed.
        estimate: their mean, or geometric mean; null where a run failed.
        interval: 95 % interval of it.
        outcome: the verdict.
        why: where it needs words.
    """

    title: str
    better: str
    than: str | None
    published: float | None = None
    figure: str
    rule: Rule
    smallest_effect: float
    effects: list[float | None]
    estimate: float | None
    interval: tuple[float | None, float | None]
    outcome: Outcome
    why: str | None = None


class FigureRecord(_Record):
    """What a figure is.

    Args:
        title: its name for people.
        unit: of it.
        higher_is_better: or lower.
        resolution: its smallest step, as 0.1 points of 1,000 test images, or one epoch; 0 of a
            continuous or an exact one, null if not known.
        step_factor: of one whose values are a factor apart, as the learning rates that were tried.
    """

    title: str
    unit: str
    higher_is_better: bool = False
    resolution: float | None = None
    step_factor: float | None = None


class ProtocolRecord(_Record):
    """What was fixed before the first run.

    Args:
        commit: of Git, that has both files as they were used; null outside Git.
        files: the claim's and the scale's.
        digest: of what they say.
        seeds: of the compared runs.
        rates: that each arm was tuned over.
        tuned_by: the figure that chose; null where nothing was chosen.
        tuning_seeds: of the runs that chose.
        target: training error in percent that "fast" is measured to.
    """

    commit: str | None
    files: list[str]
    digest: str
    seeds: list[int]
    rates: list[float]
    tuned_by: str | None
    tuning_seeds: list[int]
    target: float


class ClaimResult(_Record):
    """Everything of a claim's experiment at one scale."""

    version: Literal[1] = 1
    claim: str
    scale: ScaleName
    scale_title: str
    title: str
    sentence: str
    slide: str
    sources: list[str]
    method: str
    command: str
    protocol: ProtocolRecord
    figures: dict[str, FigureRecord]
    arms: dict[str, ArmRecord]
    comparisons: list[ComparisonRecord]
    #: Which of the comparisons gives the verdict.
    main: int
    outcome: Outcome
    data: dict[str, Any]
    versions: dict[str, str]
    hardware: dict[str, Any]
    #: Of all runs together, and of the clock.
    run_seconds: float
    wall_seconds: float
    finished: str
    #: Of the sweep, in MLflow.
    parent_run_id: str | None

    @property
    def failed(self) -> list[str]:
        """The runs that failed, as arm and seed."""
        return [
            f"{name}, seed {run.seed}, rate {run.rate}: {run.why}"
            for name, arm in self.arms.items()
            for run in (*arm.tuning, *arm.runs)
            if run.status == "FAILED"
        ]

    def write(self, path: Path) -> None:
        """Write it, one line for each run, so that Git shows what has changed."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(self.model_dump(mode="json"), indent=1) + "\n")


def result_path(root: Path, name: str, scale: str) -> Path:
    """Where the result of a claim at a scale lies."""
    return root / FOLDER / name / scale / _FILE


def read_result(path: Path) -> ClaimResult:
    """The result in a file.

    Raises:
        InputError: no such file, or no result in it.
    """
    try:
        return ClaimResult.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is no result of a claim: {str(error).splitlines()[0]}") from error


def read_results(folder: Path) -> list[ClaimResult]:
    """All results that there are, by claim and scale.

    Args:
        folder: of the results, `FOLDER` in the project's.

    Raises:
        InputError: a file that is no result, or lies where another claim's or scale's belongs.
    """
    results = []
    for path in sorted(folder.glob(f"*/*/{_FILE}")):
        result = read_result(path)
        if (result.claim, result.scale) != (path.parts[-3], path.parts[-2]):
            raise InputError(f"{path} is the result of claim {result.claim}, scale={result.scale}")
        results.append(result)
    return results
