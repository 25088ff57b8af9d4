"""Regular expressions in a config."""

from __future__ import annotations

import re
from collections.abc import Iterable

from convforge.geometry import ArgumentError


def check_patterns(argument: str, patterns: Iterable[str]) -> None:
    """Refuse what is no regular expression.

    Raises:
        ArgumentError: naming the pattern and what is wrong with it.
    """
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            allowed = f"a regular expression ({error})"
            raise ArgumentError(argument, pattern, allowed) from error
