"""A notebook as a page: its words as they are, its code, and what its cells have shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def notebook_page(notebook: Path) -> str:
    """The notebook's cells in Markdown, pictures within it."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    return "\n\n".join(_parts(content["cells"])) + "\n"


def _parts(cells: list[dict[str, Any]]) -> Iterator[str]:
    heading = ""
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            headings = [line.lstrip("# ") for line in source.splitlines() if line.startswith("#")]
            heading = headings[-1] if headings else heading
            yield source
            continue
        yield _fenced("python", source)
        for output in cell["outputs"]:
            yield _shown(output, heading)


def _shown(output: dict[str, Any], heading: str) -> str:
    """What a cell has printed or drawn; under which heading, for those who do not see it."""
    if output["output_type"] == "stream":
        printed = "".join(output["text"]).rstrip("\n")
        return _fenced("{code-block} text", f":class: printed\n\n{printed}")
    picture = "".join(output["data"]["image/png"]).strip()
    return f"![{heading}](data:image/png;base64,{picture})"


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"
