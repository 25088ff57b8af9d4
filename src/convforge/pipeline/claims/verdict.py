"""The verdict on a comparison of two arms by a figure that every seed of both has.

A claim says that one arm does better than another by more than a smallest effect. Each seed gives
one effect, since both arms start from the same seed; Student's t gives the 95 % interval of their
mean, and where that lies gives the verdict. `docs/verdict.md` has how often it errs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from convforge.errors import InputError
from convforge.pipeline.claims.claim import Rule
from convforge.pipeline.claims.result import Outcome

#: Of the interval, both sides together.
CONFIDENCE = 0.95
# Effects that differ by no more than rounding, relative to the figure.
_EQUAL = 1e-9

Numbers: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Value:
    """The deciding figure of one seed of an arm.

    Args:
        value: of it; None where the run failed.
        reached: False where it is the end of what was measured, since the run was over, or the
            largest learning rate was tried: it is then `value` or more.
        why: why there is no value.
    """

    value: float | None
    reached: bool = True
    why: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What a comparison found.

    Args:
        effects: of each seed, above 0, or above 1 of a ratio, as the claim says; None where a run
            failed or a ratio has no value. Where a figure was not reached it is a bound.
        estimate: their mean, or geometric mean; None where it is not known.
        interval: its 95 % interval; None for an end that is not known.
        outcome: the verdict.
        why: where it needs words.
    """

    effects: list[float | None]
    estimate: float | None
    interval: tuple[float | None, float | None]
    outcome: Outcome
    why: str | None = None


def decide(
    better: Sequence[Value],
    than: Sequence[Value],
    rule: Rule,
    smallest_effect: float,
    *,
    higher_is_better: bool = False,
    resolution: float | None = None,
    step_factor: float | None = None,
    names: tuple[str, str] = ("better", "than"),
) -> Verdict:
    """Whether `better` does better than `than` by at least the smallest effect.

    The effect of a seed is e = than − better where lower is better, better − than where higher is;
    of a ratio it is than / better or better / than, and all that follows is done with its
    logarithm. The interval is ē ± max(t s / √n, r), with the mean ē and the standard deviation s of
    the effects of n seeds, and t the 97.5 % quantile of Student's t with n − 1 degrees of freedom.

    r is the figure's resolution δ, for a ratio δ (1 / mean of better + 1 / mean of than) / 2. Of a
    figure whose values are a factor φ apart, as the learning rates that were tried, it is log φ for
    a ratio, and (φ − 1) times the largest value for a difference. All seeds may have the same
    effect by chance where a figure has steps: the interval would have no width. A figure counted in
    steps, as epochs are, stands for anything within one step, and the difference of two such
    figures is within one step of what it stands for. With δ = 0 the figure is exact or continuous,
    and effects that are all equal have no chance in them: an interval without width is then right.
    With neither δ nor φ it is not known which, and such a verdict is undecided.

    The rule, with the interval's ends [a, b] and the smallest effect m:

    ============  ================  =========================  =========
    rule          reproduced        not reproduced             undecided
    ============  ================  =========================  =========
    difference    a ≥ m             b < m                      else
    ratio         a ≥ m             b < m                      else
    equivalence   −m ≤ a and b ≤ m  a > m or b < −m            else
    ============  ================  =========================  =========

    A run that ends before what its figure waits for has that figure or more, and so has one whose
    largest learning rate is the largest that was tried. Where it is a run of the arm whose larger
    figure is for the claim (`than` where lower is better), the seed's effect is the number given or
    more: b is not known, and a is that of the numbers given. This a is a sound bound: it is that of
    the mean effect of runs that are ended there, which is not above the mean effect. The claim can
    then be reproduced, and a difference or ratio cannot be "not reproduced". With a run of the
    other arm it is the reverse. Where both arms of one seed end early, or different arms in
    different seeds, neither end is known and the verdict is undecided, whatever the other seeds
    say: a mean has no bound if one of its terms has none.

    A failed run makes the verdict undecided: to leave its seed out would choose the seeds by what
    they gave. So does a ratio with a value that is not above 0.

    Args:
        better: by seed, of the arm that the claim says does better.
        than: of the arm that it is compared with, in the same order.
        rule: difference, ratio or equivalence.
        smallest_effect: m, in the figure's unit, above 0; for a ratio a factor above 1.
        higher_is_better: of the figure.
        resolution: δ, the figure's smallest step; 0 of one that is exact or continuous, None if
            not known.
        step_factor: φ, above 1, where the figure's steps are factors; in place of δ.
        names: of both arms, for the words.

    Raises:
        InputError: the arms have different numbers of seeds, or fewer than two, or a wrong
            smallest effect or resolution.

    Example:
        >>> sigmoid, relu = ([Value(x) for x in steps] for steps in ([40, 52, 45], [10, 12, 10]))
        >>> found = decide(relu, sigmoid, "ratio", 2.0, resolution=0.0)
        >>> found.outcome, round(found.estimate, 2), [round(end, 2) for end in found.interval]
        ('reproduced', 4.27, [3.68, 4.96])
    """
    _check_arguments(better, than, rule, smallest_effect, resolution, step_factor)
    up, down = (better, than) if higher_is_better else (than, better)
    effects = [_effect(one, other, rule) for one, other in zip(up, down, strict=True)]
    if None in effects:
        why = _why_missing(dict(zip(names, (better, than), strict=True)))
        return Verdict(effects, None, (None, None), "undecided", why)

    analysed, smallest = np.array(effects, dtype=float), smallest_effect
    if rule == "ratio":
        analysed, smallest = np.log(analysed), math.log(smallest_effect)
    least = _least_half_width(up, down, rule, resolution, step_factor)
    lower, upper = (float(end) for end in intervals(analysed, least or 0.0))
    equal = _all_equal(analysed, 1.0 if rule == "ratio" else _largest(up, down))
    no_width = equal and least is None
    lower = -math.inf if no_width or _ended_early(down) else lower
    upper = math.inf if no_width or _ended_early(up) else upper

    back = math.exp if rule == "ratio" else float
    ended = {name: _ended_early(arm) for name, arm in zip(names, (better, than), strict=True)}
    return Verdict(
        effects,
        None if all(ended.values()) else back(float(analysed.mean())),
        (
            back(lower) if math.isfinite(lower) else None,
            back(upper) if math.isfinite(upper) else None,
        ),
        outcome(lower, upper, rule, smallest),
        _why_ended_early(ended, len(better), at_least=not _ended_early(down))
        or _why_equal(equal, least),
    )


