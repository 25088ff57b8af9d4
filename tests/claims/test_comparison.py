"""A comparison made from the runs of a result, and a result that was edited."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from convforge.errors import InputError
from convforge.pipeline.claims.claim import Arm, Claim, ClaimScale, Comparison, Protocol, Scale
from convforge.pipeline.claims.comparison import check, compared
from convforge.pipeline.claims.result import (
    ArmRecord,
    ClaimResult,
    FigureRecord,
    ProtocolRecord,
    RunRecord,
)

SEEDS = [0, 1, 2]
ERROR = FigureRecord(title="test error", unit="%", resolution=0.1)
LOWER = Comparison(
    title="max is better",
    better="max",
    than="average",
    figure="test_error",
    smallest_effect={"digits": 0.5, "cpu": 1.0},
)


def runs(*numbers: float) -> list[RunRecord]:
    return [
        RunRecord(seed=seed, rate=0.1, status="FINISHED", figures={"test_error": number})
        for seed, number in enumerate(numbers)
    ]


def arm(some: list[RunRecord]) -> ArmRecord:
    return ArmRecord(
        title="", overrides=[], parameters=1, multiply_adds=1, rate=0.1, tuning=[], runs=some
    )


def arms(better: list[RunRecord], than: list[RunRecord]) -> dict[str, ArmRecord]:
    return {"max": arm(better), "average": arm(than)}


MEASURED = arms(runs(4.0, 4.2, 4.1), runs(6.0, 6.3, 5.9))


def test_it_pairs_the_runs_by_seed_in_any_order() -> None:
    found = compared(MEASURED, LOWER, 0.5, ERROR, SEEDS)
    turned = arms(runs(4.0, 4.2, 4.1)[::-1], runs(6.0, 6.3, 5.9))
    assert compared(turned, LOWER, 0.5, ERROR, SEEDS) == found
    assert found.effects == pytest.approx([2.0, 2.1, 1.8])
    assert (found.outcome, found.smallest_effect, found.why) == ("reproduced", 0.5, None)


def test_the_same_runs_give_the_same_record_from_the_record() -> None:
    found = compared(MEASURED, LOWER, 0.5, ERROR, SEEDS)
    assert compared(MEASURED, found, found.smallest_effect, ERROR, SEEDS) == found


def failed(seed: int) -> RunRecord:
    return RunRecord(seed=seed, rate=0.1, status="FAILED", why="loss is nan at step 12")


@pytest.mark.parametrize(
    ("some", "why"),
    [
        ([*runs(4.0, 4.2), failed(2)], "seed 2 failed, loss is nan at step 12"),
        (runs(4.0, 4.2), "seed 2 has no run"),
        (
            [*runs(4.0, 4.2), RunRecord(seed=2, rate=0.1, status="FINISHED")],
            "seed 2 has no test_error",
        ),
    ],
)
def test_a_seed_without_its_figure_leaves_it_undecided(some: list[RunRecord], why: str) -> None:
    found = compared(arms(some, runs(6.0, 6.3, 5.9)), LOWER, 0.5, ERROR, SEEDS)
    assert found.outcome == "undecided"
    assert found.why == f"1 of 3 runs of max gave no figure: {why}"


@pytest.mark.parametrize(
    ("steps", "end"), [({"resolution": 0.25}, 1.75), ({"resolution": 0.0}, 2.0), ({}, None)]
)
def test_the_figures_steps_bound_the_interval(steps: dict[str, float], end: float | None) -> None:
    same = arms(runs(4.0, 4.0, 4.0), runs(6.0, 6.0, 6.0))
    figure = FigureRecord(title="test error", unit="%", **steps)
    assert compared(same, LOWER, 0.5, figure, SEEDS).interval[0] == end


def test_the_figures_steps_may_be_factors() -> None:
    same = arms(runs(4.0, 4.0, 4.0), runs(6.0, 6.0, 6.0))
    ratio = LOWER.model_copy(update={"rule": "ratio"})
    figure = FigureRecord(title="", unit="", step_factor=1.25)
    assert compared(same, ratio, 1.1, figure, SEEDS).interval == pytest.approx((1.2, 1.875))


def test_a_run_that_ended_early_bounds_its_effect() -> None:
    slow = [run.model_copy(update={"not_reached": ["test_error"]}) for run in runs(6.0, 6.3, 5.9)]
    found = compared(arms(runs(4.0, 4.2, 4.1), slow), LOWER, 0.5, ERROR, SEEDS)
    assert found.interval[1] is None
    assert found.why.startswith("3 of 3 runs of average")


@pytest.mark.parametrize(
    ("some", "message"),
    [
        (runs(4.0, 4.2, 4.1, 1.0), "the arm max has a run of seed 3, the protocol has not"),
        ([*runs(4.0, 4.2, 4.1), *runs(1.0)], "the arm max has two runs of seed 0"),
    ],
)
def test_runs_beyond_the_protocol_are_refused(some: list[RunRecord], message: str) -> None:
    with pytest.raises(InputError, match=message):
        compared(arms(some, runs(6.0, 6.3, 5.9)), LOWER, 0.5, ERROR, SEEDS)


def test_an_arm_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="there is no arm 'average': give max"):
        compared({"max": MEASURED["max"]}, LOWER, 0.5, ERROR, SEEDS)


@pytest.fixture
def result() -> ClaimResult:
    comparison = compared(MEASURED, LOWER, 0.5, ERROR, SEEDS)
    return ClaimResult(
        claim="pooling",
        scale="digits",
        scale_title="",
        title="",
        sentence="",
        slide="",
        sources=[],
        method="",
        command="",
        protocol=ProtocolRecord(
            commit=None,
            files=[],
            digest="",
            seeds=SEEDS,
            rates=[0.1],
            tuned_by=None,
            tuning_seeds=[],
            target=25.0,
        ),
        figures={"test_error": ERROR},
        arms=MEASURED,
        comparisons=[comparison],
        main=0,
        outcome="reproduced",
        data={},
        versions={},
        hardware={},
        run_seconds=0.0,
        wall_seconds=0.0,
        finished="",
        parent_run_id=None,
    )


def test_a_result_as_it_was_written_agrees(result: ClaimResult) -> None:
    check(result)
    check(ClaimResult.model_validate_json(result.model_dump_json()))


def edit_comparison(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda result: result["comparisons"][0].update(changes)


def edit_run(result: dict[str, Any]) -> None:
    result["arms"]["max"]["runs"][1]["figures"]["test_error"] = 4.3


EDITS = {
    "comparison 0: outcome is 'undecided', the runs give 'reproduced'": edit_comparison(
        outcome="undecided"
    ),
    "comparison 0: effects is": edit_comparison(effects=[2.0, 2.1, 1.81]),
    "comparison 0: estimate is 1.9,": edit_comparison(estimate=1.9),
    "comparison 0: interval is": edit_comparison(interval=[1.7, None]),
    "comparison 0: why is 'so', the runs give None": edit_comparison(why="so"),
    "comparison 0: effects": edit_run,
    "comparison 0: outcome is 'reproduced', the runs give 'not": edit_comparison(
        smallest_effect=3.0
    ),
    "comparison 0: there is no figure 'x'": edit_comparison(figure="x"),
    "comparison 0: there is no arm 'x'": edit_comparison(than="x"),
    "outcome is 'not reproduced', the main comparison's is 'reproduced'": lambda result: (
        result.update(outcome="not reproduced")
    ),
    "main=1: give a comparison, 0 to 0": lambda result: result.update(main=1),
}


@pytest.mark.parametrize("message", EDITS)
def test_an_edited_result_is_noticed(result: ClaimResult, message: str) -> None:
    content = result.model_dump(mode="json")
    EDITS[message](content)
    with pytest.raises(InputError) as raised:
        check(ClaimResult.model_validate(content))
    assert f"claims/pooling/digits: {message}" in str(raised.value)


@pytest.fixture
def protocol() -> Protocol:
    return Protocol(
        name="pooling",
        scale="digits",
        claim=Claim(
            title="",
            sentence="",
            slide="",
            sources=[],
            method="",
            arms={"max": Arm(title=""), "average": Arm(title="")},
            tuned_by="validation_error",
            comparisons=[LOWER],
            scales={"digits": ClaimScale(seeds=3)},
        ),
        at_scale=Scale(
            model="lecture_cnn", title="", overrides=[], seeds=5, rates=[0.1], target=25.0
        ),
        digest="",
    )


def edited_effect(result: dict[str, Any]) -> None:
    """A smallest effect that came after the runs, and everything that follows from it."""
    edited = compared(MEASURED, LOWER, 3.0, ERROR, SEEDS)
    result.update(comparisons=[edited.model_dump()], outcome=edited.outcome)


AGAINST_PROTOCOL = {
    "comparison 0: smallest_effect is 3.0, the protocol's is 0.5": edited_effect,
    "comparison 0: title is 'x', the protocol's is 'max is better'": edit_comparison(title="x"),
    "seeds is [0, 1], the protocol's is [0, 1, 2]": lambda result: result["protocol"].update(
        seeds=[0, 1]
    ),
    "digest is 'x', the protocol's is ''": lambda result: result["protocol"].update(digest="x"),
    "comparisons is 2, the protocol's is 1": lambda result: result["comparisons"].append(
        result["comparisons"][0]
    ),
    "main is 1, the protocol's is 0": lambda result: result.update(
        main=1, comparisons=[result["comparisons"][0]] * 2
    ),
}


def test_a_result_agrees_with_its_protocol(result: ClaimResult, protocol: Protocol) -> None:
    check(result, protocol)


@pytest.mark.parametrize("message", AGAINST_PROTOCOL)
def test_what_is_not_the_protocols_is_noticed(
    result: ClaimResult, protocol: Protocol, message: str
) -> None:
    content = result.model_dump(mode="json")
    AGAINST_PROTOCOL[message](content)
    with pytest.raises(InputError) as raised:
        check(ClaimResult.model_validate(content), protocol)
    assert f"claims/pooling/digits: {message}" in str(raised.value)
