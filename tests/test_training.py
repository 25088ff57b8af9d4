"""One training run: exact repetition, the learning rate's course, and the record of every epoch."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from convforge.errors import InputError
from convforge.pipeline.composition import read_params
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.report import run_report
from convforge.pipeline.report.scores import class_scores
from convforge.pipeline.run_folder import RunFolder
from convforge.pipeline.settings.optimization import ConstantSchedule, CosineSchedule, StepSchedule
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.stages.evaluate import evaluate
from convforge.pipeline.stages.train import train
from convforge.pipeline.tracking.journal import Journal
from convforge.pipeline.training.callbacks import EarlyStopping
from convforge.pipeline.training.optimization import build_optimizer, learning_rate, make_optimizer
from convforge.pipeline.training.run_state import RunState
from convforge.pipeline.training.trainer import build_trainer
from convforge.serving.predictor import load_predictor

QUIET = Progress(Verbosity.QUIET)
PICTURES = {"learning_curves.png", "augmented_images.png", "first_layer_kernels.png"}
# A net with all that draws random numbers: initial weights, shuffling, augmentation, dropout.
SMALL_NET = (
    "tracking=none",
    "model.layers.conv1.filters=4",
    "model.layers.conv2.filters=4",
    "model.layers.dense1.units=16",
    "trainer.epochs=2",
    "trainer.limit_steps=2",
)


LINEAR = ("tracking=none", "model=softmax_linear", "trainer.limit_steps=2")


@pytest.fixture
def weights_of(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path
) -> Callable[..., list[np.ndarray]]:
    def run(*overrides: str) -> list[np.ndarray]:
        out = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        train(compose(*overrides), digits, out, tmp_path, QUIET)
        return [np.asarray(weight) for weight in load_predictor(out).model.weights]

    return run


def _same(left: list[np.ndarray], right: list[np.ndarray]) -> bool:
    assert len(left) == len(right)
    return all(np.array_equal(one, other) for one, other in zip(left, right, strict=True))


def test_the_same_config_gives_the_same_weights_bit_for_bit_whatever_the_threads(
    weights_of: Callable[..., list[np.ndarray]],
) -> None:
    first = weights_of(*SMALL_NET, "trainer.input_threads=1")
    assert _same(first, weights_of(*SMALL_NET, "trainer.input_threads=4"))
    assert not _same(first, weights_of(*SMALL_NET, "seed=1"))


@pytest.fixture(scope="module")
def trained(
    compose: Callable[..., Settings], digits: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Settings, Path, Mapping[str, float]]:
    """One small run: its settings, its folder, the figures of its last epoch."""
    folder = tmp_path_factory.mktemp("trained")
    settings = compose(*SMALL_NET)
    figures = train(settings, digits, folder / "run", folder, QUIET, report=run_report)
    return settings, folder / "run", figures


def test_a_run_leaves_its_history_config_model_and_pictures(
    trained: tuple[Settings, Path, Mapping[str, float]], digits: Path
) -> None:
    settings, run, figures = trained
    with (run / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = ["accuracy", "loss", "val_accuracy", "val_loss", "learning_rate", "epoch_seconds"]
    assert list(rows[0]) == ["epoch", *columns]
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(math.isfinite(float(value)) for row in rows for value in row.values())
    assert {name: float(value) for name, value in rows[-1].items() if name != "epoch"} == figures
    left = {path.name for path in run.iterdir()}
    assert left >= {"config.yaml", "history.csv", "journal.jsonl", "model", "pictures"}
    pictures = {path.name for path in (run / "pictures").iterdir()}
    assert pictures == PICTURES
    assert read_params(run / "config.yaml") == settings
    card = load_predictor(run).card
    assert card.classes == list("0123456789")
    assert card.data_digest == Manifest.read(digits).digest


def test_a_run_trains_on_logits_and_saves_probabilities(
    trained: tuple[Settings, Path, Mapping[str, float]],
) -> None:
    model = load_predictor(trained[1]).model
    assert isinstance(model.layers[-1], keras.layers.Softmax)
    zeros = np.zeros((1, 28, 28, 1), np.float32)
    assert float(np.asarray(model(zeros)).sum()) == pytest.approx(1, rel=1e-5)


@pytest.mark.integration
def test_a_repetition_in_the_same_folder_leaves_its_own_record_only(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path
) -> None:
    settings = compose("debug=one_step", "model=softmax_linear", "augment=none")
    for _ in range(2):
        train(settings, digits, tmp_path / "run", tmp_path, QUIET)
    with (tmp_path / "run" / "history.csv").open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1"]
    kinds = [event.kind for event in Journal(tmp_path / "run").events()]
    assert kinds.count("begin") == kinds.count("end") == kinds.count("metrics") == 1


@pytest.mark.integration
def test_without_validation_images_a_run_has_no_validation_figures(
    compose: Callable[..., Settings], shared_project: Path, tmp_path: Path
) -> None:
    from convforge.pipeline.stages.preprocess import preprocess

    settings = compose("data.split.validation=0", "model=softmax_linear", *SMALL_NET[:1])
    settings = settings.model_copy(
        update={"trainer": settings.trainer.model_copy(update={"epochs": 1, "limit_steps": 1})}
    )
    preprocess(settings.data, tmp_path / "data", shared_project, QUIET)
    data, run = tmp_path / "data", tmp_path / "run"
    figures = train(settings, data, run, tmp_path, QUIET, report=run_report)
    assert set(figures) == {"accuracy", "loss", "learning_rate", "epoch_seconds"}
    assert (tmp_path / "run" / "pictures" / "learning_curves.png").is_file()


def test_the_evaluation_is_that_of_the_saved_model(
    trained: tuple[Settings, Path, Mapping[str, float]], digits: Path, tmp_path: Path
) -> None:
    from convforge.pipeline.data.reading.stream import Stream

    settings, run, _ = trained
    figures = evaluate(settings, run, digits, tmp_path / "out", tmp_path, QUIET)
    stream = Stream(digits, Manifest.read(digits), 100)
    images, labels = next(iter(stream.sequential("test")))
    probabilities = load_predictor(run).outputs(images.numpy())
    assert figures["test_images"] == 100
    assert figures["test_accuracy"] == np.mean(probabilities.argmax(1) == labels.numpy())
    given = probabilities[np.arange(100), labels.numpy()].astype(float)
    assert figures["test_loss"] == pytest.approx(-np.log(given).mean(), rel=1e-4)
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["actual"] for row in rows] == [str(label) for label in labels.numpy()]
    wrong = sum(row["actual"] != row["predicted"] for row in rows)
    assert figures["test_error"] == pytest.approx(wrong / 100)
    left = {path.name for path in (tmp_path / "out").iterdir()}
    pictures = {"confusion.png", "worst_errors.png", "grad_cam.png"}
    assert left >= {"metrics.json", "predictions.csv", *pictures}
    assert not left & {"pictures", "data"}, "the training has drawn them"


@pytest.mark.integration
def test_what_the_training_does_not_draw_the_evaluation_draws(
    compose: Callable[..., Settings], shared_project: Path, digits: Path, tmp_path: Path
) -> None:
    """As under DVC, where an edit of a picture must not train again."""
    settings = compose(*SMALL_NET, "debug=one_step", "tracking=none")
    run, out = tmp_path / "run", tmp_path / "out"
    train(settings, digits, run, tmp_path, QUIET)
    assert not {path.name for path in run.iterdir()} & {"pictures", "data"}
    evaluate(settings, run, digits, out, shared_project, QUIET)
    assert {path.name for path in (out / "pictures").iterdir()} == PICTURES
    assert {"card.md", "manifest.json", "overview.png"} <= {
        path.name for path in (out / "data").iterdir()
    }


def test_logits_whose_probability_rounds_to_zero_keep_the_loss_exact() -> None:
    logits = np.array([[-400.0, 400.0], [-400.0, 400.0]], np.float32)
    figures = class_scores(np.array([0, 1]), logits)
    assert figures["test_loss"] == 400
    assert figures["test_accuracy"] == 0.5


def test_data_of_another_config_are_refused_by_the_key_that_differs(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path
) -> None:
    settings = compose("tracking=none", "data.split.test=90")
    with pytest.raises(InputError, match=r"prepared with another data\.split: run"):
        train(settings, digits, tmp_path / "run", tmp_path, QUIET)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.layers.flatten=null", r"model\.layers\.dense1: needs a flat input"),
        ("model.layers.softmax=null", r"model\.layers must end with .* softmax"),
        ("model.layers.logits.units=7", r"output is \(7,\), but there are 10 classes"),
        ("model.layers.conv1.kernel_size=50", r"model\.layers\.conv1: kernel_size=\(50, 50\)"),
    ],
)
def test_a_net_that_does_not_fit_the_data_is_refused_before_anything_is_written(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path, override: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        train(compose("tracking=none", override), digits, tmp_path / "run", tmp_path, QUIET)
    assert not (tmp_path / "run").exists()


def _rates(schedule: Any, steps: list[int], *, epochs: int, steps_per_epoch: int) -> list[float]:
    rate = learning_rate(schedule, 0.1, epochs=epochs, steps_per_epoch=steps_per_epoch)
    return [float(rate(step)) if callable(rate) else rate for step in steps]


def test_a_constant_rate_stays() -> None:
    schedule = ConstantSchedule(name="constant")
    assert _rates(schedule, [0, 10, 99], epochs=10, steps_per_epoch=10) == [0.1] * 3


def test_a_step_rate_falls_after_the_named_epochs() -> None:
    """Keras keeps the old value *at* a boundary, so the first step of epoch 3 has it still."""
    schedule = StepSchedule(name="step", at_epochs=[2.0, 3.5], factor=0.1)
    rates = _rates(schedule, [0, 20, 21, 35, 36, 99], epochs=10, steps_per_epoch=10)
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_a_cosine_rate_rises_over_the_warm_up_and_ends_at_its_fraction() -> None:
    schedule = CosineSchedule(name="cosine", warmup_epochs=1.0, final_fraction=0.01)
    rates = _rates(schedule, [0, 5, 10, 55, 100], epochs=10, steps_per_epoch=10)
    assert rates == pytest.approx([0.01, 0.055, 0.1, 0.0505, 0.001], rel=1e-4)


def test_a_cosine_rate_without_warm_up_starts_at_the_top() -> None:
    schedule = CosineSchedule(name="cosine", warmup_epochs=0.0, final_fraction=0.0)
    rates = _rates(schedule, [0, 50, 100], epochs=10, steps_per_epoch=10)
    assert rates == pytest.approx([0.1, 0.05, 0.0], abs=1e-7)


@pytest.mark.parametrize("steps_per_epoch", [1, 2, 7])
@pytest.mark.parametrize("warmup", [0.0, 0.5, 1.0, 5.0])
def test_a_warm_up_longer_than_the_run_gives_positive_finite_rates(
    steps_per_epoch: int, warmup: float
) -> None:
    schedule = CosineSchedule(name="cosine", warmup_epochs=warmup, final_fraction=0.01)
    for epochs in (1, 2):
        steps = list(range(epochs * steps_per_epoch))
        rates = _rates(schedule, steps, epochs=epochs, steps_per_epoch=steps_per_epoch)
        assert all(0 < rate <= 0.1000001 for rate in rates)


def test_the_recorded_rate_is_the_schedules_after_each_epoch(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path
) -> None:
    settings = compose(
        *("tracking=none", "model=softmax_linear", "augment=none", "schedule=step"),
        *(
            "optimizer.learning_rate=0.02",
            "schedule.at_epochs=[1]",
            "trainer.epochs=3",
            "trainer.limit_steps=2",
        ),
    )
    train(settings, digits, tmp_path / "run", tmp_path, QUIET)
    with (tmp_path / "run" / "history.csv").open(newline="") as file:
        rates = [float(row["learning_rate"]) for row in csv.DictReader(file)]
    assert rates == pytest.approx([0.02, 0.002, 0.002])


@pytest.mark.integration
def test_a_factor_of_zero_keeps_the_variables_that_its_pattern_fits(
    weights_of: Callable[..., list[np.ndarray]],
) -> None:
    factor = "+optimizer.learning_rate_factors={logits.kernel: 0}"
    free = weights_of(*LINEAR, "trainer.epochs=1")
    held = weights_of(*LINEAR, "trainer.epochs=1", factor)
    longer = weights_of(*LINEAR, "trainer.epochs=2", factor)
    # The kernel, then the bias.
    assert np.array_equal(held[0], longer[0])
    assert not np.array_equal(held[0], free[0])
    assert not np.array_equal(held[1], longer[1])


def test_a_factors_pattern_that_fits_no_variable_is_refused_before_the_first_step(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path
) -> None:
    settings = compose(*SMALL_NET, "+optimizer.decay_factors={fc10: 3}")
    with pytest.raises(InputError, match=r"optimizer\.decay_factors='fc10'.*conv1/kernel"):
        train(settings, digits, tmp_path / "run", tmp_path, QUIET)
    assert not (tmp_path / "run" / "history.csv").exists()


@pytest.mark.integration
@pytest.mark.parametrize(
    "bound",
    [
        pytest.param("clip_value", marks=pytest.mark.slow),
        pytest.param("clip_norm", marks=pytest.mark.slow),
        "clip_global_norm",
    ],
)
def test_a_bound_on_the_gradient_reaches_the_optimizer(
    weights_of: Callable[..., list[np.ndarray]], bound: str
) -> None:
    plain = (*LINEAR, "trainer.epochs=1", "optimizer.weight_decay=0")
    constant = (*plain, "schedule=constant", "optimizer.learning_rate=1")
    tiny = weights_of(*constant, f"optimizer.{bound}=1e-12")
    free = weights_of(*constant)
    start = weights_of(*plain, "schedule=constant", "optimizer.learning_rate=1e-12")
    for bounded, loose, begin in zip(tiny, free, start, strict=True):
        np.testing.assert_allclose(bounded, begin, atol=1e-9)
        assert np.abs(loose - begin).max() > 1e-6


@pytest.mark.parametrize(
    "precision", ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.slow)]
)
def test_half_precision_keeps_weights_and_probabilities_in_full(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path, precision: str
) -> None:
    settings = compose(*SMALL_NET, f"trainer.precision={precision}", "optimizer.learning_rate=0.01")
    try:
        figures = train(settings, digits, tmp_path / "run", tmp_path, QUIET)
        model = load_predictor(tmp_path / "run").model
        probabilities = model(np.zeros((1, 28, 28, 1), np.float32))
    finally:
        keras.config.set_dtype_policy("float32")
    assert math.isfinite(figures["loss"])
    assert model.get_layer("conv1").compute_dtype == precision.removeprefix("mixed_")
    assert {str(weight.dtype) for weight in model.trainable_weights} == {"float32"}
    assert keras.backend.standardize_dtype(probabilities.dtype) == "float32"


def test_a_model_of_other_data_is_not_evaluated(
    trained: tuple[Settings, Path, Mapping[str, float]], digits: Path, tmp_path: Path
) -> None:
    settings, run, _ = trained
    model = RunFolder(shutil.copytree(run, tmp_path / "run")).model
    card = json.loads((model / "card.json").read_text())
    (model / "card.json").write_text(json.dumps({**card, "data_digest": "0" * 64}))
    with pytest.raises(InputError, match="was trained on other data than"):
        evaluate(settings, tmp_path / "run", digits, tmp_path / "out", tmp_path, QUIET)
    assert not (tmp_path / "out").exists()


def test_a_model_that_sees_another_size_is_not_evaluated(
    trained: tuple[Settings, Path, Mapping[str, float]], digits: Path, tmp_path: Path
) -> None:
    settings, run, _ = trained
    smaller = dataclasses.replace(settings.augment, size=(14, 14))
    other = settings.model_copy(update={"augment": smaller})
    with pytest.raises(InputError, match=r"was trained with another augment\.size"):
        evaluate(other, run, digits, tmp_path / "out", tmp_path, QUIET)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop"])
def test_an_optimizer_of_keras_has_the_configs_arguments(
    compose: Callable[..., Settings], name: str
) -> None:
    rate = ("optimizer.learning_rate=0.003", "schedule=constant", "optimizer.clip_norm=2")
    settings = compose(f"optimizer={name}", *rate, "optimizer.epsilon=1e-5")
    optimizer = make_optimizer(settings.optimizer, settings.schedule, epochs=1, steps_per_epoch=1)
    assert type(optimizer).__name__.lower() == name
    config = optimizer.get_config()
    given = settings.optimizer.model_dump()
    kept = {key: value for key, value in given.items() if key in config and key != "name"}
    assert {key: config[key] for key in kept} == {key: pytest.approx(kept[key]) for key in kept}
    assert kept.keys() >= {"learning_rate", "epsilon"}
    assert config["clipnorm"] == 2


def test_adamws_decay_leaves_out_what_the_patterns_fit(compose: Callable[..., Settings]) -> None:
    settings = compose("optimizer=adamw", "optimizer.weight_decay=0.5", "schedule=constant")
    optimizer = make_optimizer(settings.optimizer, settings.schedule, epochs=1, steps_per_epoch=1)
    kernel, bias = (keras.Variable(np.ones(2), name=name) for name in ("kernel", "bias"))
    build_optimizer(optimizer, [kernel, bias], settings.optimizer)
    optimizer.apply([np.zeros(2, np.float32)] * 2)
    np.testing.assert_allclose(kernel.numpy(), 1 - 0.5 * settings.optimizer.learning_rate)
    np.testing.assert_allclose(bias.numpy(), 1)


# With this rate nothing becomes better after the first epoch, by more than 1.
WAITING = (
    *LINEAR[:2],
    "optimizer.learning_rate=1e-9",
    "schedule=constant",
    "trainer.limit_steps=2",
    "trainer.epochs=9",
    "trainer.early_stopping.patience=2",
    "trainer.early_stopping.min_delta=1",
)


def test_a_run_that_no_longer_gains_ends_early_and_says_so(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path, capfd: Any
) -> None:
    run = tmp_path / "run"
    train(compose(*WAITING), digits, run, tmp_path, Progress())
    with (run / "history.csv").open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]
    said = capfd.readouterr().err
    assert "ended early: val_loss has not become better for 2 epochs" in said
    assert load_predictor(run).card.weights == "weights of epoch 3, the last"


@pytest.mark.parametrize(
    ("losses", "ends"),
    [
        ([5.0, 3.0, 1.0], False),
        ([5.0, 4.5], False),
        ([5.0, 4.5, 4.2], True),
        ([5.0, 4.5, 3.9], False),
        ([5.0, 4.5, 3.9, 3.5, 3.2], True),
        ([], False),
    ],
)
def test_waiting_begins_with_the_last_epoch_that_was_better(
    losses: list[float], ends: bool
) -> None:
    state = RunState(None, steps_per_epoch=1, largest_loss=1e6)
    state.rows = [{"val_loss": loss} for loss in losses]
    ending = EarlyStopping(state, monitor="val_loss", patience=2, min_delta=1.0)
    assert ending.is_due is ends
    state.rows = [{"accuracy": -loss} for loss in losses]
    assert EarlyStopping(state, monitor="accuracy", patience=2, min_delta=1.0).is_due is ends


def _history(run: Path) -> list[dict[str, float]]:
    with (run / "history.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_each_training_image_comes_with_its_classs_weight_and_no_other_does(
    compose: Callable[..., Settings], digits: Path
) -> None:
    settings = compose(*LINEAR[:2], "loss.class_weights={3: 5, 7: 0}", "augment.place=step")
    feed = build_trainer(settings, Manifest.read(digits), digits).feed
    _, labels, weights = next(iter(feed.training()))
    expected = {3: 5.0, 7: 0.0}
    assert weights.numpy().tolist() == [expected.get(label, 1.0) for label in labels.numpy()]
    assert set(weights.numpy()) == {0, 1, 5}
    assert len(next(iter(feed.validation()))) == 2


@pytest.mark.slow
def test_class_weights_count_in_the_training_loss_alone(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path
) -> None:
    """Of one batch of 50 and a smaller one of 20, with weights that do not move."""
    still = ("optimizer.learning_rate=1e-12", "schedule=constant", "trainer.epochs=1")
    few = (*LINEAR[:2], *still, "trainer.limit_examples=70", "augment=none")
    weights = {
        "plain": None,
        "none": {3: 0},
        "twice": dict.fromkeys(range(10), 2),
        "threes": {number: int(number == 3) for number in range(10)},
    }

    def figures_of(name: str) -> Mapping[str, float]:
        asked = "null" if weights[name] is None else weights[name]
        settings = compose(*few, "loss.label_smoothing=0.1", f"loss.class_weights={asked}")
        return train(settings, digits, tmp_path / name, tmp_path, QUIET)

    runs = {name: figures_of(name) for name in weights}
    loss = {name: figures["loss"] for name, figures in runs.items()}
    assert loss["twice"] == pytest.approx(2 * loss["plain"], rel=1e-5)
    assert loss["none"] + loss["threes"] == pytest.approx(loss["plain"], rel=1e-5)
    assert 0 < loss["threes"] < loss["plain"] / 3
    for name in ("accuracy", "val_loss", "val_accuracy"):
        assert len({figures[name] for figures in runs.values()}) == 1, name


def _taken_apart(run: Path) -> dict[str, np.ndarray]:
    model = load_predictor(run).model
    return {weight.path: np.asarray(weight) for weight in model.weights}


NORMALIZED = (
    *SMALL_NET,
    "augment=none",
    "model.layers.drop1.type=batch_normalization",
    "~model.layers.drop1.rate",
)


@pytest.fixture(scope="module")
def source(
    compose: Callable[..., Settings], digits: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a Maxout, PReLU and batch normalisation net's run."""
    folder = tmp_path_factory.mktemp("source")
    train(compose(*NORMALIZED), digits, folder / "run", folder, QUIET)
    return folder / "run"


