"""`hydra/launcher=together`: the jobs of a sweep that differ in numbers alone, in one program.

Hydra imports whatever lies in the namespace package `hydra_plugins`, so what trains is imported
when jobs are launched.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict


class TogetherLauncher(Launcher):
    """Trains jobs in groups; `conf/hydra/launcher/together.yaml` says what the arguments are."""

    def __init__(self, most_together: int, mapped: bool | None) -> None:
        self.most_together = most_together
        self.mapped = mapped
        self._config: DictConfig | None = None
        self._context: HydraContext | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra gives to every launcher; what a job does is `run_job`'s, of sweeps."""
        self._config, self._context = config, hydra_context

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run all jobs; one that fails leaves the others alone.

        Raises:
            KeyboardInterrupt: a signal asked for an end.
        """
        # Late: they take a while to import, and Hydra imports this file for every command.
        from convforge.pipeline.sweeps.search import progress_of_sweep
        from convforge.pipeline.sweeps.together import train_together

        assert self._config is not None
        setup_globals()
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        Path(self._config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        returns = [
            self._prepared(overrides, number)
            for number, overrides in enumerate(job_overrides, initial_job_idx)
        ]
        # Hydra keeps a job's config in a global, so it is read before any other job is begun.
        jobs = {
            number: (returned.return_value, returned.hydra_cfg.hydra)
            for number, returned in enumerate(returns)
            if returned.status == JobStatus.COMPLETED
        }
        results = train_together(jobs, self.most_together, self.mapped, progress_of_sweep())
        for number, result in results.items():
            failed = isinstance(result, BaseException)
            returns[number].status = JobStatus.FAILED if failed else JobStatus.COMPLETED
            returns[number].return_value = result
        return returns

    def _prepared(self, overrides: Sequence[str], number: int) -> JobReturn:
        """The job's folder, with Hydra's record of it; it returns the job's settings."""
        # Late, as above.
        from convforge.pipeline.sweeps.jobs import job_settings

        assert self._context is not None
        config = self._context.config_loader.load_sweep_config(self._config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        return run_job(
            hydra_context=self._context,
            task_function=job_settings,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
