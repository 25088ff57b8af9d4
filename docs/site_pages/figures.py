"""The pictures beside the equations, each drawn by the layers, losses and optimizer themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np

from convforge import geometry
from convforge.layers import AveragePooling2D, Conv2D, MaxoutDense, MaxPooling2D, PReLU
from convforge.losses import Hinge
from convforge.optimizers import MomentumSGD
from convforge.pipeline.claims.page.chart import Chart, Scale
from convforge.pipeline.claims.page.drawing import (
    Area,
    Drawing,
    Line,
    Mark,
    Point,
    Words,
    rectangle,
)
from convforge.pipeline.claims.page.svg import inline

__all__ = ["FIGURES", "inline"]

_WIDTH = 460.0
_INK = ("s0", "s1", "s2", "s3", "s4")


def flipped_kernel() -> Drawing:
    """A point under a kernel, in both modes of `Conv2D`."""
    image = np.zeros((1, 5, 5, 1), "float32")
    image[0, 2, 2, 0] = 1.0
    kernel = np.array([[3, 2, 1], [0, 0, 0], [2, 0, 0]], "float32")[..., None, None]
    page = Drawing(_WIDTH, 150, "One bright pixel shows the kernel: as it is in (3), turned in (*)")
    maps = [("pixel", image[0, :, :, 0]), ("kernel", kernel[:, :, 0, 0])]
    for mode, title in (("convolution", "(3)"), ("cross_correlation", "(*)")):
        layer = Conv2D(1, 3, padding=1, mode=mode, use_bias=False)
        layer.build(image.shape)
        layer.kernel.assign(kernel)
        maps.append((title, keras.ops.convert_to_numpy(layer(image))[0, :, :, 0]))
    left = 8.0
    for title, values in maps:
        _grid(page, values, (left, 28.0), 20.0)
        page.write([title], (left + 10.0 * values.shape[1], 18), align="middle", colour="faint")
        left += 20.0 * values.shape[1] + 26
    return page


def _grid(page: Drawing, values: np.ndarray, place: Point, size: float) -> None:
    """A map of numbers as shaded squares."""
    most = np.abs(values).max() or 1.0
    for (row, column), value in np.ndenumerate(values):
        left, top = place[0] + column * size, place[1] + row * size
        square = rectangle(left, top, left + size - 2, top + size - 2)
        page.add(Area(square, "band"))
        if value:
            page.add(Area(square, "s0" if value > 0 else "s1", 0.15 + 0.85 * abs(value) / most))


def strides() -> Drawing:
    """Where a 3×3 kernel stands on the lecture's 10×10 map."""
    page = Drawing(_WIDTH, 190, "The lecture's 10×10 map: where the centre of a 3×3 kernel stands")
    size = 12.0
    for number, (stride, padding) in enumerate(((1, 0), (3, 0), (3, 1))):
        places = geometry.output_size(10, 3, stride=stride, padding=padding)
        assert places is not None
        left, top = 16.0 + 150.0 * number, 34.0
        for row, column in np.ndindex(10, 10):
            x, y = left + column * size, top + row * size
            page.add(Area(rectangle(x, y, x + size - 1.5, y + size - 1.5), "band"))
        for row, column in np.ndindex(places, places):
            x, y = (left + (each * stride - padding + 1.5) * size for each in (column, 0))
            y = top + (row * stride - padding + 1.5) * size
            page.add(Mark((x - 0.75, y - 0.75), "dot", "s0", 3.2))
        page.write([f"stride {stride}, padding {padding}"], (left, 22), colour="faint")
        page.write([f"→ {places} × {places}"], (left, top + 10 * size + 20), bold=True)
    return page


def activations() -> Drawing:
    """What Keras' activations and our PReLU make of −4 … 4."""
    x = np.linspace(-4, 4, 161, dtype="float32")
    curves = {
        name: keras.ops.convert_to_numpy(keras.activations.get(name)(keras.ops.array(x)))
        for name in ("sigmoid", "tanh", "relu")
    }
    curves["PReLU"] = keras.ops.convert_to_numpy(PReLU()(keras.ops.array(x[:, None])))[:, 0]
    return _curves("Sigmoid (5), tanh (6), ReLU (7), and PReLU at its start", x, curves, "input")


