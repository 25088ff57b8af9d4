"""The claims' pages: `claims.html`, whole in one file, and `claims.md` with its pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from convforge.pipeline.claims.claim import SCALE_NAMES, ScaleName
from convforge.pipeline.claims.page import markdown, svg, tables
from convforge.pipeline.claims.page.colours import DARK, LIGHT, variables
from convforge.pipeline.claims.page.drawing import Drawing
from convforge.pipeline.claims.page.forest import draw_forest
from convforge.pipeline.claims.page.panels import arm_keys, draw_panels, draw_picture
from convforge.pipeline.claims.page.pictures import Pictures, data_uri, read_pictures
from convforge.pipeline.claims.page.png import write_png
from convforge.pipeline.claims.result import ClaimResult, Outcome
from convforge.pipeline.filesystem.atomic_file import write_text
from convforge.pipeline.report.style import WIDTH

HTML, MARKDOWN, PICTURE, FOLDER = "claims.html", "claims.md", "claims.png", "claims"
# Pixels: of the forest plot where there is room, on a telephone, and as the README's head, which is
# drawn smaller and enlarged, so that its letters are still legible where it is made small.
_WIDE, _NARROW, _HEAD = 900.0, 360.0, 560.0
_OUTCOMES: tuple[Outcome, ...] = ("reproduced", "not reproduced", "undecided")


@dataclass(frozen=True)
class ScalePart:
    """A scale that has results.

    Args:
        name: of the scale.
        results: by claim.
        pictures: of one of its runs, where they are kept.
    """

    name: str
    results: Sequence[ClaimResult]
    pictures: Pictures | None

    @property
    def title(self) -> str:
        """In one line."""
        return self.results[0].scale_title

    @property
    def counts(self) -> str:
        """How many claims have which verdict."""
        outcomes = [result.outcome for result in self.results]
        said = [f"{outcomes.count(each)} {each}" for each in _OUTCOMES if each in outcomes]
        return ", ".join(said)


def write_pages(
    results: Sequence[ClaimResult],
    folder: Path,
    out: Path,
    planned: Mapping[ScaleName, Sequence[str]],
) -> list[Path]:
    """Write both pages and their pictures.

    The same results give the same bytes.

    Args:
        results: one at least.
        folder: of the results, with `pictures/` in it perhaps.
        out: folder of the pages.
        planned: by scale, the claims that are meant for it: what has no result is said.

    Returns:
        The files written.
    """
    parts = scale_parts(results, folder)
    content = _content(parts, not_run(results, planned))
    drawings = _drawings(parts)
    (out / FOLDER).mkdir(parents=True, exist_ok=True)
    for old in (out / FOLDER).glob("*.svg"):
        if old.stem not in drawings:
            old.unlink()
    for name, drawing in drawings.items():
        write_text(out / FOLDER / f"{name}.svg", svg.standalone(drawing))
    head = draw_forest(parts[0].results, width=_HEAD, main_alone=True)
    write_png(head, out / PICTURE, width=WIDTH)
    write_text(out / HTML, _html(content))
    write_text(out / MARKDOWN, _markdown(content, os.path.relpath(folder, out)))
    files = [out / FOLDER / f"{name}.svg" for name in drawings]
    return [out / HTML, out / MARKDOWN, out / PICTURE, *files]


def scale_parts(results: Sequence[ClaimResult], folder: Path) -> list[ScalePart]:
    """The scales that have results, the largest first."""
    by_scale = {
        scale: [result for result in results if result.scale == scale]
        for scale in reversed(SCALE_NAMES)
    }
    return [
        ScalePart(scale, some, read_pictures(folder, scale))
        for scale, some in by_scale.items()
        if some
    ]


def not_run(
    results: Sequence[ClaimResult], planned: Mapping[ScaleName, Sequence[str]]
) -> dict[str, str]:
    """By scale, which of the claims that are meant for it have no result.

    Example:
        >>> not_run([], {"full": ["dropout", "relu"], "cpu": []})
        {'full': 'all 2'}
    """
    said = {}
    for scale in reversed(SCALE_NAMES):
        meant = planned.get(scale, ())
        done = {result.claim for result in results if result.scale == scale}
        missing = [name for name in meant if name not in done]
        if missing:
            said[str(scale)] = ", ".join(missing) if done else f"all {len(missing)}"
    return said


def by_claim(parts: Iterable[ScalePart]) -> dict[str, list[ClaimResult]]:
    """The results of each claim, the largest scale first; claims by their names."""
    results = [result for part in parts for result in part.results]
    names = sorted({result.claim for result in results})
    return {name: [each for each in results if each.claim == name] for name in names}


def _html(content: Mapping[str, Any]) -> str:
    """The page that needs no other file, no network and no script."""
    template = _environment(autoescape=True).get_template("claims.html.j2")
    return template.render(
        **content,
        svg=svg.inline,
        svg_style=Markup(svg.STYLE),
        light=Markup(variables(LIGHT)),
        dark=Markup(variables(DARK)),
        draw_forest=draw_forest,
        draw_panels=draw_panels,
        arm_keys=arm_keys,
        wide=_WIDE,
        narrow=_NARROW,
        data_uri=data_uri,
    )


def _markdown(content: Mapping[str, Any], results: str) -> str:
    """The page for Git's own viewers; `results` is the folder of the results from the page's."""
    environment = _environment(autoescape=False, finalize=markdown.finalized)
    environment.filters["table"] = markdown.table
    environment.filters["fenced"] = markdown.fenced
    environment.filters["address"] = markdown.address
    template = environment.get_template("claims.md.j2")
    return template.render(**content, folder=FOLDER, kept=Path(results).as_posix())


def _content(parts: Sequence[ScalePart], missing: Mapping[str, str]) -> dict[str, Any]:
    """What both pages show."""
    claims = by_claim(parts)
    in_order = [result for some in claims.values() for result in some]
    return {
        "parts": parts,
        "claims": claims,
        "not_run": missing,
        "verdicts": tables.verdict_table(in_order, [part.name for part in parts]),
        "tables": tables,
    }


def _drawings(parts: Sequence[ScalePart]) -> dict[str, Drawing]:
    """The Markdown page's: a forest plot for each scale, and each claim at its largest scale."""
    forests = {f"forest-{part.name}": draw_forest(part.results, width=_WIDE) for part in parts}
    claims = {name: draw_picture(results[0]) for name, results in by_claim(parts).items()}
    return {**forests, **claims}


def _environment(*, autoescape: bool, finalize: Callable[[Any], Any] | None = None) -> Environment:
    return Environment(
        loader=PackageLoader("convforge.pipeline.claims.page"),
        autoescape=autoescape,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
