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


def byte_size(number: int) -> str:
    """A number of bytes in the largest unit of which there is one at least.

    Example:
        >>> byte_size(7_840_000), byte_size(512), byte_size(3 << 30)
        ('7.8 MB', '512 bytes', '3.2 GB')
    """
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:,.1f} {unit}"
    return f"{number} bytes"
