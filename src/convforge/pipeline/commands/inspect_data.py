"""`convforge inspect-data`: what a data set holds."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convforge.errors import InputError
from convforge.pipeline.commands.parser import OVERRIDES, command, worker_pool_options
from convforge.pipeline.pluralize import pluralize
from convforge.pipeline.project import expanded, project_root, resolve_path
from convforge.pipeline.stages.entry import add_workers, progress_of

if TYPE_CHECKING:
    from convforge.pipeline.progress import Progress


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = command(
        commands,
        "inspect-data",
        run,
        "show what a data set holds: counts, sizes, bad files, contact sheets, a data card",
        "",
        "data=folder data.path=photos.zip --out photos-report",
    )
    parser.add_argument(
        "--out",
        type=expanded,
        help="folder for card and sheets (default: in outputs/inspect-data/)",
    )
    add_workers(parser)
    parser.add_argument(
        "overrides",
        nargs="*",
        help=f"a folder of prepared data, such as build/data; or {OVERRIDES}",
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from convforge.pipeline.data.manifest import Manifest
    from convforge.pipeline.report.data_card import is_own, report_data
    from convforge.pipeline.report.tables import print_inspection

    def refuse_to_replace(out: Path) -> None:
        if out.exists() and not (out.is_dir() and all(is_own(file.name) for file in out.iterdir())):
            raise InputError(f"{out} exists and holds something else: give another folder as --out")
        if any(folder.is_file() for folder in out.parents):
            raise InputError(f"{out} would lie in a file: give another folder as --out")

    root, progress = project_root(), progress_of(arguments)
    if arguments.out is not None:
        refuse_to_replace(arguments.out)
    data = _data_to_inspect(arguments, root, progress)
    manifest = Manifest.read(data)
    name = re.sub(r"[^\w.-]+", "_", manifest.name)
    out = arguments.out or root / "outputs" / "inspect-data" / f"{name}-{manifest.digest[:16]}"
    refuse_to_replace(out)
    source = resolve_path(str(manifest.config["path"]), root)
    card, *pictures = report_data(data, manifest, out, source)
    print_inspection(manifest)
    progress.say(f"card: {card}    contact sheets: {pluralize(len(pictures), 'picture')} beside it")


def _data_to_inspect(arguments: argparse.Namespace, root: Path, progress: Progress) -> Path:
    """The folder of prepared data that the command line names; overrides prepare it if needed."""
    from convforge.pipeline.composition import compose_config, settings_of
    from convforge.pipeline.data.manifest import is_prepared
    from convforge.pipeline.stages.preprocess import prepared

    words = arguments.overrides
    if len(words) == 1 and "=" not in words[0] and not words[0].startswith(("~", "+")):
        folder = Path(words[0])
        if is_prepared(folder):
            return folder
        raise InputError(
            f"{folder} holds no prepared data; to prepare images and look at them: "
            f"convforge inspect-data data=folder data.path={folder}"
        )
    settings = settings_of(compose_config(root, words))
    return prepared(settings.data, root, progress, **worker_pool_options(arguments))
