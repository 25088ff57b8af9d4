"""The runs of a claim: first those that choose each arm's learning rate, then those compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from convforge.pipeline.claims.claim import Protocol

#: Of the runs that choose; no compared run has it.
TUNING_SEED = 1000


@dataclass(frozen=True)
class ClaimJob:
    """One run.

    Args:
        number: of it in the sweep.
        arm: whose it is.
        seed: of it.
        rate: its learning rate; None where the arm has its own.
        compared: whether its test images count; else it helps to choose the learning rate.
        overrides: that make it.
    """

    number: int
    arm: str
    seed: int
    rate: float | None
    compared: bool
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class ClaimJobs:
    """All runs of a protocol.

    Args:
        protocol: that asks for them.
        tracked: whether each is a run in MLflow, with a name and tags.
    """

    protocol: Protocol
    tracked: bool

    @property
    def tuning(self) -> list[ClaimJob]:
        """Every arm with every learning rate; none where the arms have their own.

        One seed chooses; where the learning rates are what is compared, there are all seeds.
        """
        protocol = self.protocol
        seeds = protocol.seeds if protocol.claim.all_rates else [TUNING_SEED]
        runs = [
            (arm, seed, rate) for seed in seeds for arm in protocol.arms for rate in protocol.rates
        ]
        return [
            self._job(number, arm, seed, rate, compared=False)
            for number, (arm, seed, rate) in enumerate(runs)
        ]

    def compared(self, chosen: Mapping[str, float | None]) -> list[ClaimJob]:
        """Every arm with every seed; none where the learning rates were compared.

        Args:
            chosen: each arm's learning rate, or None for its own; an arm that is not there has
                found none.
        """
        if self.protocol.claim.all_rates:
            return []
        first = len(self.tuning)
        # Seed by seed, so that a sweep that was stopped early has whole pairs.
        runs = [(arm, seed) for seed in self.protocol.seeds for arm in chosen]
        return [
            self._job(first + number, arm, seed, chosen[arm], compared=True)
            for number, (arm, seed) in enumerate(runs)
        ]

    @property
    def probes(self) -> list[ClaimJob]:
        """A run of each arm, to see whether its config is allowed."""
        rate = next(iter(self.protocol.rates), None)
        return [
            self._job(number, arm, 0, rate, compared=not self.protocol.claim.all_rates)
            for number, arm in enumerate(self.protocol.arms)
        ]

    @property
    def count(self) -> int:
        """How many runs there are."""
        return len(self.tuning) + len(self.compared(dict.fromkeys(self.protocol.arms)))

    def _job(
        self, number: int, arm: str, seed: int, rate: float | None, *, compared: bool
    ) -> ClaimJob:
        overrides = [*self.protocol.overrides(arm), f"seed={seed}", "pictures=false"]
        name = f"{arm}, seed {seed}"
        if rate is not None:
            overrides.append(f"optimizer.learning_rate={rate:g}")
            name += f", rate {rate:g}"
        if compared:
            overrides.append("evaluate=true")
        if self.tracked:
            tags = {
                "claim": self.protocol.name,
                "scale": self.protocol.scale,
                "arm": arm,
                "kind": "compared" if compared else "tuning",
            }
            overrides.append(f"tracking.run_name='{name}'")
            overrides += [f"+tracking.tags.{tag}={value}" for tag, value in tags.items()]
        return ClaimJob(number, arm, seed, rate, compared, tuple(overrides))