def intervals(effects: Numbers, least: float | Numbers = 0.0) -> tuple[Numbers, Numbers]:
    """Both ends of Student's 95 % interval of the mean, of samples of effects.

    Args:
        effects: shape (…, seeds).
        least: the half width is not less, of shape (…) or one for all.

    Returns:
        The lower and the upper ends, of shape (…).

    References:
        Student 1908, "The probable error of a mean".
    """
    from scipy.special import stdtrit  # A second when first imported, for those that decide.

    seeds = effects.shape[-1]
    quantile = stdtrit(seeds - 1, (1 + CONFIDENCE) / 2)
    mean = effects.mean(axis=-1)
    half = np.maximum(quantile * effects.std(axis=-1, ddof=1) / math.sqrt(seeds), least)
    return mean - half, mean + half


def decided(lower: Any, upper: Any, rule: Rule, smallest: float) -> tuple[Any, Any]:
    """Whether intervals say "reproduced", and whether they say "not reproduced".

    Args:
        lower: their lower ends, one or an array; −∞ where it is not known.
        upper: their upper ends, ∞ where it is not known.
        rule: difference, ratio or equivalence.
        smallest: the smallest effect, of a ratio its logarithm as are the ends.

    Example:
        >>> decided(np.array([1.0, 0.0]), np.array([2.0, 0.4]), "difference", 0.5)
        (array([ True, False]), array([False,  True]))
    """
    if rule == "equivalence":
        return (lower >= -smallest) & (upper <= smallest), (lower > smallest) | (upper < -smallest)
    return lower >= smallest, upper < smallest


