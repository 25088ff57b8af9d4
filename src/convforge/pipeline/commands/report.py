"""`convforge report`: the pages of the lecture's claims, from the results in Git."""

from __future__ import annotations

import argparse
from typing import Any

from convforge.errors import InputError
from convforge.pipeline.commands.parser import command
from convforge.pipeline.project import expanded, project_root
from convforge.pipeline.stages.entry import progress_of

_SCALES = ("digits", "cpu", "full")


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = command(
        commands,
        "report",
        run,
        "write the pages of the lecture's claims from their results",
        "",
        "--results claims --out docs",
        "--pictures outputs/train/2026-11-22_15-04-05 --scale cpu",
    )
    parser.add_argument(
        "--results",
        type=expanded,
        metavar="FOLDER",
        help="of CLAIM/SCALE/result.json (default: claims)",
    )
    parser.add_argument(
        "--out",
        type=expanded,
        metavar="FOLDER",
        help="gets claims.html, claims.md and their pictures (default: docs)",
    )
    parser.add_argument(
        "--pictures",
        type=expanded,
        metavar="RUN",
        help="first keep pictures of this run's kernels, feature maps and worst mistakes with the "
        "results: the folder that train wrote",
    )
    parser.add_argument("--scale", choices=_SCALES, help="of the run whose pictures are kept")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    if (arguments.pictures is None) != (arguments.scale is None):
        raise InputError("--pictures and --scale go together: whose pictures, and for which scale")
    from convforge.pipeline.claims.claim import planned_claims, read_protocol
    from convforge.pipeline.claims.comparison import check
    from convforge.pipeline.claims.page.pages import write_pages
    from convforge.pipeline.claims.result import FOLDER, read_results

    root, progress = project_root(), progress_of(arguments)
    folder, out = arguments.results or root / FOLDER, arguments.out or root / "docs"
    results = read_results(folder)
    if not results:
        raise InputError(f"{folder} has no results: `convforge claim NAME` makes one")
    planned = planned_claims(root)
    for result in results:
        ours = result.claim in planned[result.scale]
        check(result, read_protocol(root, result.claim, result.scale) if ours else None)
    if arguments.pictures is not None:
        from convforge.pipeline.claims.page.run_pictures import draw_run
        from convforge.pipeline.run_folder import RunFolder

        run = RunFolder(arguments.pictures)
        kept = draw_run(run, arguments.scale, results, folder, root, progress)
        progress.say(f"pictures: {kept}")
    for path in write_pages(results, folder, out, planned):
        progress.detail(str(path))
    progress.say(f"pages: {out}")
