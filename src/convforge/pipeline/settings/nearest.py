"""The valid name nearest to a wrong one."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

# A data set may have a thousand classes.
_MOST_NAMED = 30


def nearest(name: str, known: Sequence[str]) -> str:
    """A hint at the valid name nearest to `name`, or at all of them.

    Example:
        >>> nearest("learnin_rate", ["learning_rate", "momentum"])
        '; did you mean learning_rate?'
    """
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]}?"
    more = f" and {len(known) - _MOST_NAMED:,} more" if len(known) > _MOST_NAMED else ""
    return f"; known are {', '.join(known[:_MOST_NAMED])}{more}"
