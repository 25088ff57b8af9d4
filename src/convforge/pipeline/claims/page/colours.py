"""The drawings' and the page's colours, by what they are for, in light and in dark.

Six hues after Okabe and Ito (2008), which people tell apart however they see colours; each is dark
or light enough to be seen against its background (3 : 1 at least).
"""

from __future__ import annotations

from convforge.pipeline.report.style import BACKGROUND, BLUE, INK, ORANGE

LIGHT = {
    "ink": INK,
    "faint": "#5f5f5f",
    "grid": "#dcdcdc",
    "band": "#e9e9e9",
    "paper": BACKGROUND,
    "box": "#f6f6f6",
    "link": "#005a9c",
    "s0": BLUE,
    "s1": ORANGE,
    "s2": "#00805f",
    "s3": "#a8467f",
    "s4": "#8a6d00",
    "s5": "#4d4d4d",
}
DARK = {
    "ink": "#e8e8e8",
    "faint": "#a8a8a8",
    "grid": "#3a3a3a",
    "band": "#2e2e2e",
    "paper": "#161616",
    "box": "#202020",
    "link": "#7cc0f5",
    "s0": "#56b4e9",
    "s1": "#ff8a4a",
    "s2": "#37c9a0",
    "s3": "#e69ac6",
    "s4": "#e0c040",
    "s5": "#c8c8c8",
}


def variables(colours: dict[str, str]) -> str:
    """The colours as CSS variables.

    Example:
        >>> variables({"ink": "#141414", "s0": "#0072b2"})
        '--ink:#141414;--s0:#0072b2'
    """
    return ";".join(f"--{name}:{colour}" for name, colour in colours.items())
