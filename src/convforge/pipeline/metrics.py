"""The figures of how good a net is: one table for training, checkpoints, sweeps, evaluation, pages.

A new one is a row of the table and its two functions: on NumPy for the evaluation, in double
precision; in Keras, batch by batch, for the epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    # It takes seconds to import, and the command line reads the table too.
    import keras

Numbers: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Metric:
    """One figure.

    Args:
        name: in `history.csv`, `metrics.json` and MLflow; there after `val_` or `test_`.
        label: as people call it.
        higher_is_better: what a search, a sweep and the best epoch go by.
        form: how its value is written.
        of: of what is right and what the net says, `(n,)` and logits `(n, classes)`, or numbers
            `(n, targets)` twice.
        in_training: makes the Keras metric of this name, where an epoch has it; takes what the
            loss divided the targets by.
    """

    name: str
    label: str
    higher_is_better: bool
    form: str
    of: Callable[[Numbers, Numbers], float]
    in_training: Callable[[str, Sequence[float]], keras.metrics.Metric] | None = None

    def written(self, value: float) -> str:
        """Label and value.

        Example:
            >>> CLASS_METRICS[0].written(0.987), NUMBER_METRICS[0].written(3.5)
            ('accuracy 98.70%', 'mean absolute error 3.5')
        """
        return f"{self.label} {value:{self.form}}"


def _right_classes(labels: Numbers, logits: Numbers) -> float:
    return float(np.mean(logits.argmax(axis=1) == labels))


def _right_signs(actual: Numbers, predicted: Numbers) -> float:
    return float(np.mean(np.sign(predicted) == actual))


def _absolute_error(actual: Numbers, predicted: Numbers) -> float:
    return float(np.abs(actual - predicted).mean())


def _root_mean_square(actual: Numbers, predicted: Numbers) -> float:
    return float(np.sqrt(((actual - predicted) ** 2).mean()))


def _class_accuracy(name: str, std: Sequence[float]) -> keras.metrics.Metric:
    import keras

    return keras.metrics.SparseCategoricalAccuracy(name)


def _sign_accuracy(name: str, std: Sequence[float]) -> keras.metrics.Metric:
    import keras

    def same_sign(y_true: Any, y_pred: Any) -> Any:
        same = keras.ops.equal(keras.ops.sign(y_pred), y_true)
        return keras.ops.mean(keras.ops.cast(same, "float32"), axis=-1)

    return keras.metrics.MeanMetricWrapper(same_sign, name=name)


def _error_in_units(name: str, std: Sequence[float]) -> keras.metrics.Metric:
    import keras

    units = np.array(std, np.float32)

    def error_in_units(y_true: Any, y_pred: Any) -> Any:
        # A net in half precision.
        predicted = keras.ops.cast(y_pred, y_true.dtype)
        return keras.ops.mean(keras.ops.abs(y_true - predicted) * units, axis=-1)

    return keras.metrics.MeanMetricWrapper(error_in_units, name=name)


def _accuracy_and_error(right: Callable[[Numbers, Numbers], float], keras_metric: Any) -> Any:
    return (
        Metric("accuracy", "accuracy", True, ".2%", right, keras_metric),
        Metric("error", "error rate", False, ".2%", lambda actual, said: 1 - right(actual, said)),
    )


Table: TypeAlias = tuple[Metric, ...]

# Of each, the first is what people ask for.
CLASS_METRICS: Table = _accuracy_and_error(_right_classes, _class_accuracy)
SIGN_METRICS: Table = _accuracy_and_error(_right_signs, _sign_accuracy)
NUMBER_METRICS: Table = (
    Metric("mae", "mean absolute error", False, ".4g", _absolute_error, _error_in_units),
    Metric("rmse", "root mean square error", False, ".4g", _root_mean_square),
)
# Those of signs have the names of the classes' own.
_BY_NAME = {metric.name: metric for metric in (*CLASS_METRICS, *NUMBER_METRICS)}
#: What people ask for first, of classes and of numbers.
HEADLINES = (CLASS_METRICS[0].name, NUMBER_METRICS[0].name)


def metrics_of(loss: str, *, regression: bool) -> Table:
    """The figures of a task: of classes, of signs under the hinge loss, else of numbers."""
    if not regression:
        return CLASS_METRICS
    return SIGN_METRICS if loss == "hinge" else NUMBER_METRICS


def headline(figures: Collection[str], split: str = "") -> Metric:
    """The metric that people ask for first of those that `figures` have for `split`.

    Example:
        >>> headline({"test_loss": 0.1, "test_mae": 3.5}, "test").name
        'mae'
    """
    return next(
        _BY_NAME[name] for name in HEADLINES if (f"{split}_{name}" if split else name) in figures
    )


def achieved(figures: Mapping[str, float], split: str) -> str:
    """The figure that people ask for first, with its label.

    Example:
        >>> achieved({"test_accuracy": 0.987}, "test")
        'accuracy 98.70%'
    """
    metric = headline(figures, split)
    return metric.written(figures[f"{split}_{metric.name}"])


def higher_is_better(name: str) -> bool:
    """Whether more of the figure `name`, with or without its split, is better; of a loss it is not.

    Example:
        >>> higher_is_better("val_accuracy"), higher_is_better("val_loss")
        (True, False)
    """
    metric = _BY_NAME.get(name.removeprefix("val_").removeprefix("test_"))
    return metric is not None and metric.higher_is_better


def monitored(name: str | None, figures: Collection[str]) -> str:
    """The figure that says which epoch and which job is the best: `trainer.checkpoint.monitor`.

    Where that is null, the loss on the validation images, or on the training images without any.

    Example:
        >>> monitored(None, ("loss", "accuracy", "val_loss", "val_accuracy"))
        'val_loss'
    """
    if name is not None:
        return name
    return "val_loss" if "val_loss" in figures else "loss"
