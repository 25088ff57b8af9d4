"""Every file in conf/ composes, and what it configures runs."""

from __future__ import annotations

import csv
import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from data_sets import Splits, random_splits, write_cifar, write_idx, write_imagenet, write_npz
from PIL import Image

from convforge.models.summary import layer_costs
from convforge.pipeline.composition import compose_config, settings_of
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.stages.preprocess import preprocess
from convforge.pipeline.stages.train import train

QUIET = Progress(Verbosity.QUIET)
CONF = Path(__file__).parents[1] / "conf"
# No parts of the config: Hydra's own, tests/test_launchers.py, and the claims, tests/claims/.
GROUPS = sorted(
    folder.name
    for folder in CONF.iterdir()
    if folder.is_dir() and folder.name not in ("hydra", "claim")
)
OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
ONE_STEP = ("tracking=none", "trainer.epochs=1", "trainer.limit_steps=1")
# Each of them fits every other, so one run tries one option of each.
FREE = ("augment", "loss", "model", "optimizer", "schedule", "trainer")
# Too large for digits, or too slow: tests/models/test_classics.py runs them on their own input.
OWN_INPUT = ("alexnet", "maxout_cifar10")


def _combinations() -> list[tuple[str, ...]]:
    """Overrides that together hold every option of the groups in FREE."""
    options = [
        [f"{group}={name}" for place, name in OPTIONS if place == group and name not in OWN_INPUT]
        for group in FREE
    ]
    return [
        tuple(choices[number % len(choices)] for choices in options)
        for number in range(max(map(len, options)))
    ]


def _options(*groups: str) -> list[Any]:
    return [pytest.param(*pair, id="=".join(pair)) for pair in OPTIONS if pair[0] in groups]


def test_every_group_is_covered_below() -> None:
    # tests/test_tasks.py runs both tasks, tests/distribute/ the ways to distribute.
    assert set(GROUPS) == {*FREE, "data", "debug", "distribute", "experiment", "task", "tracking"}
    tried = {override for overrides in _combinations() for override in overrides}
    assert tried == {
        f"{group}={option}"
        for group, option in OPTIONS
        if group in FREE and option not in OWN_INPUT
    }
    strangers = [p for p in CONF.rglob("*") if p.is_file() and p.suffix != ".yaml"]
    assert strangers == []


@pytest.mark.parametrize(("group", "option"), _options(*GROUPS))
def test_it_composes(shared_project: Path, group: str, option: str) -> None:
    drawn = ["loss=mse", "task.drawn=[rotation]", "augment=full"]
    loss = drawn if option == "regression" else []
    settings = settings_of(compose_config(shared_project, [f"{group}={option}", *loss]))
    name = getattr(getattr(settings, group, None), "name", option)
    assert name == option, "a config is called as its file"


@pytest.mark.parametrize(("group", "option"), _options(*GROUPS))
def test_its_head_says_what_it_is_for(group: str, option: str) -> None:
    assert (CONF / group / f"{option}.yaml").read_text().startswith("#")


@pytest.mark.parametrize(("group", "option"), _options(*GROUPS))
def test_the_command_in_its_head_is_one_that_composes(
    shared_project: Path, group: str, option: str
) -> None:
    for line in (CONF / group / f"{option}.yaml").read_text().splitlines():
        # Variables and a launcher may stand before it.
        words = line[line.find("convforge ") :].split()
        if line.startswith("#") and words[:2] in (["convforge", "train"], ["convforge", "summary"]):
            overrides = [word.strip("'") for word in words[2:] if "=" in word]
            settings_of(compose_config(shared_project, overrides))


def _assert_one_epoch_was_trained(run: Path) -> None:
    with (run / "history.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["loss"]) > 0
    assert (run / "model" / "model.keras").is_file()


def _combinations_to_train() -> list[Any]:
    """Three in `make test-integration`, all in `make test-slow`."""
    few = 3
    return [
        pytest.param(item, id=" ".join(item), marks=[pytest.mark.slow] if number >= few else [])
        for number, item in enumerate(_combinations())
    ]


@pytest.mark.integration
@pytest.mark.parametrize("overrides", _combinations_to_train())
def test_they_train_for_a_step(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    train(compose(*overrides, *ONE_STEP), digits, tmp_path / "run", tmp_path, QUIET)
    _assert_one_epoch_was_trained(tmp_path / "run")


@pytest.mark.parametrize(
    ("group", "option"), [pair for pair in _options("debug") if pair.values[1] != "none"]
)
def test_it_trains_for_an_epoch(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path, group: str, option: str
) -> None:
    settings = compose("model=softmax_linear", f"{group}={option}", "trainer.epochs=1")
    assert settings.tracking.name == "none", "debugging keeps no runs"
    train(settings, digits, tmp_path / "run", tmp_path, QUIET)
    _assert_one_epoch_was_trained(tmp_path / "run")


def _write_data(settings: Settings, digits_archive: Path, folder: Path) -> Path:
    """Images in the form that the config reads, 100 of them to test; the path to give it."""
    data, archive = settings.data, folder / "images.zip"
    shape = (*(data.size or (8, 8)), data.channels)
    noise = random_splits(shape, train=300, test=100, classes=data.num_classes or 10)
    match data.format:
        case "idx":
            return write_idx(folder, _without_channels(noise))
        case "npz":
            return write_npz(folder / "x.npz", noise)
        case "cifar":
            return write_cifar(folder / "x.tar.gz", noise, hundred=data.num_classes == 100)
        case "imagenet":
            return write_imagenet(folder / "imagenet", train=60)
    _archive_for(settings, digits_archive, archive)
    if data.format == "folders":
        return archive
    with zipfile.ZipFile(archive) as files:
        files.extractall(folder)
        names = files.namelist()
    table = folder / "table.csv"
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "class", "split"])
        rows.writerows([name, name.split("/")[1], name.split("/")[0]] for name in names)
    return table


