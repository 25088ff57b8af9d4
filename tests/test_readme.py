"""What the README shows is true."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np

from convforge.pipeline import cli
from convforge.pipeline.claims.claim import read_protocol
from convforge.pipeline.composition import compose_config

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


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
    lines = re.findall(r"^\$ (convforge .*)", README, re.M) + re.findall(
        r"`(convforge .*?)`", README
    )
    assert len(lines) > 15
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        if not {"--help", "-m", "…"}.intersection(words):
            arguments = cli._parser().parse_args(words)
            overrides = getattr(arguments, "overrides", [])
            claim = getattr(arguments, "claim", None)
            if claim is not None:
                scale = next(iter(overrides), "scale=digits").removeprefix("scale=")
                read_protocol(ROOT, claim, scale)
            else:
                compose_config(shared_project, overrides)


def test_its_commands_and_configs_exist() -> None:
    groups = {folder.name for folder in (ROOT / "conf").iterdir() if folder.is_dir()}
    shown = dict(re.findall(r"\b(\w+)=(\w+)\b", " ".join(re.findall(r"^\$ .*", README, re.M))))
    chosen = {key: value for key, value in shown.items() if key in groups}
    assert chosen
    for group, option in chosen.items():
        assert (ROOT / "conf" / group / f"{option}.yaml").is_file()
