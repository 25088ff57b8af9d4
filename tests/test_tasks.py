"""Classes and numbers through the same stages, under each of the losses (9) to (12)."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from convforge.errors import InputError
from convforge.pipeline import cli
from convforge.pipeline.composition import compose_config, settings_of
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.data.reading.stream import Stream
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.report.scores import class_scores, target_scores
from convforge.pipeline.settings.objective import LossSettings
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.stages.evaluate import evaluate
from convforge.pipeline.stages.train import train
from convforge.pipeline.training.objective import EachClass, class_weights, training_loss
from convforge.serving.predictor import load_predictor

QUIET = Progress(Verbosity.QUIET)
ROTATION = (
    "tracking=none",
    "task=regression",
    "loss=mse",
    "task.drawn=[rotation]",
    "augment=none",
    "augment.geometry.probability=1",
    "augment.geometry.rotation=45",
)
SMALL_NET = ("model=lecture_cnn", "model.layers.conv1.filters=8", "model.layers.conv2.filters=8")

LABELS = np.array([0, 2, 1])
LOGITS = np.array([[0.5, -1.0, 2.0], [0.0, 0.25, 3.0], [-2.0, 0.5, 0.0]])
ONE_HOT = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]])
# Equations (9) to (12) written out, for one-hot targets and, in (12), targets of −1 and 1.
BY_HAND = {
    "cross_entropy": -np.mean(
        np.sum(ONE_HOT * np.log(np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)), 1)
    ),
    "mse": np.mean((ONE_HOT - LOGITS) ** 2),
    "mae": np.mean(np.abs(ONE_HOT - LOGITS)),
    "hinge": np.mean(np.maximum(1 - (2 * ONE_HOT - 1) * LOGITS, 0)),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_loss_for_classes_is_its_equation_in_training_and_in_evaluation(name: str) -> None:
    trained = training_loss(name, classes=3)(LABELS, LOGITS.astype("float32"))
    assert float(trained) == pytest.approx(BY_HAND[name], rel=1e-6)
    scores = class_scores(LABELS, LOGITS, name)
    assert scores["test_loss"] == pytest.approx(BY_HAND[name], rel=1e-12)
    assert scores["test_accuracy"] == pytest.approx(2 / 3)


def test_smoothed_labels_give_away_a_share_to_all_classes() -> None:
    smoothed = 0.9 * ONE_HOT + 0.1 / 3
    probabilities = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    loss = training_loss("cross_entropy", classes=3, label_smoothing=0.1)
    expected = -np.mean((smoothed * np.log(probabilities)).sum(1))
    assert float(loss(LABELS, LOGITS.astype("float32"))) == pytest.approx(expected, rel=1e-6)


def _manifest(digits: Path, counts: dict[str, int]) -> Manifest:
    manifest = Manifest.read(digits)
    train = manifest.splits["train"].model_copy(update={"class_counts": list(counts.values())})
    return manifest.model_copy(
        update={"classes": list(counts), "splits": {**manifest.splits, "train": train}}
    )


def _weights(asked: object, manifest: Manifest) -> object:
    return class_weights(LossSettings(name="cross_entropy", class_weights=asked), manifest)


def test_balanced_weights_are_n_by_k_and_n_c_of_the_training_images(digits: Path) -> None:
    manifest = _manifest(digits, {"cat": 10, "dog": 30, "bird": 60})
    weights = _weights("balanced", manifest)
    np.testing.assert_allclose(weights, [100 / 30, 100 / 90, 100 / 180], rtol=1e-6)
    assert np.average(weights, weights=[10, 30, 60]) == pytest.approx(1)
    # Of a class without training images there is nothing to count.
    assert np.isfinite(_weights("balanced", _manifest(digits, {"a": 0, "b": 5}))).all()
    assert _weights(None, manifest) is None


def test_a_class_is_weighed_by_its_name_or_else_by_its_number(digits: Path) -> None:
    manifest = _manifest(digits, {"cat": 10, "1": 30, "bird": 60, "dog": 1})
    np.testing.assert_array_equal(_weights({"bird": 3.0, "0": 0.5}, manifest), [0.5, 1, 3, 1])
    np.testing.assert_array_equal(_weights({"1": 2.0, "3": 4.0}, manifest), [1, 2, 1, 4])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"brid": 2.0}, r"class_weights\.brid is not allowed: .* 0 to 2; did you mean bird\?"),
        ({"3": 2.0}, r"no class 3, by its name or a number from 0 to 2"),
        ({"0": 2.0, "cat": 1.0}, r"names the class cat twice"),
        ({"cat": 0.0, "dog": 0.0, "bird": 0.0, "2": 1.0}, r"names the class bird twice"),
        ({"cat": 0.0, "dog": 0.0}, r"leaves no training image that counts"),
    ],
)
def test_weights_of_classes_that_the_data_have_not_are_refused(
    digits: Path, asked: dict[str, float], said: str
) -> None:
    manifest = _manifest(digits, {"cat": 10, "dog": 30, "bird": 0})
    with pytest.raises(InputError, match=said):
        _weights(asked, manifest)


@pytest.mark.parametrize("name", [*BY_HAND, "smoothed"])
def test_a_weighted_loss_is_divided_by_the_number_of_images(name: str) -> None:
    """L = 1/N Σ w·ℓ: by sample weights, as Keras adds them up, of each image's own loss."""
    smoothing = 0.1 if name == "smoothed" else 0.0
    loss = training_loss(
        "cross_entropy" if smoothing else name, classes=3, label_smoothing=smoothing
    )
    weights = np.array([0.5, 2.0, 3.0])[LABELS]
    logits = LOGITS.astype("float32")
    single = [float(loss(LABELS[i : i + 1], logits[i : i + 1])) for i in range(3)]
    weighted = loss(LABELS, logits, sample_weight=weights.astype("float32"))
    assert float(weighted) == pytest.approx(float(weights @ single) / 3, rel=1e-5)


