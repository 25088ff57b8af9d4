"""Error rates and power of the claims' verdicts, and why their interval is Student's.

    python benchmarks/verdict.py [--write docs/verdict.md]

Everything is simulated from fixed seeds, in a minute: the same tables come out on every
machine, but for rounding.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from convforge.pipeline.claims.error_rates import detectable_effect, power, rates
from convforge.pipeline.claims.verdict import decided, intervals

Numbers = NDArray[np.float64]
# Its head and its rows.
Table = tuple[list[str], list[list[str]]]
Draw = Callable[[np.random.Generator, tuple[int, int]], Numbers]

SEEDS = (3, 5, 10)
EXPERIMENTS = 10_000
MANY_EXPERIMENTS = 200_000
RESAMPLES = 999
TAIL = 0.025


@dataclass(frozen=True)
class Effects:
    """A distribution of the effects of single seeds around their mean, in standard deviations.

    Args:
        draw: effects less their true mean.
        resolution: of the figure.
    """

    draw: Draw
    resolution: float = 0.0


def _failing(sign: float) -> Draw:
    """One seed in ten is 8 standard deviations of the others away."""

    def draw(random: np.random.Generator, shape: tuple[int, int]) -> Numbers:
        failed = random.random(shape) < 0.1
        return random.standard_normal(shape) + sign * 8.0 * (failed - 0.1)

    return draw


def _lognormal(random: np.random.Generator, shape: tuple[int, int]) -> Numbers:
    return (random.lognormal(size=shape) - math.exp(0.5)) / math.sqrt((math.e - 1) * math.e)


def _counts(random: np.random.Generator, shape: tuple[int, int]) -> Numbers:
    """In whole steps of one standard deviation, of mean −0.2 steps."""
    return random.poisson(0.4, shape) - random.poisson(0.6, shape) + 0.2


def _few_counts(random: np.random.Generator, shape: tuple[int, int]) -> Numbers:
    """In whole steps of 2.5 standard deviations: four of five effects are 0."""
    return 2.5 * (random.poisson(0.08, shape) - random.poisson(0.08, shape))


def _rounded_up(random: np.random.Generator, shape: tuple[int, int]) -> Numbers:
    """Times of 3.2 and 1.8 epochs, known in whole epochs of 2.5 standard deviations."""
    spread = 0.4 / math.sqrt(2)
    slow, fast = (mean + spread * random.standard_normal(shape) for mean in (3.2, 1.8))
    return 2.5 * (np.ceil(slow) - np.ceil(fast) - 1.4)


def _normal(random: np.random.Generator, shape: tuple[int, int]) -> Numbers:
    return random.standard_normal(shape)


def _heavy_tails(random: np.random.Generator, shape: tuple[int, int]) -> Numbers:
    return random.standard_t(3, shape) / math.sqrt(3)


EFFECTS = {
    "normal": Effects(_normal),
    "heavy tails (t, 3 degrees)": Effects(_heavy_tails),
    "skewed up (log-normal)": Effects(_lognormal),
    "skewed down": Effects(lambda random, shape: -_lognormal(random, shape)),
    "counts, step 1 sd": Effects(_counts, 1.0),
    "counts, step 2.5 sd": Effects(_few_counts, 2.5),
    "whole epochs, step 2.5 sd": Effects(_rounded_up, 2.5),
    "`than` fails to train, 1 in 10": Effects(_failing(1.0)),
    "`better` fails to train, 1 in 10": Effects(_failing(-1.0)),
}

#: Of single runs, where both arms are alike.
RUNS = {
    "normal": Effects(_normal),
    "heavy tails (t, 3 degrees)": Effects(_heavy_tails),
    "skewed (log-normal)": Effects(_lognormal),
    "counts of mean 0.5": Effects(lambda random, shape: random.poisson(0.5, shape), 1.0),
    "fails to train, 1 in 10": Effects(_failing(1.0)),
}


def _student(effects: Numbers, resolution: float) -> tuple[Numbers, Numbers]:
    return intervals(effects, resolution)


def _bare_student(effects: Numbers, resolution: float) -> tuple[Numbers, Numbers]:
    return intervals(effects)


def _weights(seeds: int) -> Numbers:
    """How often each resample has each seed: (seeds, resamples)."""
    random = np.random.default_rng(2)
    return random.multinomial(seeds, [1 / seeds] * seeds, RESAMPLES).T.astype(float)


def _at(values: Numbers, share: Numbers | float) -> Numbers:
    """The quantile of each row of sorted values."""
    rank = np.clip(np.floor(np.asarray(share) * (RESAMPLES + 1)).astype(int) - 1, 0, RESAMPLES - 1)
    return np.take_along_axis(values, np.broadcast_to(rank, len(values))[:, None], axis=1)[:, 0]


def _percentile(effects: Numbers, resolution: float) -> tuple[Numbers, Numbers]:
    seeds = effects.shape[1]
    means = np.sort(effects @ _weights(seeds) / seeds, axis=1)
    return _at(means, TAIL), _at(means, 1 - TAIL)


def _bca(effects: Numbers, resolution: float) -> tuple[Numbers, Numbers]:
    """Bias-corrected and accelerated (Efron 1987)."""
    seeds = effects.shape[1]
    means = np.sort(effects @ _weights(seeds) / seeds, axis=1)
    mean = effects.mean(axis=1, keepdims=True)
    below = ((means < mean).mean(axis=1) + (means <= mean).mean(axis=1)) / 2
    bias = ndtri(np.clip(below, 1 / RESAMPLES, 1 - 1 / RESAMPLES))
    apart = effects - mean
    with np.errstate(invalid="ignore"):
        skew = np.nan_to_num((apart**3).sum(axis=1) / (6 * (apart**2).sum(axis=1) ** 1.5))
    shares = []
    for tail in (TAIL, 1 - TAIL):
        z = bias + ndtri(tail)
        shares.append(ndtr(bias + z / (1 - skew * z)))
    return _at(means, shares[0]), _at(means, shares[1])


def _bootstrap_t(effects: Numbers, resolution: float) -> tuple[Numbers, Numbers]:
    seeds, weights = effects.shape[1], _weights(effects.shape[1])
    # Equal effects differ from their mean by rounding, and would be divided by it.
    centred = np.round(effects - effects.mean(axis=1, keepdims=True), 12)
    shift = centred @ weights / seeds
    variance = np.maximum(centred**2 @ weights / seeds - shift**2, 0.0)
    variance[variance < 1e-12 * (centred**2).sum(axis=1, keepdims=True)] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = shift / np.sqrt(variance)
    ratio = np.sort(np.where(np.isnan(ratio), 0.0, ratio), axis=1)
    error = centred.std(axis=1)
    mean = effects.mean(axis=1)
    return mean - _at(ratio, 1 - TAIL) * error, mean - _at(ratio, TAIL) * error


METHODS = {
    "Student's t": _student,
    "t, without steps": _bare_student,
    "percentile bootstrap": _percentile,
    "BCa bootstrap": _bca,
    "bootstrap-t": _bootstrap_t,
}


def sign_flip_coverage(effects: Numbers) -> float:
    """How often exchanging signs in all ways does not reject the true mean, 0, at 5 %."""
    seeds = effects.shape[1]
    signs = 1.0 - 2.0 * ((np.arange(2**seeds)[:, None] >> np.arange(seeds)) & 1)
    sums = np.abs(effects @ signs.T)
    as_far = (sums >= sums[:, :1] * (1 - 1e-9)).mean(axis=1)
    return float((as_far > 2 * TAIL).mean())


def coverage_table(seeds: int) -> Table:
    """How often each method's interval has the true mean, in percent; and its median width."""
    rows = []
    widths = []
    for name, effects in EFFECTS.items():
        drawn = effects.draw(np.random.default_rng(3), (EXPERIMENTS, seeds))
        found = [method(drawn, effects.resolution) for method in METHODS.values()]
        covered = (((lower <= 0) & (upper >= 0)).mean() for lower, upper in found)
        rows.append([name, *map(_percent, covered), _percent(sign_flip_coverage(drawn))])
        if name == "normal":
            widths = [float(np.median(upper - lower)) for lower, upper in found]
    said = ["∞" if math.isinf(width) else f"{width:.2f}" for width in widths]
    rows.append(["median width in sd, normal", *said, "∞" if seeds < 6 else "–"])
    return ["effects", *METHODS, "sign flips"], rows


