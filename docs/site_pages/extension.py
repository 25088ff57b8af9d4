"""What the site's build adds to Sphinx."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from site_pages import docstrings, mathml, repository_files
from site_pages.equation import Equation, EquationIndex
from site_pages.generated import with_generated_parts


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx' way to add an extension."""
    app.add_html_math_renderer("mathml", (mathml.visit_inline, None), (mathml.visit_block, None))
    app.add_directive("equation", Equation)
    app.add_directive("equation-index", EquationIndex)
    app.add_role("source", repository_files.SourceLine())
    app.connect("source-read", _generate)
    # Before Sphinx, at 500, copies what a page would offer to download.
    app.connect("doctree-read", repository_files.lead_links_home, priority=400)
    app.connect("html-collect-pages", repository_files.source_pages)
    app.connect("html-page-context", _style_of_page)
    # Before napoleon's 500.
    app.connect("autodoc-process-docstring", docstrings.prepare, priority=400)
    app.connect("autodoc-process-signature", docstrings.signature)
    # The list of linked files is kept by one process.
    return {"parallel_read_safe": False, "parallel_write_safe": True}


def _generate(app: Sphinx, docname: str, source: list[str]) -> None:
    source[0] = with_generated_parts(Path(app.confdir).parent, source[0])


def _style_of_page(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    if pagename == "lecture":
        app.add_css_file("lecture.css")
