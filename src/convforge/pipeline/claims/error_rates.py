"""How often the rule of `verdict` says what, by simulation: its errors and its power."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convforge.errors import InputError
from convforge.pipeline.claims.claim import Rule
from convforge.pipeline.claims.verdict import Numbers, decided, intervals

#: Experiments that are simulated: a share of 5 % is then known to 0.1 points.
TRIALS = 50_000


@dataclass(frozen=True)
class Rates:
    """Shares of all experiments, from 0 to 1, by their verdict."""

    reproduced: float
    not_reproduced: float

    @property
    def undecided(self) -> float:
        return max(0.0, 1.0 - self.reproduced - self.not_reproduced)


def rates(effects: Numbers, rule: Rule, smallest: float, least: float = 0.0) -> Rates:
    """How often many experiments have each verdict.

    Args:
        effects: of shape (experiments, seeds), of a ratio their logarithms.
        rule: difference, ratio or equivalence.
        smallest: the smallest effect, of a ratio its logarithm.
        least: half the least width of an interval.

    Example:
        >>> rates(np.array([[1.0, 1.1], [0.0, 2.0]]), "difference", 0.3)
        Rates(reproduced=0.5, not_reproduced=0.0)
    """
    reproduced, not_reproduced = decided(*intervals(effects, least), rule, smallest)
    return Rates(float(reproduced.mean()), float(not_reproduced.mean()))


def power(
    effect: float,
    spread: float,
    smallest_effect: float,
    rule: Rule = "difference",
    seeds: int = 5,
) -> Rates:
    """How often an experiment finds an effect, if the effects of seeds are normally distributed.

    Args:
        effect: the true one, of a ratio a factor.
        spread: standard deviation of the effects of single seeds, of a ratio that of their
            logarithms, as `spread_of` has it.
        smallest_effect: that counts, of a ratio a factor.
        rule: difference, ratio or equivalence.
        seeds: of each arm.

    Raises:
        InputError: fewer than two seeds.

    Example:
        Dropout is to save 2 points of error, of which 0.5 count, and seeds differ by 0.6:

        >>> round(power(2.0, 0.6, 0.5).reproduced, 2)
        0.98
    """
    true, smallest = (
        (math.log(effect), math.log(smallest_effect))
        if rule == "ratio"
        else (effect, smallest_effect)
    )
    return rates(true + spread * _normal(seeds), rule, smallest)


def detectable_effect(
    spread: float,
    smallest_effect: float,
    rule: Rule = "difference",
    seeds: int = 5,
    share: float = 0.8,
) -> float:
    """The true effect that is reproduced in a share of all experiments, as `power`.

    Of an equivalence it is the smallest effect for which arms that are equal are found to be.

    Example:
        >>> round(detectable_effect(0.6, 0.5), 1)
        1.5
    """
    lower, upper = intervals(spread * _normal(seeds))
    if rule == "equivalence":
        return float(np.quantile(np.maximum(-lower, upper), share))
    needed = float(np.quantile(-lower, share))
    return smallest_effect * math.exp(needed) if rule == "ratio" else smallest_effect + needed


def spread_of(effects: Sequence[float], rule: Rule) -> float:
    """Standard deviation of the effects of single seeds, of a ratio that of their logarithms.

    Example:
        >>> spread_of([1.0, 2.0, 3.0], "difference")
        1.0
    """
    numbers = np.array(effects, dtype=float)
    return float(np.std(np.log(numbers) if rule == "ratio" else numbers, ddof=1))


def _normal(seeds: int) -> Numbers:
    if seeds < 2:
        raise InputError(f"seeds={seeds} is not allowed: give two or more")
    return np.random.default_rng(0).standard_normal((TRIALS, seeds))