@pytest.mark.integration
@pytest.mark.parametrize(
    "precision", ["float32", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)]
)
def test_a_run_starts_from_what_fits_of_another_and_holds_what_is_frozen(
    compose: Callable[..., Settings],
    digits: Path,
    tmp_path: Path,
    source: Path,
    capfd: Any,
    precision: str,
) -> None:
    """A new head of one number; batch normalisation keeps its moving statistics."""
    settings = compose(
        *(*NORMALIZED, "task=regression", "loss=mse", "task.drawn=[rotation]"),
        *("augment.geometry.probability=1", "augment.geometry.rotation=30"),
        f"trainer.start_from={source}",
        *("trainer.freeze=[conv, drop1]", f"trainer.precision={precision}", "trainer.epochs=1"),
    )
    run = tmp_path / "run"
    try:
        train(settings, digits, run, tmp_path, Progress())
    finally:
        keras.config.set_dtype_policy("float32")
    said = capfd.readouterr().err
    assert f"starts from {source} (weights of epoch 2, the last): 11 of 13 variables" in said
    assert "left as new: logits/kernel (other shape: 16×10 there, 16×1 here), logits/bias" in said
    assert "not trained: conv1, conv2, drop1; " in said
    model = load_predictor(run).model
    before = _taken_apart(source)
    after = {weight.path: np.asarray(weight) for weight in model.weights}
    held = {name for name in after if name.split("/")[0] in ("conv1", "conv2", "drop1")}
    assert {"conv1/kernel", "drop1/moving_mean", "drop1/gamma"} <= held
    assert [name for name in held if not np.array_equal(before[name], after[name])] == []
    assert not np.array_equal(before["dense1/kernel"], after["dense1/kernel"])
    assert {weight.path for weight in model.trainable_weights} == {
        *("dense1/kernel", "dense1/bias", "prelu1/alpha", "logits/kernel", "logits/bias")
    }
    report = json.loads((run / "started_from.json").read_text())
    assert report["taken"] == [name for name in after if not name.startswith("logits")]
    assert set(report["new"]) == set(report["not_used"]) == {"logits/kernel", "logits/bias"}
    events = [json.loads(line) for line in (run / "journal.jsonl").open()]
    tags = {key: tag for event in events for key, tag in event.get("tags", {}).items()}
    assert tags["convforge.started_from"] == report["identity"]
    assert len(report["identity"]) == 64