def _without_channels(splits: Splits) -> Splits:
    return {split: (images[..., 0], labels) for split, (images, labels) in splits.items()}


def _archive_for(settings: Settings, digits_archive: Path, path: Path) -> None:
    """Digits in the size and the colours that the config asks for, in folders of splits."""
    data = settings.data
    height, width = data.size or (28, 28)
    mode = "RGB" if data.channels == 3 else "L"
    with zipfile.ZipFile(digits_archive) as source, zipfile.ZipFile(path, "w") as target:
        for number, name in enumerate(source.namelist()):
            image = Image.open(io.BytesIO(source.read(name))).convert(mode)
            file = io.BytesIO()
            image.resize((width, height)).save(file, "PNG")
            target.writestr(f"{'test' if number % 4 == 0 else 'train'}/{name}", file.getvalue())


# One of each format in `make test`; those that others repeat in `make test-slow`.
REPEATED = (
    *("fashion_mnist", "mnist5k", "cifar10", "cifar10_90", "cifar100_binary"),
    *("alexnet", "none", "layers_19pct", "layers_18pct", "conv_local_13pct"),
)


def _sources() -> list[Any]:
    return [
        pytest.param(*pair.values, id=pair.id, marks=[pytest.mark.slow])
        if pair.values[1] in REPEATED
        else pair
        for pair in _options("data", "experiment")
    ]


@pytest.mark.integration
@pytest.mark.parametrize(("group", "option"), _sources())
def test_its_images_are_prepared_and_trained_on(
    project: Path, digits_archive: Path, tmp_path: Path, group: str, option: str
) -> None:
    choice = f"{group}={option}"
    probe = settings_of(compose_config(project, [choice]))
    (tmp_path / "given").mkdir()
    path = _write_data(probe, digits_archive, tmp_path / "given")
    overrides = [choice, f"data.path={path}", "data.split.validation=0.2", *ONE_STEP]
    if probe.data.format == "imagenet":
        overrides.append("data.split.test=100")
    if probe.data.format == "table":
        overrides.append("data.split_column=split")
    if group == "data":
        overrides.append("model=softmax_linear")
    if choice == "experiment=alexnet":  # 61 million parameters and a batch of 128 take minutes.
        overrides += ["trainer.batch_size=4", *(f"model.layers.fc{n}.units=16" for n in (6, 7))]
    settings = settings_of(compose_config(project, overrides))
    manifest = preprocess(settings.data, project / "prepared", project, QUIET)
    assert manifest.bad_items == []
    assert manifest.splits["test"].examples == 100
    train(settings, project / "prepared", project / "run", project, QUIET)
    _assert_one_epoch_was_trained(project / "run")


@pytest.mark.integration
@pytest.mark.parametrize(("group", "option"), _options("tracking"))
def test_its_tracking_keeps_a_run(
    project: Path, compose: Callable[..., Settings], digits: Path, group: str, option: str
) -> None:
    settings = compose(*ONE_STEP, f"{group}={option}", "model=softmax_linear")
    train(settings, digits, project / "run", project, QUIET)
    assert (project / "mlflow.db").is_file() == (option == "mlflow")
    assert (project / "run" / "run.json").is_file() == (option == "mlflow")


@pytest.mark.integration
def test_overfit_batch_learns_its_batch_by_heart(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path
) -> None:
    settings = compose("debug=overfit_batch", "model=softmax_linear")
    figures = train(settings, digits, tmp_path / "run", tmp_path, QUIET)
    assert figures["accuracy"] == 1.0


def test_one_step_is_one_step_and_keeps_no_run(compose: Callable[..., Settings]) -> None:
    settings = compose("debug=one_step")
    assert (settings.trainer.epochs, settings.trainer.limit_steps) == (1, 1)
    assert settings.tracking.name == "none"


def test_the_default_model_has_what_the_lecture_names(compose: Callable[..., Settings]) -> None:
    settings = compose()
    types = {spec.type for spec in settings.model.specs().values()}  # type: ignore[attr-defined]
    assert types >= {"maxout_conv2d", "max_pool", "prelu", "dropout", "softmax"}
    pool = settings.model.specs()["pool1"]
    assert pool.step < pool.window, "overlapping"  # type: ignore[attr-defined]
    assert settings.optimizer.name == "momentum_sgd"
    assert settings.augment.active


@pytest.mark.parametrize(
    ("group", "option"), [pair for pair in _options("model") if pair.values[1] != "alexnet"]
)
def test_it_fits_cifar10_as_well(compose: Callable[..., Settings], group: str, option: str) -> None:
    costs = layer_costs(
        compose(f"{group}={option}").model.specs(), image_shape=(32, 32, 3), num_classes=10
    )
    assert costs[-1].output_shape == (10,)


def test_the_bundled_digits_fit_the_default_config(shared_project: Path, tmp_path: Path) -> None:
    """The whole archive, as `make repro` prepares it."""
    bundled = Path(__file__).parents[1] / "data" / "mnist-5k.zip"
    settings = settings_of(compose_config(shared_project, [f"data.path={bundled}"]))
    manifest = preprocess(settings.data, tmp_path / "data", shared_project, QUIET)
    sizes = {name: split.examples for name, split in manifest.splits.items()}
    assert sizes == {"train": 3600, "validation": 400, "test": 1000}
    assert manifest.splits["test"].class_counts == [100] * 10
    assert manifest == Manifest.read(tmp_path / "data")
    shutil.rmtree(tmp_path / "data")
