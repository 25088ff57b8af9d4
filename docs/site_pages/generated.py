"""Parts of pages that are made of the source: `<!-- generated: NAME -->` stands in their place.

A quote after the mark, or after `<!-- in the repository -->`, is for whoever reads the page's own
file: it says where the whole page is, and the site leaves it out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from convforge.pipeline.claims.page.svg import inline
from site_pages.command_pages import commands_page
from site_pages.config_keys import config_page
from site_pages.error_messages import errors_page
from site_pages.house import house
from site_pages.notebook import notebook_page
from site_pages.run_files import run_files

_MARK = re.compile(r"^<!-- (?:generated: ([a-z-]+)|in the repository) -->$(?:\n>.*)*", re.M)


def _house_picture(root: Path) -> str:
    drawing = house()
    caption = f"<figcaption>{drawing.title}</figcaption>"
    return f'```{{raw}} html\n<figure class="drawn house">{inline(drawing)}{caption}</figure>\n```'


_PARTS: dict[str, Callable[[Path], str]] = {
    "commands": lambda root: commands_page(),
    "config-keys": config_page,
    "errors": errors_page,
    "house": _house_picture,
    "notebook": lambda root: notebook_page(root / "examples" / "layers_in_keras.ipynb"),
    "run-files": lambda root: run_files(),
}


def with_generated_parts(root: Path, page: str) -> str:
    """A page's Markdown with the parts in it that are made of the source.

    Args:
        root: of the repository.
        page: in Markdown.

    Raises:
        KeyError: the page asks for a part that nothing makes.
    """
    return _MARK.sub(lambda match: _PARTS[match[1]](root) if match[1] else "", page)