def worst_table() -> Table:
    """How often is reproduced what is just, or just not, what counts."""
    rows = []
    for name, effects in EFFECTS.items():
        row = [name]
        for seeds in SEEDS:
            drawn = effects.draw(np.random.default_rng(4), (MANY_EXPERIMENTS, seeds))
            row += [
                _percent(
                    rates(drawn + 2.0 - below, "difference", 2.0, effects.resolution).reproduced
                )
                for below in (0.0, 0.5, 1.0)
            ]
        rows.append(row)
    return _by_seeds("effects", ["at m", "m − 0.5 sd", "m − 1 sd"]), rows


def alike_table() -> Table:
    """How often an effect is reproduced that is not there."""
    rows = []
    for name, arm in RUNS.items():
        random = np.random.default_rng(5)
        row = [name]
        for seeds in SEEDS:
            shape = (MANY_EXPERIMENTS, seeds)
            drawn = arm.draw(random, shape) - arm.draw(random, shape)
            spread = float(drawn.std())
            row += [
                _percent(rates(drawn, "difference", part * spread, arm.resolution).reproduced)
                for part in (1e-9, 0.5)
            ]
        rows.append(row)
    return _by_seeds("runs", ["m → 0", "m = 0.5 sd"]), rows


def power_table() -> Table:
    """Verdicts by how far the true effect lies above the smallest that counts, in spreads."""
    rows = []
    for distance in (-4.0, -2.0, -1.0, 0.0, 1.0, 1.5, 2.0, 3.0, 4.0):
        row = [f"{distance:+g}" if distance else "0"]
        for seeds in SEEDS:
            found = power(10.0 + distance, 1.0, 10.0, seeds=seeds)
            row += [
                _percent(share)
                for share in (found.reproduced, found.not_reproduced, found.undecided)
            ]
        rows.append(row)
    return _by_seeds("effect − m", ["reproduced", "not", "undecided"]), rows


