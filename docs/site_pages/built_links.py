"""Whether a built site holds together: links lead somewhere, and nothing comes from outside.

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


#: What a style sheet loads from a host.
_OF_A_SHEET = re.compile(r"(?:url\(|@import\s+)[\"']?((?:https?:|//)[^\"')]+)")


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
        wrong += [f"{name} loads {link}" for link in page.loaded if _is_elsewhere(link)]
        for link in (*page.links, *page.loaded):
            if not _is_elsewhere(link) and (why := _wrong(link, file, pages)):
                wrong.append(f"{name} links to {link}, {why}")
    for sheet in sorted(site.rglob("*.css")):
        text = sheet.read_text(encoding="utf-8")
        wrong += [f"{sheet.name} loads {each}" for each in _OF_A_SHEET.findall(text)]
    return wrong


def _is_elsewhere(link: str) -> bool:
    parts = urlsplit(link)
    return bool(parts.netloc) or parts.scheme not in ("", "data")


def _wrong(link: str, file: Path, pages: dict[Path, _Page]) -> str | None:
    """What is wrong with a link within the site."""
    parts = urlsplit(link)
    if parts.scheme:
        return None
    target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    if not target.is_file():
        return "which is not there"
    places = pages[target].anchors if target in pages else set()
    if parts.fragment and places and unquote(parts.fragment) not in places:
        return "whose page has no such place"
    return None


def _read(file: Path) -> _Page:
    page = _Page()
    page.feed(file.read_text(encoding="utf-8"))
    return page


if __name__ == "__main__":
    found = wrong_links(Path(sys.argv[1]))
    print("\n".join(found) or "every link of the site leads to a place in it")
    sys.exit(bool(found))
