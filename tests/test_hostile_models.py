"""`convforge predict` with models that somebody has damaged, or made to do harm."""

from __future__ import annotations

import io
import json
import marshal
import os
import shutil
import zipfile
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from convforge.pipeline.cli import main
from convforge.serving.model_card import ModelCard
from convforge.serving.predictor import load_predictor, save_model

ESCAPE = "\x1b[31mred\x1b[0m\n\r"
Mutation = Callable[[Path], object]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small net of ours with a card, as training saves it."""
    from convforge.models import specs
    from convforge.models.build import build_model

    model = build_model(
        {
            "conv": specs.Conv2DSpec(
                filters=2, kernel_size=3, padding=1, activation="prelu", max_norm=2.0
            ),
            "normal": specs.BatchNormalizationSpec(),
            "maxout": specs.ActivationSpec(function="maxout"),
            "drop": specs.DropoutSpec(rate=0.5),
            "flatten": specs.FlattenSpec(),
            "logits": specs.DenseSpec(units=None),
            "softmax": specs.SoftmaxSpec(),
        },
        image_shape=(8, 8, 1),
        num_classes=10,
        normalize="standardize",
        mean=[120.0],
        std=[60.0],
    )
    folder = tmp_path_factory.mktemp("saved") / "model"
    card = ModelCard(
        name="net", classes=list("abcdefghij"), image_shape=[8, 8, 1], data_digest="", version="1"
    )
    save_model(folder, model, card)
    Image.new("L", (8, 8), 77).save(folder.parent / "image.png")
    return folder


def _card(**changes: Any) -> Mutation:
    def change(folder: Path) -> None:
        card = json.loads((folder / "card.json").read_text())
        (folder / "card.json").write_text(json.dumps({**card, **changes}))

    return change


def _card_bytes(content: bytes) -> Mutation:
    return lambda folder: (folder / "card.json").write_bytes(content)


def _without(key: str) -> Mutation:
    def change(folder: Path) -> None:
        card = json.loads((folder / "card.json").read_text())
        del card[key]
        (folder / "card.json").write_text(json.dumps(card))

    return change


def _members(change: Callable[[dict[str, bytes]], object], **options: Any) -> Mutation:
    """Change what the archive holds, by name."""

    def mutate(folder: Path) -> None:
        path = folder / "model.keras"
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        change(members)
        with zipfile.ZipFile(path, "w", **options) as archive:
            for name, content in members.items():
                archive.writestr(name, content)

    return mutate


def _member(name: str, content: bytes) -> Mutation:
    return _members(lambda members: members.update({name: content}))


def _no_member(name: str) -> Mutation:
    return _members(lambda members: members.pop(name))


def _config(change: Callable[[dict[str, Any]], object]) -> Mutation:
    """Change `config.json`, parsed."""

    def mutate(members: dict[str, bytes]) -> None:
        config = json.loads(members["config.json"])
        change(config)
        members["config.json"] = json.dumps(config).encode()

    return _members(mutate)


def _layer(name: str, **changes: Any) -> Mutation:
    """Change the settings of one layer."""

    def change(config: dict[str, Any]) -> None:
        for layer in config["config"]["layers"]:
            if layer["name"] == name:
                layer["config"].update(changes)

    return _config(change)


def _class(name: str, **changes: Any) -> Mutation:
    """Make another class of one layer."""

    def change(config: dict[str, Any]) -> None:
        for layer in config["config"]["layers"]:
            if layer["name"] == name:
                layer.update(changes)

    return _config(change)


def _weights(change: Callable[[h5py.File], object]) -> Mutation:
    """Change the weights' file."""

    def mutate(members: dict[str, bytes]) -> None:
        file = io.BytesIO(members["model.weights.h5"])
        with h5py.File(file, "r+") as weights:
            change(weights)
        members["model.weights.h5"] = file.getvalue()

    return _members(mutate)


def _replaced(path: str, value: Any) -> Mutation:
    def change(file: h5py.File) -> None:
        del file[path]
        file[path] = value

    return _weights(change)


def _claimed(file: h5py.File) -> None:
    del file["layers/dense/vars/0"]
    file["layers/dense/vars"].create_dataset("0", (100_000, 100_000), "f4", chunks=(1000, 1000))


def _external(file: h5py.File) -> None:
    del file["layers/dense/vars/0"]
    file["layers/dense/vars"].create_dataset("0", (128,), "u1", external=[("/etc/passwd", 0, 128)])


