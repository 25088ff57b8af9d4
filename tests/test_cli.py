"""What a person at a terminal sees of `convforge`."""

from __future__ import annotations

import argparse
import errno
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from convforge.pipeline import cli
from convforge.pipeline.commands import export, predict, results
from convforge.pipeline.composition import compose_config
from convforge.pipeline.export import formats
from convforge.pipeline.prediction import answers
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.stages.preprocess import preprocess

COMMANDS = (
    "fetch",
    "compose",
    "preprocess",
    "inspect-data",
    "preview-augment",
    "train",
    "evaluate",
    "results",
    "predict",
    "register",
    "export",
    "report",
    "summary",
    "ui",
)
SMALL = ("data.split.validation=50", "data.split.test=100")
NOISE = re.compile(
    r"TensorFlow binary|oneDNN|absl|cuda|computation_placer|rebuild TensorFlow", re.I
)
ESCAPE = "\x1b"


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh process, its output piped."""
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    environment.pop("TF_CPP_MIN_LOG_LEVEL")
    command = [sys.executable, "-m", "convforge.pipeline.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)


@pytest.fixture
def run_folder(trained: Path) -> Path:
    """A trained baseline."""
    return trained


@pytest.fixture
def digit_files(digits_archive: Path, tmp_path: Path) -> list[Path]:
    """A zero and a one."""
    with zipfile.ZipFile(digits_archive) as archive:
        names = [min(n for n in archive.namelist() if n[0] == label) for label in "01"]
        return [Path(archive.extract(name, tmp_path / "files")) for name in names]


def test_the_formats_of_the_help_are_those_that_there_are() -> None:
    """Written twice, since the help answers before NumPy is imported."""
    assert tuple(answers.FORMATS) == predict._FORMATS
    assert tuple(formats.FORMATS) == export._FORMATS


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_examples_that_parse_and_compose(
    shared_project: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    assert end.value.code == 0
    _, _, examples = capsys.readouterr().out.partition("examples:\n")
    lines = [shlex.split(line) for line in examples.splitlines()]
    assert lines
    for words in lines:
        assert words[:2] == ["convforge", command]
        arguments = cli._parser().parse_args(words[1:])
        if not getattr(arguments, "multirun", False):
            compose_config(shared_project, getattr(arguments, "overrides", []))


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    out = capsys.readouterr().out
    assert all(re.search(rf"^ +{command}\b", out, re.M) for command in COMMANDS)


def _mistakes() -> dict[str, tuple[str, str]]:
    """Command line → what the one line says; `{run}` is a trained run's folder."""
    return {
        "unknown key": ("train optimizer.learnin_rate=1", "did you mean optimizer.learning_rate?"),
        "wrong value": ("preprocess data.channels=2", "data.channels=2 is not allowed"),
        "unknown option": ("summary model=lecture_cn", "did you mean lecture_cnn?"),
        "override without value": ("compose seed", "seed"),
        "override with two equals": ("train a=b=c", "="),
        "group set to null": ("summary optimizer=null", "optimizer"),
        "missing data": ("preprocess data.path=none.zip", "none.zip does not exist"),
        "data of no known kind": ("preprocess data.path=conf/config.yaml", "is not a folder, .zip"),
        "digits to be fetched": ("preprocess data=mnist", "`convforge fetch mnist` downloads"),
        "photographs to be fetched": (
            "inspect-data data=cifar100_binary",
            "`convforge fetch cifar100` downloads",
        ),
        "training on missing data": ("train data.path=none.zip", "none.zip does not exist"),
        "net that does not fit": ("summary model.layers.flatten=null", "model.layers.dense1"),
        "training one that does not fit": (
            f"train {' '.join(SMALL)} tracking=none model.layers.flatten=null",
            "model.layers.dense1",
        ),
        "summary without image": ("summary data=npz", "--image 32x32x3"),
        "no classes": ("summary --classes 0", "--classes"),
        "missing run": ("evaluate nowhere", "nowhere is not the folder of a run"),
        "folder that is no run": ("evaluate data", "data is not the folder of a run"),
        "folder of runs": ("evaluate {runs}", "no config.yaml in it; the newest in it is"),
        "model of a folder of runs": (
            "predict {runs} x.png",
            "run nor a model; the newest in it",
        ),
        "home of nobody": (
            "preprocess data=folder \"data.path='~no-such-user/photos'\"",
            "~no-such-user/photos does not exist",
        ),
        "no results yet": ("results", "the pipeline has not run yet"),
        "not a model": ("predict conf x.png", "conf holds no model"),
        "missing model": ("predict nowhere x.png", "nowhere is neither a path nor"),
        "missing image": ("predict {run} none.png", "none.png: No such file"),
        "no image": ("predict {run} conf/config.yaml", "conf/config.yaml: not an image"),
        "top of none": ("predict {run} x.png --top 0", "--top=0 is not allowed"),
        "explaining without maps": ("explain {run} {image}", "has no convolution, and Grad-CAM"),
        "explaining no class": ("explain {run} x.png --class 33", "is no class of"),
        "explaining no image": ("explain {run} none.png", "none.png: No such file"),
        "explaining into no picture": ("explain {run} x.png --out a.jpg", "ends in .png"),
        "explaining nothing": ("explain {run} x.png --images 0", "--images=0 is not allowed"),
        "damaged card": ("predict {damaged} conf/config.yaml", "card.json"),
        "run that is none": ("register nowhere", "nowhere is neither the folder nor the id of a"),
        "run of a long name": (f"register {'n' * 5000}", "File name too long"),
        "run that nobody tracked": ("register {run}", "is not the folder of a tracked run"),
        "alias of a version": ("register {run} --alias v1", "--alias=v1 is not allowed"),
        "name with a slash": ("register {run} --name a/b", "--name=a/b is not allowed"),
        "run that is nowhere": (f"register {'0' * 32}", "mlflow.db does not exist"),
        "runs of no store": ("ui tracking=none", "tracking=none keeps no runs"),
        "sheet without rows": ("preview-augment --rows 0", "--rows=0 is not allowed"),
        "sheet that is no picture": ("preview-augment --out a.txt", "ends in .png"),
        "sweep with a wrong choice": ("train -m model=softmax_linear,x", "model=x"),
    }