@pytest.mark.slow
def test_the_weights_at_the_start_are_the_sources_and_the_seeds_own(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path, source: Path
) -> None:
    """What does not fit is as it would be without a source, whatever building it has drawn."""
    still = ("optimizer.learning_rate=1e-12", "schedule=constant", "optimizer.weight_decay=0")
    other = (*SMALL_NET, *still, "model.layers.dense1.units=8")
    plain, started = (tmp_path / name for name in ("plain", "started"))
    train(compose(*other), digits, plain, tmp_path, QUIET)
    train(compose(*other, f"trainer.start_from={source}"), digits, started, tmp_path, QUIET)
    of_source, of_plain, found = map(_taken_apart, (source, plain, started))
    report = json.loads((started / "started_from.json").read_text())
    assert report["not_used"]["drop1/moving_mean"] == "missing here"
    assert {"conv1/kernel", "conv2/bias", "logits/bias"} <= set(report["taken"])
    for name, value in found.items():
        expected = (of_source if name in report["taken"] else of_plain)[name]
        np.testing.assert_allclose(value, expected, atol=1e-8, err_msg=name)


@pytest.mark.integration
def test_a_keras_file_without_a_card_will_do(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path
) -> None:
    image = keras.Input((28, 28, 1))
    flat = keras.layers.Flatten()(image)
    net = keras.Model(image, keras.layers.Dense(10, name="logits", dtype="float64")(flat))
    net.save(tmp_path / "other.keras")
    still = ("optimizer.learning_rate=1e-12", "schedule=constant", "optimizer.weight_decay=0")
    settings = compose(*LINEAR, *still, "trainer.epochs=1", "trainer.start_from=other.keras")
    train(settings, digits, tmp_path / "run", tmp_path, QUIET)
    expected = net.get_layer("logits").kernel.numpy()
    assert expected.dtype == np.float64
    found = _taken_apart(tmp_path / "run")["logits/kernel"]
    np.testing.assert_allclose(found, expected, atol=1e-8)


