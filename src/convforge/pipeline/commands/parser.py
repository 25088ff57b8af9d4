"""What the commands' parsers share: help that ends with examples, overrides, workers."""

from __future__ import annotations

import argparse
from typing import Any

from convforge.pipeline.stages.entry import add_verbosity

OVERRIDES = "Hydra overrides, such as model=prelu_cnn or optimizer.learning_rate=0.01"


def command(commands: Any, name: str, run: Any, help_: str, *examples: str) -> Any:
    """A subcommand whose help ends with `examples`."""
    lines = "\n".join(f"  convforge {name} {example}".rstrip() for example in examples)
    parser = commands.add_parser(
        name,
        help=help_,
        description=f"{help_[0].upper()}{help_[1:]}.",
        epilog=f"examples:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    add_verbosity(parser)
    return parser


def worker_pool_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Who prepares the data."""
    return {"processes": arguments.workers, "cluster": arguments.cluster}
