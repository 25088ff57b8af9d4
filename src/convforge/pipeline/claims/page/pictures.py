"""The kept pictures of one run of a scale: its kernels, feature maps and worst mistakes.

They lie in `claims/pictures/SCALE/`, in Git, with `about.json`, which says whose they are;
`run_pictures.py` makes them.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from pydantic import BaseModel, ConfigDict

from convforge.errors import InputError
from convforge.pipeline.filesystem.atomic_file import write_text

FOLDER = "pictures"
ABOUT = "about.json"
#: What each file shows.
TITLES = {
    "kernels.png": "The kernels of the first layer",
    "feature_maps.png": "Test images, what speaks for the class, and the strongest feature maps",
    "worst_errors.png": "The test images that it was most wrong about",
}


class About(BaseModel):
    """Whose pictures they are.

    Args:
        claim: of the run.
        arm: of the claim, by name.
        seed: of the run.
        run_id: in MLflow.
        data: that it was trained and tested on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    claim: str
    arm: str
    seed: int
    run_id: str
    data: str

    def write(self, folder: Path) -> None:
        """Beside the pictures."""
        write_text(folder / ABOUT, self.model_dump_json(indent=1) + "\n")


@dataclass(frozen=True)
class Picture:
    """A PNG, what it shows, and its size in pixels."""

    path: Path
    title: str
    width: int
    height: int


@dataclass(frozen=True)
class Pictures:
    """The pictures that are kept of a scale."""

    about: About
    files: Sequence[Picture]


def read_pictures(results: Path, scale: str) -> Pictures | None:
    """The pictures of a scale; None where none are kept.

    Args:
        results: folder of the results.
        scale: its name.

    Raises:
        InputError: pictures of which is not said whose they are.
    """
    folder = results / FOLDER / scale
    files = [
        _picture(folder / name, title)
        for name, title in TITLES.items()
        if (folder / name).is_file()
    ]
    if not files:
        return None
    try:
        about = About.model_validate_json((folder / ABOUT).read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / ABOUT}: {str(error).splitlines()[0]}") from error
    return Pictures(about, files)


def data_uri(picture: Picture) -> str:
    """The file's content as an address."""
    content = base64.b64encode(picture.path.read_bytes()).decode("ascii")
    return f"data:image/png;base64,{content}"


def _picture(path: Path, title: str) -> Picture:
    with Image.open(path) as image:
        return Picture(path, title, *image.size)
