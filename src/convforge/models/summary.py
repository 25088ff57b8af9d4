"""What a network costs, layer by layer, computed from its specs without building weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from convforge import geometry
from convforge.models.specs import (
    FiltersSpec,
    FullyConnectedSpec,
    LayerSpec,
    Shape,
)


class LayerError(ValueError):
    """A layer that does not fit its input.

    Args:
        layer: its name in the config.
        message: what is wrong with it, without the name.
    """

    def __init__(self, layer: str, message: str) -> None:
        super().__init__(message)
        self.layer = layer


@dataclass(frozen=True)
class LayerCost:
    """One row of the table: a layer, its feature map and its cost for one example.

    Attributes:
        name: in the config.
        type: in the config, such as "conv2d".
        output_shape: without the batch.
        parameters: learned numbers.
        multiply_adds: for one image.
        receptive_field: height and width of the image area that one output sees; the whole image
            once flat.
        fully_connected: the learned numbers of a fully connected layer from the same input to the
            same output; None for a layer that is no convolution.
    """

    name: str
    type: str
    output_shape: Shape
    parameters: int
    multiply_adds: int
    receptive_field: tuple[int, int]
    fully_connected: int | None


def resolve_classes(layers: Mapping[str, LayerSpec], num_classes: int) -> dict[str, LayerSpec]:
    """`layers` with `units: null` replaced by the number of classes.

    Args:
        layers: layer name → spec.
        num_classes: the units of layers that name none.
    """
    return {
        name: replace(spec, units=num_classes)
        if isinstance(spec, FullyConnectedSpec) and spec.units is None
        else spec
        for name, spec in layers.items()
    }


def layer_costs(
    layers: Mapping[str, LayerSpec], *, image_shape: Shape, num_classes: int
) -> list[LayerCost]:
    """The cost of each of `layers`, in order.

    Args:
        layers: layer name → spec, in order.
        image_shape: height, width, channels.
        num_classes: for fully connected layers with `units: null`.

    Raises:
        LayerError: a layer does not fit the map it gets (a kernel larger than the padded map, a
            fully connected layer on a map that is not flat).

    Example:
        >>> from convforge.models.specs import Conv2DSpec
        >>> conv = Conv2DSpec(filters=96, kernel_size=11, strides=4, padding=((0, 3), (0, 3)))
        >>> row = layer_costs({"conv1": conv}, image_shape=(224, 224, 3), num_classes=10)[0]
        >>> row.output_shape, row.parameters
        ((55, 55, 96), 34944)
    """
    rows = []
    shape = image_shape
    windows: list[tuple[geometry.Pair, geometry.Pair]] = []
    for name, spec in resolve_classes(layers, num_classes).items():
        try:
            output = spec.output_shape(shape)
            parameters, multiply_adds = spec.parameters(shape), spec.multiply_adds(shape)
        except ValueError as error:
            raise LayerError(name, str(error)) from error
        windows.append(spec.reach)
        flat = len(output) == 1
        seen = (image_shape[0], image_shape[1]) if flat else _receptive_field(windows)
        rows.append(
            LayerCost(
                name=name,
                type=getattr(spec, "type", type(spec).__name__),
                output_shape=output,
                parameters=parameters,
                multiply_adds=multiply_adds,
                receptive_field=seen,
                fully_connected=geometry.fully_connected_parameters(shape, output)
                if isinstance(spec, FiltersSpec)
                else None,
            )
        )
        shape = output
    return rows


def _receptive_field(windows: list[tuple[geometry.Pair, geometry.Pair]]) -> tuple[int, int]:
    rows = [(kernel[0], stride[0]) for kernel, stride in windows]
    columns = [(kernel[1], stride[1]) for kernel, stride in windows]
    return geometry.receptive_field(rows), geometry.receptive_field(columns)