def maxout() -> Drawing:
    """A Maxout unit whose three pieces were set by hand."""
    x = np.linspace(-4, 4, 161, dtype="float32")
    layer = MaxoutDense(1, num_pieces=3)
    layer.build((None, 1))
    layer.kernel.assign([[-1.0, 0.2, 0.9]])
    layer.bias.assign([-1.2, 0.5, -0.9])
    lines = {f"piece {j + 1}": w * x + b for j, (w, b) in enumerate(_lines_of(layer))}
    lines["Maxout"] = keras.ops.convert_to_numpy(layer(x[:, None]))[:, 0]
    return _curves("A Maxout unit is the largest of its pieces", x, lines, "input")


def _lines_of(layer: MaxoutDense) -> list[tuple[float, float]]:
    kernel = keras.ops.convert_to_numpy(layer.kernel)[0]
    bias = keras.ops.convert_to_numpy(layer.bias)
    return [(float(w), float(b)) for w, b in zip(kernel, bias, strict=True)]


def pooling() -> Drawing:
    """A map, and what both poolings make of it with windows that overlap."""
    rng = np.random.default_rng(3)
    values = rng.uniform(0, 1, (1, 7, 7, 1)).astype("float32") ** 3
    page = Drawing(_WIDTH, 190, "A 7×7 map, and its pooling by overlapping 3×3 windows at stride 2")
    _grid(page, values[0, :, :, 0], (10.0, 30.0), 20.0)
    page.write(["map"], (80, 20), align="middle", colour="faint")
    for left, title, layer in (
        (180.0, "max", MaxPooling2D(3, strides=2)),
        (320.0, "average", AveragePooling2D(3, strides=2)),
    ):
        pooled = keras.ops.convert_to_numpy(layer(values))[0, :, :, 0]
        _grid(page, pooled, (left, 44.0), 34.0)
        page.write([title], (left + 51, 34), align="middle", colour="faint")
    return page


def softmax() -> Drawing:
    """Four logits and their probabilities."""
    logits = np.array([[2.0, 1.0, 0.0, -1.0]], "float32")
    shares = keras.ops.convert_to_numpy(keras.layers.Softmax()(logits))[0]
    page = Drawing(_WIDTH, 130, "Logits 2, 1, 0, −1 and their probabilities, which sum to 1")
    for row, (logit, share) in enumerate(zip(logits[0], shares, strict=True)):
        top = 12.0 + 28 * row
        page.write([f"{logit:+.0f}".replace("-", "−")], (34, top + 15), align="end", colour="faint")
        page.add(Area(rectangle(46, top, 46 + 330.0 * float(share), top + 20), "s0", 0.9))
        page.write([f"{share:.3f}"], (54 + 330.0 * float(share), top + 15))
    return page


def cross_entropy() -> Drawing:
    """What an image costs, by the probability that its own class was given."""
    shares = np.linspace(0.02, 0.98, 97, dtype="float32")
    both = np.stack([shares, 1 - shares], axis=-1)
    loss = keras.losses.SparseCategoricalCrossentropy(reduction="none")
    values = loss(np.zeros(len(shares), "int32"), both)
    curves = {"−log q": keras.ops.convert_to_numpy(values)}
    return _curves("The loss of an image whose class got probability q", shares, curves, "q")


def regression_losses() -> Drawing:
    """MSE, MAE and hinge of one prediction where the target is 1."""
    guesses = np.linspace(-1.5, 3.0, 121, dtype="float32")[:, None]
    truth = np.ones_like(guesses)
    losses = {
        "MSE (10)": keras.losses.MeanSquaredError(reduction="none"),
        "MAE (11)": keras.losses.MeanAbsoluteError(reduction="none"),
        "hinge (12)": Hinge(reduction="none"),
    }
    curves = {
        name: np.minimum(keras.ops.convert_to_numpy(loss(truth, guesses)), 4.0)
        for name, loss in losses.items()
    }
    return _curves("The loss of a prediction where the target is 1", guesses[:, 0], curves, "ŷ")


_STRETCH = np.array([1.0, 12.0])
_START = np.array([-2.6, 0.9])


