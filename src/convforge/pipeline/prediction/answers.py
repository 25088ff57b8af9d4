"""How answers are written: a table for people, JSON lines or CSV for programs."""

from __future__ import annotations

import csv
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TextIO

from numpy.typing import NDArray

from convforge.pipeline.printable import one_line, printable
from convforge.serving.model_card import ModelCard

# A longer class name does not push the others' probabilities out of sight.
_WIDEST_NAME = 30


class Answers(ABC):
    """Writes one answer for each image, as they come.

    Args:
        card: of the model.
        top: how many classes are named.
    """

    def __init__(self, card: ModelCard, top: int, out: TextIO | None = None) -> None:
        self.card = card
        self.top = min(top, len(card.outputs))
        self.out = out or sys.stdout

    @abstractmethod
    def write(self, image: str, row: NDArray[Any]) -> None:
        """The answer for the image of this name: the model's output for it."""


class Table(Answers):
    """Columns for a terminal; the image comes last, since names have any length."""

    def __init__(self, card: ModelCard, top: int, out: TextIO | None = None) -> None:
        super().__init__(card, top, out)
        shown = [one_line(printable(name)) for name in card.outputs]
        self._names = dict(zip(card.outputs, shown, strict=True))
        self._width = min(_WIDEST_NAME, max(5, *map(len, shown)))
        if card.targets:
            self._line([f"{name:>{max(10, len(name))}}" for name in shown], "image")
        else:
            self._line([f"{'class':{self._width}}  probability"] * self.top, "image")

    def write(self, image: str, row: NDArray[Any]) -> None:
        """A line."""
        if self.card.targets:
            pairs = zip(self.card.targets, row, strict=True)
            cells = [f"{number:>{max(10, len(self._names[name]))}.4g}" for name, number in pairs]
        else:
            cells = [
                f"{self._names[name]:{self._width}}  {probability:>11.1%}"
                for name, probability in self.card.likeliest(row, self.top)
            ]
        self._line(cells, one_line(printable(image)))

    def _line(self, cells: Sequence[str], image: str) -> None:
        print(*cells, image, sep="  ", file=self.out)


class JsonLines(Answers):
    """An object a line."""

    def write(self, image: str, row: NDArray[Any]) -> None:
        """A line."""
        answer = {"image": printable(image), **self.card.answer(row, self.top)}
        print(json.dumps(answer), file=self.out)


class Csv(Answers):
    """A header and a row for each image."""

    def __init__(self, card: ModelCard, top: int, out: TextIO | None = None) -> None:
        super().__init__(card, top, out)
        self._rows = csv.writer(self.out, lineterminator="\n")
        names = card.targets or [
            f"{column}{'' if number == 0 else f'_{number + 1}'}"
            for number in range(self.top)
            for column in ("class", "probability")
        ]
        self._rows.writerow(["image", *map(printable, names)])

    def write(self, image: str, row: NDArray[Any]) -> None:
        """A row."""
        if self.card.targets:
            cells = row.tolist()
        else:
            cells = [cell for pair in self.card.likeliest(row, self.top) for cell in pair]
        self._rows.writerow(
            [printable(cell) if isinstance(cell, str) else cell for cell in (image, *cells)]
        )


#: What `--format` may be.
FORMATS: dict[str, type[Answers]] = {"table": Table, "jsonl": JsonLines, "csv": Csv}
