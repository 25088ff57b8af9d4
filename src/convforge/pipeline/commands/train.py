"""`convforge train`: one network, or a sweep over many."""

from __future__ import annotations

import argparse
from typing import Any

from convforge.pipeline.commands.parser import OVERRIDES, command
from convforge.pipeline.project import project_root
from convforge.pipeline.stages.entry import progress_of


class _OtherConfig(argparse.Action):
    """Hydra's options for other configs, which it refuses."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        parser.exit(
            2,
            "error: --config-dir, --config-name and --config-path are not allowed: the config is "
            "conf/config.yaml of the project's folder; put a variant in conf/experiment/NAME.yaml "
            "and give experiment=NAME\n",
        )


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
        "-m hydra/sweeper=optuna 'optimizer.learning_rate=tag(log, interval(0.001, 0.1))'",
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
    parser.add_argument(
        "--info",
        nargs="?",
        const="all",
        choices=("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
        help="show what Hydra makes of the config, and by which plugins",
    )
    parser.add_argument(
        "-sc",
        "--shell-completion",
        metavar="install=SHELL",
        help='let bash, fish or zsh complete overrides: eval "$(convforge train -sc install=bash)"',
    )
    for flags in (("-cd", "--config-dir"), ("-cn", "--config-name"), ("-cp", "--config-path")):
        parser.add_argument(
            *flags, dest="other_config", action=_OtherConfig, help=argparse.SUPPRESS
        )
    parser.add_argument("overrides", nargs="*", help=OVERRIDES)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from convforge.pipeline.composition import hydra_info
    from convforge.pipeline.sweeps.jobs import run_jobs, show_config
    from convforge.pipeline.training.resume.resumable import forget_at_exit

    if arguments.info:
        print(hydra_info(project_root(), arguments.overrides, arguments.info), end="")
        return
    if arguments.cfg:
        show_config(arguments.overrides, arguments.cfg)
        return
    if arguments.own_process and not arguments.multirun:
        forget_at_exit()
    run_jobs(arguments.overrides, multirun=arguments.multirun, progress=progress_of(arguments))
