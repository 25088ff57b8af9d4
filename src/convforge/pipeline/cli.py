"""`convforge COMMAND …`: every stage alone, beside DVC, and what one does with the results.

Nothing heavy is imported before a command needs it, so `--help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convforge import __version__
from convforge.errors import InputError
from convforge.pipeline.pluralize import pluralize
from convforge.pipeline.stages.entry import add_verbosity, add_workers, progress_of, run_guarded

if TYPE_CHECKING:
    from convforge.models.summary import LayerCost
    from convforge.pipeline.data.manifest import Manifest
    from convforge.pipeline.progress import Progress
    from convforge.pipeline.settings.run import Settings

# Classes that a terminal shows; the card has more.
_MOST_LISTED = 40
_OVERRIDES = "Hydra overrides, such as model=prelu_cnn or optimizer.learning_rate=0.01"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of `convforge`.

    Returns:
        The exit status: 0, 2 for a user's mistake, 130 for Ctrl-C.
    """
    parser = _parser()
    arguments, left = parser.parse_known_args(argv)
    # argparse takes one run of positional arguments: overrides after an option are left over.
    if any(item.startswith("-") for item in left) or (left and "overrides" not in arguments):
        parser.error(f"unrecognized arguments: {' '.join(left)}")
    if left:
        arguments.overrides += left
    arguments.own_process = argv is None
    if arguments.command is None:
        parser.print_help()
        return 0
    run: Callable[[argparse.Namespace], object] = arguments.run
    return run_guarded(lambda: run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="convforge",
        description="Convolutional networks from a lecture, as reproducible runs.",
        epilog="`dvc repro` runs the whole pipeline; the commands here run its parts alone.",
    )
    parser.add_argument("--version", action="version", version=f"convforge {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for add in (
        _add_fetch,
        _add_compose,
        _add_preprocess,
        _add_preview_augment,
        _add_inspect_data,
        _add_train,
        _add_evaluate,
        _add_results,
        _add_predict,
        _add_summary,
        _add_ui,
        _add_sync,
    ):
        add(commands)
    return parser


