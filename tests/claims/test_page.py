"""`convforge report`: the pages say what the results say, whatever these are called."""

from __future__ import annotations

import json
import re
import shutil
import statistics
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from drawn_results import drawn_results
from PIL import Image

from convforge.models import specs
from convforge.models.build import build_model
from convforge.pipeline import cli
from convforge.pipeline.claims.claim import (
    SCALE_NAMES,
    claim_names,
    planned_claims,
    read_protocol,
)
from convforge.pipeline.claims.comparison import check
from convforge.pipeline.claims.page.axis import Axis, axis_for, interval_of
from convforge.pipeline.claims.page.pages import write_pages
from convforge.pipeline.claims.page.pictures import About, read_pictures
from convforge.pipeline.claims.page.wording import number
from convforge.pipeline.claims.result import ClaimResult, read_results
from convforge.pipeline.commands import report
from convforge.pipeline.composition import read_params
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.report.style import WIDTH
from convforge.pipeline.run_folder import RunFolder
from convforge.pipeline.stages.preprocess import prepared
from convforge.pipeline.tracking.replay import State
from convforge.serving.model_card import ModelCard
from convforge.serving.predictor import save_model

REPOSITORY = Path(__file__).resolve().parents[2]
QUIET = Progress(Verbosity.QUIET)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def keep(results: Sequence[ClaimResult], folder: Path) -> Path:
    """Where the results of a project lie."""
    for result in results:
        result.write(folder / result.claim / result.scale / "result.json")
    return folder


@pytest.fixture(scope="module")
def results() -> list[ClaimResult]:
    """Two scales, the larger with fewer claims and seeds."""
    return [*drawn_results("digits", epochs=6), *drawn_results("cpu", seeds=3, epochs=6, claims=2)]


