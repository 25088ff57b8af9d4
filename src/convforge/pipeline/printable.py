"""Names and texts from files, as a terminal and a page can show them."""

from __future__ import annotations


def printable(name: str) -> str:
    r"""`name` as text that every file and terminal can hold; bytes that are none as `\x…`.

    Example:
        >>> printable("caf\udce9.png")
        'caf\\xe9.png'
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def one_line(text: str) -> str:
    """`text` without what would break a line or steer a terminal."""
    return "".join(letter if letter.isprintable() else "␣" for letter in text)
