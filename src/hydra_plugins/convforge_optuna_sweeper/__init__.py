"""`hydra/sweeper=optuna`: the jobs of a sweep as trials of Optuna.

Not the package hydra-optuna-sweeper: its release 1.3.0 needs optuna < 3, whose storage does not
work with the SQLAlchemy that MLflow brings. Nor hydra-optuna-mlflow-sweeper 0.1.3, which takes a
newer one: it has a parent run of its own in MLflow, which a server that is down would stop, and
trains every trial to its end.

Hydra imports whatever lies in the namespace package `hydra_plugins`, so Optuna itself is imported
when a search begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class OptunaSweeper(Sweeper):
    """Asks Optuna for trials and launches them; `conf/hydra/sweeper/optuna.yaml` has the arguments.

    Raises:
        InputError: a wrong argument.
    """

    def __init__(self, **sweeper: Any) -> None:
        # Late: pydantic takes a while to import, and Hydra imports this file for every command.
        from convforge.pipeline.settings.search import SearchSettings

        given = OmegaConf.to_container(OmegaConf.create(sweeper), resolve=True)
        assert isinstance(given, dict)
        self.settings = SearchSettings.parse({str(name): value for name, value in given.items()})
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None
        self.launcher: Launcher | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra gives to every sweeper, and make the launcher."""
        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: Sequence[str]) -> None:
        """Run trials until there are enough.

        Raises:
            InputError: what every trial fails by.
        """
        # Late, as above.
        from convforge.pipeline.sweeps.search import search
        from convforge.pipeline.sweeps.search_space import SearchSpace

        assert self.config is not None
        assert self.hydra_context is not None
        assert self.launcher is not None
        loader: ConfigLoader = self.hydra_context.config_loader
        overrides = OverridesParser.create(loader).parse_overrides(list(arguments))
        space = SearchSpace.of(overrides)
        folder = Path(self.config.hydra.sweep.dir)
        search(folder, self.settings, space, self.launcher)
