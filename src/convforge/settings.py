"""The typed form of a composed config: every key, its type, its range.

`Settings.parse` turns the mapping that Hydra composed into frozen objects; the stages take these
and never look into the config again. A mistake becomes an `InputError` that names the full key,
the value, what is allowed, and the nearest valid name.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import types
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    Self,
    TypeAlias,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from convforge.augment.settings import Augmentation
from convforge.augment.targets import check_targets
from convforge.errors import InputError
from convforge.geometry import ArgumentError
from convforge.models.specs import Activation, AnyLayerSpec, LayerSpec, SoftmaxSpec
from convforge.models.summary import LayerCost, LayerError, layer_costs


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class SplitSettings(_Group):
    """Sizes of the splits that the data does not bring: an exact count or a fraction."""

    validation: Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, lt=1)]
    test: Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, lt=1)]


_LONGEST_SIDE = 16384
_SIZE = "[height, width], such as [32, 32]"


class ImageData(_Group):
    """Where images are and how they are prepared, whatever the format."""

    name: str
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
    shard_examples: Annotated[int, Field(ge=1)]
    num_classes: Annotated[int, Field(ge=2)] | None

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

#: The model's own: its input and the layer that normalises.
_KEPT_NAMES = ("image", "normalize")


class NominalInput(_Group):
    """What a published net was made for."""

    image: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=3, max_length=3)]
    classes: Annotated[int, Field(ge=2)]


class ModelSettings(_Group):
    """The network: its layers by name, in order."""

    name: str
    normalize: Literal["standardize", "center", "none"]
    activation: Activation
    # `convforge summary` counts on it, so that a published net shows its published figures.
    nominal_input: NominalInput | None
    # `null` removes a layer that a config inherited.
    layers: dict[str, Annotated[AnyLayerSpec, Field(discriminator="type")] | None]

    @model_validator(mode="after")
    def _names(self) -> Self:
        for name in self.layers:
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or name in _KEPT_NAMES:
                allowed = (
                    f"a name of letters, digits, _ and -, and none of {', '.join(_KEPT_NAMES)}"
                )
                raise ArgumentError("layers", name, allowed)
        return self

    def specs(self, *, regression: bool = False) -> dict[str, LayerSpec]:
        """The layers that are there; a regression has no use for a final softmax."""
        there = self.layers.items()
        specs: dict[str, LayerSpec] = {name: spec for name, spec in there if spec is not None}
        if regression and specs and isinstance(list(specs.values())[-1], SoftmaxSpec):
            specs.popitem()
        return specs

    def costs(
        self, image_shape: tuple[int, ...], outputs: int, *, regression: bool = False
    ) -> list[LayerCost]:
        """What each layer costs on images of `image_shape`.

        Args:
            image_shape: height, width, channels.
            outputs: the number of classes, or of numbers to predict.
            regression: whether it predicts numbers.

        Raises:
            InputError: a layer does not fit its input, or the last is no softmax over the classes,
                or has not one unit for each number.
        """
        specs = self.specs(regression=regression)
        try:
            rows = layer_costs(specs, image_shape=image_shape, num_classes=outputs)
        except LayerError as error:
            raise InputError(f"model.layers.{error.layer}: {error}") from error
        if not rows or (rows[-1].type != "softmax" and not regression):
            raise InputError("model.layers must end with a layer of type softmax")
        if rows[-1].output_shape != (outputs,):
            there = "numbers to predict" if regression else "classes"
            raise InputError(
                f"model.layers.{rows[-1].name}: its output is {rows[-1].output_shape}, but there "
                f"are {outputs} {there}; `units: null` means as many as there are"
            )
        return rows


class ClassificationTask(_Group):
    """Which class is it?"""

    name: Literal["classification"]


class RegressionTask(_Group):
    """How much is it? The numbers that the data bring, or that the augmentation drew."""

    name: Literal["regression"]
    drawn: Annotated[list[str], Field(min_length=1)] | None
    standardize: bool


class LossSettings(_Group):
    """Equations (9) to (12)."""

    name: Literal["cross_entropy", "mse", "mae", "hinge"]


class _GradientDescent(_Group):
    """ε, and bounds on the gradient; at most one bound."""

    learning_rate: Annotated[float, Field(gt=0)]
    clip_value: Annotated[float, Field(gt=0)] | None
    clip_norm: Annotated[float, Field(gt=0)] | None
    clip_global_norm: Annotated[float, Field(gt=0)] | None

    @property
    def clipping(self) -> dict[str, Any]:
        """Keras' argument for the bound that is set, or nothing."""
        bounds = {
            "clipvalue": self.clip_value,
            "clipnorm": self.clip_norm,
            "global_clipnorm": self.clip_global_norm,
        }
        return {name: bound for name, bound in bounds.items() if bound is not None}

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if len(self.clipping) > 1:
            allowed = "one of clip_value, clip_norm and clip_global_norm, and null for the others"
            raise ArgumentError("clip_value", self.clip_value, allowed)
        return self


