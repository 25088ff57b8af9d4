"""SHA-256 of contents, in hexadecimal: the same for the same bytes, wherever they lie."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def of_file(path: Path) -> str:
    """The checksum of what a file holds."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_text(text: str) -> str:
    """The checksum of `text`, as UTF-8.

    Example:
        >>> of_text("convolution")[:16]
        '9ca01c94479c9d3c'
    """
    return hashlib.sha256(text.encode()).hexdigest()


def of_json(value: Any) -> str:
    """The checksum of whatever JSON can hold; the order of keys does not matter.

    Example:
        >>> of_json({"a": 1, "b": 2}) == of_json({"b": 2, "a": 1})
        True
    """
    return of_text(json.dumps(value, sort_keys=True))