def _lambda(folder: Path) -> None:
    """A Lambda layer whose code leaves a file behind."""
    target = str(folder / "executed")
    code = compile(f"open({target!r}, 'w')", "net", "eval")
    written = b64encode(marshal.dumps(code)).decode()
    function = {"class_name": "__lambda__", "config": {"code": written, "defaults": None}}
    lambda_ = {"class_name": "Lambda", "module": "keras.layers", "registered_name": None}
    _class("drop", **lambda_, config={"name": "drop", "function": function})(folder)


def _bare_lambda(folder: Path) -> None:
    code = b64encode(marshal.dumps(compile("1", "net", "eval"))).decode()
    value = {"class_name": "__lambda__", "config": {"value": [code, None, None]}}
    _layer("conv", kernel_initializer=value)(folder)


def _system(folder: Path) -> None:
    command = {"command": f"touch {folder / 'executed'}"}
    _class("drop", class_name="system", module="os", registered_name=None, config=command)(folder)


def _twice(folder: Path) -> None:
    with (
        pytest.warns(UserWarning, match="Duplicate name"),
        zipfile.ZipFile(folder / "model.keras", "a") as archive,
    ):
        archive.writestr("config.json", "{}")


def _cut(share: float) -> Mutation:
    def mutate(folder: Path) -> None:
        content = (folder / "model.keras").read_bytes()
        (folder / "model.keras").write_bytes(content[: int(len(content) * share)])

    return mutate


def _flipped(folder: Path) -> None:
    """A byte of the weights is another one, as a bad disk leaves it."""
    path = folder / "model.keras"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _marked_encrypted(folder: Path) -> None:
    path = folder / "model.keras"
    content = path.read_bytes()
    at = content.index(b"PK\x01\x02")
    path.write_bytes(content[: at + 8] + b"\x01" + content[at + 9 :])


def _odd_compression(folder: Path) -> None:
    path = folder / "model.keras"
    content = path.read_bytes().replace(b"PK\x03\x04\x14\x00\x00\x00\x00", b"PK\x03\x04\x14\0\0\0c")
    head, *rest = content.split(b"PK\x01\x02")
    path.write_bytes(head + b"".join(b"PK\x01\x02" + p[:6] + b"c" + p[7:] for p in rest))


def _instead(name: str, make: Callable[[Path], object]) -> Mutation:
    def mutate(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return mutate


def _nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"config": value}
    return value


def _two_inputs(config: dict[str, Any]) -> None:
    config["config"]["layers"].append(config["config"]["layers"][0])


