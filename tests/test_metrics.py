"""The table of metrics: one figure is the same in an epoch, in the evaluation and in a search."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from convforge.pipeline.metrics import (
    CLASS_METRICS,
    NUMBER_METRICS,
    SIGN_METRICS,
    Metric,
    achieved,
    headline,
    higher_is_better,
    metrics_of,
    monitored,
)
from convforge.pipeline.settings.trainer import CheckpointSettings
from convforge.pipeline.sweeps.jobs import objective

GENERATOR = np.random.default_rng(0)
LABELS = GENERATOR.integers(0, 3, 50)
LOGITS = GENERATOR.normal(size=(50, 3)).astype("float32")
SIGNS = np.where(GENERATOR.random((50, 1)) < 0.5, -1.0, 1.0).astype("float32")
SAID = GENERATOR.normal(size=(50, 2)).astype("float32")
ACTUAL = GENERATOR.normal(size=(50, 2)).astype("float32")
ROWS = [metric for table in (CLASS_METRICS, SIGN_METRICS, NUMBER_METRICS) for metric in table]


@pytest.mark.parametrize(
    ("metric", "actual", "said", "std"),
    [
        (CLASS_METRICS[0], LABELS, LOGITS, ()),
        (SIGN_METRICS[0], SIGNS, SAID[:, :1], ()),
        # The loss sees the numbers divided by their deviation, a person does not.
        (NUMBER_METRICS[0], ACTUAL, SAID, (2.0, 5.0)),
    ],
    ids=["classes", "signs", "numbers"],
)
def test_an_epochs_figure_is_the_evaluations(
    metric: Metric, actual: np.ndarray, said: np.ndarray, std: tuple[float, ...]
) -> None:
    assert metric.in_training is not None
    counted = metric.in_training(metric.name, std)
    assert isinstance(counted, keras.metrics.Metric)
    assert counted.name == metric.name
    for batch in (slice(0, 20), slice(20, 50)):
        counted.update_state(actual[batch], said[batch])
    units = np.array(std) if std else 1.0
    expected = metric.of(actual * units, said * units) if std else metric.of(actual, said)
    assert float(counted.result()) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("metric", ROWS, ids=lambda metric: metric.name)
def test_right_answers_are_better_than_wrong_ones_in_the_tables_direction(metric: Metric) -> None:
    """Each row's direction is that of its own function."""
    if metric in CLASS_METRICS:
        right, wrong, truth = np.eye(3)[LABELS], np.eye(3)[(LABELS + 1) % 3], LABELS
    else:
        right, wrong, truth = SIGNS, -SIGNS, SIGNS
    gain = metric.of(truth, right) - metric.of(truth, wrong)
    assert (gain > 0) == metric.higher_is_better
    for split in ("", "val_", "test_"):
        assert higher_is_better(f"{split}{metric.name}") == metric.higher_is_better


def test_less_of_a_loss_is_better() -> None:
    assert not higher_is_better("val_loss")
    assert not higher_is_better("loss")


@pytest.mark.parametrize(
    ("loss", "regression", "first"),
    [
        ("cross_entropy", False, "accuracy"),
        ("hinge", False, "accuracy"),
        ("hinge", True, "accuracy"),
        ("mse", True, "mae"),
    ],
)
def test_a_task_has_its_metrics(loss: str, regression: bool, first: str) -> None:
    assert metrics_of(loss, regression=regression)[0].name == first


def test_what_people_ask_for_first_is_named_with_its_unit() -> None:
    assert headline({"loss": 1, "mae": 2, "val_mae": 3}).name == "mae"
    assert achieved({"test_loss": 0.1, "test_accuracy": 0.987}, "test") == "accuracy 98.70%"
    assert achieved({"test_loss": 0.1, "test_mae": 3.5}, "test") == "mean absolute error 3.5"


CLASSES = {"loss": 0.5, "accuracy": 0.8, "val_loss": 0.4, "val_accuracy": 0.9}
NUMBERS = {"loss": 0.5, "mae": 8.0, "val_loss": 0.4, "val_mae": 9.0}


@pytest.mark.parametrize(
    ("monitor", "figures", "expected"),
    [
        (None, CLASSES, 0.4),
        ("val_accuracy", CLASSES, 0.9),
        (None, NUMBERS, 0.4),
        ("val_mae", NUMBERS, 9.0),
        (None, {"loss": 0.5, "mae": 8.0}, 0.5),
    ],
)
def test_a_search_goes_by_the_monitored_figure_of_any_task(
    monitor: str | None, figures: dict[str, float], expected: float
) -> None:
    checkpoint = CheckpointSettings(seconds=30, keep=2, monitor=monitor, resume=True)
    assert objective(checkpoint, figures) == expected
    assert figures[monitored(monitor, figures)] == expected
