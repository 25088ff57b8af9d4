"""What the weights depend on besides config and data: our own source and others' packages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import convforge
from convforge.pipeline.filesystem import checksum
from convforge.pipeline.pluralize import pluralize

# Of our own files, those that decide about weights: the library, what reads the shards, and the
# training; nearly what dvc.yaml lists for train. Pictures, tracking, sweeps, the command line and
# the wording of errors decide nothing of it, and an edit of them must not cost anybody's epochs.
_PARTS = (
    *("geometry.py", "layers", "losses.py", "optimizers", "augment", "models", "quiet_start.py"),
    "serving/decode.py",
    *("pipeline/data/decoding.py", "pipeline/data/manifest.py", "pipeline/data/tfrecord.py"),
    *("pipeline/data/reading/shard_reader.py", "pipeline/data/reading/stream.py"),
    "pipeline/data/reading/tensorflow_ops.py",
    *("pipeline/metrics.py", "pipeline/settings/model.py", "pipeline/settings/run.py"),
    *("pipeline/training", "pipeline/stages/train.py"),
)
_NO_PARTS = (
    # Who starts the processes.
    "pipeline/training/distribution/ray_train.py",
    # What is said when a run fails or is stopped, and whether it may go on.
    *("pipeline/training/divergence.py", "pipeline/training/out_of_memory.py"),
    *("pipeline/training/resume/code_fingerprint.py", "pipeline/training/resume/resumable.py"),
    "pipeline/training/resume/signals.py",
)
# tf.data reads and augments, whatever the backend is.
_PACKAGES = {
    "tensorflow": ("keras", "numpy", "tensorflow"),
    "jax": ("keras", "numpy", "jax", "jaxlib", "tensorflow"),
    "torch": ("keras", "numpy", "torch", "tensorflow"),
}
_MOST_NAMED = 6


def code_fingerprint(backend: str | None) -> dict[str, str]:
    """Versions by package, and the checksums of our own files by name, that the weights depend on.

    Args:
        backend: Keras', or None for all that are installed.
    """
    return {**package_versions(backend), **source_checksums()}


def package_versions(backend: str | None) -> dict[str, str]:
    """The versions of Keras, NumPy and what computes; `none` where a package is not installed."""
    names = _PACKAGES["tensorflow"] if backend is None else _PACKAGES[backend]
    others = ("jax", "jaxlib", "torch") if backend is None else ()
    return {name: _version(name) for name in (*names, *others)}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def source_checksums() -> dict[str, str]:
    """The checksum of each file that trains, by its name in the package."""
    left_out = {f"convforge/{name}" for name in _NO_PARTS}
    return {name: sum_ for name, sum_ in file_checksums(_PARTS).items() if name not in left_out}


def file_checksums(parts: Iterable[str]) -> dict[str, str]:
    """The checksum of each of the package's files, or of all in a folder, by name."""
    folder = Path(convforge.__file__).parent
    files = [file for part in parts for file in _files(folder / part)]
    return {
        f"convforge/{file.relative_to(folder).as_posix()}": checksum.of_file(file)[:16]
        for file in files
    }


def _files(part: Path) -> list[Path]:
    return [part] if part.suffix else sorted(part.rglob("*.py"))


def changed_code(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Where two fingerprints differ, as `name old → new`; a few by name, the others by number.

    Example:
        >>> before = {"keras": "3.14.0", "numpy": "2.4.0"}
        >>> changed_code(before, {"keras": "3.15.0", "numpy": "2.4.0"})
        ['keras 3.14.0 → 3.15.0']
    """
    changes = [
        f"{name} {before.get(name, 'none')} → {after.get(name, 'none')}"
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]
    rest = len(changes) - _MOST_NAMED
    return changes if rest <= 0 else [*changes[:_MOST_NAMED], f"{pluralize(rest, 'other file')}"]