def outcome(lower: float, upper: float, rule: Rule, smallest: float) -> Outcome:
    """The verdict of one interval, as `decided`.

    Example:
        >>> outcome(-0.1, 0.7, "difference", 0.5)
        'undecided'
    """
    reproduced, not_reproduced = decided(lower, upper, rule, smallest)
    if reproduced:
        return "reproduced"
    return "not reproduced" if not_reproduced else "undecided"


def _check_arguments(
    better: Sequence[Value],
    than: Sequence[Value],
    rule: Rule,
    smallest_effect: float,
    resolution: float | None,
    step_factor: float | None,
) -> None:
    if len(better) != len(than):
        raise InputError(f"{len(better)} and {len(than)} seeds: give both arms the same")
    if len(better) < 2:
        raise InputError(f"{len(better)} seeds have no spread: give two or more")
    least = 1 if rule == "ratio" else 0
    if not least < smallest_effect < math.inf:
        raise InputError(
            f"smallest_effect={smallest_effect} is not allowed: give a number above {least}"
        )
    if resolution is not None and not 0 <= resolution < math.inf:
        raise InputError(
            f"resolution={resolution} is not allowed: give a number of 0 or more, or null"
        )
    if step_factor is not None and not 1 < step_factor < math.inf:
        raise InputError(
            f"step_factor={step_factor} is not allowed: give a number above 1, or null"
        )


def _effect(up: Value, down: Value, rule: Rule) -> float | None:
    """The effect of a seed: of a difference up − down, of a ratio up / down."""
    if _missing(up) or _missing(down):
        return None
    one, other = float(up.value), float(down.value)  # type: ignore[arg-type]
    if rule != "ratio":
        return one - other
    return one / other if min(one, other) > 0 else None


def _missing(value: Value) -> bool:
    return value.value is None or not math.isfinite(value.value)


def _why_missing(arms: dict[str, Sequence[Value]]) -> str:
    for name, values in arms.items():
        failed = [value for value in values if _missing(value)]
        if failed:
            count = f"{len(failed)} of {len(values)} runs of {name} gave no figure"
            return f"{count}: {failed[0].why}" if failed[0].why else count
    return "a value is not above 0, so there is no ratio"


def _ended_early(values: Sequence[Value]) -> int:
    return sum(not value.reached for value in values)


def _why_ended_early(ended: dict[str, int], seeds: int, at_least: bool) -> str | None:
    said = [
        f"{count} of {seeds} runs of {name} have the end of what was measured"
        for name, count in ended.items()
        if count
    ]
    if not said:
        return None
    if len(said) == 2:
        return f"{' and '.join(said)}: the effect has no bounds"
    return f"{said[0]}: the effect is the number given or {'more' if at_least else 'less'}"


def _why_equal(equal: bool, least: float | None) -> str | None:
    if not equal:
        return None
    if least is None:
        return "all effects are equal, and how fine the figure's steps are is not known"
    if least == 0:
        return "all effects are equal, and the figure is exact: the interval has no width"
    return "all effects are equal: the interval is one step of the figure to each side"


def _numbers(values: Sequence[Value]) -> Numbers:
    return np.array([value.value for value in values], dtype=float)


def _largest(up: Sequence[Value], down: Sequence[Value]) -> float:
    return float(max(np.abs(_numbers(up)).max(), np.abs(_numbers(down)).max()))


def _all_equal(effects: Numbers, size: float) -> bool:
    return bool(np.ptp(effects) <= _EQUAL * size)


def _least_half_width(
    up: Sequence[Value],
    down: Sequence[Value],
    rule: Rule,
    resolution: float | None,
    step_factor: float | None,
) -> float | None:
    """What a figure in steps lets be known of an effect at best; see `decide`."""
    if step_factor is not None:
        if rule == "ratio":
            return math.log(step_factor)
        return _largest(up, down) * (step_factor - 1)
    if resolution is None or rule != "ratio":
        return resolution
    return resolution * float(1 / _numbers(up).mean() + 1 / _numbers(down).mean()) / 2
