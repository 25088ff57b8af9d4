"""How the pictures look: their width, their colours, their letters."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

from convforge.pipeline.printable import one_line

#: Pixels. MLflow's and DVC's pages show pictures 700 to 900 pixels wide: letters must be legible
#: without being scaled down.
WIDTH = 900
DPI = 100

INK, FAINT, BACKGROUND = "#141414", "#6e6e6e", "#ffffff"
#: Two hues that people tell apart however they see colours (Okabe and Ito 2008): what is right,
#: trained on, or speaks against; and what is wrong, held out, or speaks for.
BLUE, ORANGE = "#0072b2", "#d55e00"

# Longer names are not measured to their end.
_MOST_LETTERS = 200


def shortened(text: str, size: float, room: float) -> str:
    """`text` on one line, cut to `room` pixels in letters of `size` pixels.

    Example:
        >>> shortened("dog", 12, 100), shortened("a very long name of a class", 12, 100)
        ('dog', 'a very long na…')
    """
    letters = font(round(size))
    text = one_line(text[:_MOST_LETTERS])
    if letters.getlength(text) <= room:
        return text
    while text and letters.getlength(f"{text}…") > room:
        text = text[:-1]
    return f"{text}…"


def shortened_path(path: str, size: float, room: float) -> str:
    """The same of a path, whose end says most.

    Example:
        >>> shortened_path("photos/of/all/kinds/dog_17.png", 12, 100)
        '…s/dog_17.png'
    """
    return shortened(path[::-1], size, room)[::-1]


def written(number: float, digits: int = 3) -> str:
    """`number` to so many digits.

    Example:
        >>> written(-17.123)
        '−17.1'
    """
    return f"{number:.{digits}g}".replace("-", "−")


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu Sans, which Matplotlib brings and which knows most alphabets.

    Chinese, Japanese and Korean letters are boxes in it; the class's number and, on sheets, the
    file's name say which class it is.
    """
    package = find_spec("matplotlib")
    for folder in package.submodule_search_locations or () if package else ():
        file = Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if file.is_file():
            return ImageFont.truetype(str(file), size)
    return ImageFont.load_default(size)
