"""`model`: the network, its layers by name, in order."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import Field, model_validator

from convforge.errors import InputError
from convforge.geometry import ArgumentError
from convforge.models.specs import Activation, AnyLayerSpec, LayerSpec, Normalize, SoftmaxSpec
from convforge.models.summary import LayerCost, LayerError, layer_costs
from convforge.pipeline.settings.group import Group

#: The model's own: its input and the layer that normalises.
_KEPT_NAMES = ("image", "normalize")


class NominalInput(Group):
    """What a published net was made for."""

    image: Annotated[list[Annotated[int, Field(ge=1, le=16384)]], Field(min_length=3, max_length=3)]
    classes: Annotated[int, Field(ge=2, le=1_000_000)]


class ModelSettings(Group):
    """The network: its layers by name, in order."""

    name: Annotated[str, Field(max_length=100)]
    normalize: Normalize
    activation: Activation
    # `convforge summary` counts on it, so that a published net shows its published figures.
    nominal_input: NominalInput | None
    # `null` removes a layer that a config inherited.
    layers: dict[str, Annotated[AnyLayerSpec, Field(discriminator="type")] | None]

    @model_validator(mode="after")
    def _names(self) -> Self:
        for name in self.layers:
            if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name) or name in _KEPT_NAMES:
                allowed = (
                    f"a name of at most 100 letters, digits, _ and -, and none of "
                    f"{', '.join(_KEPT_NAMES)}"
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
