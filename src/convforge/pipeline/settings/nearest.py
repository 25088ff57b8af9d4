"""The valid name nearest to a wrong one."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

# A data set may have a thousand classes.
_MOST_NAMED = 30


def nearest(name: str, known: Sequence[str], parent: str = "") -> str:
    """A hint at the valid name nearest to `name`, or at all of them.

    Args:
        name: as it was given.
        known: the valid names.
        parent: the key that they are in, which the hint names too.

    Example:
        >>> nearest("learnin_rate", ["learning_rate", "momentum"], "optimizer")
        '; did you mean optimizer.learning_rate?'
    """
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {parent}{'.' if parent else ''}{close[0]}?"
    more = f" and {len(known) - _MOST_NAMED:,} more" if len(known) > _MOST_NAMED else ""
    return f"; known are {', '.join(known[:_MOST_NAMED])}{more}"
