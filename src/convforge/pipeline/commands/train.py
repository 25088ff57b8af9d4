"""`convforge train`: one network, or a sweep over many."""

from __future__ import annotations

import argparse
from typing import Any

from convforge.pipeline.commands.parser import OVERRIDES, command
from convforge.pipeline.stages.entry import progress_of


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = command(
        commands,
        "train",
        run,
        "train one network, or with -m one for each combination of choices",
        "",
        "model=prelu_cnn optimizer.learning_rate=0.01 trainer.epochs=5",
        "-m model=maxout_cnn,prelu_cnn optimizer.learning_rate=0.1,0.01",
        "-m hydra/launcher=ray hydra.launcher.address=auto seed=0,1,2,3",
        "debug=overfit_batch",
        "--cfg job model=prelu_cnn",
        "data=folder data.path=photos 'data.size=[64,64]'",
    )
    parser.add_argument(
        "-m", "--multirun", action="store_true", help="a sweep over comma-separated choices"
    )
    parser.add_argument(
        "--cfg", choices=("job", "hydra", "all"), help="show the config instead, as Hydra does"
    )
    parser.add_argument("overrides", nargs="*", help=OVERRIDES)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from convforge.pipeline.sweeps.jobs import run_jobs, show_config
    from convforge.pipeline.training.resume.resumable import forget_at_exit

    if arguments.cfg:
        show_config(arguments.overrides, arguments.cfg)
        return
    if arguments.own_process and not arguments.multirun:
        forget_at_exit()
    run_jobs(arguments.overrides, multirun=arguments.multirun, progress=progress_of(arguments))
