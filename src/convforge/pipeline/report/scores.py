"""How good a net is on a split: its loss and what people ask for, in double precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convforge.pipeline.metrics import CLASS_METRICS, NUMBER_METRICS, Table, metrics_of


def probabilities_of(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """The softmax (8) of each row.

    Example:
        >>> probabilities_of(np.array([[1e4, 1e4]])).tolist()
        [[0.5, 0.5]]
    """
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def class_scores(
    labels: NDArray[np.int64], logits: NDArray[np.floating], loss: str = "cross_entropy"
) -> dict[str, float]:
    """The loss that the net was trained on, and the share of images whose largest logit is right.

    Example:
        >>> logits = np.array([[0.0, 0.0], [-50.0, 50.0]])
        >>> scores = class_scores(np.array([0, 1]), logits)
        >>> scores["test_accuracy"], round(scores["test_loss"], 4)
        (1.0, 0.3466)
    """
    wide = logits.astype(np.float64)
    if loss == "cross_entropy":
        largest = wide.max(axis=1)
        log_sum = np.log(np.exp(wide - largest[:, None]).sum(axis=1)) + largest
        value = float(np.mean(log_sum - wide[np.arange(len(labels)), labels]))
    else:
        own = np.arange(wide.shape[1]) == labels[:, None]
        value = _loss(loss, np.where(own, 1.0, -1.0 if loss == "hinge" else 0.0), wide)
    return {
        "test_loss": value,
        **_measured(CLASS_METRICS, labels, wide),
        "test_images": len(labels),
    }


def target_scores(
    actual: NDArray[np.floating],
    predicted: NDArray[np.floating],
    names: Sequence[str],
    std: Sequence[float],
    loss: str,
) -> dict[str, float]:
    """The loss that the net was trained on, and the errors in the targets' own units.

    Args:
        actual: the numbers, `(n, targets)`, in their own units.
        predicted: the net's answers, in the same units.
        names: of the targets.
        std: what the loss divided by; see `convforge.pipeline.training.objective`.
        loss: its name.

    Returns:
        `test_loss`; `test_mae` and `test_rmse` over all targets, and with several of them those
        of each as `test_mae_NAME`; for the hinge loss the share of right signs instead.

    Example:
        >>> actual, predicted = np.array([[10.0], [-10.0]]), np.array([[13.0], [-14.0]])
        >>> scores = target_scores(actual, predicted, ["rotation"], [5.0], "mse")
        >>> round(scores["test_loss"], 6), scores["test_mae"]
        (0.5, 3.5)
    """
    actual, predicted = actual.astype(np.float64), predicted.astype(np.float64)
    scores = {"test_loss": _loss(loss, actual / np.array(std), predicted / np.array(std))}
    metrics = metrics_of(loss, regression=True)
    scores |= _measured(metrics, actual, predicted)
    if metrics is NUMBER_METRICS and len(names) > 1:
        first = metrics[0]
        for name, right, said in zip(names, actual.T, predicted.T, strict=True):
            scores[f"test_{first.name}_{name}"] = first.of(right, said)
    return {**scores, "test_images": len(actual)}


def _measured(metrics: Table, actual: NDArray[Any], outputs: NDArray[Any]) -> dict[str, float]:
    return {f"test_{metric.name}": metric.of(actual, outputs) for metric in metrics}


def _loss(name: str, targets: NDArray[np.float64], outputs: NDArray[np.float64]) -> float:
    """Equations (10) to (12)."""
    losses = {
        "mse": (targets - outputs) ** 2,
        "mae": np.abs(targets - outputs),
        "hinge": np.maximum(1 - targets * outputs, 0),
    }
    return float(losses[name].mean())
