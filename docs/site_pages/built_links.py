"""Whether a built site holds together: its links lead somewhere, and nothing is loaded from outside.

    python docs/site_pages/built_links.py build/site
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: What a browser loads of itself, by the element and its attribute.
_LOADED = {
    ("script", "src"),
    ("img", "src"),
    ("link", "href"),
    ("source", "src"),
    ("iframe", "src"),
    ("object", "data"),
}


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors.add(values.get("id", ""))
        for name, value in values.items():
            if (tag, name) in _LOADED:
                # A search engine's address of the page is not loaded.
                if values.get("rel") not in ("canonical", "next", "prev"):
                    self.loaded.append(value)
            elif tag == "a" and name == "href":
                self.links.append(value)


def wrong_links(site: Path) -> list[str]:
    """What is wrong, in a line each.

    Args:
        site: the folder of a built site.
    """
    pages = {file.resolve(): _read(file) for file in sorted(site.rglob("*.html"))}
    wrong = []
    for file, page in pages.items():
        name = file.relative_to(site.resolve()).as_posix()
        for link in page.loaded:
            if urlsplit(link).scheme not in ("", "data") or link.startswith("//"):
                wrong.append(f"{name} loads {link}")
        for link in (*page.links, *page.loaded):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            if not target.is_file():
                wrong.append(f"{name} links to {link}, which is not there")
            elif parts.fragment and target in pages:
                if unquote(parts.fragment) not in pages[target].anchors:
                    wrong.append(f"{name} links to {link}, whose page has no such place")
    for sheet in sorted(site.rglob("*.css")):
        for address in re.findall(
            r"(?:url\(|@import\s+)[\"']?(https?:|//)", sheet.read_text(encoding="utf-8")
        ):
            wrong.append(f"{sheet.name} loads from {address}")
    return wrong


def _read(file: Path) -> _Page:
    page = _Page()
    page.feed(file.read_text(encoding="utf-8"))
    return page


if __name__ == "__main__":
    found = wrong_links(Path(sys.argv[1]))
    print("\n".join(found) or "every link of the site leads to a place in it")
    sys.exit(bool(found))
