"""Classes that a split has no image of, in words."""

from __future__ import annotations

from convforge.pipeline.data.manifest import Manifest

_MOST_NAMED = 5


def absent_classes(manifest: Manifest) -> list[str]:
    """For each split that leaves classes out, a line that names them."""
    lines = []
    for split, content in manifest.splits.items():
        pairs = zip(manifest.classes, content.class_counts, strict=False)
        absent = [name for name, count in pairs if not count]
        if content.examples and absent:
            more = f" and {len(absent) - _MOST_NAMED:,} more" if len(absent) > _MOST_NAMED else ""
            named = f"{', '.join(absent[:_MOST_NAMED])}{more}"
            lines.append(f"No {split} image of {named}: its figures say nothing of them")
    return lines
