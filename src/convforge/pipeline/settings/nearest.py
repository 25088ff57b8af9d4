"""The valid name nearest to a wrong one."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def nearest(name: str, known: Sequence[str]) -> str:
    """A hint at the valid name nearest to `name`, or at all of them.

    Example:
        >>> nearest("learnin_rate", ["learning_rate", "momentum"])
        '; did you mean learning_rate?'
    """
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}"