def _command(commands: Any, name: str, run: Any, help_: str, *examples: str) -> Any:
    """A subcommand whose help ends with `examples`."""
    lines = "\n".join(f"  convforge {name} {example}".rstrip() for example in examples)
    parser = commands.add_parser(
        name,
        help=help_,
        description=f"{help_[0].upper()}{help_[1:]}.",
        epilog=f"examples:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    add_verbosity(parser)
    return parser


def _add_fetch(commands: Any) -> None:
    parser = _command(
        commands,
        "fetch",
        _fetch,
        "download a public data set, checked and resumable",
        "cifar10",
        "mnist --out /data/mnist",
        "cifar100 --url https://example.org/mirror",
    )
    parser.add_argument(
        "data_set", metavar="NAME", help="cifar10, cifar100, mnist or fashion_mnist"
    )
    parser.add_argument("--out", type=Path, help="folder to fill (default: data-sets/NAME)")
    parser.add_argument("--url", help="address of a folder that has the same files")
    parser.add_argument(
        "--timeout", type=float, default=30.0, metavar="S", help="seconds without an answer (30)"
    )


def _fetch(arguments: argparse.Namespace) -> None:
    from convforge.pipeline.data.preparation.sources.downloads import DATA_SETS, fetch
    from convforge.pipeline.project import project_root

    name, progress = arguments.data_set, progress_of(arguments)
    if name not in DATA_SETS:
        raise InputError(f"there is no data set {name!r} to fetch: give {', '.join(DATA_SETS)}")
    # Also refuses what is no number; a year is more than a socket takes.
    if not 0 < arguments.timeout <= 86400:
        raise InputError(f"--timeout={arguments.timeout:g} is not allowed: give seconds > 0")
    root = project_root()
    out = root / "data-sets" / name if arguments.out is None else arguments.out
    data_set = DATA_SETS[name]
    path = fetch(data_set, out, progress, mirror=arguments.url, timeout=arguments.timeout)
    words = ["convforge", "train", f"data={data_set.config}"]
    if arguments.out is not None:
        # A relative data.path counts from the project's folder.
        words.append(f"data.path={path.relative_to(root) if path.is_relative_to(root) else path}")
    progress.say(f"next: {shlex.join(words)}")


def _add_compose(commands: Any) -> None:
    parser = _command(
        commands,
        "compose",
        _compose,
        "compose params.yaml from conf/",
        "",
        "model=lecture_cnn trainer=cpu_quick",
        "--check",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="change nothing; show how params.yaml differs from conf/ and exit with 1 if it does",
    )
    parser.add_argument("overrides", nargs="*", help=_OVERRIDES)


def _compose(arguments: argparse.Namespace) -> None:
    from convforge.pipeline.project import project_root
    from convforge.pipeline.stages.compose import compose, difference

    root = project_root()
    if not arguments.check:
        compose(root, arguments.overrides, progress_of(arguments))
        return
    lines = difference(root, arguments.overrides)
    if lines:
        print("\n".join(lines))
        raise SystemExit(1)
    progress_of(arguments).say("params.yaml is what conf/ composes to")


def _add_preprocess(commands: Any) -> None:
    parser = _command(
        commands,
        "preprocess",
        _preprocess,
        "turn image files into shards that training streams",
        "",
        "data=folder data.path=photos.zip",
        "data=cifar10 data.path=cifar10.tar.gz --out shards/cifar10",
        "data=imagenet data.path=/shared/imagenet --cluster ray:auto",
    )
    parser.add_argument("--out", type=Path, help="folder to write (default: outputs/data/NAME-KEY)")
    add_workers(parser)
    parser.add_argument("overrides", nargs="*", help=_OVERRIDES)


def _preprocess(arguments: argparse.Namespace) -> None:
    from convforge.pipeline.composition import compose_config, settings_of
    from convforge.pipeline.project import project_root
    from convforge.pipeline.stages.preprocess import prepared, preprocess

    root = project_root()
    settings = settings_of(compose_config(root, arguments.overrides))
    progress = progress_of(arguments)
    if arguments.out is not None:
        folder = arguments.out
        preprocess(settings, folder, root, progress, **_worker_pool_options(arguments))
    else:
        folder = prepared(settings, root, progress, **_worker_pool_options(arguments))
    progress.say(f"data: {folder}")


def _worker_pool_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Who prepares the data."""
    return {"processes": arguments.workers, "cluster": arguments.cluster}


def _add_preview_augment(commands: Any) -> None:
    parser = _command(
        commands,
        "preview-augment",
        _preview_augment,
        "draw training images beside what augmentation makes of them",
        "",
        "augment=full data=cifar10 data.path=cifar10.tar.gz --rows 4",
        "augment.geometry.rotation=30 --out turned.png",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("augmented_images.png"),
        help="the picture (default: %(default)s)",
    )
    parser.add_argument("--rows", type=int, default=6, help="images (default: %(default)s)")
    parser.add_argument("--columns", type=int, default=9, help="draws (default: %(default)s)")
    parser.add_argument("overrides", nargs="*", help=_OVERRIDES)


def _preview_augment(arguments: argparse.Namespace) -> None:
    for option in ("rows", "columns"):
        if not 1 <= getattr(arguments, option) <= 30:
            value = getattr(arguments, option)
            raise InputError(f"--{option}={value} is not allowed: give a number from 1 to 30")
    if arguments.out.suffix != ".png":
        raise InputError(f"--out={arguments.out} is not allowed: give a name that ends in .png")
    from convforge.pipeline.composition import compose_config, settings_of
    from convforge.pipeline.data.manifest import Manifest
    from convforge.pipeline.project import project_root
    from convforge.pipeline.stages.preprocess import prepared
    from convforge.pipeline.training.backend import import_keras

    root, progress = project_root(), progress_of(arguments)
    settings = settings_of(compose_config(root, arguments.overrides))
    data = prepared(settings, root, progress)
    manifest = Manifest.read(data)
    settings.input_shape(manifest.image_shape)
    import_keras()
    from convforge.pipeline.data.reading.stream import Stream
    from convforge.pipeline.report.augmentations import draw_augmentations

    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    draw_augmentations(
        Stream(data, manifest, settings.trainer.batch_size),
        arguments.out,
        augmentation=settings.augment,
        seed=settings.seed,
        rows=arguments.rows,
        columns=arguments.columns,
    )
    progress.say(f"picture: {arguments.out}")


def _add_inspect_data(commands: Any) -> None:
    parser = _command(
        commands,
        "inspect-data",
        _inspect_data,
        "show what a data set holds: counts, sizes, bad files, contact sheets, a data card",
        "",
        "data=folder data.path=photos.zip --out photos-report",
    )
    parser.add_argument(
        "--out", type=Path, help="folder for card and sheets (default: in outputs/inspect-data/)"
    )
    add_workers(parser)
    parser.add_argument(
        "overrides",
        nargs="*",
        help=f"a folder of prepared data, such as build/data; or {_OVERRIDES}",
    )


def _inspect_data(arguments: argparse.Namespace) -> None:
    from convforge.pipeline.data.manifest import Manifest
    from convforge.pipeline.project import project_root, resolve_path
    from convforge.pipeline.report.data_card import is_own, report_data

    def refuse_to_replace(out: Path) -> None:
        if out.exists() and not (out.is_dir() and all(is_own(file.name) for file in out.iterdir())):
            raise InputError(f"{out} exists and holds something else: give another folder as --out")
        if any(folder.is_file() for folder in out.parents):
            raise InputError(f"{out} would lie in a file: give another folder as --out")

    root, progress = project_root(), progress_of(arguments)
    if arguments.out is not None:
        refuse_to_replace(arguments.out)
    data = _data_to_inspect(arguments, root, progress)
    manifest = Manifest.read(data)
    name = re.sub(r"[^\w.-]+", "_", manifest.name)
    out = arguments.out or root / "outputs" / "inspect-data" / f"{name}-{manifest.digest[:16]}"
    refuse_to_replace(out)
    source = resolve_path(str(manifest.config["path"]), root)
    card, *pictures = report_data(data, manifest, out, source)
    _print_inspection(manifest)
    progress.say(f"card: {card}    contact sheets: {pluralize(len(pictures), 'picture')} beside it")


def _data_to_inspect(arguments: argparse.Namespace, root: Path, progress: Progress) -> Path:
    """The folder of prepared data that the command line names; overrides prepare it if needed."""
    from convforge.pipeline.composition import compose_config, settings_of
    from convforge.pipeline.data.manifest import is_prepared
    from convforge.pipeline.stages.preprocess import prepared

    words = arguments.overrides
    if len(words) == 1 and "=" not in words[0] and not words[0].startswith(("~", "+")):
        folder = Path(words[0])
        if is_prepared(folder):
            return folder
        raise InputError(
            f"{folder} holds no prepared data; to prepare images and look at them: "
            f"convforge inspect-data data=folder data.path={folder}"
        )
    settings = settings_of(compose_config(root, words))
    return prepared(settings, root, progress, **_worker_pool_options(arguments))


def _print_inspection(manifest: Manifest) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from convforge.pipeline.printable import one_line
    from convforge.pipeline.report.data_card import describe_labels, left_out, source_sizes

    classes = len(manifest.classes)
    shape = f"{_times(manifest.image_shape)} pixels"
    print(f"{one_line(manifest.name)}: {shape}, {describe_labels(manifest)}\n")
    table = Table(box=None, pad_edge=False, show_footer=True)
    table.add_column("class" if classes else "", "all", max_width=60)
    for name, split in manifest.splits.items():
        table.add_column(name, f"{split.examples:,}", justify="right")
    for number, name in enumerate(manifest.classes[:_MOST_LISTED]):
        counts = (f"{count:,}" for count in manifest.class_counts(number))
        table.add_row(Text(one_line(name), overflow="ellipsis", no_wrap=True), *counts)
    if classes > _MOST_LISTED:
        table.add_row(f"… and {classes - _MOST_LISTED:,} more")
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    print()
    for target in manifest.targets:
        spread = f"mean {target.mean:.4g}; standard deviation {target.std:.4g}"
        print(f"{one_line(target.name)}: {target.min:.4g} to {target.max:.4g}; {spread}")
    mean, std = (
        ", ".join(f"{value:.1f}" for value in values)
        for values in (manifest.statistics.mean, manifest.statistics.std)
    )
    print(f"pixels of the training images, of 255: mean {mean}; standard deviation {std}")
    print(f"in the source: {source_sizes(manifest)}")
    for title, lines in (("left out", left_out(manifest)), ("to know", manifest.findings)):
        print(f"{title}:" if lines else f"{title}: nothing")
        for line in lines:
            print(f"  {one_line(line)}")


def _add_train(commands: Any) -> None:
    parser = _command(
        commands,
        "train",
        _train,
        "train one network, or with -m one for each combination of choices",
        "",
        "model=prelu_cnn optimizer.learning_rate=0.01 trainer.epochs=5",
        "-m model=maxout_cnn,prelu_cnn optimizer.learning_rate=0.1,0.01",
        "-m hydra/launcher=ray hydra.launcher.address=auto seed=0,1,2,3",
        "debug=overfit_batch",
        "data=folder data.path=photos 'data.size=[64,64]'",
    )
    parser.add_argument(
        "-m", "--multirun", action="store_true", help="a sweep over comma-separated choices"
    )
    parser.add_argument("overrides", nargs="*", help=_OVERRIDES)


def _train(arguments: argparse.Namespace) -> None:
    from convforge.pipeline.sweeps.jobs import run_jobs
    from convforge.pipeline.training.resume.resumable import forget_at_exit

    if arguments.own_process and not arguments.multirun:
        forget_at_exit()
    run_jobs(arguments.overrides, multirun=arguments.multirun, progress=progress_of(arguments))


def _add_evaluate(commands: Any) -> None:
    parser = _command(
        commands,
        "evaluate",
        _evaluate,
        "test a run's model on the test split",
        "outputs/train/2026-11-22_15-04-05",
    )
    parser.add_argument("folder", type=Path, metavar="RUN", help="the folder that train wrote")


def _evaluate(arguments: argparse.Namespace) -> None:
    from convforge.pipeline.composition import read_params
    from convforge.pipeline.project import project_root
    from convforge.pipeline.run_folder import CONFIG
    from convforge.pipeline.stages.evaluate import evaluate
    from convforge.pipeline.stages.preprocess import prepared

    root, progress = project_root(), progress_of(arguments)
    if not (arguments.folder / CONFIG).is_file():
        raise InputError(f"{arguments.folder} is not the folder of a run: no {CONFIG} in it")
    if arguments.folder.resolve().is_relative_to(root / "build"):
        raise InputError(f"{arguments.folder} is DVC's: `dvc repro` evaluates it")
    settings = read_params(arguments.folder / CONFIG)
    data = prepared(settings, root, progress)
    out = arguments.folder / "evaluate"
    evaluate(settings, arguments.folder, data, out, root, progress)
    progress.say(f"details: {out}")


def _add_results(commands: Any) -> None:
    _command(commands, "results", _results, "show what the last `dvc repro` achieved", "")


def _results(arguments: argparse.Namespace) -> None:
    from convforge.pipeline.project import project_root
    from convforge.pipeline.report.results import results

    print(results(project_root()))


def _add_predict(commands: Any) -> None:
    parser = _command(
        commands,
        "predict",
        _predict,
        "say what a trained model sees in image files",
        "build/train digit.png",
        "outputs/train/2026-11-22_15-04-05 photos/*.jpg --top 3",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="a run's folder or a model's")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    parser.add_argument("--top", type=int, default=1, help="how many classes to name (default 1)")


def _predict(arguments: argparse.Namespace) -> None:
    if arguments.top < 1:
        raise InputError(f"--top={arguments.top} is not allowed: give a number ≥ 1")
    from convforge.serving.predictor import find_model, load_predictor, read_card, read_image

    card = read_card(find_model(arguments.model))
    images = [read_image(path, card) for path in arguments.images]
    predictor = load_predictor(arguments.model)
    import numpy as np

    for path, row in zip(arguments.images, predictor.outputs(np.stack(images)), strict=True):
        if card.targets:
            said = [f"{name} {number:.4g}" for name, number in zip(card.targets, row, strict=True)]
        else:
            best = row.argsort()[::-1][: arguments.top]
            said = [f"{card.classes[i]} {row[i]:.1%}" for i in best]
        print(f"{path}: {', '.join(said)}")


def _add_summary(commands: Any) -> None:
    parser = _command(
        commands,
        "summary",
        _summary,
        "show a network's layers, shapes and costs without building it",
        "",
        "model=lecture_cnn data=cifar10",
        "model=alexnet",
        "model.layers.conv1.filters=64 --classes 100",
    )
    parser.add_argument(
        "--image",
        type=_image_shape,
        metavar="H×W×C",
        help="image shape, such as 32x32x3 (default: of the data that the overrides name, else "
        "what the net was published for, else of the default data)",
    )
    parser.add_argument("--classes", type=int, help="number of classes (default: in the same way)")
    parser.add_argument("overrides", nargs="*", help=_OVERRIDES)


def _image_shape(text: str) -> tuple[int, ...]:
    sizes = text.lower().replace("×", "x").split("x")
    if len(sizes) != 3 or not all(size.isdecimal() and int(size) for size in sizes):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 32x32x3")
    return tuple(int(size) for size in sizes)


def _summary(arguments: argparse.Namespace) -> None:
    from convforge.pipeline.composition import compose_config, settings_of
    from convforge.pipeline.project import project_root

    settings = settings_of(compose_config(project_root(), arguments.overrides))
    shape, classes = _summary_input(settings, arguments.overrides)
    shape = arguments.image or shape
    classes = classes if arguments.classes is None else arguments.classes
    if classes is not None and classes < 2:
        raise InputError(f"--classes={classes} is not allowed: give a number ≥ 2")
    numbers = settings.predicted_numbers
    if shape is None or (classes is None and not numbers):
        raise InputError(
            f"data={settings.data.name} does not say its image shape or number of classes: "
            "give --image 32x32x3 and --classes 10"
        )
    rows = settings.costs(shape, classes or 0)
    answers = ", ".join(numbers) if numbers else f"{classes} classes"
    _print_summary(f"{settings.model.name} on {_times(shape)} pixels, {answers}", rows)


def _summary_input(
    settings: Settings, overrides: Sequence[str]
) -> tuple[tuple[int, ...] | None, int | None]:
    """Image shape and classes to count for: of named data, of the published net, of the default."""
    named = any(re.match(r"[+~]*(data|experiment)\b", item) for item in overrides)
    nominal = settings.model.nominal_input
    if nominal is not None and not named:
        return tuple(nominal.image), nominal.classes
    shape: tuple[int, ...] | None = settings.data.image_shape
    if shape is not None:
        shape = settings.input_shape(shape)
    elif settings.augment.size is not None:
        shape = (*settings.augment.size, settings.data.channels)
    classes = settings.data.num_classes
    return shape, nominal.classes if classes is None and nominal is not None else classes


def _times(sizes: Sequence[int]) -> str:
    return "×".join(str(size) for size in sizes)


def _print_summary(title: str, rows: Sequence[LayerCost]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, show_footer=True)
    table.add_column("layer", "total")
    table.add_column("type")
    table.add_column("feature map")
    table.add_column("sees", justify="right")
    total = [sum(row.parameters for row in rows), sum(row.multiply_adds for row in rows)]
    table.add_column("parameters", f"{total[0]:,}", justify="right")
    table.add_column("multiply-adds", f"{total[1]:,}", justify="right")
    table.add_column("fully connected instead", justify="right")
    for row in rows:
        table.add_row(
            row.name,
            row.type,
            _times(row.output_shape),
            _times(row.receptive_field),
            f"{row.parameters:,}",
            f"{row.multiply_adds:,}",
            "" if row.fully_connected is None else f"{row.fully_connected:,}",
        )
    # Piped, a table keeps its full width instead of being cut to 80 columns.
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def _add_ui(commands: Any) -> None:
    parser = _command(
        commands, "ui", _ui, "open MLflow's pages on the project's store", "", "--port 5001"
    )
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("overrides", nargs="*", help=_OVERRIDES)


def _ui(arguments: argparse.Namespace) -> None:
    from convforge.pipeline.composition import compose_config, settings_of
    from convforge.pipeline.project import project_root
    from convforge.pipeline.settings.tracking import MLflowTracking
    from convforge.pipeline.tracking.mlflow_client import experiment_id, open_client
    from convforge.pipeline.tracking.store import artifact_location, quiet_mlflow, tracking_uri

    root = project_root()
    settings = settings_of(compose_config(root, arguments.overrides))
    if not isinstance(settings.tracking, MLflowTracking):
        raise InputError("tracking=none keeps no runs to show: use tracking=mlflow")
    uri = tracking_uri(settings.tracking, root)
    if uri.startswith("http"):
        print(f"the runs are at {uri}")
        return
    quiet_mlflow()
    # Its job runner starts a dozen processes and gigabytes for features that are not used here.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    location = artifact_location(uri)
    if location is not None:
        command += ["--default-artifact-root", location]
    command += ["--host", "127.0.0.1", "--port", str(arguments.port), "--workers", "1"]
    experiment = experiment_id(open_client(uri), settings.tracking.experiment, uri)
    # Without `workflowType` the pages open as those for language models and hide the models.
    page = f"#/experiments/{experiment}/runs?workflowType=machine_learning"
    print(f"MLflow: http://127.0.0.1:{arguments.port}/{page}  (Ctrl-C ends it)", flush=True)
    raise SystemExit(subprocess.run(command, env=environment, cwd=root).returncode)


def _add_sync(commands: Any) -> None:
    parser = _command(
        commands,
        "sync",
        _sync,
        "deliver to MLflow what runs could not: its server was down, or the run was killed",
        "",
        "outputs/train/2026-11-22_15-04-05",
        "--uri http://192.168.0.7:5000",
    )
    parser.add_argument(
        "--uri", help="address of the store, if it is not where it was when the run was made"
    )
    parser.add_argument(
        "folders",
        type=Path,
        nargs="*",
        metavar="FOLDER",
        help="folders of runs (default: everything that waits)",
    )


def _sync(arguments: argparse.Namespace) -> None:
    from convforge.pipeline.project import project_root
    from convforge.pipeline.settings.tracking import refused_store
    from convforge.pipeline.tracking.outbox import sync
    from convforge.pipeline.tracking.store import resolved

    allowed = arguments.uri and refused_store(arguments.uri)
    if allowed:
        raise InputError(f"--uri={arguments.uri} is not allowed: give {allowed}")
    for folder in arguments.folders:
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder")
    root = project_root()
    uri = resolved(arguments.uri, root) if arguments.uri else None
    left = sync(root, arguments.folders, progress_of(arguments), uri)
    if left:
        said = "; ".join(f"{count} events wait for {uri}" for uri, count in left.items())
        raise InputError(f"not everything is delivered: {said}")


if __name__ == "__main__":
    sys.exit(main())
