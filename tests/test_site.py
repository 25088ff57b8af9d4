"""The site: what its pages take from the source is there, and `make site` builds it whole."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from followed_pages import added_configs
from page_commands import compose_command, shown_commands
from site_pages.command_pages import commands_page
from site_pages.config_keys import config_keys
from site_pages.error_messages import error_messages
from site_pages.generated import with_generated_parts
from site_pages.house import direct_imports, room_imports
from site_pages.source_region import MissingRegionError, find_region, line_of

from convforge.pipeline import cli

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
LECTURE = (DOCS / "lecture.md").read_text(encoding="utf-8")
EQUATIONS = [
    yaml.safe_load(block)
    for block in re.findall(r"^:::::\{equation\}.*?\n---\n(.*?)\n---$", LECTURE, re.S | re.M)
]
PAGES = sorted(
    page for page in DOCS.rglob("*.md") if page.parent != DOCS or page.stem in ("ten-minutes",)
)


def test_the_lecture_page_has_every_equation_in_order() -> None:
    numbers = [each["number"] for each in EQUATIONS if "number" in each]
    assert numbers == list(range(1, 17))
    assert all(each["formula"] and each["slide"] for each in EQUATIONS)


@pytest.mark.parametrize("equation", EQUATIONS, ids=lambda each: str(each["formula"])[:30])
def test_the_code_tests_and_claims_of_an_equation_are_there(equation: dict[str, str]) -> None:
    regions = [find_region(ROOT, line) for line in equation["code"].splitlines()]
    assert regions
    # Beside the words there is room for the lines that compute it, and for no file.
    assert all(1 <= len(region.text.splitlines()) <= 30 for region in regions)
    tests = [line.split() for line in equation["tests"].splitlines()]
    assert tests
    for path, name in tests:
        assert name.startswith("test_")
        assert line_of(ROOT, path, name)
    for name in equation.get("claims", "").split():
        assert (ROOT / "conf" / "claim" / f"{name}.yaml").is_file()


@pytest.mark.parametrize(
    "words",
    [
        "src/convforge/losses.py Hinge.gone",
        "src/convforge/gone.py Hinge",
        'src/convforge/losses.py Hinge.call "no such statement"',
        "conf/loss/mae.yaml gone",
    ],
)
def test_a_region_that_has_gone_is_an_error(words: str) -> None:
    with pytest.raises(MissingRegionError, match=r"gone|no such statement"):
        find_region(ROOT, words)


def test_a_region_is_the_source_without_its_docstring() -> None:
    region = find_region(ROOT, "src/convforge/geometry.py receptive_field")
    lines = (ROOT / region.path).read_text(encoding="utf-8").splitlines()
    assert region.text.splitlines()[0] == lines[region.first - 1]
    assert '"""' not in region.text
    assert region.text.splitlines()[-1].strip() == lines[region.last - 1].strip()


def _leaves(values: object, prefix: str = "") -> set[str]:
    if not isinstance(values, dict):
        return {prefix}
    inner = [_leaves(value, f"{prefix}.{key}".lstrip(".")) for key, value in values.items()]
    return set().union(*inner) if inner else {prefix}


def test_every_key_of_every_config_is_in_the_reference() -> None:
    known = {key.name for key in config_keys(ROOT)}
    # A group may be null.
    known |= {name.rpartition(".")[0] for name in known if name.count(".") == 2}
    groups = {name.partition(".")[0] for name in known} - {"hydra"}
    # Keys in these are names that the user gives.
    mappings = {key.name for key in config_keys(ROOT) if re.search(r"mapping|\{", key.allowed)}
    missing = set()
    for file in sorted((ROOT / "conf").rglob("*.yaml")):
        group = file.relative_to(ROOT / "conf").parts[0]
        if group in groups:
            values = yaml.safe_load(file.read_text(encoding="utf-8"))
            # Hydra's own.
            values.pop("defaults", None)
            for key in _leaves(values, group):
                name = re.sub(r"^model\.layers\.\w+", "model.layers.NAME", key)
                if name not in known and name.rpartition(".")[0] not in mappings:
                    missing.add(name)
    assert missing == set()


