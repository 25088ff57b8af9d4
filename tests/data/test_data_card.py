"""The data card says what is in the data, and `convforge inspect-data` shows it."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from image_files import classes_of_pictures, write_folder
from prepared_data import prepared

from convforge.pipeline import cli
from convforge.pipeline.data.absent_classes import absent_classes
from convforge.pipeline.data.manifest import (
    BadItem,
    Counts,
    Duplicate,
    Manifest,
    PrincipalComponent,
    SizeRange,
)
from convforge.pipeline.report.data_card import CARD, data_card, licence_notes

SMALL = ("data.split.validation=50", "data.split.test=100")


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    images = np.zeros((30, 8, 8, 3), np.uint8)
    labels = np.array([0] * 25 + [1] * 5)
    return prepared(tmp_path / "data", images, labels, ["cat", "a|b*<i>\n"])


def _row(card: str, start: str) -> list[str]:
    (line,) = (line for line in card.splitlines() if line.startswith(start))
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_the_table_has_every_class_with_its_counts_and_their_sum(digits: Path) -> None:
    manifest = Manifest.read(digits)
    card = data_card(manifest, None)
    for number, name in enumerate(manifest.classes):
        counts = [str(split.class_counts[number]) for split in manifest.splits.values()]
        assert _row(card, f"| {number} |") == [str(number), name, *counts]
    assert _row(card, "| | **all**") == ["", "**all**", "250", "50", "100"]
    assert "400 images, 10 classes, 28×28×1 pixels (grey, 8 bits)" in card
    assert manifest.digest in card
    for split in manifest.splits.values():
        assert all(shard.crc32c in card for shard in split.shards)


def test_a_name_cannot_break_the_table(manifest: Manifest) -> None:
    row = _row(data_card(manifest, None), "| 1 |")
    assert row == ["1", r"a\|b\*\<i\>␣", "5", "0", "0"]


def test_principal_components_are_told_with_their_share(manifest: Manifest) -> None:
    parts = [(11.0, [2 / 3, 1 / 3, 2 / 3]), (1.0, [0.0, 0.0, 1.0]), (1.0, [0.0, 1.0, 0.0])]
    components = [PrincipalComponent(variance=v, direction=d) for v, d in parts]
    statistics = manifest.statistics.model_copy(update={"principal_components": components})
    card = data_card(manifest.model_copy(update={"statistics": statistics}), None)
    row = _row(card, "| principal component 1")
    assert row == ["principal component 1: 84.6% of the variance", "+0.667", "+0.333", "+0.667"]


def test_sizes_in_the_source_are_told(manifest: Manifest) -> None:
    assert "- In the source: every image 8×8 pixels." in data_card(manifest, None)
    height = SizeRange(min=68, mean=400.4, max=1600)
    card = data_card(manifest.model_copy(update={"height": height}), None)
    assert "- In the source: 68 to 1600 pixels high (mean 400), 8 to 8 wide (mean 8)." in card


def test_what_is_left_out_is_grouped_by_reason_the_commonest_first(manifest: Manifest) -> None:
    bad = [BadItem(name=f"x/{number}.png", reason="not an image") for number in range(7)]
    bad.insert(3, BadItem(name="y.png", reason="empty"))
    changes = {
        "bad_items": bad,
        "counts": Counts(found=39, used=30, bad=8, dropped=1),
        "duplicates": [Duplicate(name="a.png", same_as="test/b.png")],
        "passed_over": {"put there by an operating system": 2},
        "findings": ["classes that differ by case only: Cat, cat"],
    }
    card = data_card(manifest.model_copy(update=changes), None)
    section = card.split("## What was left out\n\n")[1].split("\n\n## ")[0].splitlines()
    assert section == [
        "39 items found = 30 used + 8 bad + 1 dropped from training since they are held out "
        "as well.",
        "",
        "- 7 × not an image: x/0.png, x/1.png, x/2.png, x/3.png, x/4.png, …",
        "- 1 × empty: y.png",
        "- 1 × training image that is held out as well: a.png is test/b.png",
        "- 2 × put there by an operating system",
    ]
    assert "## What to know\n\n- classes that differ by case only: Cat, cat\n" in card
    assert "Nothing stood out" in data_card(manifest, None)


def test_small_and_uneven_classes_are_pointed_out(manifest: Manifest, digits: Path) -> None:
    card = data_card(manifest, None)
    assert r"1 of 2 classes has fewer than 20 training images: a\|b\*\<i\>␣." in card
    assert "Uneven classes: 5 to 25 training images." in card
    assert "No test images" in card
    even = data_card(Manifest.read(digits), None)
    assert "fewer than" not in even
    assert "Uneven" not in even


def test_a_class_without_images_in_a_split_is_pointed_out(manifest: Manifest) -> None:
    assert absent_classes(manifest) == []
    counts = {"examples": 3, "class_counts": [0, 3]}
    splits = {**manifest.splits, "test": manifest.splits["train"].model_copy(update=counts)}
    other = manifest.model_copy(update={"splits": splits})
    (line,) = absent_classes(other)
    assert line == f"No test image of {manifest.classes[0]}: its figures say nothing of them"
    assert "- No test image of " in data_card(other, None)


def test_the_precision_of_the_test_split_is_the_binomials(digits: Path) -> None:
    """100 images at 90 %: a standard error of 3 points, and 1.96 of these."""
    assert "an accuracy of 90 % is known to ±5.9 points" in data_card(Manifest.read(digits), None)


@pytest.mark.parametrize(
    ("name", "text", "quote"),
    [
        (
            "README.md",
            "# Cats\n\n- **Licence**: CC BY 4.0,\n  by me.\n- other\n",
            "CC BY 4.0, by me.",
        ),
        ("readme.txt", "Pictures.\n\nThey are in the public domain.\n", "public domain"),
        ("LICENSE", "MIT License\n\nCopyright (c) 2020 A\n", "MIT License"),
        ("README", "Licensed\n" + "x" * 5000, "…"),
    ],
)
def test_a_licence_beside_the_data_is_quoted(
    tmp_path: Path, manifest: Manifest, name: str, text: str, quote: str
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / name).write_text(text)
    (folder / "cats.zip").write_text("")
    for source in (folder, folder / "cats.zip"):
        found, passage = licence_notes(source)[0]
        assert found == name
        assert quote in passage
        assert len(passage) < 500
        card = data_card(manifest, source)
        assert f"- `{name}` beside the data says: “" in card
        assert "not known" not in card


def test_an_unknown_licence_is_said_to_be_unknown(tmp_path: Path, manifest: Manifest) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "README.md").write_text("# Cats\n\nPictures of cats.\n")
    (folder / "LICENSE").mkdir()
    assert "Licence: **not known**. No README or LICENSE" in data_card(manifest, folder)
    assert "Licence: **not known**. The source is not there" in data_card(manifest, tmp_path / "x")


def test_the_bundled_digits_say_their_licence() -> None:
    source = Path(__file__).resolve().parents[2] / "data" / "mnist-5k.zip"
    (note,) = licence_notes(source)
    assert note[1].startswith("Licence: Creative Commons Attribution-Share Alike 3.0")


def test_the_card_says_the_licence_beside_the_data_and_the_same_on_every_machine(
    project: Path,
) -> None:
    (project / "data" / "README.md").write_text("Licence: none of yours\n")
    assert cli.main(["preprocess", "-q", "--out", "out", *SMALL]) == 0
    assert cli.main(["inspect-data", "-q", "--out", "report", "out"]) == 0
    card = (project / "report" / CARD).read_text(encoding="utf-8")
    assert "none of yours" in card
    assert str(project) not in card


def test_the_prepared_data_hold_no_card_so_its_words_do_not_change_them(project: Path) -> None:
    assert cli.main(["preprocess", "-q", "--out", "out", *SMALL]) == 0
    left = {path.name for path in (project / "out").iterdir()}
    assert {name for name in left if not name.endswith(".tfrecord")} == {
        "manifest.json",
        "records.json",
    }


def test_inspect_data_shows_the_counts_and_leaves_card_and_sheets(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(project / "data" / "mnist-5k.zip", "a") as archive:
        archive.writestr("3/broken.png", b"text")
    assert cli.main(["inspect-data", "--out", "report", *SMALL]) == 0
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert lines[0] == "mnist5k: 28×28×1 pixels, 10 classes"
    rows = [line.split() for line in lines[2:]]
    assert rows[0] == ["class", "train", "validation", "test"]
    manifest = Manifest.read(next((project / "outputs" / "data").glob("mnist5k-*")))
    for number, row in enumerate(rows[1:11]):
        counts = [str(split.class_counts[number]) for split in manifest.splits.values()]
        assert row == [str(number), *counts]
    assert rows[11] == ["all", "250", "50", "100"]
    mean = f"{manifest.statistics.mean[0]:.1f}"
    assert f"pixels of the training images, of 255: mean {mean};" in out
    assert lines[-4:] == [
        "in the source: every image 28×28 pixels",
        "left out:",
        "  1 × not an image: 3/broken.png",
        "to know: nothing",
    ]
    assert err.splitlines()[-1] == "card: report/card.md    contact sheets: 11 pictures beside it"
    names = {path.name for path in (project / "report").iterdir()}
    assert names == {
        "card.md",
        "overview.png",
        *(f"contact_sheet_{number}.png" for number in range(10)),
    }
    card = (project / "report" / "card.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[.*\]\((.*)\)", card)
    assert set(shown) == names - {"card.md"}


def test_inspect_data_takes_prepared_data_and_leaves_them_as_they_are(
    shared_project: Path,
    digits: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(shared_project)
    before = sorted(digits.iterdir())
    assert cli.main(["inspect-data", "-q", str(digits)]) == 0
    out, err = capfd.readouterr()
    assert out.startswith("mnist5k: ")
    assert err == ""
    assert sorted(digits.iterdir()) == before
    digest = Manifest.read(digits).digest[:16]
    assert (shared_project / "outputs" / "inspect-data" / f"mnist5k-{digest}" / CARD).is_file()


def test_a_second_inspection_leaves_nothing_of_the_first(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_folder(project / "photos", classes_of_pictures(8, "abc"))
    folder = ["data=folder", "data.path=photos", "data.size=[8,8]", "--out", "report"]
    assert cli.main(["inspect-data", "-q", *folder]) == 0
    assert (project / "report" / "contact_sheet_a.png").is_file()
    assert cli.main(["inspect-data", "-q", "--out", "report", *SMALL]) == 0
    names = {path.name for path in (project / "report").iterdir()}
    assert "contact_sheet_a.png" not in names
    assert "contact_sheet_9.png" in names


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("inspect-data photos", "convforge inspect-data data=folder data.path=photos"),
        ("inspect-data nowhere", "nowhere holds no prepared data"),
        ("inspect-data data.path=none.zip", "none.zip does not exist"),
        ("inspect-data dat=folder", "dat"),
        ("inspect-data {digits} --out conf", "conf exists and holds something else"),
        ("inspect-data {digits} --out conf/config.yaml", "holds something else"),
        ("inspect-data {digits} --out {digits}", "holds something else"),
    ],
)
def test_a_mistake_is_one_error_line(
    project: Path, digits: Path, capfd: pytest.CaptureFixture[str], line: str, expected: str
) -> None:
    write_folder(project / "photos", classes_of_pictures(1))
    assert cli.main(line.format(digits=digits).split()) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("error: ")
    assert expected in err


def test_the_card_of_numbers_tells_their_range(tmp_path: Path) -> None:
    numbers = np.linspace(-1, 1, 30, dtype=np.float32)[:, None]
    images = np.zeros((30, 8, 8, 1), np.uint8)
    manifest = prepared(tmp_path / "data", images, numbers, [], ("steering",))
    card = data_card(manifest, None)
    assert "30 images, numbers to predict: steering, 8×8×1 pixels" in card
    assert _row(card, "| steering") == ["steering", "-1", "1", "0.5", "0.25"]
    assert "steering: a model has seen -1 to 1" in card


@pytest.mark.integration
def test_training_on_a_table_of_numbers_shows_them_too(
    project: Path, train_in_process: None, capfd: pytest.CaptureFixture[str]
) -> None:
    images = classes_of_pictures(10, "x")
    write_folder(project / "photos", images)
    rows = "".join(f"{name},{number}\n" for number, name in enumerate(images))
    (project / "photos" / "table.csv").write_text(f"file,angle\n{rows}")
    table = ["data=table", "data.path=photos/table.csv", "data.size=[8,8]"]
    table += ["data.class_column=null", "data.target_columns=[angle]"]
    task = ["task=regression", "loss=mse", "model=softmax_linear", "augment=none", "tracking=none"]
    assert cli.main(["train", "-q", *table, *task, "trainer.epochs=1"]) == 0
    (run,) = (project / "outputs" / "train").iterdir()
    names = {path.name for path in (run / "data").iterdir()}
    assert names == {CARD, "contact_sheet_angle.png", "manifest.json"}
