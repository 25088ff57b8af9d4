"""`make bench`: what a run keeps, what it compares, and that the pages say what was measured."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import bench
import page
import pytest
from bounds import BOUNDS, Bound, verdicts
from measurement import NotHereError, Row, measure, output
from sections import SECTIONS, Section

RESULTS = bench.read(bench.COMMITTED)


def results_of(section: str, *rows: Row, **more: object) -> dict[str, object]:
    """Results with one section."""
    found = {"rows": [vars(row) for row in rows], "measured": {"quick": False}, **more}
    return {"machine": {}, "versions": {}, "sections": {section: found}}


@pytest.mark.parametrize("file", page.PAGES, ids=lambda file: file.name)
def test_the_pages_hold_what_the_committed_results_say(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert page.refreshed(text, RESULTS) == text, "run `make bench-pages`"


def test_the_pages_show_all_sections_and_close_what_they_open() -> None:
    texts = [file.read_text(encoding="utf-8") for file in page.PAGES]
    shown = {name for text in texts for _, name, _, _ in page.BLOCK.findall(text)}
    assert shown == {*SECTIONS, *page.SENTENCES, "machine", "bounds", "growth-plot"}
    for text in texts:
        assert len(page.BLOCK.findall(text)) == text.count("<!-- bench:")
    assert page.PLOT.exists() == bool(page.growing_rows(RESULTS))


def test_every_figure_of_a_table_is_the_results() -> None:
    row = Row("a net", "ms", "theirs", {"theirs": [40.0, 44.0, 36.0], "ours": [20.0, 11.0, 24.0]})
    results = results_of("step", row, failed="it fell")
    table = page.block("step", results)
    assert table is not None
    assert "| a net, ms | theirs | 40.0 | 36.0 … 44.0 | 3 | 1 × |" in table
    # The median of 2, 4 and 1.5: of the rounds, and not of the medians.
    assert "|  | ours | 20.0 | 11.0 … 24.0 | 3 | 2.00 × |" in table
    assert "Failed: it fell." in table


def test_sentences_of_the_readme_take_their_figures_from_the_results() -> None:
    arms = {"ours, file": [461.0], "MLflow's Keras flavour, pixels": [23.0]}
    rows = [Row("1 client", "requests/s", None, arms), Row("8 clients", "requests/s", None, arms)]
    results = results_of("serve", *rows)
    results["machine"] = {"cores": 2, "processor": "X"}
    text = "".join(
        f"<!-- bench: {name} -->\n{there}\n<!-- /bench -->\n"
        for name, there in (("served", "old"), ("prepared", "kept"))
    )
    written = page.refreshed(text, results)
    assert "On 2 cores of X it answers 461 such requests" in written
    assert "old" not in written
    assert "kept" in written


def test_an_arm_that_fails_or_is_not_here_leaves_the_others_alone() -> None:
    def not_here() -> float:
        raise NotHereError("no such package")

    row = measure(
        Row("r", "s"), {"bad": lambda: 1 / 0, "absent": not_here, "good": lambda: 2.0}, rounds=3
    )
    assert row.rounds == {"good": [2.0] * 3}
    assert row.failed == {"bad": "ZeroDivisionError: division by zero"}
    assert row.missing == {"absent": "no such package"}
    assert bench.failures(results_of("step", row)) == [
        "step: r: bad: ZeroDivisionError: division by zero"
    ]


def script(folder: Path, name: str, body: str) -> Section:
    """A section whose script does this with the file `rows` to write."""
    file = folder / f"{name}.py"
    file.write_text(f"import sys, json, pathlib\nrows = pathlib.Path(sys.argv[4])\n{body}\n")
    return Section(name, str(file), minutes=1.0, rounds=2)


def test_a_section_that_fails_keeps_its_rows_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = json.dumps([vars(Row("r", "s", None, {"a": [1.0, 3.0]}))])
    sections = {
        "fails": script(tmp_path, "fails", f"rows.write_text({rows!r})\nraise OSError('no disk')"),
        "works": script(tmp_path, "works", f"rows.write_text({rows!r})"),
        "lacks": Section("lacks", "", 1.0, 1, lacks=lambda given: "nothing of it here"),
    }
    monkeypatch.setattr(bench, "SECTIONS", sections)
    monkeypatch.setattr(page, "SECTIONS", sections)
    assert bench.main(["--out", str(tmp_path / "out")]) == 1
    found = json.loads((tmp_path / "out" / "results.json").read_text())["sections"]
    assert "no disk" in found["fails"]["failed"]
    assert found["fails"]["rows"] == found["works"]["rows"] == json.loads(rows)
    assert found["lacks"] == {"not_measured": "nothing of it here"}
    table = (tmp_path / "out" / "table.md").read_text()
    assert "Not measured: nothing of it here." in table
    assert "no disk" in table
    assert "failed: fails: " in capfd.readouterr().err


def test_a_section_that_hangs_is_ended(tmp_path: Path) -> None:
    file = tmp_path / "hangs.py"
    file.write_text("import time\ntime.sleep(60)\n")
    failure = bench._run([sys.executable, str(file)], {}, 0.2, tmp_path / "log")
    assert failure is not None
    assert "longer than" in failure


def test_a_ratio_out_of_bounds_is_named_and_one_that_was_not_measured_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    slow = Row("a net", "ms", "pytorch", {"pytorch": [1.0], "ours on tensorflow": [2.0]})
    assert not bench.check(results_of("step", slow))
    said = capsys.readouterr().out
    assert "OUT OF BOUNDS step: a net: ours on tensorflow / pytorch = 2, ≤ 1" in said
    assert re.search(r"not measured  tracking: .*it was not run", said)
    fast = Row("a net", "ms", "pytorch", {"pytorch": [2.0], "ours on tensorflow": [1.0]})
    assert bench.check(results_of("step", fast))


def test_a_bound_names_what_the_committed_results_have() -> None:
    assert {bound.section for bound in BOUNDS} <= SECTIONS.keys()
    for verdict in verdicts(RESULTS.get("sections", {}), page.slope_of):
        section = RESULTS.get("sections", {}).get(verdict.bound.section, {})
        if (
            section.get("rows")
            and "failed" not in section
            and verdict.bound.section != "preprocess"
        ):
            assert verdict.why != "it was not run", verdict.bound


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: f"{bound.section} {bound.arm}")
def test_every_bound_has_a_reason_and_one_side(bound: Bound) -> None:
    assert bound.reason
    assert (bound.at_least is None) != (bound.at_most is None)


def test_growth_is_said_with_its_slope_and_the_reason_where_it_is_not_that_of_the_work() -> None:
    linear = Row(page.growth.PREPROCESS, "s", None, {"10": [1.0], "40": [4.0], "160": [16.0]})
    assert page.sentence(linear).startswith("slope 1.00, 1.00 between the largest two, as expected")
    fixed = Row(page.growth.PREPROCESS, "s", None, {"10": [3.0], "40": [3.0], "160": [6.0]})
    assert page.sentence(fixed).startswith("slope 0.25, 0.50 between the largest two; below the")
    assert page.GROWTH[fixed.name].below in page.sentence(fixed)


def test_the_plot_of_growth_is_drawn(tmp_path: Path) -> None:
    rows = [
        Row(name, "s", None, {"1": [1.0, 1.2], "4": [3.0, 4.0], "16": [17.0, 15.0]})
        for name in page.GROWTH
    ]
    page.draw_growth(rows, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_a_smoke_run_is_not_committed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench, "COMMITTED", tmp_path / "results.json")
    results = results_of("step", Row("r", "s"), measured={"quick": True})
    with pytest.raises(SystemExit, match="smoke run"):
        bench.commit(results)
    assert not (tmp_path / "results.json").exists()


def test_what_is_committed_replaces_its_section_and_keeps_what_was_not_measured_now(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bench, "COMMITTED", tmp_path / "results.json")
    monkeypatch.setattr(page, "redraw", lambda results: [])
    old, new = (Row("r", "s", None, {"a": [value]}) for value in (1.0, 2.0))
    bench.write(results_of("preprocess", old), bench.COMMITTED)
    results = results_of("step", new)
    results["sections"]["preprocess"] = {"not_measured": "no archive"}  # type: ignore[index]
    bench.commit(results)
    sections = bench.read(bench.COMMITTED)["sections"]
    assert sections["step"]["rows"][0]["rounds"] == {"a": [2.0]}
    assert sections["preprocess"]["rows"][0]["rounds"] == {"a": [1.0]}


@pytest.mark.parametrize(
    "section", [s for s in SECTIONS.values() if s.script], ids=lambda s: s.title
)
def test_each_section_names_a_script_that_is_there(section: Section) -> None:
    assert (Path(bench.__file__).parent / section.script).is_file()
    assert section.minutes > 0


@pytest.mark.slow
@pytest.mark.parametrize("section", [n for n, s in SECTIONS.items() if s.script])
def test_each_section_runs(section: str, tmp_path: Path) -> None:
    output([sys.executable, bench.__file__, "--quick", "--only", section, "--out", str(tmp_path)])
    found = bench.read(tmp_path / "results.json")["sections"][section]
    assert found.get("rows") or found.get("not_measured")