@pytest.mark.parametrize("mistake", list(_mistakes()))
def test_a_mistake_is_one_error_line_and_exit_status_2(
    project: Path,
    run_folder: Path,
    tmp_path: Path,
    train_in_process: None,
    capfd: pytest.CaptureFixture[str],
    mistake: str,
) -> None:
    line, expected = _mistakes()[mistake]
    damaged = tmp_path / "damaged"
    shutil.copytree(run_folder / "model", damaged)
    (damaged / "card.json").write_text("{}")
    image = run_folder / "model" / "example.png"
    names = {"run": run_folder, "runs": run_folder.parent, "damaged": damaged, "image": image}
    assert cli.main(shlex.split(line.format(**names))) == 2
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    assert out == ""
    # What was done before the mistake showed is told as always.
    told = r"preprocess: |mnist5k: |train: "
    lines = [said for said in err.splitlines() if not re.match(told, said)]
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    assert expected in lines[0]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("summary --image 3x", "'3x' is not of the form 32x32x3"),
        ("summary --image 0x3x3", "'0x3x3' is not of the form 32x32x3"),
        ("summary --image wide", "'wide' is not of the form 32x32x3"),
        ("nonsense", "invalid choice: 'nonsense'"),
        ("predict", "required: MODEL, PATH"),
        ("train --epochs 3", "unrecognized arguments: --epochs"),
        ("train -q -v", "not allowed with"),
        ("preprocess --workers 0", "'0' is not a number ≥ 1"),
    ],
)
def test_an_argument_that_is_none_is_explained_below_the_usage(
    capsys: pytest.CaptureFixture[str], line: str, expected: str
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(line.split())
    assert end.value.code == 2
    *usage, error = capsys.readouterr().err.splitlines()
    assert usage[0].startswith("usage: convforge")
    assert "error: " in error
    assert expected in error


def test_what_the_machine_does_not_allow_is_one_error_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Raised by hand, since everything is allowed to root."""

    def refused(_: argparse.Namespace) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "/mnt/out")

    monkeypatch.setattr(results, "run", refused)
    assert cli.main(["results"]) == 2
    assert capsys.readouterr().err == "error: /mnt/out: Read-only file system\n"


def test_a_bug_keeps_its_traceback(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: argparse.Namespace) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(results, "run", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        cli.main(["results"])


def test_ctrl_c_ends_with_130_and_one_word(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: argparse.Namespace) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(results, "run", interrupted)
    assert cli.main(["results"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_predict_names_the_class_of_real_digits(
    run_folder: Path, digit_files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["predict", str(run_folder), *map(str, digit_files)]) == 0
    out, err = capsys.readouterr()
    assert err.splitlines()[0] == f"{run_folder}: weights of epoch 8, the last"
    head, *lines = out.splitlines()
    assert head.split() == ["class", "probability", "image"]
    for line, file, label in zip(lines, digit_files, "01", strict=True):
        assert re.fullmatch(rf"{label} +\d+\.\d%  {re.escape(str(file))}", line)


def test_predict_names_as_many_classes_as_asked_the_likeliest_first(
    run_folder: Path, digit_files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    model = run_folder / "model" / "model.keras"
    assert cli.main(["predict", str(model), str(digit_files[0]), "--top", "3"]) == 0
    shares = [float(share) for share in re.findall(r"([\d.]+)%", capsys.readouterr().out)]
    assert len(shares) == 3
    assert shares == sorted(shares, reverse=True)


def test_predict_takes_an_image_of_another_size_and_kind(
    run_folder: Path, digit_files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    large = tmp_path / "large.bmp"
    Image.open(digit_files[1]).convert("RGB").resize((112, 112)).save(large)
    assert cli.main(["predict", str(run_folder), str(large)]) == 0
    assert re.search(rf"^1 .*%  {large}$", capsys.readouterr().out, re.M)


@pytest.mark.integration
def test_quiet_prediction_in_a_fresh_process_says_the_prediction_only(
    run_folder: Path, digit_files: list[Path]
) -> None:
    """No start-up noise of TensorFlow's, with nothing set to silence it."""
    done = _run(run_folder, "predict", "-q", str(run_folder), str(digit_files[0]))
    assert done.returncode == 0
    assert done.stderr == ""
    _, line = done.stdout.splitlines()
    assert re.fullmatch(rf"0 +\d+\.\d%  {re.escape(str(digit_files[0]))}", line)


def test_summary_shows_every_layer_with_its_costs(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["summary", "model=softmax_linear", "data=cifar10"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip() == "softmax_linear on 32×32×3 pixels, 10 classes"
    rows = {line.split()[0]: line.split() for line in lines[2:]}
    assert list(rows) == ["flatten", "logits", "softmax", "total"]
    assert rows["logits"] == ["logits", "dense", "10", "32×32", "30,730", "30,720"]
    assert rows["total"] == ["total", "30,730", "30,720"]


@pytest.mark.parametrize(
    ("overrides", "title", "parameters"),
    [
        ("model=alexnet", "alexnet on 224×224×3 pixels, 1000 classes", "60,965,224"),
        ("model=layers_80sec data=mnist5k", "layers_80sec on 28×28×1", "143,978"),
        ("model=layers_19pct experiment=cifar10", "layers_19pct on 32×32×3", "89,578"),
        ("model=alexnet --classes 10", "alexnet on 224×224×3 pixels, 10 classes", "56,909,194"),
    ],
)
def test_summary_counts_a_published_net_on_what_it_was_made_for_unless_told(
    project: Path,
    capsys: pytest.CaptureFixture[str],
    overrides: str,
    title: str,
    parameters: str,
) -> None:
    assert cli.main(["summary", *overrides.split()]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(title)
    assert lines[-1].split()[1] == parameters


def test_summary_of_a_regression_has_a_unit_for_each_number(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = ["task=regression", "loss=mse", "task.drawn=[rotation,scale]", "augment=full"]
    assert cli.main(["summary", "model=softmax_linear", *drawn]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip() == "softmax_linear on 28×28×1 pixels, rotation, scale"
    assert lines[-1].split() == ["total", "1,570", "1,568"]


def test_summary_takes_shape_and_classes_from_the_command_line(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ["data=folder", "model=lecture_cnn"]
    assert cli.main(["summary", *overrides, "--image", "64x48x3", "--classes", "7"]) == 0
    out = capsys.readouterr().out
    assert "64×48×3 pixels, 7 classes" in out
    assert re.search(r"conv1 +conv2d +64×48×32 +5×5 +2,432 ", out)
    assert re.search(r"logits +dense +7 ", out)


def test_options_may_stand_before_between_and_after_overrides(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, overrides = ["--image", "8x8x3"], ["model=softmax_linear", "data=folder"]
    said = []
    for place in range(3):
        words = [*overrides[:place], *options, *overrides[place:]]
        assert cli.main(["summary", "--classes", "7", *words]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] == said[2]


def test_quiet_preprocess_says_nothing(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["preprocess", "-q", *SMALL]) == 0
    assert capfd.readouterr() == ("", "")


def test_quiet_training_says_nothing(
    project: Path, train_in_process: None, capfd: pytest.CaptureFixture[str]
) -> None:
    short = ["model=softmax_linear", "augment=none", "trainer.epochs=1", "tracking=none"]
    assert cli.main(["train", "-q", *short, *SMALL]) == 0
    assert capfd.readouterr() == ("", "")


def test_quiet_still_warns_of_files_left_out(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(project / "data" / "mnist-5k.zip", "a") as archive:
        archive.writestr("3/broken.png", b"text")
    assert cli.main(["preprocess", "-q", *SMALL]) == 0
    out, err = capfd.readouterr()
    assert (out, err) == ("", "warning: left out 3/broken.png: not an image\n")


def test_any_number_of_workers_prepares_the_same(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for workers in ("1", "2"):
        command = ["preprocess", "-q", "--workers", workers, "--out", f"out{workers}", *SMALL]
        assert cli.main(command) == 0
    assert capfd.readouterr() == ("", "")
    one, two = ((project / f"out{workers}" / "manifest.json").read_text() for workers in (1, 2))
    assert one == two


def test_preparing_again_finds_what_is_there(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["preprocess", *SMALL]) == 0
    first = capfd.readouterr().err.splitlines()
    assert first[0].startswith("preprocess: 400 images, ")
    assert cli.main(["preprocess", *SMALL]) == 0
    assert capfd.readouterr().err.splitlines() == first[-1:]


def test_check_shows_what_differs_and_exits_with_1(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["compose", "-q"]) == 0
    assert cli.main(["compose", "--check"]) == 0
    before = (project / "params.yaml").read_bytes()
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        cli.main(["compose", "--check", "trainer.epochs=3"])
    assert end.value.code == 1
    assert "+  epochs: 3" in capsys.readouterr().out.splitlines()
    assert (project / "params.yaml").read_bytes() == before


def test_train_evaluate_and_predict_work_together_and_are_plain_when_piped(
    project: Path, digit_files: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """The README's way, beside DVC."""
    short = ["model=softmax_linear", "augment=none", "trainer.epochs=2"]
    done = _run(project, "train", *short, "tracking=none", *SMALL)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert ESCAPE not in done.stderr
    assert "\r" not in done.stderr
    assert not NOISE.search(done.stderr)
    lines = done.stderr.splitlines()
    figures = r"accuracy \d\.\d{4}  loss \d+\.\d{4}  val_accuracy \d\.\d{4}  val_loss \d+\.\d{4}"
    for epoch in (1, 2):
        pattern = rf"epoch   {epoch}/2  {figures}  [\d,]+ images/s"
        assert sum(bool(re.fullmatch(pattern, line)) for line in lines) == 1, done.stderr
    (folder,) = (project / "outputs" / "train").iterdir()
    named = rf"train: {re.escape(' '.join([*short, *SMALL]))} [\d-]+ [\d:]+ → {folder}"
    assert re.search(named, done.stderr), "a run is called by its overrides"
    assert lines[-1].startswith(f"next: convforge evaluate {folder} ")

    assert cli.main(["evaluate", str(folder)]) == 0
    told = capfd.readouterr().err
    assert re.search(r"test: accuracy \d+\.\d\d%, loss", told)
    assert re.search(r"^right: 0 \d of 1\d, 1 \d+ of", told, re.M)
    assert (folder / "evaluate" / "metrics.json").is_file()
    assert cli.main(["predict", str(folder), str(digit_files[0])]) == 0
    assert str(digit_files[0]) in capfd.readouterr().out


@pytest.mark.integration
def test_a_terminal_sees_a_live_bar_with_rate_and_loss(project: Path) -> None:
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("COLUMNS")
    command = [sys.executable, "-m", "convforge.pipeline.cli", "train", "debug=one_step"]
    with subprocess.Popen(
        [*command, "model=softmax_linear", *SMALL],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=project,
        env=environment,
    ) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux says so when the last writer has closed.
                break
            if not part:
                break
            seen += part
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    assert process.returncode == 0, text
    assert ESCAPE in seen.decode()
    assert re.search(r"preprocess .*\d+/\d+.* images/s", text), text
    assert re.search(r"train .*\d+/50 [\d,]+ images/s epoch 1/1 accuracy \d\.\d+  loss \d", text)
    assert not NOISE.search(text)


def test_a_task_counts_and_says_one_line_when_it_ends(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    with progress.task("preprocess", unit="images") as task:
        task.advance(3)
        task.advance()
    assert re.fullmatch(r"preprocess: 4 images, [\d,]+ images/s\n", capsys.readouterr().err)


def test_what_is_said_is_not_taken_for_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """Names of files and classes may hold brackets."""
    Progress().say("left [bold]a[/bold] [x]")
    Progress(Verbosity.QUIET).warn("[red]b")
    assert capsys.readouterr().err == "left [bold]a[/bold] [x]\nwarning: [red]b\n"


def test_the_stages_and_the_command_line_prepare_the_same_data(
    project: Path, compose: Callable[..., Settings], tmp_path: Path
) -> None:
    assert cli.main(["preprocess", "-q", "--out", str(tmp_path / "cli"), *SMALL]) == 0
    preprocess(compose().data, tmp_path / "stage", project, Progress(Verbosity.QUIET))
    files = {path.name: path.read_bytes() for path in (tmp_path / "cli").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "stage").iterdir()}


@pytest.mark.parametrize(
    ("part", "shown"), [("job", "learning_rate: 0.003"), ("hydra", "launcher:")]
)
def test_hydras_own_option_shows_the_config_and_trains_nothing(
    project: Path,
    train_in_process: None,
    capfd: pytest.CaptureFixture[str],
    part: str,
    shown: str,
) -> None:
    assert cli.main(["train", "--cfg", part, "optimizer.learning_rate=0.003"]) == 0
    assert shown in capfd.readouterr().out
    assert not (project / "outputs").exists()
    assert cli.main(["train", "--cfg", part, "optimizer.learnin_rate=0.003"]) == 2
    assert "did you mean optimizer.learning_rate?" in capfd.readouterr().err


def test_a_reader_that_leaves_early_sees_no_traceback() -> None:
    """As in `convforge predict … | head`."""
    lines = "lambda: [print(number) for number in range(100_000)]"
    entry = "import sys; from convforge.pipeline.stages.entry import run_guarded"
    code = f"{entry}; sys.exit(run_guarded({lines}))"
    writer = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "0\n"
    writer.stdout.close()
    assert writer.stderr is not None
    assert writer.stderr.read() == ""
    assert writer.wait() == 141


def test_a_backend_that_keras_has_not_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jaxx")
    assert cli.main(["summary"]) == 2
    told = capsys.readouterr().err
    assert told == "error: KERAS_BACKEND=jaxx is not allowed: give tensorflow, jax or torch\n"