HOSTILE: dict[str, tuple[Mutation, str]] = {
    "card: none": (lambda folder: (folder / "card.json").unlink(), "holds no model"),
    "card: a folder": (_instead("card.json", Path.mkdir), "holds no model"),
    "card: a pipe": (_instead("card.json", os.mkfifo), "holds no model"),
    "card: a link to itself": (
        _instead("card.json", lambda path: path.symlink_to(path)),
        "holds no model",
    ),
    "card: endless": (
        _instead("card.json", lambda path: path.symlink_to("/dev/zero")),
        "holds no model",
    ),
    "card: gigabytes": (lambda folder: os.truncate(folder / "card.json", 2**33), "no card has"),
    "card: empty": (_card_bytes(b""), "Invalid JSON"),
    "card: a list": (_card_bytes(b"[]"), "card.json"),
    "card: not UTF-8": (_card_bytes(b'{"name": "\xff"}'), "Invalid JSON"),
    "card: nested": (_card_bytes(b"[" * 100_000), "recursion limit"),
    "card: no classes": (_without("classes"), "classes: Field required"),
    "card: classes of numbers": (_card(classes=[1] * 10), "classes.0=1: Input should be a"),
    "card: a class for ten outputs": (_card(classes=["cat"]), "output is (None, 10), but its card"),
    "card: eleven classes": (_card(classes=["x"] * 11), "its card names 11"),
    "card: no outputs": (_card(classes=[]), "either classes or targets"),
    "card: classes and targets": (_card(targets=["size"]), "either classes or targets"),
    "card: two sides": (_card(image_shape=[8, 8]), "at least 3 items"),
    "card: four sides": (_card(image_shape=[8, 8, 1, 1]), "at most 3 items"),
    "card: sides as text": (_card(image_shape="8x8x1"), "image_shape='8x8x1'"),
    "card: a negative side": (_card(image_shape=[-8, 8, 1]), "image_shape.0=-8"),
    "card: no side": (_card(image_shape=[8, 0, 1]), "image_shape.1=0"),
    "card: a huge image": (_card(image_shape=[100_000, 100_000, 1]), "equal to 16384"),
    "card: a larger image": (_card(image_shape=[16384, 16384, 1]), "takes [None, 8, 8, 1], but"),
    "card: two channels": (_card(image_shape=[8, 8, 2]), "1 or 3 channels"),
    "card: other channels": (_card(image_shape=[8, 8, 3]), "takes [None, 8, 8, 1], but its card"),
    "card: stored small": (_card(stored_size=[4, 4]), "stored_size=[4, 4] is smaller"),
    "card: stored huge": (_card(stored_size=[99999, 8]), "stored_size.0=99999"),
    "card: a geometry": (_card(geometry=ESCAPE), r"geometry='\x1b[31mred\x1b[0m\n\r': "),
    "card: a background": (_card(background=10**30), "background=1000"),
    "archive: none": (lambda folder: (folder / "model.keras").unlink(), "holds no model"),
    "archive: a folder": (_instead("model.keras", Path.mkdir), "holds no model"),
    "archive: empty": (lambda folder: os.truncate(folder / "model.keras", 0), "no intact archive"),
    "archive: cut": (_cut(0.5), "no intact archive"),
    "archive: a flipped bit": (_flipped, "no intact archive (Bad CRC-32"),
    "archive: encrypted": (_marked_encrypted, "metadata.json is encrypted"),
    "archive: unknown compression": (_odd_compression, "no intact archive (That compression"),
    "archive: a part twice": (_twice, "config.json is in it twice"),
    "archive: a path": (_member("../../evil.py", b""), "'../../evil.py' in it is no part"),
    "archive: an escape": (_member(ESCAPE, b""), r"'\x1b[31mred\x1b[0m\n\r' in it is no part"),
    "archive: a bomb": (
        _members(
            lambda members: members.update({"model.weights.h5": bytes(2**26)}),
            compression=zipfile.ZIP_DEFLATED,
        ),
        "model.weights.h5 would unpack 65",
    ),
    "config: none": (_no_member("config.json"), "config.json is missing"),
    "config: a list": (_member("config.json", b"[]"), "config.json holds a list, not a model"),
    "config: text": (_member("config.json", b"import os"), "config.json is no JSON"),
    "config: not UTF-8": (_member("config.json", b'{"\xff": 1}'), "config.json is no JSON"),
    "config: deep": (_member("config.json", b"[" * 100_000), "config.json is no JSON (maximum"),
    "config: nested": (
        _layer("conv", kernel_initializer=_nested(300)),
        "config.json is nested too deeply",
    ),
    "config: empty": (_member("config.json", b"{}"), "describes None, not a Keras model"),
    "config: no layers": (_config(lambda config: config.update(config={})), "lists no layers"),
    "config: no connections": (
        _config(lambda config: config["config"].update(input_layers=None, output_layers=7)),
        "Keras cannot build it",
    ),
    "config: layers of numbers": (
        _config(lambda config: config["config"].update(layers=[1, 2])),
        "it takes [], but its card says",
    ),
    "config: two inputs": (_config(_two_inputs), "it takes [[None, 8, 8, 1], [None, 8, 8, 1]]"),
    "config: a foreign model": (
        _config(lambda config: config.update(module="torch.nn", class_name="Module")),
        "describes 'Module', not a Keras model",
    ),
    "config: a Lambda layer": (_lambda, "the layer Lambda in it brings code"),
    "config: a lambda": (_bare_lambda, "a Lambda in it brings code"),
    "config: a saved TensorFlow graph": (
        _class("drop", class_name="TFSMLayer", module="keras.layers"),
        "the layer TFSMLayer in it brings code",
    ),
    "config: a vocabulary": (
        _class("drop", class_name="StringLookup", config={"vocabulary": "/etc/passwd"}),
        "reads files",
    ),
    "config: a command": (_system, "'system' of 'os' is neither Keras' nor convforge's"),
    "config: a foreign class": (
        _class("conv", module="acme.layers", class_name=ESCAPE, registered_name="acme>Layer"),
        "neither Keras' nor convforge's",
    ),
    "config: a function of Keras'": (
        _class("drop", module="keras.utils", class_name="get_file", registered_name=None),
        "'get_file' of 'keras.utils' is neither",
    ),
    "config: none of our classes": (
        _class("conv", class_name="Conv9D", registered_name="convforge>Conv9D"),
        "Could not locate class 'Conv9D'",
    ),
    "config: a class of a list": (_class("drop", class_name=[]), "the class [] of "),
    "config: a model of a list": (_config(lambda config: config.update(class_name=[])), "[], not"),
    "config: many filters": (_layer("conv", filters=10**9), "want more than the"),
    "config: endless filters": (_layer("conv", filters=10**30), "want more than the"),
    "config: negative filters": (_layer("conv", filters=-2), "filters=-2 is not allowed"),
    "config: filters as text": (_layer("conv", filters="many"), "filters='many' is not allowed"),
    "config: an unknown setting": (_layer("conv", colour="red"), "Keras cannot build it"),
    "config: a huge map": (
        _layer("conv", padding=[[10**6, 10**6], [10**6, 10**6]]),
        "Keras cannot build it",
    ),
    "config: units that do not fit": (_layer("logits", units=9), "Keras cannot build it"),
    "weights: none": (_no_member("model.weights.h5"), "model.weights.h5 is missing"),
    "weights: text": (_member("model.weights.h5", b"weights"), "model.weights.h5 is damaged"),
    "weights: cut": (
        _members(
            lambda members: members.update({"model.weights.h5": members["model.weights.h5"][:9999]})
        ),
        "model.weights.h5 is damaged",
    ),
    "weights: fewer": (_weights(lambda file: file.pop("layers/dense")), "want more than the"),
    "weights: of another shape": (
        _replaced("layers/dense/vars/1", np.zeros(11, "f4")),
        "Keras cannot build it",
    ),
    "weights: claimed": (_weights(_claimed), "claims (100000, 100000) numbers"),
    "weights: text for numbers": (_replaced("layers/dense/vars/1", "x"), "holds no numbers"),
    "weights: in another file": (_weights(_external), "lies in another file"),
    "weights: a link": (
        _replaced("layers/dense/vars/1", h5py.ExternalLink("/etc/passwd", "/")),
        "leads elsewhere",
    ),
    "weights: not finite": (
        _replaced("layers/dense/vars/1", np.full(10, np.nan, "f4")),
        "the layer logits has weights that are not finite",
    ),
}


