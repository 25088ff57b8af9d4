"""`hydra/sweeper=claim`: the runs of a claim, whose second half depends on its first.

`convforge claim` asks for it. Hydra imports whatever lies in the namespace package `hydra_plugins`,
so what trains is imported when a sweep begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class ClaimSweeper(Sweeper):
    """Launches the runs; `conf/hydra/sweeper/claim.yaml` has the arguments."""

    def __init__(self, claim: str, scale: str, tracked: bool, compare: bool) -> None:
        self.claim, self.scale = claim, scale
        self.tracked, self.compare = tracked, compare
        self.config: DictConfig | None = None
        self.launcher: Launcher | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra gives to every sweeper, and make the launcher."""
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: Sequence[str]) -> None:
        """Run all arms."""
        # Late, as above.
        from convforge.pipeline.claims.run import train_arms

        assert self.config is not None
        assert self.launcher is not None
        train_arms(
            Path(self.config.hydra.sweep.dir),
            self.claim,
            self.scale,
            list(arguments),
            self.launcher,
            tracked=self.tracked,
            compare=self.compare,
        )