class SGDSettings(_GradientDescent):
    """Equation (14)."""

    name: Literal["sgd"]


Factors: TypeAlias = dict[str, Annotated[float, Field(ge=0)]]


class MomentumSGDSettings(_GradientDescent):
    """Equations (15) and (16); which variables the patterns fit is known once there are some."""

    name: Literal["momentum_sgd"]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    no_decay: list[str]
    learning_rate_factors: Factors
    decay_factors: Factors

    @model_validator(mode="after")
    def _patterns(self) -> Self:
        for argument in ("no_decay", "learning_rate_factors", "decay_factors"):
            for pattern in getattr(self, argument):
                try:
                    re.compile(pattern)
                except re.error as error:
                    allowed = f"a regular expression ({error})"
                    raise ArgumentError(argument, pattern, allowed) from error
        return self


class ConstantSchedule(_Group):
    """ε stays."""

    name: Literal["constant"]


class CosineSchedule(_Group):
    """ε rises over the warm-up, then falls along half a cosine."""

    name: Literal["cosine"]
    warmup_epochs: Annotated[float, Field(ge=0)]
    final_fraction: Annotated[float, Field(ge=0, le=1)]


class StepSchedule(_Group):
    """ε is multiplied by `factor` at each of `at_epochs`."""

    name: Literal["step"]
    at_epochs: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]
    factor: Annotated[float, Field(gt=0, le=1)]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if sorted(self.at_epochs) != self.at_epochs:
            raise ArgumentError("at_epochs", self.at_epochs, "epochs in rising order")
        return self


class CheckpointSettings(_Group):
    """How a run can go on after a stop."""

    seconds: Annotated[float, Field(ge=0)]
    keep: Annotated[int, Field(ge=1)]
    monitor: Annotated[str, Field(pattern=r"^[a-z_]+$")] | None
    resume: bool


class TrainerSettings(_Group):
    """How long, in what portions, and how exactly."""

    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"]
    limit_examples: Annotated[int, Field(ge=1)] | None
    limit_steps: Annotated[int, Field(ge=1)] | None
    deterministic: bool
    shuffle_megabytes: Annotated[int, Field(ge=1)]
    input_threads: Annotated[int, Field(ge=1)] | None
    largest_loss: Annotated[float, Field(gt=0)]
    checkpoint: CheckpointSettings


class MLflowTracking(_Group):
    """An MLflow store."""

    name: Literal["mlflow"]
    uri: str | None
    experiment: Annotated[str, Field(min_length=1)]
    run_name: str | None
    parent_run: str | None
    patience: Annotated[float, Field(ge=0, le=3600)]

    @model_validator(mode="after")
    def _known_store(self) -> Self:
        allowed = self.uri and refused_store(self.uri)
        if allowed:
            raise ArgumentError("uri", self.uri, allowed)
        return self


_STORES = ("postgresql", "mysql", "mssql", "databricks", "uc")


def refused_store(uri: str) -> str | None:
    """None for the address of a store that MLflow takes; for another, what it takes.

    Example:
        >>> refused_store("http://127.0.0.1:5000"), refused_store("sqlite:///runs.db")
        (None, None)
        >>> refused_store("mlruns")[:23]
        'sqlite:///FILE, http://'
    """
    scheme, colon, rest = uri.partition(":")
    name = scheme.split("+")[0].lower()
    if name in ("http", "https"):
        try:
            parts = urlsplit(uri)
            good = bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
    elif name == "sqlite":
        good = rest.startswith("///") and rest[3:] not in ("", ":memory:")
    elif name in _STORES:
        good = bool(colon) or name == "databricks"
    else:
        plugins = entry_points(group="mlflow.tracking_store")
        good = bool(colon) and name not in ("", "file") and scheme in plugins.names
    known = "sqlite:///FILE, http://HOST:PORT, https://… or a database's postgresql://…, mysql://…"
    return None if good else f"{known} (MLflow keeps runs in plain folders no more)"


