"""The verdict on a comparison: its interval, its rule, runs that ended early or failed."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from convforge.errors import InputError
from convforge.pipeline.claims.verdict import Value, Verdict, decide, outcome

THAN = [12.0, 11.4, 12.9, 12.2, 11.8]
BETTER = [10.1, 10.3, 10.6, 10.9, 9.9]


def values(numbers: list[float], ended_early: tuple[int, ...] = ()) -> list[Value]:
    return [Value(x, reached=n not in ended_early) for n, x in enumerate(numbers)]


def verdict(
    better: list[float], than: list[float], rule: str = "difference", smallest: float = 1.0, **more
) -> Verdict:
    return decide(values(better), values(than), rule, smallest, **{"resolution": 0.0, **more})


def test_the_interval_of_a_difference_is_the_paired_t_tests() -> None:
    expected = stats.ttest_rel(THAN, BETTER).confidence_interval(0.95)
    found = verdict(BETTER, THAN)
    assert found.interval == pytest.approx((expected.low, expected.high), rel=1e-12)
    assert found.estimate == pytest.approx(np.mean(THAN) - np.mean(BETTER))
    assert found.effects == pytest.approx([1.9, 1.1, 2.3, 1.3, 1.9])


def test_the_interval_of_a_ratio_is_that_of_its_logarithm() -> None:
    logarithms = [math.log(t / b) for t, b in zip(THAN, BETTER, strict=True)]
    expected = stats.ttest_1samp(logarithms, 0).confidence_interval(0.95)
    found = verdict(BETTER, THAN, "ratio", 1.05)
    assert found.interval == pytest.approx(np.exp([expected.low, expected.high]), rel=1e-12)
    assert found.estimate == pytest.approx(stats.gmean(np.array(THAN) / BETTER))
    assert found.effects == pytest.approx(np.array(THAN) / BETTER)


def test_an_interval_computed_by_hand() -> None:
    """Effects 1, 2, 3: mean 2, standard deviation 1, t of 2 degrees of freedom 4.303."""
    found = verdict([0.0, 0.0, 0.0], [1.0, 2.0, 3.0])
    assert found.interval == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-4)


@pytest.mark.parametrize("rule", ["difference", "ratio"])
def test_higher_is_better_turns_the_effect_around(rule: str) -> None:
    turned = verdict(THAN, BETTER, rule, 1.05, higher_is_better=True)
    assert turned == verdict(BETTER, THAN, rule, 1.05)


@pytest.mark.parametrize(
    ("lower", "upper", "rule", "expected"),
    [
        (0.5, 0.9, "difference", "reproduced"),
        (0.49, 0.9, "difference", "undecided"),
        (-0.2, 0.5, "difference", "undecided"),
        (-0.2, 0.49, "difference", "not reproduced"),
        (0.1, 0.2, "difference", "not reproduced"),
        (-0.9, -0.8, "difference", "not reproduced"),
        (0.5, math.inf, "ratio", "reproduced"),
        (-math.inf, 0.4, "ratio", "not reproduced"),
        (-math.inf, math.inf, "ratio", "undecided"),
        (-0.5, 0.5, "equivalence", "reproduced"),
        (-0.51, 0.5, "equivalence", "undecided"),
        (0.1, 0.51, "equivalence", "undecided"),
        (0.51, 0.6, "equivalence", "not reproduced"),
        (-0.9, -0.51, "equivalence", "not reproduced"),
        (0.51, math.inf, "equivalence", "not reproduced"),
        (0.1, math.inf, "equivalence", "undecided"),
    ],
)
def test_the_rule(lower: float, upper: float, rule: str, expected: str) -> None:
    assert outcome(lower, upper, rule, 0.5) == expected


def test_verdicts_of_numbers() -> None:
    assert verdict(BETTER, THAN, smallest=1.0).outcome == "reproduced"
    assert verdict(BETTER, THAN, smallest=1.5).outcome == "undecided"
    assert verdict(BETTER, THAN, smallest=2.5).outcome == "not reproduced"
    assert verdict(THAN, BETTER, smallest=1.0).outcome == "not reproduced"
    assert verdict(BETTER, THAN, "equivalence", smallest=2.5).outcome == "reproduced"
    assert verdict(THAN, BETTER, "equivalence", smallest=2.5).outcome == "reproduced"
    assert verdict(BETTER, THAN, "equivalence", smallest=1.0).outcome == "not reproduced"


# Steps to a training error: seeds 1 and 3 of the slower arm were still above it at step 100.
FAST, SLOW = [10.0, 12.0, 11.0, 13.0], [90.0, 100.0, 80.0, 100.0]


def test_slower_runs_that_end_early_bound_the_effect_from_below() -> None:
    whole = verdict(FAST, SLOW, "ratio", 5.0)
    found = decide(values(FAST), values(SLOW, (1, 3)), "ratio", 5.0, resolution=0.0)
    assert found.interval == (whole.interval[0], None)
    assert (found.outcome, found.estimate) == ("reproduced", whole.estimate)
    assert found.why == (
        "2 of 4 runs of than have the end of what was measured: the effect is the number given or "
        "more"
    )
    above = decide(values(FAST), values(SLOW, (1, 3)), "ratio", 50.0, resolution=0.0)
    assert above.outcome == "undecided", "the effect may be anything above the bound"


def test_faster_runs_that_end_early_bound_the_effect_from_above() -> None:
    whole = verdict(SLOW, FAST, "ratio", 1.5)
    found = decide(values(SLOW, (1, 3)), values(FAST), "ratio", 1.5, resolution=0.0)
    assert found.interval == (None, whole.interval[1])
    assert found.outcome == "not reproduced"
    assert found.why.endswith("the effect is the number given or less")


def test_a_figure_that_is_better_high_is_bounded_the_other_way() -> None:
    found = decide(
        values(SLOW, (1, 3)), values(FAST), "ratio", 5.0, resolution=0.0, higher_is_better=True
    )
    assert (found.outcome, found.interval[1]) == ("reproduced", None)
    assert found.why.endswith("or more")


@pytest.mark.parametrize(("of_better", "of_than"), [((1,), (1,)), ((0,), (3,))])
def test_both_arms_ending_early_leaves_the_effect_unknown(
    of_better: tuple[int, ...], of_than: tuple[int, ...]
) -> None:
    found = decide(values(FAST, of_better), values(SLOW, of_than), "ratio", 5.0, resolution=0.0)
    assert (found.outcome, found.estimate, found.interval) == ("undecided", None, (None, None))
    assert found.why.endswith("the effect has no bounds")


def test_a_wait_for_longer_can_only_make_the_lower_ends_claim_truer() -> None:
    """The bound holds in 97.5 % of samples: it is of a mean that is below the true one."""
    random = np.random.default_rng(0)
    below, samples, budget = 0, 1000, 100.0
    for slow, fast in zip(
        70 * np.exp(0.5 * random.standard_normal((samples, 5))),
        10 * np.exp(0.3 * random.standard_normal((samples, 5))),
        strict=True,
    ):
        ended = tuple(np.flatnonzero(slow > budget))
        cut = values(list(np.minimum(slow, budget)), ended)
        lower = decide(values(list(fast)), cut, "ratio", 2.0, resolution=0.0).interval[0]
        below += lower is None or lower <= 7.0
    assert below >= stats.binom.ppf(0.001, samples, 0.975)


def test_a_failed_run_is_undecided() -> None:
    better = values(BETTER)
    better[2] = Value(None, why="seed 2 failed, loss is not finite")
    found = decide(better, values(THAN), "difference", 0.1, names=("relu", "tanh"))
    assert (found.outcome, found.estimate, found.interval) == ("undecided", None, (None, None))
    assert [effect is None for effect in found.effects] == [False, False, True, False, False]
    assert found.why == "1 of 5 runs of relu gave no figure: seed 2 failed, loss is not finite"


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_figure_that_is_not_finite_is_none(broken: float) -> None:
    found = verdict([broken, *BETTER[1:]], THAN)
    assert (found.effects[0], found.outcome) == (None, "undecided")


def test_a_ratio_of_zero_is_undecided() -> None:
    found = verdict([0.0, *BETTER[1:]], THAN, "ratio", 1.01)
    assert (found.effects[0], found.outcome) == (None, "undecided")
    assert found.why == "a value is not above 0, so there is no ratio"


class TestAllEffectsEqual:
    """0.7 − 0.5 is not 0.9 − 0.7 in binary, and counts as equal."""

    better, than = (0.5, 0.7, 0.2), (0.7, 0.9, 0.4)

    def found(self, resolution: float | None, smallest: float = 0.15) -> Verdict:
        return verdict(list(self.better), list(self.than), smallest=smallest, resolution=resolution)

    def test_an_exact_figure_has_an_interval_without_width(self) -> None:
        found = self.found(0.0)
        assert found.interval == pytest.approx((0.2, 0.2))
        assert found.outcome == "reproduced"
        assert "the interval has no width" in found.why
        assert self.found(0.0, smallest=0.25).outcome == "not reproduced"

    def test_steps_give_it_the_width_of_one_to_each_side(self) -> None:
        found = self.found(0.1)
        assert found.interval == pytest.approx((0.1, 0.3))
        assert found.outcome == "undecided"
        assert "one step" in found.why
        assert self.found(0.1, smallest=0.05).outcome == "reproduced"
        assert self.found(0.1, smallest=0.35).outcome == "not reproduced"

    def test_without_known_steps_nothing_is_decided(self) -> None:
        found = self.found(None)
        assert (found.interval, found.outcome) == ((None, None), "undecided")
        assert found.estimate == pytest.approx(0.2)
        assert "is not known" in found.why


def test_steps_bound_the_width_of_a_ratio() -> None:
    """One epoch against four, whole epochs: half a step of either, relative, is 1/2 and 1/8."""
    found = verdict([1.0, 1.0, 1.0], [4.0, 4.0, 4.0], "ratio", 2.0, resolution=1.0)
    assert found.interval == pytest.approx((4 * math.exp(-0.625), 4 * math.exp(0.625)))
    assert found.outcome == "reproduced"


def test_steps_hold_even_where_rounding_hides_all_spread() -> None:
    """Whatever two numbers of steps stand for, their difference is inside the interval."""
    for up, down in itertools.product(np.linspace(3.05, 4, 20), np.linspace(0.05, 1, 20)):
        counted = verdict([math.ceil(down)] * 3, [math.ceil(up)] * 3, smallest=2.0, resolution=1.0)
        assert counted.interval[0] < up - down < counted.interval[1]


def test_steps_that_are_factors() -> None:
    """The largest learning rates of a grid of factors of 2: either may be just under its next."""
    grid = {"resolution": None, "step_factor": 2.0}
    found = verdict([0.8] * 3, [0.1] * 3, "ratio", 3.0, higher_is_better=True, **grid)
    assert found.interval == pytest.approx((4.0, 16.0))
    assert found.outcome == "reproduced"
    apart = verdict([0.8] * 3, [0.1] * 3, "difference", 0.1, higher_is_better=True, **grid)
    assert apart.interval == pytest.approx((-0.1, 1.5))


def test_a_spread_above_the_steps_is_untouched_by_them() -> None:
    assert verdict(BETTER, THAN, resolution=0.1) == verdict(BETTER, THAN, resolution=0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"than": THAN[:4]}, "5 and 4 seeds"),
        ({"better": [1.0], "than": [2.0]}, "give two or more"),
        ({"smallest": 0.0}, "smallest_effect=0.0 is not allowed: give a number above 0"),
        ({"smallest": math.nan}, "smallest_effect=nan"),
        ({"smallest": 1.0, "rule": "ratio"}, "give a number above 1"),
        ({"resolution": -1.0}, "resolution=-1.0 is not allowed"),
        ({"step_factor": 1.0}, "step_factor=1.0 is not allowed"),
    ],
)
def test_what_is_not_allowed(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        verdict(**{"better": BETTER, "than": THAN, **change})
