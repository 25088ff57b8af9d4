"""Where data come from that are not there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from convforge.pipeline.data.preparation.sources.downloads import DATA_SETS

if TYPE_CHECKING:
    from convforge.pipeline.settings.data import DataSettings


def how_to_get(settings: DataSettings, path: Path) -> str:
    """The end of a message that misses the data at `path`: the command that brings them, if any."""
    for name, data_set in DATA_SETS.items():
        if data_set.config == settings.name:
            return f": `convforge fetch {name}` downloads the data set"
        if name == settings.name:
            return f": `convforge fetch {name}` downloads the archive of data={data_set.config}"
    for folder in (path, *path.parents):
        tracked = folder.parent / f"{folder.name}.dvc"
        if folder.name and tracked.is_file():
            return f": DVC knows it, `dvc pull {tracked.name}` brings it"
    return ""
