"""The code that the weights depend on, to be compared between machines."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path

import convforge

# What the weights depend on besides our own code.
_PACKAGES = ("jax", "jaxlib", "keras", "numpy", "tensorflow")


def code_identity() -> dict[str, str]:
    """Versions by package, and a checksum of this package's own files."""
    packages = {name: version(name) for name in _PACKAGES}
    return {"convforge": convforge.__version__, "source": source_digest(), **packages}


def source_digest() -> str:
    """A checksum of this package's own code."""
    folder = Path(convforge.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]
