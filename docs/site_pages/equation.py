"""Equations of the lecture beside the code: directives `equation` and `equation-index`."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any, ClassVar

import yaml
from docutils import nodes
from docutils.parsers.rst import directives
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename
from sphinx.util.docutils import SphinxDirective

from site_pages import figures
from site_pages.mathml import mathml
from site_pages.repository_files import file_uri
from site_pages.source_region import Region, find_region, line_of


class Equation(SphinxDirective):
    """One equation: formula and words at the left, the lines that compute it at the right.

    Options: `number`, as the slides have it, none for what has no number there; `slide`, its
    title; `formula`, in TeX; `code`, a region on each line (`find_region`); `tests`,
    `FILE NAME` on each line; `claims`, names of files in conf/claim; `figure`, a function of
    `figures`. The content is the words.
    """

    has_content = True
    required_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar[dict[str, Any]] = dict.fromkeys(
        ("number", "slide", "formula", "code", "tests", "claims", "figure"), directives.unchanged
    )

    @property
    def _root(self) -> Path:
        return Path(self.env.app.confdir).parent

    def run(self) -> list[nodes.Node]:
        """The section of the page."""
        title, number = self.arguments[0], self.options.get("number", "")
        name = f"equation-{number}" if number else nodes.make_id(title)
        section = nodes.section(ids=[name], names=[name], classes=["equation"])
        heading = nodes.title(title, "")
        label = f"({number})" if number else "·"
        heading += nodes.inline("", label, classes=["equation-number"])
        heading += nodes.Text(f" {title}")
        section += heading
        section += _html(f'<p class="slide">Slide: {escape(self.options["slide"])}</p>')
        section += [_html(self._formula(line)) for line in self._lines("formula")]
        left = nodes.container(classes=["equation-words"])
        left += self.parse_content_to_nodes()
        if "figure" in self.options:
            left += _html(self._figure(self.options["figure"].strip()))
        left += _html(self._proofs())
        right = nodes.container(classes=["equation-code"])
        right += [_html(self._code(find_region(self._root, line))) for line in self._lines("code")]
        both = nodes.container(classes=["equation-sides"])
        both += [left, right]
        section += both
        return [section]

    def _lines(self, option: str) -> list[str]:
        text = self.options.get(option, "")
        return [line.strip() for line in text.splitlines() if line.strip()]

    def _formula(self, formula: str) -> str:
        return f'<div class="formula">{mathml(formula, block=True)}</div>'

    def _figure(self, name: str) -> str:
        drawing = figures.FIGURES[name]()
        return (
            f'<figure class="drawn">{figures.inline(drawing)}'
            f"<figcaption>{escape(drawing.title)}</figcaption></figure>"
        )

    def _code(self, region: Region) -> str:
        uri = file_uri(self.env.app, self.env.docname, region.path, region.first)
        short = region.path.removeprefix("src/convforge/")
        lines = f"{region.first}–{region.last}" if region.last > region.first else region.first
        html = highlight(
            region.text, get_lexer_for_filename(region.path), HtmlFormatter(wrapcode=True)
        )
        return (
            f'<div class="code-of-equation"><a class="code-place" href="{uri}">'
            f'<span class="code-name">{escape(region.name)}</span>'
            f'<span class="code-file">{escape(short)}:{lines}</span></a>'
            f'<div class="highlight-python notranslate">{html}</div></div>'
        )

    def _proofs(self) -> str:
        rows = []
        for line in self._lines("tests"):
            path, name = line.split()
            line_number = line_of(self._root, path, name)
            uri = file_uri(self.env.app, self.env.docname, path, line_number)
            words = name.rpartition(".")[2].removeprefix("test_").replace("_", " ")
            rows.append(
                f'<li class="proof"><span>proved</span><a href="{uri}">{escape(words)}</a></li>'
            )
        for name in self._lines("claims"):
            path = f"conf/claim/{name}.yaml"
            uri = file_uri(self.env.app, self.env.docname, path)
            protocol = yaml.safe_load((self._root / path).read_text(encoding="utf-8"))
            rows.append(
                f'<li class="claim"><span>measured</span>'
                f'<a href="{uri}">{escape(protocol["title"])}</a>'
                f"<em>{escape(_outcomes(self._root, name))}</em></li>"
            )
        return f'<ul class="proofs">{"".join(rows)}</ul>'


def _outcomes(root: Path, name: str) -> str:
    """What became of a claim at each scale that has a committed result."""
    from convforge.pipeline.claims.claim import SCALE_NAMES
    from convforge.pipeline.claims.result import read_result, result_path

    paths = {scale: result_path(root, name, scale) for scale in SCALE_NAMES}
    found = [
        f"{read_result(path).outcome} on {scale}" for scale, path in paths.items() if path.is_file()
    ]
    return ", ".join(found) or "no result committed yet"


class EquationIndex(SphinxDirective):
    """Links to the numbered equations of the page."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        """A row of numbers."""
        links = "".join(
            f'<a href="#equation-{number}">({number})</a>' for number in range(1, EQUATIONS + 1)
        )
        return [_html(f'<nav class="equation-index" aria-label="Equations">{links}</nav>')]


#: The lecture has so many.
EQUATIONS = 16


def _html(text: str) -> nodes.raw:
    return nodes.raw("", text, format="html")