@pytest.mark.parametrize("name", ["mse", "mae", "hinge"])
def test_a_loss_for_numbers_is_its_equation_in_training_and_in_evaluation(name: str) -> None:
    targets, outputs = np.array([[1.0], [-1.0]]), np.array([[0.25], [2.0]])
    expected = {"mse": (0.75**2 + 9) / 2, "mae": (0.75 + 3) / 2, "hinge": (0.75 + 3) / 2}[name]
    loss = training_loss(name, classes=None)
    assert not isinstance(loss, EachClass)
    assert float(loss(targets, outputs.astype("float32"))) == pytest.approx(expected)
    assert target_scores(targets, outputs, ["y"], [1.0], name)["test_loss"] == expected


def test_several_numbers_have_an_error_each_in_their_own_units() -> None:
    actual, predicted = np.array([[10.0, 1.0], [20.0, 3.0]]), np.array([[12.0, 1.0], [24.0, 4.0]])
    scores = target_scores(actual, predicted, ["a", "b"], [2.0, 1.0], "mae")
    assert scores["test_mae_a"] == 3
    assert scores["test_mae_b"] == 0.5
    assert scores["test_mae"] == 1.75
    assert scores["test_loss"] == (1 + 0 + 2 + 1) / 4


@pytest.mark.integration
@pytest.mark.parametrize("loss", ["mse", pytest.param("mae", marks=pytest.mark.slow), "hinge"])
def test_a_net_learns_classes_under_every_loss(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path, loss: str
) -> None:
    settings = compose(
        *("model=softmax_linear", "augment=none", f"loss={loss}", "tracking=none"),
        *("trainer.epochs=12", "optimizer.learning_rate=0.05"),
    )
    figures = train(settings, digits, tmp_path / "run", tmp_path, QUIET)
    assert figures["accuracy"] > 0.5
    tested = evaluate(settings, tmp_path / "run", digits, tmp_path / "out", tmp_path, QUIET)
    assert tested["test_accuracy"] > 0.4
    model = load_predictor(tmp_path / "run").model
    assert isinstance(model.layers[-1], keras.layers.Softmax)


@pytest.fixture(scope="module")
def turned(
    compose: Callable[..., Settings], digits: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Settings, Path]:
    """A net that has learned to see how far a digit was turned: its settings and its folder."""
    folder = tmp_path_factory.mktemp("turned")
    settings = compose(
        *ROTATION,
        *SMALL_NET,
        "model.layers.drop1=null",
        "trainer.epochs=40",
        "trainer.batch_size=25",
    )
    train(settings, digits, folder / "run", folder, QUIET)
    evaluate(settings, folder / "run", digits, folder / "run" / "evaluate", folder, QUIET)
    return settings, folder / "run"


@pytest.mark.slow
def test_a_net_learns_how_far_an_image_was_turned(turned: tuple[Settings, Path]) -> None:
    """Uniform in ±45°: whoever always answers 0° is 22.5° off."""
    figures = json.loads((turned[1] / "evaluate" / "metrics.json").read_text())
    assert figures["test_mae"] < 16
    assert figures["test_rmse"] >= figures["test_mae"]
    with (turned[1] / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["val_mae"]) < 16
    assert float(rows[-1]["mae"]) < float(rows[0]["mae"])