class NoTracking(_Group):
    """Files only."""

    name: Literal["none"]


class NoDistribution(_Group):
    """One device."""

    name: Literal["none"]

    def parts(self) -> int | None:
        """Among how many devices a batch is shared, where the config says it."""
        return None


class DeviceDistribution(_Group):
    """Several devices of this machine."""

    name: Literal["devices"]
    #: null takes all that there are.
    devices: Annotated[int, Field(ge=1)] | None

    def parts(self) -> int | None:
        """Among how many devices a batch is shared, where the config says it."""
        return self.devices


class ProcessDistribution(_Group):
    """Several processes, on as many machines; null asks the environment."""

    name: Literal["processes"]
    coordinator: str | None
    count: Annotated[int, Field(ge=1)] | None
    rank: Annotated[int, Field(ge=0)] | None
    patience: Annotated[int, Field(ge=5, le=3600)]

    def parts(self) -> int | None:
        """Among how many devices a batch is shared at least, where the config says it."""
        return self.count

    @model_validator(mode="after")
    def _one_of_the_processes(self) -> Self:
        if self.rank is not None and self.count is not None and self.rank >= self.count:
            allowed = f"0 to {self.count - 1}, less than distribute.count"
            raise ArgumentError("rank", self.rank, allowed)
        if self.coordinator is not None and not is_address(self.coordinator):
            allowed = "HOST:PORT of the process of rank 0"
            raise ArgumentError("coordinator", self.coordinator, allowed)
        return self


class RayDistribution(_Group):
    """Several processes that Ray Train starts on a cluster."""

    name: Literal["ray"]
    #: As `RayCluster` has it.
    address: str | None
    count: Annotated[int, Field(ge=1)]
    cpus_per_process: Annotated[float, Field(ge=0)]
    gpus_per_process: Annotated[int, Field(ge=0)]
    retries: Annotated[int, Field(ge=0)]
    patience: Annotated[int, Field(ge=5, le=3600)]

    def parts(self) -> int | None:
        """Among how many devices a batch is shared at least."""
        return self.count * max(1, self.gpus_per_process)

    def resources(self) -> dict[str, float]:
        """What a process is given, by Ray's names."""
        given = {"CPU": self.cpus_per_process, "GPU": float(self.gpus_per_process)}
        return {name: number for name, number in given.items() if number}


def is_address(text: str) -> bool:
    """Whether `text` is HOST:PORT.

    Example:
        >>> is_address("node1:1234"), is_address("node1"), is_address("node1:http")
        (True, False, False)
    """
    host, colon, port = text.rpartition(":")
    return bool(host and colon) and port.isdecimal() and 0 < int(port) < 2**16


TaskSettings: TypeAlias = ClassificationTask | RegressionTask
OptimizerSettings: TypeAlias = SGDSettings | MomentumSGDSettings
ScheduleSettings: TypeAlias = ConstantSchedule | CosineSchedule | StepSchedule
TrackingSettings: TypeAlias = MLflowTracking | NoTracking
DistributionSettings: TypeAlias = (
    NoDistribution | DeviceDistribution | ProcessDistribution | RayDistribution
)


