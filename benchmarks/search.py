"""What a search finds beside random search at equal cost, on the digits.

    python benchmarks/search.py [--seeds 3] [--trials 16] [--epochs 8] [--images 1000]

Searches learning rate, momentum, schedule and batch size of a linear net for the smallest loss on
the validation images: at random, by TPE, and by TPE with the median pruner or Hyperband, in turn,
seed after seed. The cost is counted in epochs, so that it does not depend on what else the
machine does: each may train as many as random search needs for its trials. A row has what was
found, the median over the seeds and each seed's, how many trials it took, and how often it was
better than random search with the same seed.

Two cores of an AMD EPYC that others used meanwhile, 43 minutes; 128 epochs for each search:

                          median  trials  better than random   of each seed
    random                0.4472      16                       0.4304 0.4472 0.4637
    TPE                   0.4314      16  2 of 3               0.4314 0.4304 0.4353
    TPE, median pruner    0.4299      35  3 of 3               0.4250 0.4425 0.4299
    TPE, Hyperband        0.4353      25  2 of 3               0.4439 0.4268 0.4353

Three seeds tell no more than that TPE is seldom worse. Pruning makes two to three trials of one in
epochs; in time it gains only where an epoch takes longer than building the net.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from convforge.errors import DivergenceError, PrunedError
from convforge.pipeline.composition import (
    compose_config,
    hydra_config,
    parsed_overrides,
    search_settings,
    settings_of,
)
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.project import project_root
from convforge.pipeline.stages.preprocess import prepared
from convforge.pipeline.stages.train import train
from convforge.pipeline.sweeps.search_space import SearchSpace
from convforge.pipeline.sweeps.study import Study, StudyTrial

SPACE = (
    "optimizer.learning_rate=tag(log, interval(0.0001, 1.0))",
    "optimizer.momentum=interval(0.0, 0.99)",
    "schedule=constant,cosine,step",
    "trainer.batch_size=10,25,50,100",
)
VARIANTS = {
    "random": ("hydra/sweeper/sampler=random", "hydra/sweeper/pruner=none"),
    "TPE": ("hydra/sweeper/pruner=none",),
    "TPE, median pruner": (),
    "TPE, Hyperband": ("hydra/sweeper/pruner=hyperband",),
}
# More trials than a pruned search can begin for the cost.
MANY = 1000


@dataclass
class Outcome:
    """The smallest loss, and how many trials were begun for it."""

    found: float
    trials: int


def search(
    variant: tuple[str, ...], seed: int, budget: int, fixed: list[str], folder: Path
) -> Outcome:
    """One search that stops when `budget` epochs have been trained."""
    root, quiet = project_root(), Progress(Verbosity.QUIET)
    own = ["hydra/sweeper=optuna", f"hydra.sweeper.n_trials={MANY}", f"hydra.sweeper.seed={seed}"]
    asked = search_settings(hydra_config(root, [*own, *variant]))
    assert asked is not None
    asked = asked.model_copy(update={"figure": "val_loss", "direction": "minimize"})
    space = SearchSpace.of(parsed_overrides(root, [*fixed, *SPACE]))
    study = Study(folder, asked, space)
    cost = trials = 0
    found = float("inf")
    for (job,) in study.batches():
        settings = settings_of(compose_config(root, space.job(job.values)))
        data = prepared(settings.data, root, quiet)
        trial = StudyTrial(folder, job.number, asked)
        result: Any
        try:
            figures = train(settings, data, folder / str(job.number), root, quiet, trial=trial)
            result = figures["val_loss"]
        except (PrunedError, DivergenceError) as error:
            result = error
        study.tell(job.number, result)
        trials += 1
        # A trial that diverges does so within the epoch after the last that it has told of.
        epochs = len(study.epochs_of(job.number)) + isinstance(result, DivergenceError)
        cost += epochs
        if cost > budget:
            break
        if isinstance(result, float):
            found = min(found, result)
        if cost == budget:
            break
    return Outcome(found, trials)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=16, help="of random search")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--images", type=int, default=1000)
    given = parser.parse_args()
    fixed = [
        "model=softmax_linear",
        "augment=none",
        "tracking=none",
        "trainer.checkpoint.seconds=1000000",
        f"trainer.epochs={given.epochs}",
        f"trainer.limit_examples={given.images}",
    ]
    budget = given.trials * given.epochs
    outcomes: dict[str, list[Outcome]] = {name: [] for name in VARIANTS}
    start = time.monotonic()
    for seed in range(given.seeds):
        for name, variant in VARIANTS.items():
            with tempfile.TemporaryDirectory(prefix="convforge-search-") as folder:
                outcomes[name].append(search(variant, seed, budget, fixed, Path(folder)))
            print(f"seed {seed} {name}: {outcomes[name][-1]}", flush=True)
    minutes = (time.monotonic() - start) / 60
    print(
        f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {minutes:.1f} min"
    )
    print(
        f"{budget} epochs of {given.images} images each, {given.seeds} seeds: smallest val_loss\n"
    )
    print(f"{'':<24}{'median':>8}{'trials':>8}  better than random   of each seed")
    for name, some in outcomes.items():
        wins = sum(
            one.found < other.found for one, other in zip(some, outcomes["random"], strict=True)
        )
        each = " ".join(f"{one.found:.4f}" for one in some)
        median = statistics.median(one.found for one in some)
        trials = statistics.median(one.trials for one in some)
        print(f"{name:<24}{median:>8.4f}{trials:>8.0f}  {wins} of {len(some):<17} {each}")


if __name__ == "__main__":
    main()