@pytest.fixture(scope="module")
def kept(results: list[ClaimResult], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the results, with pictures of a run."""
    folder = keep(results, tmp_path_factory.mktemp("kept") / "claims")
    pictures = folder / "pictures" / "digits"
    pictures.mkdir(parents=True)
    Image.new("RGB", (900, 40), "#805030").save(pictures / "kernels.png")
    run = results[0].arms["relu"].runs[0]
    assert run.run_id
    About(claim="faster", arm="relu", seed=0, run_id=run.run_id, data="mnist5k").write(pictures)
    return folder


@pytest.fixture(scope="module")
def pages(kept: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the pages of these results."""
    out = tmp_path_factory.mktemp("pages") / "docs"
    assert cli.main(["report", "-q", "--results", str(kept), "--out", str(out)]) == 0
    return out


def files_of(folder: Path) -> dict[str, bytes]:
    files = [folder / name for name in ("claims.html", "claims.md", "claims.png")]
    files += sorted((folder / "claims").glob("*"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_the_committed_pages_are_what_the_committed_results_give(tmp_path: Path) -> None:
    """Neither a figure nor a verdict is written by hand."""
    committed, docs = read_results(REPOSITORY / "claims"), REPOSITORY / "docs"
    if not committed:
        assert not (docs / "claims.md").exists()
        return
    for result in committed:
        check(result, read_protocol(REPOSITORY, result.claim, result.scale))
    # Beside the results as they are in the repository, since the page links to their pictures.
    (tmp_path / "claims").symlink_to(REPOSITORY / "claims")
    written = write_pages(
        committed, tmp_path / "claims", tmp_path / "docs", planned_claims(REPOSITORY)
    )
    for path in written:
        name = path.relative_to(tmp_path / "docs")
        if path.suffix == ".png":  # Another build of FreeType sets letters a little otherwise.
            assert Image.open(path).size == Image.open(docs / name).size
        else:
            assert path.read_text() == (docs / name).read_text(), f"{name}: `convforge report`"
    assert files_of(docs).keys() == files_of(tmp_path / "docs").keys()


def test_the_same_results_give_the_same_bytes(kept: Path, pages: Path, tmp_path: Path) -> None:
    stale = tmp_path / "docs" / "claims" / "a_claim_that_is_gone.svg"
    stale.parent.mkdir(parents=True)
    stale.touch()
    shutil.copytree(kept, tmp_path / "claims")
    again = ["report", "-q", "--results", "claims", "--out", "docs"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert cli.main(again) == 0
    before, after = files_of(pages), files_of(tmp_path / "docs")
    # The one page links to the results, which lie elsewhere.
    link = re.compile(rb"\]\([./\w-]*claims(/pictures[\w./]*)?\)")
    before["claims.md"], after["claims.md"] = (
        link.sub(b"", each["claims.md"]) for each in (before, after)
    )
    assert after == before


def rows_of(page: str, heading: str, first: str) -> list[list[str]]:
    """The first table below a heading whose first column has this name, without its two heads."""
    below = page[page.index(f"\n## {heading}\n") :]
    table = below[below.index(f"| {first} |") :].split("\n\n")[0]
    return [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]


def test_its_figures_are_those_of_the_runs(results: list[ClaimResult], pages: Path) -> None:
    """Computed here by other means."""
    (result,) = (each for each in results if (each.claim, each.scale) == ("overlapped", "digits"))
    page = (pages / "claims.md").read_text()
    errors = {
        name: [run.figures["test_error"] for run in arm.runs] for name, arm in result.arms.items()
    }
    shown = {row[0]: row[4] for row in rows_of(page, result.title, "arm")}
    assert shown == {
        result.arms[name].title: f"{statistics.fmean(some):.3g} ± {statistics.stdev(some):.2g}"
        for name, some in errors.items()
    }
    differences = np.subtract(errors["apart"], errors["overlapping"])
    (row,) = rows_of(page, result.title, "comparison")
    half = 2.776 * differences.std(ddof=1) / np.sqrt(5)
    written = re.findall(r"[+-]?[\d.]+", " ".join(row[2:4]).replace("−", "-"))
    expected = [differences.mean(), differences.mean() - half, differences.mean() + half]
    np.testing.assert_allclose([float(each) for each in written], expected, rtol=6e-3)
    assert row[5].replace("\N{NO-BREAK SPACE}", " ").startswith("✕ not reproduced")


def test_every_run_is_there_with_its_id(results: list[ClaimResult], pages: Path) -> None:
    texts = [(pages / name).read_text() for name in ("claims.html", "claims.md")]
    for result in results:
        for arm in result.arms.values():
            for run in (*arm.tuning, *arm.runs):
                assert run.run_id is None or all(run.run_id in text for text in texts)


@pytest.mark.parametrize(
    ("key", "value"), [("outcome", "reproduced"), ("estimate", 9.5), ("why", "it is so")]
)
def test_an_edited_verdict_is_refused_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str, value: object
) -> None:
    (result,) = [each for each in drawn_results(epochs=2) if each.claim == "overlapped"]
    path = keep([result], tmp_path / "claims") / "overlapped" / "digits" / "result.json"
    edited = json.loads(path.read_text())
    edited["comparisons"][0][key] = value
    edited["outcome"] = edited["comparisons"][0]["outcome"]
    path.write_text(json.dumps(edited))
    given = ["report", "--results", str(tmp_path / "claims"), "--out", str(tmp_path / "docs")]
    assert cli.main(given) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: claims/overlapped/digits: comparison 0: {key} is {value!r}")
    assert not (tmp_path / "docs").exists()


def test_a_result_of_another_protocol_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that was changed after the runs, or of which a part was left out."""
    name = claim_names(REPOSITORY)[0]
    (result,) = drawn_results(epochs=2, claims=1)
    kept = keep([result.model_copy(update={"claim": name})], tmp_path / "claims")
    assert cli.main(["report", "--results", str(kept), "--out", str(tmp_path / "docs")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"error: claims/{name}/digits: digest is '{'d' * 64}'")
    assert not (tmp_path / "docs").exists()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "has no results"),
        ({"faster/digits/result.json": "{}"}, "is no result of a claim"),
        ({"faster/cpu/result.json": None}, "is the result of claim faster, scale=digits"),
        ({"faster/digits/result.json": None, "pictures/digits/kernels.png": None}, "about.json"),
    ],
)
def test_what_is_no_result_is_named(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    files: dict[str, str | None],
    words: str,
) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            path.write_text(text)
        elif path.suffix == ".png":
            Image.new("L", (9, 9)).save(path)
        else:
            drawn_results(epochs=2, claims=1)[0].write(path)
    assert cli.main(["report", "--results", str(tmp_path), "--out", str(tmp_path / "docs")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line


class Reader(HTMLParser):
    """The tags of a page with what they ask for, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_titles_are_text_and_nothing_else(results: list[ClaimResult], pages: Path) -> None:
    """Of angle brackets, ampersands, bars, quotes and stars."""
    awkward = next(each for each in results if each.claim == "pooled_by_max")
    page = Reader((pages / "claims.html").read_text())
    assert {"average", "b", "inf"}.isdisjoint(tag for tag, _ in page.tags)
    assert page.text.count(awkward.title) >= 2
    assert awkward.sentence in page.text
    markdown = (pages / "claims.md").read_text()
    for raw in ("<average>", "<b>", "<inf>", "*size*", "|other|"):
        assert raw not in markdown
    # As many cells in every row as in the table's first.
    for table in re.findall(r"(?:^\|.*\n)+", markdown, re.M):
        cells = [len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()]
        assert len(set(cells)) == 1
    for path in (pages / "claims").glob("*.svg"):
        ElementTree.parse(path)


def test_the_page_needs_no_other_file_no_network_and_no_script(pages: Path) -> None:
    text = (pages / "claims.html").read_text()
    page = Reader(text)
    assert "script" not in {tag for tag, _ in page.tags}
    asked = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "data", "poster", "action")
    ]
    assert asked
    assert all(value and value.startswith(("#", "data:")) for value in asked)
    assert not re.search(r"url\(|@import|\bon\w+=", text)


def test_the_markdown_page_shows_only_files_that_are_there(pages: Path) -> None:
    shown = re.findall(r"!\[[^]]*\]\(([^)]+)\)", (pages / "claims.md").read_text())
    assert len(shown) == len(list((pages / "claims").glob("*.svg"))) + 1
    assert [name for name in shown if not (pages / name).is_file()] == []


def test_failed_censored_undecided_and_published_are_said(pages: Path) -> None:
    for name in ("claims.html", "claims.md"):
        text = (pages / name).read_text().replace("\N{NO-BREAK SPACE}", " ")
        assert "5, 1 failed" in text
        assert "○ undecided: 1 of 5 runs of none gave no figure" in text
        assert re.search(r"≥ \d", text)
        assert "or more" in text
        assert "it errs as published (published: 5.5 %)" in text


def test_what_was_not_run_is_said(results: list[ClaimResult], kept: Path, tmp_path: Path) -> None:
    write_pages(results, kept, tmp_path, {"full": ["faster"], "cpu": ["faster", "dropped"]})
    for name in ("claims.html", "claims.md"):
        assert "Not run: full: all 1; cpu: dropped." in (tmp_path / name).read_text()


def test_the_readmes_picture_is_as_wide_as_its_others(pages: Path) -> None:
    picture = Image.open(pages / "claims.png")
    assert picture.size[0] == WIDTH
    assert len(picture.convert("RGB").getcolors(1 << 16) or []) > 10


def test_all_effects_share_an_axis_in_units_of_the_smallest_that_counts() -> None:
    records = [record for each in drawn_results(epochs=6) for record in each.comparisons]
    found = [interval_of(record) for record in records]
    axis = axis_for(found, 100.0, 300.0)
    for interval, record in zip(found, records, strict=True):
        places = [axis.place(each) for each in interval.known]
        assert all(100 <= place <= 300 for place in places)
        assert places == [Axis(axis.low, axis.high, 100, 300).place(x) for x in interval.known]
        if record.outcome == "reproduced" and record.rule != "equivalence":
            assert interval.low is not None
            assert interval.low >= 1
    effects = [axis.low, -1.0, 0.0, 1.0, 2.0, axis.high]
    assert [axis.place(each) for each in effects] == sorted(axis.place(each) for each in effects)
    assert axis.place(1) - axis.place(0) == pytest.approx(axis.place(0) - axis.place(-1))


def test_the_scales_of_the_help_are_those_that_there_are() -> None:
    """Written twice, since the help answers before pydantic is imported."""
    assert report._SCALES == SCALE_NAMES


def test_numbers_are_written_as_they_are() -> None:
    assert [number(each) for each in (0.0, -0.5, 1234567.0, float("nan"))] == [
        "0",
        "−0.5",
        "1,234,567",
        "–",
    ]


@pytest.fixture
def run(trained: Path, shared_project: Path, tmp_path: Path) -> Path:
    """The folder of a run that MLflow knows, whose net has a convolution and learned nothing."""
    folder = RunFolder(shutil.copytree(trained, tmp_path / "run"))
    settings = read_params(folder.config)
    data = Manifest.read(prepared(settings.data, shared_project, QUIET))
    layers: dict[str, specs.LayerSpec] = {
        "conv1": specs.Conv2DSpec(filters=4, kernel_size=5, activation="relu"),
        "flatten": specs.FlattenSpec(),
        "outputs": specs.DenseSpec(units=None),
        "softmax": specs.SoftmaxSpec(),
    }
    model = build_model(layers, image_shape=(28, 28, 1), num_classes=10)
    card = ModelCard(
        name="small",
        classes=data.classes,
        image_shape=[28, 28, 1],
        data_digest=data.digest,
        version="1",
    )
    save_model(folder.model, model, card)
    State(run_id="a" * 32).write(folder.path)
    return folder.path


def test_pictures_of_a_run_are_kept_with_whose_they_are(
    run: Path, shared_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shared_project)
    result = drawn_results(epochs=2, claims=1)[0]
    kept = keep([result], tmp_path / "claims")
    given = ["report", "-q", "--results", str(kept), "--out", str(tmp_path / "docs")]
    given += ["--pictures", str(run), "--scale", "digits"]
    assert cli.main(given) == 2  # No result names it.
    assert read_pictures(kept, "digits") is None
    arm = result.arms["tanh"]
    named = [arm.runs[0].model_copy(update={"run_id": "a" * 32}), *arm.runs[1:]]
    arms = {**result.arms, "tanh": arm.model_copy(update={"runs": named})}
    keep([result.model_copy(update={"arms": arms})], kept)
    assert cli.main(given) == 0
    pictures = read_pictures(kept, "digits")
    assert pictures is not None
    assert (pictures.about.arm, pictures.about.seed, pictures.about.data) == ("tanh", 0, "mnist5k")
    assert [each.path.stem for each in pictures.files] == [
        "kernels",
        "feature_maps",
        "worst_errors",
    ]
    assert (tmp_path / "docs" / "claims.html").read_text().count("data:image/png;base64,") == 3


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser_it_is_quiet_whole_and_readable(pages: Path, width: int, scheme: str) -> None:
    driver = pytest.importorskip("playwright.sync_api")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser on the PATH: none of {', '.join(BROWSERS)}")
    options = ["--no-sandbox", "--disable-gpu"]
    with driver.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=browser, args=options)
        view = {"width": width, "height": 900}
        page = opened.new_page(viewport=view, color_scheme=scheme)
        requests: list[str] = []
        said: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto((pages / "claims.html").as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert said == []
        assert [url for url in requests if not url.startswith("data:")] == [page.url]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        seen = page.evaluate("[...document.images].map(image => image.naturalWidth)")
        assert seen == [900]
        smallest = page.evaluate(
            """Math.min(...[...document.querySelectorAll('svg text, td, p, li, dd, pre')]
            .filter(each => each.getClientRects().length)
            .map(each => parseFloat(getComputedStyle(each).fontSize) *
              (each.ownerSVGElement ? each.getScreenCTM().a : 1)))"""
        )
        assert smallest >= 10
        look = "getComputedStyle(document.body)"
        ink, paper = page.evaluate(f"[{look}.color, {look}.backgroundColor]")
        assert (_lightness(ink) < _lightness(paper)) == (scheme == "light")
        opened.close()


def _lightness(colour: str) -> int:
    return sum(map(int, re.findall(r"\d+", colour)[:3]))
