"""What docs/scaling.md says, and what it leads to, is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from convforge.pipeline.composition import compose_config, settings_of

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
COMPOSE = ROOT / "examples" / "mlflow-postgresql" / "compose.yaml"
# Bytes a second of one direction: NVLink of an H100, 100 Gb/s, 10 Gb/s.
BANDWIDTHS = (450e9, 12.5e9, 1.25e9)


def test_its_links_lead_to_files() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", PAGE)
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


@pytest.mark.parametrize("model", ["maxout_cnn", "lecture_cnn", "alexnet"])
def test_the_time_of_a_sum_of_gradients_follows_from_the_parameters(
    shared_project: Path, model: str
) -> None:
    settings = settings_of(compose_config(shared_project, [f"model={model}"]))
    nominal = settings.model.nominal_input
    shape, classes = (tuple(nominal.image), nominal.classes) if nominal else ((28, 28, 1), 10)
    parameters = sum(row.parameters for row in settings.costs(shape, classes))
    (start,) = [
        number
        for number, line in enumerate(PAGE.splitlines())
        if line.startswith(f"| `{model}`, {parameters:,} parameters | {4e-6 * parameters:.1f} MB ")
    ]
    for row, accelerators in zip(PAGE.splitlines()[start:], (8, 64, 512), strict=False):
        said, *times = (cell.strip() for cell in row.strip("|").split("|")[2:])
        assert int(said) == accelerators
        for text, bandwidth in zip(times, BANDWIDTHS, strict=True):
            seconds = 2 * (accelerators - 1) / accelerators * 4 * parameters / bandwidth
            assert float(text.removesuffix(" ms")) == pytest.approx(1e3 * seconds, rel=0.1), row


def test_the_bytes_of_the_input_follow_from_the_rate() -> None:
    rows = re.findall(
        r"^\| (\d+) \| ([\d,]+) \| ([\d,]+) \| ([\d.]+) GB/s \| ([\d.]+) GB/s \| ([\d.]+) s \|",
        PAGE,
        re.M,
    )
    assert len(rows) == 6
    for row in rows:
        accelerators, rate, images, pixels, jpeg, epoch = (
            float(cell.replace(",", "")) for cell in row
        )
        assert images == accelerators * rate
        assert pixels == pytest.approx(images * 256 * 256 * 3 / 1e9, rel=0.05)
        assert jpeg == pytest.approx(images * 147_897_477_120 / 1_281_167 / 1e9, rel=0.05)
        assert epoch == pytest.approx(1_281_167 / images, rel=0.05)


def test_the_compose_file_starts_the_tested_versions_on_postgresql() -> None:
    services = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    installed = re.findall(r"\S+==\S+", services["mlflow"]["build"]["dockerfile_inline"])
    assert len(installed) == 2
    assert set(installed) <= set(pinned)
    database = services["database"]["environment"]
    command = services["mlflow"]["command"]
    uri = f"postgresql+psycopg2://{database['POSTGRES_USER']}:${{POSTGRES_PASSWORD}}@database/"
    assert f"--backend-store-uri {uri}{database['POSTGRES_DB']} " in f"{command} "
    assert services["mlflow"]["environment"]["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"


def test_the_servers_that_are_started_have_only_options_that_mlflow_knows() -> None:
    from mlflow.cli import server

    services = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    (in_the_page,) = re.findall(r"mlflow server (.*?)```", PAGE, re.S)
    known = {name for option in server.params for name in option.opts}
    for command in (services["mlflow"]["command"], in_the_page):
        used = set(re.findall(r"--[a-z-]+", command))
        assert "--backend-store-uri" in used
        assert used <= known
