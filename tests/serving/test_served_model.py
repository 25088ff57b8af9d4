"""A served model is right or refuses: a real server of MLflow's, files and pixels."""

from __future__ import annotations

import base64
import io
import random
import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_server import ModelServer, serving
from PIL import Image

from convforge.serving.predictor import load_predictor

# A request of so many megabytes is no request for a picture.
HUGE = 50 * 2**20


@pytest.fixture(scope="module")
def server(logged: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    with serving(logged, tmp_path_factory.mktemp("server")) as running:
        yield running


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))[None, :, :, None]


def frame(name: str, *rows: str) -> dict[str, Any]:
    return {"dataframe_split": {"columns": [name], "data": [[row] for row in rows]}}


def test_files_and_pixels_get_the_class_and_its_probability(
    server: ModelServer, trained: Path, files: dict[str, bytes], encoded: dict[str, str]
) -> None:
    both = [encoded["3"], encoded["7"]]
    images = np.concatenate([pixels(files["3"]), pixels(files["7"])])
    expected = load_predictor(trained).outputs(images)
    assert expected.argmax(1).tolist() == [3, 7]
    for request in (
        {"inputs": both},
        {"instances": both},
        frame("image", *both),
        {"inputs": [f"data:image/png;base64,{each}" for each in both]},
        {"inputs": images.tolist()},
        {"inputs": images.astype(float).tolist()},
        {"instances": images.tolist()},
    ):
        answers = server.ask(request).predictions
        assert [answer["class"] for answer in answers] == ["3", "7"]
        found = [answer["probability"] for answer in answers]
        np.testing.assert_allclose(found, expected.max(1), rtol=1e-5)
    assert server.ask({"inputs": encoded["3"]}).predictions[0]["class"] == "3", "one alone"


def test_the_likeliest_classes_come_when_asked_for(
    server: ModelServer, encoded: dict[str, str]
) -> None:
    (answer,) = server.ask({"inputs": [encoded["7"]], "params": {"top": 3}}).predictions
    top = answer["top"]
    assert top[0] == {name: answer[name] for name in ("class", "probability")}
    assert [each["probability"] for each in top] == sorted(
        (each["probability"] for each in top), reverse=True
    )
    assert len({each["class"] for each in top}) == 3
    (all_of_them,) = server.ask({"inputs": [encoded["7"]], "params": {"top": 99}}).predictions
    assert sum(each["probability"] for each in all_of_them["top"]) == pytest.approx(1, abs=1e-5)


def square(value: Any, size: tuple[int, int] = (28, 28)) -> list[Any]:
    return [[[[value]] * size[1]] * size[0]]