@pytest.mark.integration
def test_a_source_of_which_nothing_fits_or_that_is_not_there_is_refused(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path, source: Path
) -> None:
    run = tmp_path / "run"

    def refused(*overrides: str) -> str:
        with pytest.raises(InputError) as refusal:
            train(compose(*LINEAR, *overrides), digits, run, tmp_path, QUIET)
        assert not run.exists()
        return str(refusal.value)

    renamed = ("+model.layers={flatten: null, f: {type: flatten}, logits: null}",)
    renamed += ("+model.layers.head={type: dense, units: null}", "model.layers.softmax=null")
    renamed += ("+model.layers.prob={type: softmax}", f"trainer.start_from={source}")
    assert "none of its variables (conv1/kernel (missing here)" in refused(*renamed)
    assert "trainer.start_from=nothing: " in refused("trainer.start_from=nothing")
    assert "holds no model" in refused("trainer.start_from=nothing")


def test_a_source_in_the_folder_that_the_run_writes_is_refused(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path, source: Path
) -> None:
    shutil.copytree(source, tmp_path / "run")
    settings = compose(*LINEAR, "trainer.start_from=run/model/model.keras")
    with pytest.raises(InputError, match=r"it lies in .*run, which this run writes anew"):
        train(settings, digits, tmp_path / "run", tmp_path, QUIET)
    assert (tmp_path / "run" / "model" / "model.keras").is_file()
