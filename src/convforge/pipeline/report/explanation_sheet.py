"""Sheets of what a net goes by: Grad-CAM over images, and their strongest feature maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convforge.pipeline.explanation.feature_maps import (
    FeatureMaps,
    compute_feature_maps,
    strongest,
)
from convforge.pipeline.explanation.grad_cam import grad_cam
from convforge.pipeline.printable import printable
from convforge.pipeline.report.sheet import (
    GAP,
    MARGIN,
    SMALL,
    TEXT,
    Sheet,
    draw_head,
    head_height,
    image_side,
    sheet,
    shown_side,
    text_height,
)
from convforge.pipeline.report.style import FAINT, WIDTH, shortened, shortened_path, written
from convforge.serving.model_card import ModelCard
from convforge.serving.predictor import Predictor

# Of an image alone: image and Grad-CAM at this size, and so many of a layer's maps beside them.
_LARGE, _MAPS = 196, 5
_COLUMN_GAP = 20
_MAPS_LEFT = MARGIN + 2 * _LARGE + GAP + _COLUMN_GAP
_MAP_SIDE = int((WIDTH - MARGIN - _MAPS_LEFT - (_MAPS - 1) * GAP) / _MAPS)
# Heading, maps, and the maps' numbers.
_LAYER_HEIGHT = text_height("x", SMALL) + _MAP_SIDE + text_height("x", SMALL) + GAP


@dataclass(frozen=True)
class Explained:
    """One image: what the net says of it, and what its layers make of it."""

    name: str
    image: NDArray[Any]
    #: Below the Grad-CAM.
    caption: str
    heat: NDArray[np.float32]
    #: Of each convolutional layer.
    maps: Sequence[NDArray[np.float32]]


def draw_explanations(
    predictor: Predictor,
    found: Sequence[FeatureMaps],
    named: Sequence[tuple[str, NDArray[np.uint8]]],
    outputs: NDArray[np.float32],
    number: int | None,
    path: Path,
) -> None:
    """A row for each image, as a PNG at `path`: image, Grad-CAM, each layer's strongest maps.

    Args:
        predictor: the model.
        found: its feature maps, one layer's at least; Grad-CAM is that of the last.
        named: names and pixels of the images.
        outputs: what it says of them, `(n, outputs)`.
        number: of the class or the target to explain; None for the likeliest class, or for the
            first target.
        path: of the picture.
    """
    card = predictor.card
    images = np.stack([image for _, image in named])
    chosen = _chosen(card, outputs, number)
    heats = grad_cam(predictor.model, found[-1], images, chosen, both_signs=bool(card.targets))
    maps = compute_feature_maps(predictor.model, found, images)
    explained = [
        Explained(
            name=named[place][0],
            image=images[place],
            caption=_caption(card, outputs[place], int(chosen[place]), heats[place]),
            heat=heats[place],
            maps=[layer[place] for layer in maps],
        )
        for place in range(len(named))
    ]
    _draw(explained, found, path, title=f"Grad-CAM of {card.name}", note=_meaning(card, found[-1]))


def _chosen(
    card: ModelCard, outputs: NDArray[np.float32], number: int | None
) -> NDArray[np.integer[Any]]:
    if number is None:
        return np.zeros(len(outputs), np.int64) if card.targets else outputs.argmax(axis=1)
    return np.full(len(outputs), number)


def _meaning(card: ModelCard, maps: FeatureMaps) -> str:
    """What the colours are."""
    if card.targets:
        return f"orange: places of {maps.name}'s maps that raise the number; blue: that lower it"
    return f"orange: places of {maps.name}'s maps that speak for the class"


def _caption(
    card: ModelCard, row: NDArray[np.float32], chosen: int, heat: NDArray[np.float32]
) -> str:
    name = shortened(card.outputs[chosen], TEXT, _LARGE - 70)
    if card.targets:
        return f"{name}: {written(float(row[chosen]), 4)}"
    lines = [f"{name}: {row[chosen]:.1%}"]
    others = [other for other in row.argsort()[::-1][:2] if other != chosen]
    for other in others[:1]:
        word = "likeliest" if row[other] > row[chosen] else "next"
        shown = shortened(card.classes[other], TEXT, _LARGE - 130)
        lines.append(f"{word} {shown}: {row[other]:.1%}")
    return "\n".join(lines if heat.any() else [*lines, "no place speaks for it"])


def _draw(
    explained: Sequence[Explained],
    found: Sequence[FeatureMaps],
    path: Path,
    *,
    title: str,
    note: str,
) -> None:
    block = max(_LARGE + text_height("three\nshort\nlines"), len(found) * _LAYER_HEIGHT) + 2 * GAP
    note += (
        f"\nright: the {_MAPS} maps of each convolution that are largest in the mean, "
        "each from its least value in black to its largest in white"
    )
    top = head_height(note)
    with sheet(path, WIDTH, top + len(explained) * block + MARGIN) as page:
        draw_head(page, title, note)
        for item in explained:
            _draw_block(page, item, found, top)
            top += block


def _draw_block(page: Sheet, item: Explained, found: Sequence[FeatureMaps], top: float) -> None:
    side = shown_side(item.image, _LARGE)
    beside = MARGIN + _LARGE + GAP
    page.image(item.image, MARGIN, top, side)
    page.heat(item.image, item.heat, beside, top, side)
    below = top + side + 3
    name = shortened_path(printable(item.name), SMALL, _LARGE)
    page.text(name, MARGIN, below, size=SMALL, colour=FAINT)
    page.text(item.caption, beside, below)
    for layer, maps in zip(found, item.maps, strict=True):
        rows, columns, channels = maps.shape
        heading = f"{layer.name}: {channels} maps of {rows}×{columns}"
        page.text(heading, _MAPS_LEFT, top, size=SMALL, colour=FAINT)
        under = top + text_height(heading, SMALL)
        for place, channel in enumerate(strongest(maps, _MAPS)):
            left = _MAPS_LEFT + place * (_MAP_SIDE + GAP)
            page.map(maps[..., channel], left, under, _MAP_SIDE)
            middle = left + _MAP_SIDE / 2
            page.text(str(channel), middle, under + _MAP_SIDE + 2, size=SMALL, align="center")
        top += _LAYER_HEIGHT


@dataclass(frozen=True)
class Question:
    """An image and for which outputs its Grad-CAM is drawn, each with what stands below it."""

    image: NDArray[Any]
    caption: str
    #: Number of the output and caption.
    asked: Sequence[tuple[int, str]]


def draw_questions(
    predictor: Predictor,
    maps: FeatureMaps,
    sections: Sequence[tuple[str, Sequence[Question]]],
    path: Path,
    *,
    columns: int,
) -> None:
    """Images beside their Grad-CAMs, under a heading for each section, as a PNG at `path`."""
    card = predictor.card
    note = _meaning(card, maps)
    questions = [question for _, some in sections for question in some]
    heats = iter(_heats(predictor, maps, questions))
    room = image_side(WIDTH, columns)
    side = shown_side(questions[0].image, room)
    heading_height = text_height("x", TEXT) + 8
    rows_of = {title: list(_rows(some, columns)) for title, some in sections if some}
    top = head_height(note)
    heights = [side + _below(row) + GAP for rows in rows_of.values() for row in rows]
    height = top + len(rows_of) * (heading_height + GAP) + sum(heights)
    with sheet(path, WIDTH, height + MARGIN - GAP) as page:
        draw_head(page, f"Grad-CAM of {card.name}: what it goes by", note)
        for title, of_section in rows_of.items():
            page.text(title, MARGIN, top, weight="bold")
            top += heading_height
            for row in of_section:
                left = float(MARGIN)
                for question in row:
                    shown = [(None, question.caption)]
                    shown += [(next(heats), caption) for _, caption in question.asked]
                    for heat, caption in shown:
                        middle = left + room / 2
                        if heat is None:
                            page.image(question.image, middle - side / 2, top, side)
                        else:
                            page.heat(question.image, heat, middle - side / 2, top, side)
                        under = top + side + 3
                        page.text(caption, middle, under, size=SMALL, align="center")
                        left += room + GAP
                top += side + _below(row) + GAP
            top += GAP


def _below(row: Sequence[Question]) -> float:
    """Pixels that the captions of a row take."""
    captions = [text for one in row for text in (one.caption, *(text for _, text in one.asked))]
    return max(text_height(caption, SMALL) for caption in captions) + 3


def _heats(
    predictor: Predictor, maps: FeatureMaps, questions: Sequence[Question]
) -> NDArray[np.float32]:
    """The Grad-CAM for each question's outputs, in their order."""
    images = np.stack([question.image for question in questions for _ in question.asked])
    outputs = [number for question in questions for number, _ in question.asked]
    both_signs = bool(predictor.card.targets)
    return grad_cam(predictor.model, maps, images, outputs, both_signs=both_signs)


def _rows(questions: Sequence[Question], columns: int) -> Iterator[Sequence[Question]]:
    """As many in a row as fit; all of a section have equally many tiles."""
    fit = max(1, columns // (1 + len(questions[0].asked)))
    for start in range(0, len(questions), fit):
        yield questions[start : start + fit]