def bomb() -> bytes:
    """A PNG that says it has 100,000 × 100,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(bytes(1000))),
            chunk(b"IEND", b""),
        )
    )


BAD = {
    "scaled": ({"inputs": square(0.5)}, "must be 0..255, not scaled to 0..1"),
    "floats of 0 and 1": ({"inputs": square(1.0)}, "must be 0..255, not scaled to 0..1"),
    "fractions": ({"inputs": square(200.5)}, "some of these are fractions"),
    "negative": ({"inputs": square(-1)}, "pixels are 0..255, and these are -1..-1"),
    "too bright": ({"inputs": square(256)}, "pixels are 0..255, and these are 256..256"),
    "not a number": ({"inputs": square(float("nan"))}, "pixels are 0..255, and these are nan"),
    "infinite": ({"inputs": square(float("inf"))}, "pixels are 0..255"),
    "far too large": ({"inputs": square(10**40)}, "some of these are far more"),
    "no numbers": ({"inputs": square(True)}, "pixels are numbers, not bool"),
    "text among pixels": ({"inputs": square({"a": 1})}, "pixels are numbers, not dict"),
    "without channels": ({"inputs": [[[0] * 28] * 28]}, "the model takes (n, 28, 28, 1)"),
    "another size": ({"inputs": square(9, (28, 20))}, "the model takes (n, 28, 28, 1)"),
    "ragged": ({"inputs": [[[[0]] * 28, [[0]] * 27]]}, "the model takes (n, 28, 28, 1)"),
    "a number": ({"inputs": 3}, "int is no image"),
    "nothings": ({"inputs": [None, None]}, "NoneType is no image"),
    "no base64": ({"inputs": ["digit.png"]}, "image 0: not in base64"),
    "no image": ({"inputs": [base64.b64encode(b"text").decode()]}, "image 0: not an image"),
    "100,000 × 100,000": ({"inputs": [base64.b64encode(bomb()).decode()]}, "more pixels than any"),
    "50 MB": ({"inputs": ["A" * (HUGE * 4 // 3)]}, "image 0: has more than 33,554,432 bytes"),
    "a number among files": ({"inputs": ["AAAA", 3]}, "image 0: not an image"),
    "files in rows": ({"inputs": [["AAAA", "AAAA"]]}, "give one file for each image"),
    "no class": ({"inputs": square(9), "params": {"top": 0}}, "top=0 is not allowed"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_answered_is_refused_in_one_line(
    server: ModelServer, encoded: dict[str, str], name: str
) -> None:
    request, expected = BAD[name]
    answer = server.ask(request)
    assert answer.status == 400
    assert expected in answer.content["message"]
    assert len(answer.content["message"]) < 200
    assert "\n" not in answer.content["message"]
    assert server.ask({"inputs": [encoded["3"]]}).predictions[0]["class"] == "3", "it stays up"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"{", "application/json"),
        (b"[1]", "application/json"),
        (b'{"inputs": []}', "application/json"),
        (b'{"inputs": null}', "application/json"),
        (b'{"inputs": [1], "instances": [1]}', "application/json"),
        (b'{"inputs": [[[[0]]]], "params": {"top": "x"}}', "application/json"),
        (b'{"dataframe_split": {"columns": ["a", "b"], "data": [["A", "B"]]}}', "application/json"),
        (b"image\nAAAA", "text/csv"),
        (b"no parquet", "application/vnd.apache.parquet"),
        (b"<image/>", "text/xml"),
    ],
)
def test_what_mlflow_itself_refuses_is_not_answered(
    server: ModelServer, encoded: dict[str, str], content: bytes, kind: str
) -> None:
    assert server.ask(content, kind).status >= 400
    assert server.ask({"inputs": [encoded["3"]]}).predictions[0]["class"] == "3", "it stays up"


def _mutated(chance: random.Random, files: list[bytes]) -> Any:
    """A request that nobody should get an answer to."""
    file = bytearray(chance.choice(files))
    match chance.randrange(5):
        case 0:
            return {"inputs": [base64.b64encode(bytes(file[: chance.randrange(8)])).decode()]}
        case 1:
            del file[chance.randrange(1, 8)]
            return {"inputs": [base64.b64encode(bytes(file)).decode()]}
        case 2:
            return {"inputs": square(chance.choice([-3, 1e9, 0.25, float("nan"), 255.5, "a", []]))}
        case 3:
            size = chance.randrange(1, 28), chance.randrange(1, 60)
            return {"inputs": square(chance.randrange(256), size)}
        case _:
            key = chance.choice(["input", "data", "columns", "dataframe"])
            return {key: [chance.random()]}


@pytest.mark.slow
def test_two_thousand_bad_requests_get_no_answer_and_kill_nothing(
    server: ModelServer, files: dict[str, bytes], encoded: dict[str, str]
) -> None:
    chance = random.Random(0)
    contents = list(files.values())
    answered = [
        request
        for request in (_mutated(chance, contents) for _ in range(2000))
        if server.ask(request).status == 200
    ]
    print(f"\n2000 bad requests, {len(answered)} answered")
    assert answered == []
    assert server.ask({"inputs": [encoded["7"]]}).predictions[0]["class"] == "7"


@pytest.mark.package
@pytest.mark.skipif(shutil.which("pyenv") is None, reason="MLflow makes environments by pyenv")
def test_it_answers_in_an_environment_of_its_own_requirements_alone(
    logged: Path, tmp_path: Path, encoded: dict[str, str]
) -> None:
    """Where nobody has installed convforge."""
    environments = tmp_path / "environments"
    own = {"MLFLOW_ENV_ROOT": str(environments), "PYTHONPATH": ""}
    with serving(logged, tmp_path, "virtualenv", 900, **own) as server:
        assert server.ask({"inputs": [encoded["3"]]}).predictions[0]["class"] == "3"
    assert list(environments.glob("*/lib/*/site-packages/mlflow"))
    assert not list(environments.glob("*/lib/*/site-packages/*convforge*"))
