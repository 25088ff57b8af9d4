"""`convforge claim`: a sentence of the lecture, measured."""

from __future__ import annotations

import argparse
from typing import Any

from convforge.errors import InputError
from convforge.pipeline.commands.parser import command
from convforge.pipeline.project import project_root
from convforge.pipeline.stages.entry import progress_of

_SCALE = "scale="


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = command(
        commands,
        "claim",
        run,
        "measure one of the lecture's claims; without a name, list them",
        "",
        "overlapping_pooling",
        "relu scale=cpu",
        "relu scale=cpu hydra/launcher=joblib hydra.launcher.n_jobs=2",
    )
    parser.add_argument(
        "--tune-only",
        action="store_true",
        help="choose the learning rates, and leave the test images alone",
    )
    parser.add_argument("claim", nargs="?", metavar="NAME", help="of a file in conf/claim")
    parser.add_argument(
        "overrides",
        nargs="*",
        help="scale=digits (as without), cpu or full; where and how it is computed, such as "
        "tracking.uri=http://HOST:PORT",
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    if arguments.claim is None:
        _list()
        return
    if "=" in arguments.claim:
        raise InputError(f"{arguments.claim} is not a claim: give its name first")
    from convforge.pipeline.claims.run import run_claim

    scales = [item for item in arguments.overrides if item.startswith(_SCALE)]
    if len(scales) > 1:
        raise InputError(f"{' '.join(scales)} is not allowed: give one scale")
    scale = scales[0].removeprefix(_SCALE) if scales else "digits"
    others = [item for item in arguments.overrides if item not in scales]
    run_claim(arguments.claim, scale, others, progress_of(arguments), tune_only=arguments.tune_only)


def _list() -> None:
    from convforge.pipeline.claims.claim import SCALE_NAMES, claim_names
    from convforge.pipeline.claims.result import read_result, result_path

    root = project_root()
    for name in claim_names(root):
        paths = {scale: result_path(root, name, scale) for scale in SCALE_NAMES}
        found = [
            f"{scale}: {read_result(path).outcome}"
            for scale, path in paths.items()
            if path.is_file()
        ]
        print(f"{name:24} {', '.join(found) or 'not run'}")
