"""What the README shows is true."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from page_commands import compose_command, shown_commands

from convforge.pipeline.claims.result import read_results

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TOUR = (ROOT / "docs" / "how-to" / "tour.md").read_text(encoding="utf-8")


def test_its_python_example_trains() -> None:
    names: dict[str, object] = {}
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    exec(code, names)
    history = names["net"].fit(np.zeros((2, 28, 28, 1)), np.zeros(2), verbose=0)  # type: ignore[attr-defined]
    assert np.isfinite(history.history["loss"]).all()


def test_its_links_lead_to_files() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_its_commands_compose(shared_project: Path) -> None:
    commands = shown_commands(README)
    assert len(commands) > 10
    # The longer list has a page of its own, which tests/test_site.py composes.
    assert len(commands) + len(shown_commands(TOUR)) > 30
    for words in commands:
        compose_command(words, shared_project)


def test_its_commands_and_configs_exist() -> None:
    groups = {folder.name for folder in (ROOT / "conf").iterdir() if folder.is_dir()}
    shown = dict(re.findall(r"\b(\w+)=(\w+)\b", " ".join(re.findall(r"^\$ .*", README, re.M))))
    chosen = {key: value for key, value in shown.items() if key in groups}
    assert chosen
    for group, option in chosen.items():
        assert (ROOT / "conf" / group / f"{option}.yaml").is_file()


def test_the_figures_of_the_default_run_are_the_committed_ones() -> None:
    measured = json.loads((ROOT / "build" / "metrics.json").read_text(encoding="utf-8"))
    accuracy, loss = measured["test_accuracy"], measured["test_loss"]
    assert f"test accuracy {accuracy:.2%}, loss {loss:.4f}, 1,000 images" in README


def test_the_count_of_verdicts_is_that_of_the_committed_results() -> None:
    found = re.search(
        r"(\d+) claims on 10,000 images of CIFAR-10:\s"
        r"(\d+) reproduced, (\d+) not reproduced, (\d+)\sundecided",
        README,
    )
    assert found
    counted = Counter(
        result.outcome for result in read_results(ROOT / "claims") if result.scale == "cpu"
    )
    of_each = [counted[name] for name in ("reproduced", "not reproduced", "undecided")]
    assert [int(number) for number in found.groups()] == [counted.total(), *of_each]


def test_the_error_of_a_published_net_is_that_of_the_committed_result() -> None:
    (result,) = (
        result for result in read_results(ROOT / "claims") if result.claim == "layers_80sec"
    )
    errors = [run.figures["test_error"] for run in result.arms["layers_80sec"].runs]
    said = f"errs on {mean(errors):.1f} % ± {stdev(errors):.1f}: {result.outcome}."
    assert said in README


def test_it_fits_a_few_screens() -> None:
    assert len(README.splitlines()) < 150
