"""Compose: `conf/` → `params.yaml`, resolved and validated.

`dvc exp run -S` composes `params.yaml` itself, with the same Hydra and the same config, before it
runs any stage; this stage then leaves it as it is.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from convforge.pipeline.composition import compose_config, read_params, settings_of
from convforge.pipeline.data.preparation.sources import open_source
from convforge.pipeline.progress import Progress
from convforge.pipeline.project import project_root, resolve_path
from convforge.pipeline.stages.entry import add_verbosity, run_stage

PARAMS = "params.yaml"


def compose(root: Path, overrides: Sequence[str], progress: Progress) -> None:
    """Write `params.yaml` from `conf/` and `overrides`.

    Raises:
        InputError: a wrong key or value, or no data at `data.path`.
    """
    path = root / PARAMS
    if os.environ.get("DVC_EXP_NAME") and path.is_file():
        settings = read_params(path)
        progress.say(f"{PARAMS}: composed by DVC for experiment {os.environ['DVC_EXP_NAME']}")
    else:
        config = compose_config(root, overrides)
        settings = settings_of(config)
        text = OmegaConf.to_yaml(config)
        path.write_text(text, encoding="utf-8")
        progress.say(f"{PARAMS}: composed from conf/")
    for remark in settings.warnings:
        progress.say(remark)
    open_source(settings.data, resolve_path(settings.data.path, root))


def difference(root: Path, overrides: Sequence[str]) -> list[str]:
    """How `params.yaml` differs from what `conf/` composes to now, as lines of a diff."""
    path = root / PARAMS
    written = path.read_text(encoding="utf-8") if path.is_file() else ""
    composed = OmegaConf.to_yaml(compose_config(root, overrides))
    return list(
        difflib.unified_diff(
            written.splitlines(), composed.splitlines(), PARAMS, "conf/", n=0, lineterm=""
        )
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The stage's command line."""
    parser = argparse.ArgumentParser(description="Compose params.yaml from conf/.")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides")
    add_verbosity(parser)
    return run_stage(
        parser, argv, lambda given, progress: compose(project_root(), given.overrides, progress)
    )


if __name__ == "__main__":
    sys.exit(main())
