"""How often a net is right about each class, in one line."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

# Classes named: all, where there are no more, else those that it is right about least often.
_MOST_NAMED = 10


def right_by_class(predictions: Path) -> str | None:
    r"""What the accuracy hides where some classes have many images and some have few.

    Args:
        predictions: the `predictions.csv` of an evaluation.

    Returns:
        Right answers and images of each class, or of the ten that it is right about least often,
        and how often the most frequent class alone would be right; None where numbers are
        predicted.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "predictions.csv")
        >>> path.write_text("index,actual,predicted\n0,cat,dog\n1,dog,dog\n2,dog,dog\n") > 0
        True
        >>> right_by_class(path)
        'right: cat 0 of 1, dog 2 of 2; dog each time would be right 66.67%'
    """
    with predictions.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or "actual" not in rows[0]:
        return None
    images = Counter(row["actual"] for row in rows)
    right = Counter(row["actual"] for row in rows if row["actual"] == row["predicted"])
    named = sorted(images)
    if len(images) > _MOST_NAMED:
        named = sorted(images, key=lambda name: (right[name] / images[name], name))[:_MOST_NAMED]
    of_each = ", ".join(f"{name} {right[name]:,} of {images[name]:,}" for name in named)
    least = "least often " if len(images) > _MOST_NAMED else ""
    most, count = max(images.items(), key=lambda each: each[1])
    return f"right: {least}{of_each}; {most} each time would be right {count / len(rows):.2%}"
