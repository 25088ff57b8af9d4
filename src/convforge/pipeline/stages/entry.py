"""What the stages' command lines share: their arguments, and errors without a traceback."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from convforge.errors import InputError
from convforge.geometry import ArgumentError
from convforge.pipeline.credentials import redacted, take_from_environment
from convforge.pipeline.printable import one_line, printable
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.ray_cluster import RayCluster

INTERRUPTED = 130
#: What a shell says of a command whose reader has gone: 128 + SIGPIPE.
_READER_LEFT = 141
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR)
_BACKENDS = ("tensorflow", "jax", "torch", "numpy", "openvino")


def stage_parser(description: str, *folders: str) -> argparse.ArgumentParser:
    """A parser with `--params`, -q, -v and one option for each of `folders`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="resolved config")
    for folder in folders:
        parser.add_argument(f"--{folder}", type=Path, required=True, help=f"the {folder} folder")
    add_verbosity(parser)
    return parser


def add_copy(parser: argparse.ArgumentParser, option: str) -> None:
    """Add an option for a copy of figures that DVC leaves to Git: a clone has a baseline."""
    parser.add_argument(
        f"--{option}", type=Path, metavar="FILE", help=f"write a copy of the {option} here"
    )


def add_verbosity(parser: argparse.ArgumentParser) -> None:
    """Add -q and -v."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("-q", "--quiet", action="store_true", help="say nothing but warnings")
    group.add_argument("-v", "--verbose", action="store_true", help="say more")


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add --workers and --cluster."""
    parser.add_argument(
        "--workers",
        type=_positive,
        metavar="N",
        help="processes that work on it (default: as many as there are cores)",
    )
    parser.add_argument(
        "--cluster",
        type=_cluster,
        metavar="ray[:ADDRESS]",
        help="let a Ray cluster work on it, whose machines share images and output",
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number ≥ 1")
    return int(text)


def _cluster(text: str) -> RayCluster:
    try:
        return RayCluster.parse(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def progress_of(arguments: argparse.Namespace) -> Progress:
    """The progress reporter that -q and -v ask for."""
    if arguments.quiet:
        return Progress(Verbosity.QUIET)
    return Progress(Verbosity.VERBOSE if arguments.verbose else Verbosity.NORMAL)


def run_stage(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    stage: Callable[[argparse.Namespace, Progress], object],
) -> int:
    """The exit status of `stage`, given what the command line says; see `run_guarded`."""
    arguments = parser.parse_args(argv)
    return run_guarded(lambda: stage(arguments, progress_of(arguments)))


def run_guarded(command: Callable[[], object]) -> int:
    """Run `command`; a user's mistake is one line on standard error, a bug keeps its traceback.

    Returns:
        The exit status: 0, 2 for a mistake, 130 for Ctrl-C, 141 where who read the output left.
    """
    # As Ctrl-C: a scheduler's or a closing terminal's signal ends the run in order.
    ending = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.default_int_handler) for number in ending]
    try:
        take_from_environment()
        _check_backend()
        command()
        sys.stdout.flush()
    except BrokenPipeError:
        # As of `| head`: Python would complain again as it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _READER_LEFT
    except (InputError, ArgumentError) as error:
        for line in redacted(str(error)).splitlines():
            print(f"error: {one_line(printable(line))}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno in _NOT_ALLOWED and error.filename:
            print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
            return 2
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f" for {error.filename}" if error.filename else ""
        print(
            f"error: no space is left on the disk{where}: free some and repeat the command, which "
            "goes on where it was stopped",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    finally:
        for number, handler in zip(ending, before, strict=True):
            signal.signal(number, handler)
    return 0


def _check_backend() -> None:
    name = os.environ.get("KERAS_BACKEND") or "tensorflow"
    if name not in _BACKENDS:
        raise InputError(f"KERAS_BACKEND={name} is not allowed: give tensorflow, jax or torch")
