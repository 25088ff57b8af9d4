"""Results of claims with drawn figures, through the real schema and the real rule."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from convforge.pipeline.claims.claim import Comparison, Rule, ScaleName
from convforge.pipeline.claims.comparison import compared
from convforge.pipeline.claims.figures import FIGURES
from convforge.pipeline.claims.records import largest_rates
from convforge.pipeline.claims.result import (
    ArmRecord,
    ClaimResult,
    FigureRecord,
    ProtocolRecord,
    RunRecord,
)

RATES = [0.003, 0.01, 0.03, 0.1]
_CHOSEN = 0.03


@dataclass(frozen=True)
class Drawn:
    """A claim to draw: its arms as title, speed of learning and error at the end.

    Args:
        name: of the claim; none of the project's, which have protocols to agree with.
        title: of it.
        arms: by name.
        compared: better arm, other arm or a published figure, figure, rule, smallest effect, title.
        failed: arms whose last seed diverged.
        all_rates: whether every seed has every learning rate, and these are compared.
    """

    name: str
    title: str
    arms: dict[str, tuple[str, float, float]]
    compared: list[tuple[str, str | float, str, Rule, float, str]]
    failed: list[str] = field(default_factory=list)
    all_rates: bool = False


CLAIMS = [
    Drawn(
        "faster",
        "ReLU learns several times faster than tanh",
        {
            "relu": ("ReLU", 1.1, 4.0),
            "tanh": ("tanh", 0.22, 6.0),
            "sigmoid": ("sigmoid", 0.02, 9.0),
            "prelu": ("PReLU, its slopes < 1 & \"learned\" | 'shared'", 1.3, 3.8),
            "maxout": ("Maxout of two pieces, at equally many parameters", 0.9, 4.1),
        },
        [
            ("relu", "tanh", "steps_to_target", "ratio", 1.5, "ReLU reaches 25 % before tanh"),
            ("tanh", "sigmoid", "steps_to_target", "ratio", 1.5, "tanh before sigmoid"),
            ("prelu", "relu", "steps_to_target", "ratio", 1.2, "PReLU before ReLU"),
        ],
    ),
    Drawn(
        "pooled_by_max",
        "Max pooling beats <average> & |other| \"pooling\" of the 'same' *size*",
        {"max": ("max <3/2>", 0.5, 4.0), "average": ("average | 3/2", 0.4, 7.5)},
        [("max", "average", "test_error", "difference", 1.0, "max pooling errs less")],
    ),
    Drawn(
        "overlapped",
        "Overlapping pooling (3/2) helps against 2/2",
        {"overlapping": ("3/2", 0.5, 5.0), "apart": ("2/2", 0.5, 5.1)},
        [("overlapping", "apart", "test_error", "difference", 1.5, "overlapping errs less")],
    ),
    Drawn(
        "flipped",
        "A flipped kernel changes nothing that is learned",
        {
            "convolution": ("convolution", 0.5, 5.0),
            "cross_correlation": ("cross-correlation", 0.5, 5.0),
        },
        [
            (
                "convolution",
                "cross_correlation",
                "test_error",
                "equivalence",
                1.5,
                "both err alike",
            ),
            ("convolution", 5.5, "test_error", "equivalence", 2.0, "it errs as published"),
        ],
    ),
    Drawn(
        "dropped",
        "Dropout reduces overfitting",
        {"dropout": ("dropout 0.5", 0.3, 5.0), "none": ("none", 0.5, 6.5)},
        [("dropout", "none", "test_error", "difference", 0.5, "with dropout it errs less")],
        failed=["none"],
    ),
    Drawn(
        "normalised",
        "Batch normalisation allows larger rates",
        {"normalised": ("with batch normalisation", 2.5, 5.0), "plain": ("without", 0.25, 6.0)},
        [("normalised", "plain", "largest_rate", "ratio", 2.0, "it learns with larger rates")],
        all_rates=True,
    ),
]


def drawn_results(
    scale: ScaleName = "digits", *, seeds: int = 5, epochs: int = 20, claims: int = len(CLAIMS)
) -> list[ClaimResult]:
    """A result of each claim: among them one with runs that ended early, one with a failed run."""
    return [_result(drawn, scale, seeds, epochs) for drawn in CLAIMS[:claims]]


def _runs(
    random: np.random.Generator, drawn: Drawn, name: str, seeds: int, epochs: int
) -> tuple[list[RunRecord], list[RunRecord]]:
    """Those that tune, of which the largest learning rate fails, and those that are compared."""
    _, speed, end = drawn.arms[name]
    tuning = [
        RunRecord(seed=seed, rate=rate, status="FAILED", why="the loss is nan at step 7")
        if rate == RATES[-1]
        else _run(
            random, seed, rate, speed * rate / _CHOSEN, end + 20 * abs(rate - _CHOSEN), epochs
        )
        for seed in (range(seeds) if drawn.all_rates else [1000])
        for rate in RATES
    ]
    if drawn.all_rates:
        return tuning, largest_rates(tuning, range(seeds))
    runs = [_run(random, seed, _CHOSEN, speed, end, epochs) for seed in range(seeds)]
    if name in drawn.failed:
        why = "the loss is <inf> | at step 12"
        runs[-1] = RunRecord(seed=seeds - 1, rate=_CHOSEN, status="FAILED", why=why)
    return tuning, runs


def _figures() -> dict[str, FigureRecord]:
    steps = {
        "test_error": 0.1,
        "validation_error": 0.1,
        "steps_to_target": 0.0,
        "largest_rate": 0.0,
    }
    return {
        name: FIGURES[name].model_copy(update={"resolution": step}) for name, step in steps.items()
    }


def _result(drawn: Drawn, scale: ScaleName, seeds: int, epochs: int) -> ClaimResult:
    random = np.random.default_rng([ord(letter) for letter in drawn.name + scale])
    arms = {
        name: ArmRecord(
            title=drawn.arms[name][0],
            overrides=["data=mnist5k", f"model.activation={name}", "trainer.epochs=20"],
            parameters=12_345,
            multiply_adds=1_234_567,
            rate=None if drawn.all_rates else _CHOSEN,
            tuning=tuning,
            runs=runs,
        )
        for name in drawn.arms
        for tuning, runs in [_runs(random, drawn, name, seeds, epochs)]
    }
    comparisons = [
        compared(
            arms,
            Comparison(
                title=title,
                better=better,
                than=than if isinstance(than, str) else None,
                published=None if isinstance(than, str) else than,
                figure=figure,
                rule=rule,
                smallest_effect=smallest,
            ),
            smallest,
            _figures()[figure],
            list(range(seeds)),
        )
        for better, than, figure, rule, smallest, title in drawn.compared
    ]
    return ClaimResult(
        claim=drawn.name,
        scale=scale,
        scale_title="5,000 digits" if scale == "digits" else "10,000 images of CIFAR-10",
        title=drawn.title,
        sentence="This & that <b>is</b> better than | that.",
        slide="Activation functions",
        sources=["Krizhevsky 2012, figure 1"],
        method="Both arms see the same images in the same order.",
        command=f"convforge claim {drawn.name} scale={scale}",
        protocol=ProtocolRecord(
            commit="0123456789abcdef0123456789abcdef01234567",
            files=[f"conf/claim/{drawn.name}.yaml", f"conf/claim/scale/{scale}.yaml"],
            digest="d" * 64,
            seeds=list(range(seeds)),
            rates=RATES,
            tuned_by=None if drawn.all_rates else "validation_error",
            tuning_seeds=[] if drawn.all_rates else [1000],
            target=25.0,
        ),
        figures=_figures(),
        arms=arms,
        comparisons=comparisons,
        main=0,
        outcome=comparisons[0].outcome,
        data={"name": "mnist5k", "digest": "abc", "splits": {"train": 3500, "test": 1000}},
        versions={"convforge": "0.1.0", "tensorflow": "2.21.0"},
        hardware={"cpu": "AMD EPYC", "cores": 2, "accelerator": None},
        run_seconds=812.4,
        wall_seconds=431.0,
        finished="2026-11-30T16:00:00+00:00",
        parent_run_id="f" * 32,
    )


def _run(
    random: np.random.Generator, seed: int, rate: float, speed: float, end: float, epochs: int
) -> RunRecord:
    at = np.arange(1, epochs + 1)
    noise = 1 + 0.06 * random.standard_normal((2, epochs))
    training = np.round((end * 0.3 + 85 * np.exp(-speed * at)) * noise[0], 3)
    validation = np.round((end + 83 * np.exp(-speed * at)) * noise[1], 3)
    reached = np.flatnonzero(training <= 25)
    figures = {
        "validation_error": float(validation[-1]),
        "test_error": round(float(validation[-1]) + 0.3 * random.standard_normal(), 1),
        "steps_to_target": 35.0 * float(at[reached[0]] if len(reached) else epochs),
    }
    return RunRecord(
        seed=seed,
        rate=rate,
        status="FINISHED",
        figures=figures,
        not_reached=[] if len(reached) else ["steps_to_target"],
        history={"training_error": training.tolist(), "validation_error": validation.tolist()},
        steps_per_epoch=35,
        run_id=f"{random.integers(2**63):032x}",
        seconds=12.3,
    )
