"""Numbers in sentences."""

from __future__ import annotations


def pluralize(number: int, one: str, many: str | None = None) -> str:
    """`number` with its noun, in the singular where there is one.

    Args:
        number: how many.
        one: the noun in the singular.
        many: the noun in the plural, where that is not `one` with an s.

    Example:
        >>> pluralize(1, "image"), pluralize(2500, "image"), pluralize(2, "class", "classes")
        ('1 image', '2,500 images', '2 classes')
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