def descent() -> Drawing:
    """Two paths of `MomentumSGD` down the same valley."""
    page = Drawing(_WIDTH, 230, "30 steps down a long valley, ε = 0.05: (14), and (15) with (16)")
    x, y = Scale(-3.0, 1.2), Scale(-1.3, 1.3)

    def place(point: Sequence[float]) -> Point:
        return 10 + x.share(float(point[0])) * (_WIDTH - 20), 215 - y.share(float(point[1])) * 205

    turn = np.linspace(0, 2 * np.pi, 73)
    for level in (0.1, 0.4, 1.0, 2.0, 3.4, 5.0):
        radius = np.sqrt(2 * level / _STRETCH)
        ring = np.stack([np.cos(turn), np.sin(turn)], axis=-1) * radius
        page.add(Line(tuple(map(place, ring)), "grid", 1.2))
    page.add(Mark(place((0, 0)), "cross", "ink", 5))
    for colour, title, momentum in (("s1", "(14)", 0.0), ("s0", "(15), (16), α = 0.8", 0.8)):
        path = _path(momentum)
        page.add(Line(tuple(map(place, path)), colour, 2.0))
        for point in path:
            page.add(Mark(place(point), "dot", colour, 2.6))
        at = place(path[-1])
        label = (_WIDTH - 12, 24 if momentum else 42)
        page.add(Mark(at, "ring", colour, 5), Words(label, title, 13, colour, "end", bold=True))
    return page


def _path(momentum: float) -> list[np.ndarray]:
    weight = keras.Variable(_START.astype("float32"), name="kernel")
    optimizer = MomentumSGD(0.05, momentum, weight_decay=0.0)
    path = [_START]
    for _ in range(30):
        value = keras.ops.convert_to_numpy(weight)
        optimizer.apply(
            [keras.ops.convert_to_tensor((value * _STRETCH).astype("float32"))], [weight]
        )
        path.append(keras.ops.convert_to_numpy(weight))
    return path


def decay() -> Drawing:
    """A weight without gradient, under the lecture's decay and under Keras' own."""
    steps = np.arange(0, 401)
    curves = {}
    for name, optimizer in (
        ("(15), (16)", MomentumSGD(0.1, 0.9, 0.005)),
        ("Keras' SGD", keras.optimizers.SGD(0.1, 0.9, weight_decay=0.005)),
    ):
        weight = keras.Variable([1.0], name="kernel")
        values = [1.0]
        for _ in steps[1:]:
            optimizer.apply([keras.ops.zeros(1)], [weight])
            values.append(float(keras.ops.convert_to_numpy(weight)[0]))
        curves[name] = np.array(values)
    title = "A weight without a gradient, α = 0.9, β = 0.005, ε = 0.1"
    return _curves(title, steps, curves, "step")


def _curves(title: str, x: np.ndarray, curves: dict[str, np.ndarray], below: str) -> Drawing:
    """Lines over one axis, each with its name at the right."""
    values = np.concatenate(list(curves.values()))
    page = Drawing(_WIDTH, 220, title)
    low, high = float(values.min()), float(values.max())
    room = 0.05 * (high - low)
    # The room at the right is the names'.
    scale = Scale(float(x[0]), float(x[-1]) + 0.28 * float(x[-1] - x[0]))
    chart = Chart(page, "", scale, Scale(low - room, high + room))
    chart.frame(below, [tick for tick in scale.ticks if tick <= x[-1]], "")
    ends = [chart.place(float(x[-1]), float(each[-1]))[1] for each in curves.values()]
    heights = dict(zip(curves, _apart(ends, 15.0), strict=True))
    for number, (name, each) in enumerate(curves.items()):
        points = tuple(chart.place(float(a), float(b)) for a, b in zip(x, each, strict=True))
        page.add(Line(points, _INK[number], 2.2))
        place = (points[-1][0] + 6, heights[name] + 4)
        page.write([name], place, colour=_INK[number], bold=True)
    return page


def _apart(places: list[float], distance: float) -> list[float]:
    """`places`, moved down where they are nearer to one another than `distance`."""
    moved, last = dict.fromkeys(range(len(places)), 0.0), -np.inf
    for index in sorted(range(len(places)), key=lambda index: places[index]):
        last = max(places[index], last + distance)
        moved[index] = last
    return list(moved.values())


#: By the name that a page gives.
FIGURES: dict[str, Callable[[], Drawing]] = {
    each.__name__: each
    for each in (
        flipped_kernel,
        strides,
        activations,
        maxout,
        pooling,
        softmax,
        cross_entropy,
        regression_losses,
        descent,
        decay,
    )
}
