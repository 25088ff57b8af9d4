"""`hydra/launcher=ray`: the jobs of a sweep as tasks of Ray.

Not the package hydra-ray-launcher: its release 1.2.2 needs cloudpickle < 3, which joblib 1.6 and so
the joblib launcher do not take, and there one job that is lost for good ends all the others.

Hydra imports whatever lies in the namespace package `hydra_plugins`, so Ray itself is imported when
jobs are launched.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from convforge.errors import UnfinishedError
from convforge.pipeline.ray_cluster import RayCluster, carried_credentials, carried_environment

_CANCEL_SECONDS = 60.0


class RayLauncher(Launcher):
    """Launches each job as a task; `conf/hydra/launcher/ray.yaml` says what the arguments are."""

    def __init__(
        self, address: str | None, cpus_per_job: float, gpus_per_job: float, retries: int
    ) -> None:
        self.address = address
        self.resources = {"num_cpus": cpus_per_job, "num_gpus": gpus_per_job}
        self.retries = retries
        self._config: DictConfig | None = None
        self._context: HydraContext | None = None
        self._function: TaskFunction | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra gives to every launcher."""
        self._config, self._context, self._function = config, hydra_context, task_function

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run all jobs; one that fails or is lost leaves the others alone.

        Raises:
            InputError: Ray is not installed, or there is no cluster at the address.
        """
        assert self._config is not None
        setup_globals()
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        Path(self._config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        with RayCluster(self.address).connected() as ray:
            task = ray.remote(max_retries=self.retries, **self.resources)(run_on_worker)
            environment = carried_environment() | carried_credentials()
            calls = {}
            for number, overrides in enumerate(job_overrides, initial_job_idx):
                job = ray.cloudpickle.dumps(self._job(overrides, number))
                calls[task.remote(job, environment, str(Path.cwd()))] = list(overrides)
            return self._returns(ray, calls)

    def _job(self, overrides: Sequence[str], number: int) -> tuple[Any, ...]:
        assert self._context is not None
        config = self._context.config_loader.load_sweep_config(self._config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        return self._context, config, self._function, Singleton.get_state()

    def _returns(self, ray: Any, calls: Mapping[Any, list[str]]) -> list[JobReturn]:
        """What became of each job, in their order; a lost one is told of at once."""
        returns: dict[Any, JobReturn] = {}
        left = list(calls)
        try:
            while left:
                (call, *_), left = ray.wait(left, num_returns=1)
                returns[call] = self._return(ray, call, calls[call])
        except BaseException:
            # As Ctrl-C in each job: it ends its own run in order.
            for call in left:
                ray.cancel(call)
            ray.wait(left, num_returns=len(left), timeout=_CANCEL_SECONDS)
            raise
        return [returns[call] for call in calls]

    def _return(self, ray: Any, call: Any, overrides: list[str]) -> JobReturn:
        try:
            result: JobReturn = ray.get(call)
        except ray.exceptions.RayError as error:
            swept = os.environ.get("CONVFORGE_SWEPT_KEYS", "").split()
            choices = [item for item in overrides if item.split("=")[0] in swept] or overrides
            times = f" {self.retries + 1} times" if self.retries else ""
            why = str(error).strip().splitlines()[0]
            lost = UnfinishedError(f"the job {' '.join(choices)} was lost{times}: {why}")
            print(f"warning: {lost}", file=sys.stderr)
            result = JobReturn(overrides=overrides, status=JobStatus.FAILED)
            result.return_value = lost
        return result


def run_on_worker(job: bytes, environment: Mapping[str, str], folder: str) -> JobReturn:
    """Run the pickled `job` as if in the process that has launched it.

    Pickled, since reading it imports what must find the environment in its place.
    """
    os.environ.update(environment)
    os.chdir(folder)
    context, config, function, singletons = pickle.loads(job)
    setup_globals()
    Singleton.set_state(singletons)
    HydraConfig.instance().set_config(config)
    return run_job(
        hydra_context=context,
        task_function=function,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
