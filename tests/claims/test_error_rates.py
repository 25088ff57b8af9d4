"""The rule's error rates and power, against closed forms and by simulation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from convforge.errors import InputError
from convforge.pipeline.claims.error_rates import (
    TRIALS,
    detectable_effect,
    power,
    rates,
    spread_of,
)

# Of a share that is simulated, three standard errors at most.
NEAR = 3 * 0.5 / TRIALS**0.5


def noncentral_t(distance: float, seeds: int) -> tuple[float, float]:
    """The shares above and below, of effects whose mean lies `distance` spreads above m."""
    critical = stats.t.ppf(0.975, seeds - 1)
    above, below = (
        float(stats.nct.sf(critical, seeds - 1, sign * distance * math.sqrt(seeds)))
        for sign in (1, -1)
    )
    return above, below


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("distance", [-2.0, -0.5, 0.5, 1.0, 2.0, 4.0])
def test_the_power_is_that_of_the_noncentral_t_distribution(distance: float, seeds: int) -> None:
    found = power(1.0 + 0.4 * distance, 0.4, 1.0, seeds=seeds)
    reproduced, not_reproduced = noncentral_t(distance, seeds)
    assert found.reproduced == pytest.approx(reproduced, abs=NEAR)
    assert found.not_reproduced == pytest.approx(not_reproduced, abs=NEAR)
    assert found.reproduced + found.not_reproduced + found.undecided == pytest.approx(1.0)


def test_the_power_of_a_ratio_is_that_of_its_logarithm() -> None:
    found = power(3.0, 0.4, 1.5, "ratio")
    assert found.reproduced == pytest.approx(noncentral_t(math.log(2) / 0.4, 5)[0], abs=NEAR)


def test_equivalence_needs_a_smallest_effect_wider_than_the_interval() -> None:
    assert power(0.0, 1.0, 0.5, "equivalence").reproduced < 0.2
    assert power(0.0, 1.0, 4.0, "equivalence").reproduced > 0.95
    assert power(8.0, 1.0, 4.0, "equivalence").not_reproduced > 0.95


@pytest.mark.parametrize("rule", ["difference", "equivalence"])
def test_the_effect_that_is_detectable_is_detected_in_that_share(rule: str) -> None:
    found = detectable_effect(0.6, 0.5, rule, share=0.8)
    again = power(0.0, 0.6, found, rule) if rule == "equivalence" else power(found, 0.6, 0.5, rule)
    assert again.reproduced == pytest.approx(0.8, abs=1e-3)


def test_the_ratio_that_is_detectable_is_detected_in_that_share() -> None:
    found = detectable_effect(0.3, 1.5, "ratio", seeds=3, share=0.5)
    assert power(found, 0.3, 1.5, "ratio", seeds=3).reproduced == pytest.approx(0.5, abs=1e-3)


def arms_alike(draw: Callable[[np.random.Generator, tuple[int, int]], np.ndarray]) -> np.ndarray:
    random, shape = np.random.default_rng(1), (20_000, 5)
    return draw(random, shape) - draw(random, shape)


ALIKE = {
    "normal": lambda random, shape: random.standard_normal(shape),
    "skewed": lambda random, shape: np.exp(random.standard_normal(shape)),
    "heavy tails": lambda random, shape: random.standard_t(3, shape),
    "one run in ten fails to train": lambda random, shape: np.where(
        random.random(shape) < 0.1, 60.0, random.standard_normal(shape)
    ),
    "counts of few errors": lambda random, shape: random.poisson(0.5, shape),
}


@pytest.mark.parametrize("name", ALIKE)
def test_without_an_effect_at_most_one_in_twenty_is_reproduced(name: str) -> None:
    """However small the effect is that counts, and in whatever way seeds differ."""
    found = rates(
        arms_alike(ALIKE[name]), "difference", 1e-9, least=float(name.startswith("counts"))
    )
    assert found.reproduced <= 0.05


@pytest.mark.parametrize("zeros", [0.0, 0.05, 0.1, 0.15, 0.2, 0.3])
def test_effects_of_one_size_and_either_sign_seldom_reproduce(zeros: float) -> None:
    """What is hardest with symmetric effects: 1, 1, 1, 1, 0 are enough to be above 0."""
    random, shape = np.random.default_rng(1), (20_000, 5)
    effects = np.where(random.random(shape) < zeros, 0, random.choice([-1.0, 1.0], shape))
    assert rates(effects, "difference", 1e-9).reproduced <= 0.05


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_arms_at_the_smallest_effect_are_seldom_called_equivalent(sign: float) -> None:
    found = rates(sign + arms_alike(ALIKE["normal"]) / 4, "equivalence", 1.0)
    assert found.reproduced <= stats.binom.ppf(0.999, 20_000, 0.025) / 20_000


def test_the_spread_of_effects() -> None:
    effects = [1.5, 2.5, 1.9]
    assert spread_of(effects, "difference") == pytest.approx(np.std(effects, ddof=1))
    assert spread_of(effects, "ratio") == pytest.approx(np.std(np.log(effects), ddof=1))


def test_one_seed_has_no_power() -> None:
    with pytest.raises(InputError, match="seeds=1 is not allowed"):
        power(1.0, 1.0, 1.0, seeds=1)
