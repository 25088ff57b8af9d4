"""`data`: where images are, and how they are prepared."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, field_validator, model_validator

from convforge.geometry import ArgumentError
from convforge.pipeline.settings.group import Group


class SplitSettings(Group):
    """Sizes of the splits that the data does not bring: an exact count or a fraction."""

    validation: Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, lt=1)]
    test: Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, lt=1)]


_LONGEST_SIDE = 16384
_SIZE = "[height, width], such as [32, 32]"


class ImageData(Group):
    """Where images are and how they are prepared, whatever the format."""

    # It is part of the name of a folder.
    name: Annotated[str, Field(max_length=100)]
    path: str
    channels: Literal[1, 3]
    size: list[int] | None
    geometry: Literal["as_is", "resize", "center_crop"]
    background: Annotated[int, Field(ge=0, le=255)]
    max_pixels: Annotated[int, Field(ge=1, le=178_956_970)]
    store: Literal["pixels", "encoded"]
    split: SplitSettings
    duplicates: Literal["drop_from_train", "keep", "error"]
    on_bad: Literal["quarantine", "error"]
    max_bad_share: Annotated[float, Field(ge=0, le=1)]
    shard_examples: Annotated[int, Field(ge=1, le=10**9)]
    num_classes: Annotated[int, Field(ge=2, le=1_000_000)] | None

    @field_validator("path")
    @classmethod
    def _some_path(cls, path: str) -> str:
        if not path.strip():
            raise ArgumentError("path", path, "the file or folder that holds the images")
        return path

    @field_validator("size", mode="before")
    @classmethod
    def _two_sides(cls, size: Any) -> Any:
        if size is None or (
            isinstance(size, list)
            and len(size) == 2
            and all(type(side) is int and 1 <= side <= _LONGEST_SIDE for side in size)
        ):
            return size
        allowed = f"{_SIZE}, whole numbers up to {_LONGEST_SIDE}, or null with data.geometry=as_is"
        raise ArgumentError("size", size, allowed)

    @model_validator(mode="after")
    def _size_to_fit(self) -> Self:
        if self.size is None and self.geometry != "as_is":
            allowed = f"{_SIZE}, or data.geometry=as_is instead of {self.geometry}"
            raise ArgumentError("size", None, allowed)
        return self

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """Height, width, channels, where the config fixes the size."""
        return None if self.size is None else (self.size[0], self.size[1], self.channels)

    @property
    def target_names(self) -> tuple[str, ...]:
        """What numbers the examples carry instead of a class, if they do."""
        return ()

    @property
    def follows_links(self) -> bool:
        """Whether links lead out of the folder that `path` names."""
        return False


class _FileData(ImageData):
    """Image files, in a folder or an archive."""

    # Runs of before there was this key are read as well.
    links: Literal["inside", "follow"] = "inside"

    @property
    def follows_links(self) -> bool:
        """As the key says."""
        return self.links == "follow"


class FolderData(_FileData):
    """Files in class folders, on disk or in an archive."""

    format: Literal["folders"]


class TableData(_FileData):
    """Files that a CSV or Parquet table lists, with a class or with numbers to predict."""

    format: Literal["table"]
    #: The folder or archive of the files; null is the table's own folder.
    images: str | None
    file_column: str
    class_column: str | None
    target_columns: list[str]
    split_column: str | None

    @model_validator(mode="after")
    def _one_kind_of_label(self) -> Self:
        if (self.class_column is None) == (not self.target_columns):
            allowed = "a column, or null together with data.target_columns; never both or none"
            raise ArgumentError("class_column", self.class_column, allowed)
        if self.target_columns and self.num_classes is not None:
            raise ArgumentError("num_classes", self.num_classes, "null: numbers have no classes")
        if len(set(self.target_columns)) < len(self.target_columns):
            raise ArgumentError("target_columns", self.target_columns, "each column once")
        return self

    @property
    def target_names(self) -> tuple[str, ...]:
        """The columns of numbers."""
        return tuple(self.target_columns)


class ImageNetData(_FileData):
    """ImageNet's layout: train/SYNSET/*.JPEG and a list of the validation images' classes."""

    format: Literal["imagenet"]
    #: null looks for the files of their usual names.
    ground_truth: str | None
    class_names: str | None


class _ArrayData(ImageData):
    """Pixels that are not in image files, so that there is nothing else to store."""

    store: Literal["pixels"]


class NpzData(_ArrayData):
    """A NumPy archive of x_train, y_train and so on."""

    format: Literal["npz"]
    #: In the order of their numbers; null calls them by the number.
    class_names: list[str] | None


class IdxData(_ArrayData):
    """A folder of IDX files, such as MNIST's."""

    format: Literal["idx"]
    class_names: list[str] | None


class CifarData(_ArrayData):
    """CIFAR's binary version."""

    format: Literal["cifar"]
    labels: Literal["fine", "coarse"]


DataSettings: TypeAlias = FolderData | TableData | ImageNetData | NpzData | IdxData | CifarData
