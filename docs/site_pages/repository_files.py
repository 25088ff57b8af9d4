"""Files of the repository that pages link to, as pages of the site: highlighted, each line named.

The site has no address of a host: a link into the source leads to a page beside it, with or
without a network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxRole

#: Where these pages lie in the site.
FOLDER = "source"
#: What is a page of its own already, by the file that says the same.
_PAGES = {"README.md": "index"}
_TOO_LONG = 400_000
_NOT_TEXT = {".ipynb", ".npz", ".png", ".zip"}


def linked_files(app: Sphinx) -> set[str]:
    """The files that pages link to so far, from the repository's root."""
    files: set[str] = app.__dict__.setdefault("linked_repository_files", set())
    return files


def file_uri(app: Sphinx, docname: str, path: str, line: int | None = None) -> str:
    """The address, from page `docname`, of the page that shows `path`, and of a line there.

    Raises:
        FileNotFoundError: there is no such file.
    """
    root = Path(app.confdir).parent
    if not (root / path).is_file():
        raise FileNotFoundError(f"{docname}: {path} is no file of the repository")
    linked_files(app).add(path)
    uri: str = app.builder.get_relative_uri(docname, f"{FOLDER}/{path}")
    return f"{uri}#L-{line}" if line else uri


def lead_links_home(app: Sphinx, doctree: nodes.document) -> None:
    """Turn a page's links to files and folders outside of docs/ into links to their pages."""
    docname, root = app.env.docname, Path(app.confdir).parent
    for node in list(doctree.findall(_is_link)):
        target = str(node.get("reftarget", "")).partition("#")[0]
        path = (root / "docs" / docname).parent / target
        if node.get("refdomain") == "doc":
            # Of Markdown, by its name from docs/.
            path = root / "docs" / f"{target}.md"
        try:
            inside = path.resolve().relative_to(root)
        except ValueError:
            continue
        if str(inside) in _PAGES:
            uri = app.builder.get_relative_uri(docname, _PAGES[str(inside)])
        elif inside.parts[:1] == ("docs",) or not path.exists():
            continue
        elif path.is_dir():
            uri = file_uri(app, docname, _of_folder(root, inside))
        elif path.suffix in _NOT_TEXT:
            continue
        else:
            uri = file_uri(app, docname, inside.as_posix())
        link = nodes.reference("", "", *node.children, internal=True, refuri=uri)
        node.replace_self(link)


class SourceLine(SphinxRole):
    """`FILE:LINE`, as a link to that line."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """The link, in the words of the file's name."""
        path, _, line = self.text.partition(":")
        uri = file_uri(self.env.app, self.env.docname, path, int(line))
        name = path.rpartition("/")[2]
        return [nodes.reference("", name, internal=True, refuri=uri)], []


def _is_link(node: nodes.Node) -> bool:
    if isinstance(node, addnodes.download_reference):
        return True
    return isinstance(node, addnodes.pending_xref) and node.get("reftype") == "myst"


def _of_folder(root: Path, folder: Path) -> str:
    """The file that says what a folder holds."""
    first = [folder / name for name in ("__init__.py", "default.yaml", "README.md")]
    files = [each for each in first if (root / each).is_file()]
    files += sorted(each.relative_to(root) for each in (root / folder).glob("*.*"))
    return files[0].as_posix()


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """A page for each file that some page links to."""
    root = Path(app.confdir).parent
    for path in sorted(linked_files(app)):
        text = (root / path).read_text(encoding="utf-8")
        if len(text) > _TOO_LONG:
            raise ValueError(f"{path} is too long for a page: {len(text):,} letters")
        title = path.rpartition("/")[2]
        body = f'<h1>{title}</h1><p class="source-path">{path}</p>{highlighted(path, text)}'
        yield f"{FOLDER}/{path}", {"title": title, "body": body}, "page.html"


def highlighted(path: str, text: str) -> str:
    """The file's lines in colours, each with its number as an address."""
    try:
        lexer = get_lexer_for_filename(path, stripnl=False)
    except ClassNotFound:
        lexer = TextLexer(stripnl=False)
    formatter = HtmlFormatter(linenos="inline", lineanchors="L", anchorlinenos=True)
    html: str = highlight(text, lexer, formatter)
    # Pygments names a line by `name` too, which HTML has given up.
    html = re.sub(r' name="L-\d+"', "", html)
    return f'<div class="highlight-default notranslate source-file">{html}</div>'