class Settings(_Group):
    """Everything that a run is made of."""

    seed: Annotated[int, Field(ge=0, lt=2**31)]
    # `version`, since pydantic keeps the name `schema` for itself.
    version: Literal[1] = Field(alias="schema")
    data: DataSettings = Field(discriminator="format")
    augment: Augmentation
    model: ModelSettings
    task: TaskSettings = Field(discriminator="name")
    loss: LossSettings
    optimizer: OptimizerSettings = Field(discriminator="name")
    schedule: ScheduleSettings = Field(discriminator="name")
    trainer: TrainerSettings
    distribute: DistributionSettings = Field(discriminator="name")
    tracking: TrackingSettings = Field(discriminator="name")

    @property
    def drawn_targets(self) -> tuple[str, ...]:
        """The augmentation's parameters that are to be predicted."""
        return tuple(self.task.drawn or ()) if isinstance(self.task, RegressionTask) else ()

    @property
    def predicted_numbers(self) -> tuple[str, ...]:
        """What a regression predicts, by name; nothing for classes."""
        regression = isinstance(self.task, RegressionTask)
        return (self.drawn_targets or self.data.target_names) if regression else ()

    def outputs(self, classes: int) -> int:
        """How many units the net ends with: one for each number to predict, or for each class."""
        return len(self.predicted_numbers) or classes

    def costs(self, image_shape: tuple[int, ...], classes: int) -> list[LayerCost]:
        """What each layer of the net for this task costs; see `ModelSettings.costs`."""
        regression = bool(self.predicted_numbers)
        return self.model.costs(image_shape, self.outputs(classes), regression=regression)

    def input_shape(self, stored: Sequence[int]) -> tuple[int, int, int]:
        """Height, width, channels that the net sees of images stored in the shape `stored`.

        Raises:
            ArgumentError: the net would see more of an image than there is.
        """
        (height, width, channels), size = stored, self.augment.size
        if size is None:
            return (height, width, channels)
        if size[0] > height or size[1] > width:
            allowed = f"null, or at most the size of the stored images, [{height}, {width}]"
            raise ArgumentError("augment.size", list(size), allowed)
        return (*size, channels)

    @property
    def remarks(self) -> list[str]:
        """What is allowed, and does something else than its name says."""
        if self.augment.colour.active and self.data.channels == 1:
            return [
                f"augment.colour.strength={self.augment.colour.strength}: with data.channels=1 "
                "there are no colours, so it alters the brightness alone"
            ]
        return []

    @model_validator(mode="after")
    def _net_sees_no_more_than_there_is(self) -> Self:
        if self.data.image_shape is not None:
            self.input_shape(self.data.image_shape)
        return self

    @model_validator(mode="after")
    def _data_fit_task(self) -> Self:
        if self.task.name == "regression" and not self.predicted_numbers:
            allowed = "classification, or task.drawn, or data=table with data.target_columns"
            raise ArgumentError("task", "regression", allowed)
        if self.task.name == "classification" and self.data.target_names:
            allowed = f"regression: the data bring {', '.join(self.data.target_names)}, no classes"
            raise ArgumentError("task", "classification", allowed)
        return self

    @model_validator(mode="after")
    def _loss_fits_task(self) -> Self:
        if self.task.name == "regression" and self.loss.name == "cross_entropy":
            raise ArgumentError("loss", "cross_entropy", "mse, mae or hinge with task=regression")
        if self.drawn_targets and self.loss.name == "hinge":
            raise ArgumentError("loss", "hinge", "mse or mae with task.drawn: it needs −1 and 1")
        check_targets(self.drawn_targets, self.augment, argument="task.drawn")
        return self

    @model_validator(mode="after")
    def _batch_can_be_shared(self) -> Self:
        parts, size = self.distribute.parts(), self.trainer.batch_size
        if parts is not None and size % parts:
            allowed = f"{shareable(size, parts)}, a multiple of distribute.{self.distribute.name}"
            raise ArgumentError("trainer.batch_size", size, f"{allowed}={parts}")
        return self

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Settings:
        """The settings that `config`, composed and resolved, describes.

        Raises:
            InputError: naming every wrong key; see the module's docstring.
        """
        try:
            # As JSON, because there a list may stand for a tuple while types stay strict.
            return cls.model_validate_json(json.dumps(config), strict=True)
        except ValidationError as error:
            lines = dict.fromkeys(_explain(item, config) for item in error.errors())
            raise InputError("\n".join(lines)) from error


def _explain(error: Any, config: Mapping[str, Any]) -> str:
    """One line for one of pydantic's errors: key, value, what is allowed, nearest name."""
    path, value = _locate(error["loc"], config)
    # A rule about the whole config has no place in it; it names its key itself.
    key, last = _dotted(path), str(error["loc"][-1]) if error["loc"] else ""
    context = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            return f"{key} is not a key{nearest(last, known_keys(path[:-1], config))}"
        case "missing" | "missing_argument" | "missing_keyword_only_argument":
            return f"{_dotted((*path, last))} is missing"
        case "union_tag_not_found":
            return f"{_dotted((*path, _tag_key(context)))} is missing"
        case "union_tag_invalid":
            known = [name.strip(" '") for name in context["expected_tags"].split(",")]
            tag = context["tag"]
            hint = nearest(tag, known)
            return f"{_dotted((*path, _tag_key(context)))}={tag!r} is not known{hint}"
        case "literal_error":
            known = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
            hint = nearest(str(value), known)
            return f"{key}={value!r} is not allowed{hint}"
        case "value_error" if isinstance(context["error"], ArgumentError):
            cause = context["error"]
            # A rule about one key stands there, one about several at the group.
            if path[-1:] != (cause.argument,):
                key = _dotted((*path, cause.argument))
            return f"{key}={_written(cause.value)} is not allowed: give {cause.allowed}"
    return f"{key}={_written(value)}: {error['msg'].removeprefix('Input ')}"


