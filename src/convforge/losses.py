"""The hinge loss (12), which refuses targets other than −1 and 1.

The lecture's other losses are Keras' own and computed exactly as written (a test shows it):
cross-entropy (9) is `CategoricalCrossentropy` for one-hot and `SparseCategoricalCrossentropy` for
integer targets, both with `from_logits=True` after a last layer without softmax; (10) is
`MeanSquaredError`, (11) `MeanAbsoluteError`.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import keras
import numpy as np
from numpy.typing import ArrayLike

from convforge.geometry import ArgumentError

Reduction: TypeAlias = Literal[
    "sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", "none", None
]


@keras.saving.register_keras_serializable(package="convforge")
class Hinge(keras.losses.Loss):
    """Hinge loss, equation (12), for targets y ∈ {−1, 1}.

        L(Y, Ŷ) = 1/N Σ_i max(1 − y_i·ŷ_i, 0)

    Keras' own `Hinge` computes the same for such targets, but takes 0 and 1 for −1 and 1 when a
    batch holds nothing else, and anything else as it is. This one refuses them: with an error
    where the values can be seen, and inside compiled training, where nothing can be raised, with
    a loss of NaN. `check_hinge_targets` looks at a whole data set beforehand.

    Shapes:
        targets and predictions `(batch, …)`, the same; the mean over all of them.

    Args:
        reduction: "sum_over_batch_size" (default), the lecture's 1/N; "sum"; "mean";
            "mean_with_sample_weight", divided by the weights' sum; None or "none" for no mean
            over the batch.
        name: default "hinge".
        dtype: what it is computed in; None (default) for Keras' setting, float32.

    Raises:
        ArgumentError: when called, on a target other than −1 and 1.

    Example:
        >>> import numpy as np
        >>> float(Hinge()(np.array([[1.0], [-1.0]]), np.array([[0.25], [-3.0]])))
        0.375

    References:
        Lecture, slide "Learning - Objective function - Regression".
    """

    def __init__(
        self,
        reduction: Reduction = "sum_over_batch_size",
        name: str = "hinge",
        dtype: str | keras.DTypePolicy | None = None,
    ) -> None:
        super().__init__(reduction=reduction, name=name, dtype=dtype)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        values = _visible(y_true)
        if values is not None:
            check_hinge_targets(values, owner=f"Hinge '{self.name}'")
        ops = keras.ops
        losses = ops.maximum(1.0 - y_true * y_pred, 0.0)
        losses = ops.where(ops.equal(ops.abs(y_true), 1.0), losses, float("nan"))
        return ops.mean(losses, axis=-1)


def check_hinge_targets(targets: ArrayLike, *, owner: str = "") -> None:
    """Refuse targets that the hinge loss (12) is not defined for.

    Args:
        targets: an array of any shape.
        owner: whose targets they are, for the error.

    Raises:
        ArgumentError: a target other than −1 and 1; the error shows the first few.

    Example:
        >>> check_hinge_targets([-1, 1, 1])
        >>> check_hinge_targets([0, 1, 1])
        Traceback (most recent call last):
            ...
        convforge.geometry.ArgumentError: hinge targets=[0] is not allowed: give −1 or 1 each
    """
    values = np.asarray(targets)
    wrong = np.unique(values[np.abs(values) != 1])[:5].tolist()
    if wrong:
        raise ArgumentError("hinge targets", wrong, "−1 or 1 each", owner=owner)


def _visible(tensor: Any) -> np.ndarray | None:
    """The values of `tensor`, or None while a backend traces code: then there are none yet."""
    try:
        return np.asarray(keras.ops.convert_to_numpy(tensor))
    except (NotImplementedError, TypeError, ValueError, RuntimeError):
        return None
