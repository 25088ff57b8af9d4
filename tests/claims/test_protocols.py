"""The claims in conf/claim: what they ask for exists, and their arms differ in one thing."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import pytest
import yaml

from convforge.errors import InputError
from convforge.pipeline.claims.claim import (
    SCALE_NAMES,
    Protocol,
    ScaleName,
    claim_names,
    files_of,
    read_protocol,
)
from convforge.pipeline.claims.code import CONFIGS, code_checksums
from convforge.pipeline.claims.figures import FIGURES
from convforge.pipeline.claims.jobs import TUNING_SEED, ClaimJobs
from convforge.pipeline.composition import compose_config, settings_of
from convforge.pipeline.settings.run import Settings

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "convforge"
EXEMPT = {
    # The names of files in a run's folder, and what a model is logged with.
    "convforge/pipeline/run_folder.py",
    "convforge/serving/model_card.py",
    # How a config is read, and where prepared data lie: what they say is in the data's digest.
    "convforge/pipeline/settings/data.py",
    "convforge/pipeline/stages/preprocess.py",
}
IMAGES = {"digits": (14, 14, 1), "cpu": (32, 32, 3), "full": (32, 32, 3)}


@cache
def _protocols() -> list[Protocol]:
    found = []
    for name in claim_names(ROOT):
        stated = yaml.safe_load((ROOT / files_of(name, "digits")[0]).read_text())["scales"]
        found += [read_protocol(ROOT, name, scale) for scale in SCALE_NAMES if scale in stated]
    return found


@cache
def _settings(name: str, scale: ScaleName, arm: str) -> Settings:
    overrides = read_protocol(ROOT, name, scale).overrides(arm)
    return settings_of(compose_config(ROOT, overrides))


PROTOCOLS = [pytest.param(each, id=f"{each.name}-{each.scale}") for each in _protocols()]
OF_EQUAL_PARAMETERS = [
    pytest.param(
        read_protocol(ROOT, name, scale),
        id=f"{name}-{scale}",
        # Half a second for each arm that is composed.
        marks=[] if scale == "cpu" else [pytest.mark.slow],
    )
    for name in ("relu", "weight_sharing")
    for scale in SCALE_NAMES
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_it_compares_figures_that_there_are(protocol: Protocol) -> None:
    figures = {comparison.figure for comparison in protocol.comparisons}
    assert figures
    assert figures <= set(FIGURES)
    assert protocol.claim.tuned_by in {None, "validation_error", "steps_to_target"}, (
        "the test images choose nothing"
    )


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_arm_composes_fits_its_images_and_is_none_of_the_others(protocol: Protocol) -> None:
    settings = [_settings(protocol.name, protocol.scale, arm) for arm in protocol.arms]
    assert all(each.costs(IMAGES[protocol.scale], 10) for each in settings)
    assert len({each.model_dump_json() for each in settings}) == len(settings)


@pytest.mark.parametrize("protocol", OF_EQUAL_PARAMETERS)
def test_arms_that_say_so_have_as_many_parameters(protocol: Protocol) -> None:
    counts = {
        arm: sum(
            layer.parameters
            for layer in _settings(protocol.name, protocol.scale, arm).costs(
                IMAGES[protocol.scale], 10
            )
        )
        for arm in protocol.arms
    }
    large = counts.pop("fully_connected_large", None)
    assert max(counts.values()) / min(counts.values()) < 1.04
    if large is not None:
        assert 9.5 < large / counts["convolutional"] < 10.5


def test_every_arm_has_the_same_runs_and_learning_rates() -> None:
    jobs = ClaimJobs(read_protocol(ROOT, "relu", "digits"), tracked=False)
    tuned: dict[str, list[float | None]] = {}
    for job in jobs.tuning:
        tuned.setdefault(job.arm, []).append(job.rate)
        assert job.seed == TUNING_SEED
        assert "evaluate=true" not in job.overrides
    assert len({tuple(rates) for rates in tuned.values()}) == 1
    compared = jobs.compared(dict.fromkeys(tuned, 0.1))
    assert [job.number for job in [*jobs.tuning, *compared]] == list(range(jobs.count))
    assert {(job.arm, job.seed) for job in compared} == {
        (arm, seed) for arm in tuned for seed in range(5)
    }
    assert all("evaluate=true" in job.overrides for job in compared)


def test_where_learning_rates_are_compared_no_test_image_is_seen() -> None:
    jobs = ClaimJobs(read_protocol(ROOT, "batch_normalization_rates", "digits"), tracked=False)
    assert jobs.compared({}) == []
    assert not any("evaluate=true" in job.overrides for job in jobs.tuning)
    assert {job.seed for job in jobs.tuning} == set(range(5))


def test_a_comment_in_a_protocol_changes_nothing_and_a_number_does(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "conf" / "claim", tmp_path / "conf" / "claim")
    before = read_protocol(tmp_path, "relu", "digits").digest
    file = tmp_path / "conf" / "claim" / "relu.yaml"
    file.write_text("# another word\n" + file.read_text())
    assert read_protocol(tmp_path, "relu", "digits").digest == before
    file.write_text(file.read_text().replace("smallest_effect: 2.0", "smallest_effect: 1.5"))
    assert read_protocol(tmp_path, "relu", "digits").digest != before


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("tuned_by:", "tuned_bye:", "relu.yaml: tuned_bye is not a key; did you mean tuned_by?"),
        ("better: relu\n", "better: rely\n", "comparisons='rely' is not allowed: give one of relu"),
        ("smallest_effect: 2.0", "smallest_effect: 1.0", "comparisons=1.0 is not allowed"),
        ("smallest_effect: 2.0", "smallest_effect: -2.0", "smallest_effect"),
        ("  digits:", "  digit:", "scales.digit"),
        ("arms:", "arms: {", "relu.yaml: while parsing"),
    ],
)
def test_a_wrong_protocol_is_told_by_its_key(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    shutil.copytree(ROOT / "conf" / "claim", tmp_path / "conf" / "claim")
    file = tmp_path / "conf" / "claim" / "relu.yaml"
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, after))
    with pytest.raises(InputError) as refusal:
        read_protocol(tmp_path, "relu", "digits")
    assert message in str(refusal.value)


def test_an_unknown_claim_or_scale_names_those_that_there_are() -> None:
    with pytest.raises(InputError, match="did you mean relu"):
        read_protocol(ROOT, "rely", "digits")
    with pytest.raises(InputError, match="scale=gpu is not allowed: give digits, cpu, full"):
        read_protocol(ROOT, "relu", "gpu")
    with pytest.raises(InputError, match="layers_80sec is for full"):
        read_protocol(ROOT, "layers_80sec", "digits")


def test_dvc_runs_every_claim_at_every_scale() -> None:
    pipeline = yaml.safe_load((ROOT / "claims" / "dvc.yaml").read_text())
    for scale in SCALE_NAMES:
        stated = [each.name for each in _protocols() if each.scale == scale]
        listed = next(names[scale] for names in pipeline["vars"] if scale in names)
        assert sorted(listed) == sorted(stated)


def test_a_claim_is_run_again_after_any_change_of_a_config_that_it_chooses() -> None:
    defaults = yaml.safe_load((ROOT / "conf" / "config.yaml").read_text())["defaults"]
    default = dict(pair for item in defaults if isinstance(item, dict) for pair in item.items())
    # Where and how something is computed decides nothing, and Hydra's own logs less.
    groups = set(default) & {name.partition("/")[0] for name in CONFIGS}
    for protocol in _protocols():
        for arm in protocol.arms:
            chosen = {
                group: option
                for group, _, option in (item.partition("=") for item in protocol.overrides(arm))
                if group in default
            }
            options = {**default, **chosen}
            used = {f"{group}/{options[group]}" for group in groups}
            assert used - {f"{group}/{default[group]}" for group in ("augment", "model")} <= set(
                CONFIGS
            )


def test_a_claim_is_run_again_after_any_change_that_trains_a_net_anew() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    listed = {*stages["preprocess"]["deps"], *stages["train"]["deps"]}
    files = {
        f"convforge/{file.relative_to(SOURCE)}"
        for dep in listed
        if dep.startswith("src/")
        for file in ([ROOT / dep] if dep.endswith(".py") else (ROOT / dep).rglob("*.py"))
    }
    assert files - set(code_checksums()) <= EXEMPT
