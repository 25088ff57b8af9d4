"""Importing Keras and its backend: quietly, and with TensorFlow's faster kernels."""

from __future__ import annotations

import importlib
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# What TensorFlow's C++ says at informational and warning level, and absl's preface to it.
_START_UP_NOISE = re.compile(
    rb"^(I\d{4} |W\d{4} |WARNING: All log messages before absl|To enable )"
)


def import_quietly(*packages: str) -> None:
    """Import `packages` without TensorFlow's start-up lines, with its oneDNN kernels.

    TensorFlow 2.21 writes some of them to the process's standard error before it reads
    TF_CPP_MIN_LOG_LEVEL, so while it is imported they are held back. Everything else that is
    written meanwhile, errors above all, is passed on.

    By itself TensorFlow uses oneDNN only where the processor has AVX-512's VNNI or newer; with AVX2
    its own kernels take up to twice as long (docs/performance.md). TF_ENABLE_ONEDNN_OPTS in the
    environment decides, where it is set.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if all(package in sys.modules for package in packages):
        return
    with _held_back(lambda line: not _START_UP_NOISE.match(line)):
        for package in packages:
            importlib.import_module(package)


@contextmanager
def quiet_unless_it_fails() -> Iterator[None]:
    """Hold back what a converter writes to standard error, C++ too, and show it where it fails."""
    failed = False
    with _held_back(lambda line: failed):
        try:
            yield
        except BaseException:
            failed = True
            raise


@contextmanager
def _held_back(is_shown: Callable[[bytes], bool]) -> Iterator[None]:
    """Hold back what is written to standard error; afterwards, show the lines that are to be."""
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
            held.seek(0)
            for line in held:
                if is_shown(line):
                    os.write(2, line)