def test_every_key_has_a_meaning_and_says_what_it_may_be() -> None:
    assert [key.name for key in config_keys(ROOT) if not key.meaning] == []
    assert [key.name for key in config_keys(ROOT) if not key.allowed] == []


def test_what_is_said_of_keys_by_hand_is_of_keys_that_there_are() -> None:
    text = (DOCS / "reference" / "meanings.yaml").read_text(encoding="utf-8")
    known = {name for key in config_keys(ROOT) for name in (key.name, *_of_kinds(key))}
    assert set(yaml.safe_load(text)) - known == set()


def _of_kinds(key: object) -> list[str]:
    return [f"{key.name} ({kind})" for kind in key.variants]  # type: ignore[attr-defined]


def test_the_reference_knows_ranges_defaults_and_kinds() -> None:
    (batch,) = [key for key in config_keys(ROOT) if key.name == "trainer.batch_size"]
    assert (batch.allowed, batch.default) == ("whole number ≥ 1, ≤ 1,048,576", "50")
    (warmup,) = [key for key in config_keys(ROOT) if key.name == "schedule.warmup_epochs"]
    assert warmup.variants == ("cosine",)


def test_every_command_is_in_the_reference_with_its_examples() -> None:
    page = commands_page()
    for name in cli._commands_of(cli._parser()):
        assert f"## `convforge {name}`" in page
    assert "$ convforge export build/train" in page


def test_the_errors_of_the_reference_are_those_that_are_raised() -> None:
    messages = error_messages(ROOT)
    texts = [message.text for message in messages]
    assert "‹data› has no test images: data.split.test=‹test›" in texts
    for message in messages[::10]:
        line = (ROOT / message.path).read_text(encoding="utf-8").splitlines()[message.line - 1]
        assert "Error(" in line


def test_pages_ask_for_parts_that_are_made() -> None:
    asking = [page for page in PAGES if "<!-- generated:" in page.read_text(encoding="utf-8")]
    assert len(asking) == 6
    for page in asking:
        text = with_generated_parts(ROOT, page.read_text(encoding="utf-8"))
        assert "<!-- generated:" not in text


def test_a_page_that_the_build_completes_says_where_it_is_whole() -> None:
    """In the page's own file, which a reader of the repository opens; the site leaves it out."""
    by_build = re.compile(r"^<!-- generated:|^```{eval-rst}|^:::::{equation}", re.M)
    texts = {page: page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md")}
    completed = {page: text for page, text in texts.items() if by_build.search(text)}
    assert len(completed) == 12
    for page, text in completed.items():
        where = f"`build/site/{page.relative_to(DOCS).with_suffix('.html').as_posix()}`"
        assert re.search(rf"^<!-- .* -->\n(> .*\n)*> .*{re.escape(where)}", text, re.M), page
        assert where not in with_generated_parts(ROOT, text)
        modules = re.findall(r"automodule:: (\S+)", text)
        assert not modules or f"`python -m pydoc {' '.join(modules)}`" in text


def test_the_picture_of_the_house_leaves_out_only_what_follows() -> None:
    direct = direct_imports(room_imports())

    def reached(room: str) -> set[str]:
        below = {other for start, other in direct if start == room}
        return below.union(*map(reached, below))

    for room, others in room_imports().items():
        assert others <= reached(room)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_on_the_pages_compose(page: Path, shared_project: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for words in shown_commands(text):
        # What the page itself adds: tests/test_added_parts.py.
        if not added_configs(text).intersection(words):
            compose_command(words, shared_project)


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    pytest.importorskip("furo")
    words = ["-m", "sphinx", "--fresh-env", "--fail-on-warning", "--quiet", str(DOCS), "."]
    built = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    from site_pages.built_links import wrong_links

    assert wrong_links(tmp_path) == []