def _written(value: Any) -> str:
    """`value` as one writes it in a config."""
    # A range is a tuple in the settings and a list in the config.
    plain = list(value) if isinstance(value, tuple) else value
    return json.dumps(plain) if plain is None or isinstance(plain, bool) else repr(plain)


def _tag_key(context: Mapping[str, str]) -> str:
    return context["discriminator"].strip("'")


def _locate(location: tuple[Any, ...], config: Any) -> tuple[tuple[Any, ...], Any]:
    """The part of pydantic's location that is a path in `config`, and the value there.

    Pydantic puts the names of union members between the keys; those are not in the config.
    """
    path: list[Any] = []
    value: Any = config
    for step in location:
        in_mapping = isinstance(value, Mapping) and step in value
        in_list = isinstance(value, list) and isinstance(step, int) and step < len(value)
        if in_mapping or in_list:
            path.append(step)
            value = value[step]
    return tuple(path), value


def changed_keys(
    before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = ""
) -> list[str]:
    """Where two configs differ, as `key old → new`.

    Example:
        >>> changed_keys({"trainer": {"epochs": 3}}, {"trainer": {"epochs": 4}})
        ['trainer.epochs 3 → 4']
    """
    changes = []
    for key in [*before, *(key for key in after if key not in before)]:
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            changes += changed_keys(old, new, f"{prefix}{key}.")
        elif old != new:
            changes.append(f"{prefix}{key} {old} → {new}")
    return changes


def known_keys(path: tuple[Any, ...], config: Any) -> list[str]:
    """The keys that the schema allows at `path`."""
    current: Any = Settings
    value: Any = config
    for step in path:
        value = value[step]
        if get_origin(current) is dict:
            current = get_args(current)[1]
        else:
            current = _field_types(current)[step]
        current = _member(current, value)
    # A mapping by name, such as a model's layers: its own keys are all there are.
    return list(value) if get_origin(current) is dict else list(_field_types(current))


def _field_types(model: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(model):
        hints = get_type_hints(model)
        return {field.name: hints[field.name] for field in dataclasses.fields(model)}
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _member(annotation: Any, value: Any) -> Any:
    """The type in a union of groups that `value` says it is, by its `type`, `format` or `name`."""
    if get_origin(annotation) is Annotated:
        return _member(get_args(annotation)[0], value)
    members = [_unwrap(member) for member in _union_members(annotation)]
    for member in members:
        if isinstance(member, type) and (
            dataclasses.is_dataclass(member) or issubclass(member, BaseModel)
        ):
            fields = _field_types(member)
            keys = [key for key in ("type", "format", "name") if key in fields]
            tag = value.get(keys[0]) if keys and isinstance(value, Mapping) else None
            if len(members) == 1 or not keys or tag in get_args(fields[keys[0]]):
                return member
    return members[0]


def _unwrap(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _union_members(annotation: Any) -> list[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        nested = [_union_members(_unwrap(member)) for member in get_args(annotation)]
        return [member for members in nested for member in members if member is not type(None)]
    return [annotation]


def _dotted(path: tuple[Any, ...]) -> str:
    return ".".join(str(step) for step in path)


def nearest(name: str, known: Sequence[str]) -> str:
    """A hint at the valid name nearest to `name`, or at all of them.

    Example:
        >>> nearest("learnin_rate", ["learning_rate", "momentum"])
        '; did you mean learning_rate?'
    """
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}"


def shareable(batch_size: int, parts: int) -> str:
    """The batch sizes nearest to `batch_size` that `parts` devices can share evenly.

    Example:
        >>> shareable(50, 4), shareable(3, 4)
        ('48 or 52', '4')
    """
    below = batch_size // parts * parts
    return " or ".join(str(size) for size in (below, below + parts) if size)


def resolve_path(path: str, root: Path) -> Path:
    """`path` as written in a config: absolute, or relative to the project's `root`."""
    given = Path(path).expanduser()
    return given if given.is_absolute() else root / given