@pytest.mark.slow
def test_the_figures_are_those_of_the_saved_model_in_degrees(
    turned: tuple[Settings, Path], digits: Path
) -> None:
    settings, run = turned
    figures = json.loads((run / "evaluate" / "metrics.json").read_text())
    stream = Stream(digits, Manifest.read(digits), 100)
    drawn: dict[str, Any] = {"seed": settings.seed, "augmentation": settings.augment}
    images, angles = next(iter(stream.sequential("test", **drawn, targets=("rotation",))))
    predicted = load_predictor(run).outputs(images.numpy())
    assert predicted.shape == (100, 1)
    assert figures["test_images"] == 100
    assert figures["test_mae"] == pytest.approx(np.abs(predicted - angles.numpy()).mean(), rel=1e-4)
    with (run / "evaluate" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["index", "actual_rotation", "predicted_rotation"]
    written = [[float(row["actual_rotation"])] for row in rows]
    np.testing.assert_allclose(written, angles.numpy(), rtol=1e-4)
    left = {path.name for path in (run / "evaluate").iterdir()}
    pictures = {"scatter.png", "worst_errors.png", "grad_cam.png"}
    assert left >= {"metrics.json", "predictions.csv", *pictures}


@pytest.mark.slow
def test_predict_says_the_number_and_its_name(
    turned: tuple[Settings, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    image = tmp_path / "digit.png"
    Image.new("L", (28, 28)).save(image)
    assert cli.main(["predict", str(turned[1]), str(image)]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["rotation", "image"]
    number, name = line.split()
    assert name == str(image)
    assert -90 < float(number) < 90


@pytest.mark.slow
def test_targets_of_another_size_train_the_same_net(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path
) -> None:
    """Standardised, degrees and shares of a crop are equally far from zero for the loss."""
    figures = {}
    for name, key in (("rotation", "geometry.rotation=45"), ("scale", "geometry.scale=[0.8,1.2]")):
        settings = compose(
            *ROTATION[:3], f"task.drawn=[{name}]", "augment=none", "augment.geometry.probability=1",
            f"augment.{key}", "model=softmax_linear", "trainer.epochs=1", "trainer.limit_steps=1",
            "optimizer.learning_rate=1e-9",
        )  # fmt: skip
        figures[name] = train(settings, digits, tmp_path / name, tmp_path, QUIET)["loss"]
    assert figures["rotation"] == pytest.approx(figures["scale"], rel=0.5)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ("task=regression", "task.drawn=[rotation]", "augment.geometry.rotation=9"),
            "loss='cross_entropy' is not allowed: give mse, mae or hinge",
        ),
        (("task=regression", "loss=mse"), "task='regression' is not allowed: give classification"),
        (
            ("data=table", "data.class_column=null", "data.target_columns=[angle]"),
            "task='classification' is not allowed: give regression: the data bring angle",
        ),
        (("task=regresion",), "did you mean regression?"),
        (("loss=msse",), "did you mean mse?"),
        (("loss=mse", "+loss.label_smoothing=0.1"), "loss.label_smoothing=0.1 is not allowed"),
        (("task=regression", "loss=mse", "task.drawn=[turn]"), "task.drawn='turn'"),
        (("task=regression", "loss=mse", "task.drawn=[shear]"), "augment.geometry.shear keeps"),
        (
            ("task=regression", "loss=hinge", "task.drawn=[rotation]"),
            "loss='hinge' is not allowed: give mse or mae",
        ),
    ],
)
def test_a_task_and_a_loss_that_do_not_go_together_are_refused_when_composed(
    shared_project: Path, overrides: tuple[str, ...], said: str
) -> None:
    with pytest.raises(InputError) as refusal:
        settings_of(compose_config(shared_project, ["augment=none", *overrides]))
    assert said in str(refusal.value)


def test_a_net_learns_a_column_of_numbers(
    measured: Callable[..., tuple[Settings, Path]], tmp_path: Path
) -> None:
    """Brightness is linear in the pixels, so a linear net can find it."""
    settings, data = measured("brightness", "loss=mae", "optimizer.learning_rate=0.001")
    train(settings, data, tmp_path / "run", tmp_path, QUIET)
    figures = evaluate(settings, tmp_path / "run", data, tmp_path / "out", tmp_path, QUIET)
    spread = Manifest.read(data).targets[0].std
    assert spread > 5
    assert figures["test_mae"] < spread / 2
    assert load_predictor(tmp_path / "run").card.targets == ["brightness"]


@pytest.mark.integration
def test_a_net_learns_a_column_of_signs_by_the_hinge_loss(
    measured: Callable[..., tuple[Settings, Path]], tmp_path: Path
) -> None:
    settings, data = measured("bright", "loss=hinge", "optimizer.learning_rate=0.001")
    figures = train(settings, data, tmp_path / "run", tmp_path, QUIET)
    tested = evaluate(settings, tmp_path / "run", data, tmp_path / "out", tmp_path, QUIET)
    assert figures["accuracy"] > 0.8
    assert tested["test_accuracy"] > 0.7


def test_the_hinge_loss_refuses_a_column_of_other_numbers(
    measured: Callable[..., tuple[Settings, Path]], tmp_path: Path
) -> None:
    settings, data = measured("brightness", "loss=hinge")
    with pytest.raises(InputError, match=r"loss=hinge needs targets of −1 and 1, but brightness"):
        train(settings, data, tmp_path / "run", tmp_path, QUIET)