@pytest.mark.parametrize("case", list(HOSTILE))
def test_a_bad_model_is_refused_in_one_line_that_says_why(
    saved: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], case: str
) -> None:
    mutate, reason = HOSTILE[case]
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    mutate(folder)
    assert main(["predict", str(folder), str(saved.parent / "image.png")]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1, err
    assert len(err) < 600
    assert reason in err
    assert err.rstrip("\n").isprintable()
    assert not (folder / "executed").exists()


def test_the_model_itself_is_taken(saved: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image = saved.parent / "image.png"
    assert main(["predict", str(saved), str(image), "--top", "2"]) == 0
    assert capfd.readouterr().out.splitlines()[1].endswith(f"%  {image}")


def test_names_from_files_do_not_steer_the_terminal(
    saved: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, image = tmp_path / "model", tmp_path / os.fsdecode(b"\x1b[31m\xff.png")
    shutil.copytree(saved, folder)
    shutil.copy(saved.parent / "image.png", image)
    _card(classes=[ESCAPE] * 10)(folder)
    assert main(["predict", str(folder), str(image)]) == 0
    out, _ = capfd.readouterr()
    assert len(out.splitlines()) == 2
    assert out.replace("\n", "").isprintable()
    assert "␣[31mred␣[0m" in out
    assert "\\xff.png" in out
    assert main(["predict", str(folder), str(tmp_path / ESCAPE)]) == 2
    _, err = capfd.readouterr()
    assert "\x1b" not in err


def test_a_bug_of_our_own_keeps_its_traceback(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every error while a model is loaded is the model's fault."""
    from convforge.layers import Conv2D

    monkeypatch.setattr(Conv2D, "build", _broken_build)
    with pytest.raises(ZeroDivisionError):
        load_predictor(saved)


def _broken_build(self: Any, input_shape: Any) -> None:
    # As if it were written there.
    exec(compile("1 / 0", "convolution.py", "exec"), {"__name__": "convforge.layers.convolution"})


def test_an_archive_of_before_loads(saved: Path, tmp_path: Path) -> None:
    """Cards of the first versions have neither targets nor a stored size."""
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    for key in ("targets", "stored_size", "geometry", "background"):
        _without(key)(folder)
    assert load_predictor(folder).outputs(np.zeros((2, 8, 8, 1))).shape == (2, 10)
