"""What one must know to use a model besides its weights: `card.json` in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from convforge.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

CARD = "card.json"
#: An image of the data beside it, for people who want to try the model.
EXAMPLE = "example.png"
#: What an image's side may be; as `data.size`.
LONGEST_SIDE = 16384
# The card of a model for ImageNet's 21,841 classes has a megabyte.
_LARGEST_CARD = 16 * 2**20
# Letters of a value that a message repeats.
_MOST_SHOWN = 60

Side = Annotated[int, Field(ge=1, le=LONGEST_SIDE)]


class ModelCard(BaseModel):
    """What the outputs stand for, and what the model takes."""

    model_config = ConfigDict(frozen=True)

    name: str
    #: What the outputs stand for: classes, or else the numbers that it predicts.
    classes: list[str]
    targets: list[str] = []
    #: Height, width, channels of the pixels it takes, 0..255.
    image_shape: Annotated[list[Side], Field(min_length=3, max_length=3)]
    #: Height and width that an image is given first; the model takes the centre of it. None where
    #: they are the model's own.
    stored_size: Annotated[list[Side], Field(min_length=2, max_length=2)] | None = None
    #: How other sizes become that one, and what shows through where images are transparent.
    geometry: Literal["resize", "center_crop"] = "resize"
    background: Annotated[int, Field(ge=0, le=255)] = 255
    data_digest: str
    version: str
    #: The epoch after which the weights were kept, and the figure by which it was the best; None
    #: where it was the last.
    epoch: int | None = None
    best_by: str | None = None

    @property
    def weights(self) -> str:
        """Which weights these are, for people."""
        if self.best_by:
            return f"weights of epoch {self.epoch}, the best by {self.best_by}"
        if self.epoch:
            return f"weights of epoch {self.epoch}, the last"
        return "weights of the last epoch"  # Of a run from before there was a choice.

    @property
    def outputs(self) -> list[str]:
        """The name of each of the model's outputs."""
        return self.classes or self.targets

    def likeliest(self, row: NDArray[Any], top: int) -> list[tuple[str, float]]:
        """Of one image's output, the classes and their probabilities, the likeliest first."""
        order = row.argsort()[::-1][:top]
        return [(self.classes[number], float(row[number])) for number in order]

    def answer(self, row: NDArray[Any], top: int) -> dict[str, Any]:
        """What one image's output means: its class and the probability, or numbers by their names.

        With a `top` above 1 so many classes stand under "top", the likeliest first.
        """
        if self.targets:
            return dict(zip(self.targets, row.tolist(), strict=True))
        named = [{"class": name, "probability": share} for name, share in self.likeliest(row, top)]
        return named[0] if top == 1 else {**named[0], "top": named}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if bool(self.classes) == bool(self.targets):
            raise ValueError("it must name either classes or targets")
        if self.image_shape[2] not in (1, 3):
            raise ValueError(f"image_shape={self.image_shape}: images have 1 or 3 channels")
        stored = self.stored_size
        if stored and (stored[0] < self.image_shape[0] or stored[1] < self.image_shape[1]):
            raise ValueError(f"stored_size={stored} is smaller than image_shape={self.image_shape}")
        return self


def write_card(path: Path, card: ModelCard) -> None:
    """Write `card` to the file `path`."""
    path.write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_card(folder: Path) -> ModelCard:
    """The card of the model in `folder`.

    Raises:
        InputError: it is damaged, or says what cannot be.
    """
    path = folder / CARD
    if path.stat().st_size > _LARGEST_CARD:
        raise InputError(f"{path} is refused: no card has more than {_LARGEST_CARD:,} bytes")
    try:
        return ModelCard.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InputError(f"{path} is refused: {_reason(error)}") from error


def _reason(error: ValidationError) -> str:
    """The first of pydantic's errors in a line: where, what is there, what is wrong."""
    first = error.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    where = ".".join(str(step) for step in first["loc"])
    if not where or first["type"] == "missing":
        return f"{where}: {message}" if where else message
    value = repr(first["input"])
    shown = value if len(value) <= _MOST_SHOWN else f"{value[:_MOST_SHOWN]}…"
    return f"{where}={shown}: {message}"