def equivalence_table() -> Table:
    """How often arms are called equivalent, by the smallest effect in spreads."""
    rows = []
    for smallest in (0.5, 1.0, 1.5, 2.0, 3.0, 4.0):
        row = [f"{smallest:g}"]
        for seeds in SEEDS:
            row += [
                _percent(power(true, 1.0, smallest, "equivalence", seeds).reproduced)
                for true in (0.0, smallest)
            ]
        rows.append(row)
    return _by_seeds("m", ["effect 0", "effect m"]), rows


#: What Krizhevsky 2012 has, in figure 1 and section 3.4: the effect, smallest effects that might
#: count, the rule, and spreads of single seeds' effects.
PUBLISHED = {
    "ReLU against tanh": (
        (6.0, "×"),
        (1.5, 2.0),
        "ratio",
        (0.2, 0.4, 0.8),
    ),
    "overlapping pooling": (
        (0.4, " points"),
        (0.1, 0.2),
        "difference",
        (0.1, 0.2, 0.4),
    ),
}


def published_table() -> Table:
    """Verdicts if what is published is true, with five seeds."""
    rows = []
    for name, ((effect, unit), smallest_effects, rule, spreads) in PUBLISHED.items():
        for smallest in smallest_effects:
            for spread in spreads:
                found = power(effect, spread, smallest, rule)
                needed = detectable_effect(spread, smallest, rule)
                rows.append(
                    [
                        name,
                        f"{effect:g}{unit}",
                        f"{smallest:g}{unit}",
                        f"{spread:g}",
                        _percent(found.reproduced),
                        _percent(found.not_reproduced),
                        _percent(found.undecided),
                        f"{needed:.2g}{unit}",
                    ]
                )
    head = ["claim", "effect", "m", "sd", "reproduced", "not", "undecided", "80 % power from"]
    return head, rows


def early_table() -> Table:
    """Verdicts of a ratio where runs end before their target, with five seeds."""
    rows = []
    for ratio in (2.0, 4.0, 8.0):
        for ending in (0.0, 0.2, 0.5, 0.9):
            random = np.random.default_rng(6)
            slow, fast = (
                0.3 * random.standard_normal((MANY_EXPERIMENTS, 5)) + mean
                for mean in (math.log(ratio), 0.0)
            )
            budget = math.log(ratio) + 0.3 * ndtri(1 - ending) if ending else math.inf
            lower, upper = intervals(np.minimum(slow, budget) - np.minimum(fast, budget))
            lower = np.where((fast > budget).any(axis=1), -math.inf, lower)
            upper = np.where((slow > budget).any(axis=1), math.inf, upper)
            reproduced, not_reproduced = decided(lower, upper, "ratio", math.log(2.0))
            shares = (float(each.mean()) for each in (reproduced, not_reproduced))
            rows.append([f"{ratio:g}×", f"{ending:.0%}".replace("%", " %"), *map(_percent, shares)])
    return ["true ratio", "slower runs that end early", "reproduced", "not reproduced"], rows


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _by_seeds(first: str, columns: Sequence[str]) -> list[str]:
    return [first, *(f"{seeds} seeds: {column}" for seeds in SEEDS for column in columns)]


TABLES: dict[str, Callable[[], Table]] = {
    "coverage, 3 seeds": lambda: coverage_table(3),
    "coverage, 5 seeds": lambda: coverage_table(5),
    "coverage, 10 seeds": lambda: coverage_table(10),
    "no effect": alike_table,
    "smallest effect": worst_table,
    "power": power_table,
    "published": published_table,
    "equivalence": equivalence_table,
    "early ends": early_table,
}


def markdown(table: Table) -> str:
    """A table with its numbers to the right."""
    head, rows = table
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def with_tables(page: str, tables: Mapping[str, str]) -> str:
    """The page with these tables in place of those that stand below their names' marks."""
    for name, table in tables.items():
        mark = f"<!-- table: {name} -->\n"
        before, found, after = page.partition(mark)
        if not found:
            raise ValueError(f"the page has no {mark.strip()}")
        page = before + mark + table + re.sub(r"\A(\|.*\n)*", "", after)
    return page


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables, and write them if told to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", type=Path, help="a page to put the tables into")
    options = parser.parse_args(arguments)
    tables = {name: markdown(make()) for name, make in TABLES.items()}
    for name, table in tables.items():
        print(f"{name}\n\n{table}")
    if options.write:
        page = options.write.read_text(encoding="utf-8")
        options.write.write_text(with_tables(page, tables), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
