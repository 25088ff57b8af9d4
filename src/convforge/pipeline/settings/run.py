"""The typed form of a composed config: every key, its type, its range.

`Settings.parse` turns the mapping that Hydra composed into frozen objects; the stages take these
and never look into the config again. A mistake becomes an `InputError` that names the full key,
the value, what is allowed, and the nearest valid name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from convforge.augment.settings import Augmentation
from convforge.augment.targets import check_targets
from convforge.errors import InputError
from convforge.geometry import ArgumentError
from convforge.models.specs import LayerSpec
from convforge.models.summary import LayerCost
from convforge.pipeline.settings.data import DataSettings
from convforge.pipeline.settings.distribution import DistributionSettings, shareable
from convforge.pipeline.settings.explanation import explain
from convforge.pipeline.settings.group import Group
from convforge.pipeline.settings.model import ModelSettings
from convforge.pipeline.settings.nearest import nearest
from convforge.pipeline.settings.objective import LossSettings, RegressionTask, TaskSettings
from convforge.pipeline.settings.optimization import OptimizerSettings, ScheduleSettings
from convforge.pipeline.settings.tracking import TrackingSettings
from convforge.pipeline.settings.trainer import TrainerSettings


class Settings(Group):
    """Everything that a run is made of."""

    seed: Annotated[int, Field(ge=0, lt=2**31)]
    #: Of a run from before there was a choice, too.
    evaluate: bool = False
    #: Of a run from before there was a choice, too.
    pictures: bool = True
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

    @property
    def augmentation_in_training(self) -> Augmentation:
        """`augment`, moved into the step where the data lie in the device's memory."""
        before = self.augment.active and self.augment.place == "input"
        if self.trainer.feed == "device" and before:
            return replace(self.augment, place="step")
        return self.augment

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
    def warnings(self) -> list[str]:
        """What is allowed, and does something else than its name says."""
        remarks = []
        if self.augment.colour.active and self.data.channels == 1:
            remarks.append(
                f"augment.colour.strength={self.augment.colour.strength}: with data.channels=1 "
                "there are no colours, so it alters the brightness alone"
            )
        if self.trainer.freeze and self.trainer.start_from is None:
            remarks.append(
                f"trainer.freeze={self.trainer.freeze}: without trainer.start_from these layers "
                "keep the random weights of their beginning"
            )
        return remarks

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
        if self.task.name == "regression" and self.loss.class_weights is not None:
            allowed = "null with task=regression, which has no classes"
            raise ArgumentError("loss.class_weights", self.loss.class_weights, allowed)
        if self.drawn_targets and self.loss.name == "hinge":
            raise ArgumentError("loss", "hinge", "mse or mae with task.drawn: it needs −1 and 1")
        check_targets(self.drawn_targets, self.augment, argument="task.drawn")
        return self

    @property
    def frozen(self) -> frozenset[str]:
        """The layers that are not trained, by their names in `model.layers`."""
        patterns = self.trainer.freeze
        return frozenset(
            name for name in self._specs if any(re.search(each, name) for each in patterns)
        )

    @property
    def _specs(self) -> dict[str, LayerSpec]:
        return self.model.specs(regression=self.task.name == "regression")

    @model_validator(mode="after")
    def _freezes_some_layers(self) -> Self:
        layers, patterns = self._specs, self.trainer.freeze
        for pattern in patterns:
            if not any(re.search(pattern, name) for name in layers):
                hint = nearest(re.sub(r"\W", "", pattern), list(layers))
                allowed = f"a pattern found in the name of a layer{hint}"
                raise ArgumentError("trainer.freeze", pattern, allowed)
        learning = {name for name, spec in layers.items() if spec.learns}
        if learning and learning <= self.frozen:
            allowed = f"patterns that leave one of {', '.join(sorted(learning))} to be trained"
            raise ArgumentError("trainer.freeze", patterns, allowed)
        return self

    @model_validator(mode="after")
    def _one_device_is_fed(self) -> Self:
        if self.trainer.feed == "device":
            if self.distribute.name != "none":
                allowed = f"stream with distribute={self.distribute.name}"
                raise ArgumentError("trainer.feed", "device", allowed)
            if self.drawn_targets:
                raise ArgumentError("trainer.feed", "device", "stream with task.drawn")
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
            lines = dict.fromkeys(explain(item, config, cls) for item in error.errors())
            raise InputError("\n".join(lines)) from error


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
