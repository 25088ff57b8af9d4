"""Wrong configs are refused when composed, by our composition and by DVC's own."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import compose_and_dump

from convforge.errors import InputError
from convforge.pipeline.composition import compose_config, read_params, settings_of, sweep_jobs
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.project import project_root
from convforge.pipeline.settings.optimization import MomentumSGDSettings
from convforge.pipeline.stages.compose import compose as compose_stage
from convforge.pipeline.stages.compose import difference

QUIET = Progress(Verbosity.QUIET)

# Override → what the refusal says: the full key, the value, what is allowed or the nearest name.
WRONG_VALUES = {
    "seed=-1": ["seed=-1", "greater than or equal to 0"],
    "seed=1.5": ["seed=1.5", "integer"],
    "data.size=[28]": ["data.size=[28] is not allowed: give [height, width], such as [32, 32]"],
    "data.size=28": ["data.size=28 is not allowed: give [height, width], such as [32, 32]"],
    "data.size=28x28": ["data.size='28x28' is not allowed: give [height, width]"],
    "data.size=[28,0]": ["data.size=[28, 0] is not allowed", "whole numbers up to 16384"],
    "data.channels=2": ["data.channels=2", "known are 1, 3"],
    "data.links=all": ["data.links='all'", "known are inside, follow"],
    "data.split.test=1.5": ["data.split.test=1.5", "less than 1"],
    "data.split.validation=-3": ["data.split.validation=-3", "greater than or equal to 0"],
    "data.on_bad=eror": ["data.on_bad='eror'", "did you mean error?"],
    "data.max_bad_share=2": ["data.max_bad_share=2", "less than or equal to 1"],
    "data.num_classes=1": ["data.num_classes=1"],
    "data.name=null": ["data.name=null", "string"],
    "augment.crop.scale=[0.9,0.1]": ["augment.crop.scale=[0.9, 0.1]", "low ≤ high"],
    "augment.crop.scale=0.5": ["augment.crop.scale=0.5", "array"],
    "augment.reflection.probability=2": ["augment.reflection.probability=2", "0 to 1"],
    "augment.geometry.rotation=500": ["augment.geometry.rotation=500", "0 to 180"],
    "augment.fill=edges": ["augment.fill='edges'", "did you mean edge?"],
    "augment.colour.reading=squrt": ["augment.colour.reading='squrt'", "did you mean sqrt?"],
    "model.activation=rellu": ["model.activation='rellu'", "did you mean relu?"],
    "model.normalize=standardise": ["model.normalize='standardise'", "mean standardize?"],
    "model.layers=null": ["model.layers=null"],
    "model.layers.conv1.filters=0": ["model.layers.conv1.filters=0", "integer ≥ 1"],
    "model.layers.conv1.filters=many": ["model.layers.conv1.filters='many'", "integer"],
    "model.layers.conv1.kernel_size=[3,3,3]": ["model.layers.conv1.kernel_size=[3, 3, 3]", "pair"],
    "model.layers.conv1.padding=-1": ["model.layers.conv1.padding=-1", '"valid" or "same"'],
    "model.layers.conv1.type=conv3d": ["model.layers.conv1.type='conv3d'", "did you mean conv2d?"],
    "model.layers.conv1.num_pieces=0": ["model.layers.conv1.num_pieces=0", "integer ≥ 1"],
    "model.layers.pool1.strides=0": ["model.layers.pool1.strides=0", "integer ≥ 1"],
    "model.layers.drop1.rate=1.5": ["model.layers.drop1.rate=1.5", "[0, 1)"],
    "model.layers.logits.units=0": ["model.layers.logits.units=0", "integer ≥ 1"],
    "+model.layers.extra={type: batch_normalization, momentum: 2}": [
        "model.layers.extra.momentum=2",
        "[0, 1)",
    ],
    "+model.layers.extra={type: activation, function: relu6}": [
        "model.layers.extra.function='relu6'",
        "did you mean relu?",
    ],
    "+model.layers.conv1.kernel_initializer=he": [
        "model.layers.conv1.kernel_initializer='he'",
        "glorot_uniform, glorot_normal, he_uniform, he_normal, {normal: σ}",
    ],
    "+model.layers.conv1.kernel_initializer={normal: 0}": [
        "model.layers.conv1.kernel_initializer={'normal': 0}",
        "> 0",
    ],
    "+model.layers.conv1.max_norm=0": ["model.layers.conv1.max_norm=0", "a number > 0, or null"],
    "+model.layers.extra={type: local_response_normalization, size: 4}": [
        "model.layers.extra.size=4",
        "an odd integer",
    ],
    "+model.layers.extra={type: locally_connected, filters: 0, kernel_size: 3}": [
        "model.layers.extra.filters=0",
        "integer ≥ 1",
    ],
    "+model.layers.extra={type: dropout}": ["model.layers.extra.rate is missing"],
    "+model.layers.extra={rate: 0.5}": ["model.layers.extra.type is missing"],
    "optimizer.learning_rate=-1": ["optimizer.learning_rate=-1", "greater than 0"],
    "optimizer.learning_rate=fast": ["optimizer.learning_rate='fast'", "number"],
    "optimizer.learning_rate=nan": ["optimizer.learning_rate=nan"],
    "optimizer.learning_rate=inf": ["optimizer.learning_rate=inf"],
    "optimizer.weight_decay=inf": ["optimizer.weight_decay=inf"],
    "optimizer.momentum=1": ["optimizer.momentum=1", "less than 1"],
    "optimizer.no_decay=['(']": ["optimizer.no_decay='('", "a regular expression"],
    "+optimizer.learning_rate_factors={bias: -1}": [
        "optimizer.learning_rate_factors.bias=-1",
        "greater than or equal to 0",
    ],
    "optimizer.clip_norm=0": ["optimizer.clip_norm=0", "greater than 0"],
    "trainer.precision=float16": ["trainer.precision='float16'", "did you mean float32?"],
    "model.nominal_input={image: [32, 32], classes: 10}": ["model.nominal_input.image=[32, 32]"],
    "optimizer.name=lion": [
        "optimizer.name='lion'",
        "known are sgd, momentum_sgd, keras_sgd, adam",
    ],
    "schedule.final_fraction=2": ["schedule.final_fraction=2", "less than or equal to 1"],
    "trainer.epochs=0": ["trainer.epochs=0", "greater than or equal to 1"],
    "trainer.epochs=three": ["trainer.epochs='three'", "integer"],
    "trainer.batch_size=0": ["trainer.batch_size=0"],
    "trainer.deterministic=1": ["trainer.deterministic=1", "boolean"],
    "tracking.experiment=": ["tracking.experiment=''", "at least 1 character"],
    "tracking.uri=3": ["tracking.uri=3", "string"],
    "schema=2": ["schema=2", "known are 1"],
}
UNKNOWN_KEYS = {
    "optimizer.learnin_rate=0.1": [
        "optimizer.learnin_rate is not a key",
        "mean optimizer.learning_rate?",
    ],
    "+optimizer.learnin_rate=0.1": [
        "optimizer.learnin_rate is not a key",
        "mean optimizer.learning_rate?",
    ],
    "model.layers.conv1.filter=64": [
        "model.layers.conv1.filter is not a key",
        "mean model.layers.conv1.filters?",
    ],
    "+model.layers.conv1.filter=64": [
        "model.layers.conv1.filter is not a key",
        "mean model.layers.conv1.filters?",
    ],
    "+model.nonsense=1": ["model.nonsense is not a key", "known are name, normalize"],
    "model.layers.conv9.filters=3": ["model.layers.conv9", "did you mean model.layers.conv"],
    "augment.geometry.rotatoin=5": [
        "augment.geometry.rotatoin is not a key",
        "mean augment.geometry.rotation?",
    ],
    "+augment.geometry.rotatoin=5": [
        "augment.geometry.rotatoin is not a key",
        "mean augment.geometry.rotation?",
    ],
    "+augment.geometri=5": ["augment.geometri is not a key", "did you mean augment.geometry?"],
    "trainer.epoch=3": ["trainer.epoch is not a key", "did you mean trainer.epochs?"],
    "tracking.experimnt=x": [
        "tracking.experimnt is not a key",
        "did you mean tracking.experiment?",
    ],
    "+sed=3": ["sed is not a key", "did you mean seed?"],
    "epochs=3": ["epochs is not a key", "did you mean trainer.epochs?"],
    "size=32": ["size is not a key", "did you mean data.size or augment.size?"],
    "optimiser=sgd": ["optimiser is not a key", "did you mean optimizer?"],
    "+schedule.factor=0.1": ["schedule.factor is not a key", "final_fraction"],
}
UNKNOWN_OPTIONS = {
    "model=lecture_cn": ["model=lecture_cn", "did you mean lecture_cnn?"],
    "data=mnist_5k": ["data=mnist_5k", "did you mean mnist5k?"],
    "augment=true": ["augment=true: there is no such config; known are alexnet, full, light, none"],
    "data=/home/you/photos": ["data=/home/you/photos: there", "data=folder data.path=/home/you/p"],
    "augment=lite": ["augment=lite", "did you mean light?"],
    "optimizer=momentumsgd": ["optimizer=momentumsgd", "did you mean momentum_sgd?"],
    "schedule=linear": ["schedule=linear", "cosine"],
    "trainer=cpu_quik": ["trainer=cpu_quik", "did you mean cpu_quick?"],
    "tracking=mlflo": ["tracking=mlflo", "did you mean mlflow?"],
    "debug=overfit": ["debug=overfit", "did you mean overfit_batch?"],
}
MISSING = {
    "~seed": ["seed is missing"],
    "~optimizer": ["optimizer is missing"],
    "~model": ["model is missing"],
    "~data.split.test": ["data.split.test is missing"],
    "~model.layers.conv1.type": ["model.layers.conv1.type is missing"],
    "~model.layers.conv1.filters": ["model.layers.conv1.filters is missing"],
    "~optimizer.momentum": ["optimizer.momentum is missing"],
    "data.path=???": ["data.path"],
    "seed=???": ["seed"],
}
MALFORMED = {
    "optimizer.learning_rate": ["optimizer.learning_rate"],
    "optimizer.learning_rate=[": ["["],
    "a=b=c": ["="],
    "optimizer=null": ["optimizer"],
    "=3": ["=3"],
    "model=lecture_cnn,prelu_cnn": ["model=lecture_cnn,prelu_cnn", "multirun"],
    "data.path=${nowhere}": ["data.path", "nowhere"],
    "data.path=${data.nothing}": ["data.path", "data.nothing"],
}
REFUSED = {**WRONG_VALUES, **UNKNOWN_KEYS, **UNKNOWN_OPTIONS, **MISSING, **MALFORMED}


@pytest.mark.parametrize(("override", "expected"), REFUSED.items(), ids=list(REFUSED))
def test_a_wrong_override_is_refused_by_its_key_with_the_nearest_valid_name(
    shared_project: Path, override: str, expected: list[str]
) -> None:
    with pytest.raises(InputError) as refusal:
        settings_of(compose_config(shared_project, [override]))
    for fragment in expected:
        assert fragment in str(refusal.value)


def test_a_key_that_the_schema_knows_and_the_config_leaves_out_is_not_called_unknown(
    shared_project: Path,
) -> None:
    """`mode` is a key of every convolution, though `conf/model/` does not write it."""
    with pytest.raises(InputError) as refusal:
        compose_config(shared_project, ["model.layers.conv1.mode=convolution"])
    assert "+model.layers.conv1.mode" in str(refusal.value)
    config = compose_config(shared_project, ["+model.layers.conv1.mode=convolution"])
    assert settings_of(config).model.layers["conv1"].mode == "convolution"


def test_two_bounds_on_the_gradient_at_once_are_refused(shared_project: Path) -> None:
    overrides = ["optimizer.clip_value=1", "optimizer.clip_global_norm=1"]
    with pytest.raises(InputError, match=r"optimizer\.clip_value=1.* and null for the others"):
        compose_config(shared_project, overrides)


def test_several_mistakes_are_all_named_each_on_its_line(shared_project: Path) -> None:
    overrides = ["optimizer.momentum=3", "data.split.test=-1", "trainer.epochs=0"]
    with pytest.raises(InputError) as refusal:
        compose_config(shared_project, overrides)
    keys = [line.split("=")[0] for line in str(refusal.value).splitlines()]
    assert sorted(set(keys)) == ["data.split.test", "optimizer.momentum", "trainer.epochs"]


def test_every_line_of_a_refusal_says_a_key_once(shared_project: Path) -> None:
    with pytest.raises(InputError) as refusal:
        compose_config(shared_project, ["model.layers.conv1.filters=0"])
    assert len(str(refusal.value).splitlines()) == 1


# Those that are not Hydra's to find, and so need our schema inside DVC's composition.
THROUGH_DVC = [
    "optimizer.learning_rate=-1",
    "+optimizer.learnin_rate=0.1",
    "model.activation=rellu",
    "model.layers.conv1.filters=0",
    "+model.layers.conv1.filter=64",
    "augment.crop.scale=[0.9,0.1]",
    "~optimizer.momentum",
    "data.path=???",
]


def _dvc_composes(project: Path, overrides: list[str], out: Path) -> None:
    """As `dvc exp run -S` does."""
    compose_and_dump(out, str(project / "conf"), None, "config", str(project), overrides)


MANY = 10**12
# Careless and hostile overrides, and a word of what each is told.
OUTLANDISH = {
    "trainer.epochs=99999999999999999999999": "less than or equal to 1000000",
    f"trainer.epochs={'9' * 5000}": "digits",
    "trainer.epochs=1e400": "trainer.epochs=inf",
    f"trainer.batch_size={MANY}": "less than or equal to 1048576",
    f"trainer.limit_steps={10 * MANY}": "trainer.limit_steps",
    f"trainer.limit_examples={10 * MANY}": "trainer.limit_examples",
    f"trainer.input_threads={MANY}": "trainer.input_threads",
    f"trainer.shuffle_megabytes={MANY}": "trainer.shuffle_megabytes",
    "trainer.checkpoint.seconds=1e300": "trainer.checkpoint.seconds",
    f"trainer.checkpoint.keep={MANY}": "trainer.checkpoint.keep",
    f"data.shard_examples={MANY}": "data.shard_examples",
    f"data.num_classes={MANY}": "data.num_classes",
    f"data.name={'n' * 101}": "at most 100 characters",
    f"model.name={'n' * 101}": "at most 100 characters",
    f"tracking.experiment={'n' * 251}": "at most 250 characters",
    f"tracking.run_name={'n' * 251}": "at most 250 characters",
    "schedule.warmup_epochs=1e300": "schedule.warmup_epochs",
    f"model.nominal_input={{image: [{MANY}, 3, 3], classes: 10}}": "less than or equal to 16384",
    f"model.nominal_input={{image: [3, 3, 3], classes: {MANY}}}": "less than or equal to 1000000",
    f"model.layers.conv1.filters={MANY}": "an integer ≤ 1,048,576",
    f"model.layers.conv1.kernel_size={MANY}": "an integer ≤ 16,384",
    f"model.layers.conv1.kernel_size=[3,{MANY}]": "an integer ≤ 16,384",
    f"+model.layers.conv1.strides={MANY}": "an integer ≤ 16,384",
    f"model.layers.conv1.padding={MANY}": "an integer ≤ 16,384",
    f"model.layers.conv1.padding=[[0,{MANY}],[0,0]]": "an integer ≤ 16,384",
    f"+model.layers.z={{type: dense, units: {MANY}}}": "an integer ≤ 1,048,576",
    f"+model.layers.z={{type: maxout_dense, units: 1, num_pieces: {MANY}}}": "≤ 16,384",
    f"+model.layers.z={{type: max_pool, pool_size: {MANY}}}": "an integer ≤ 16,384",
    f"+model.layers.z={{type: local_response_normalization, size: {MANY + 1}}}": "≤ 16,384",
    f"distribute={{name: devices, devices: {MANY}}}": "distribute",
    f"+model.layers.{'x' * 3000}={{type: flatten}}": "a name is too long",
    f"+model.layers.{'x' * 101}={{type: flatten}}": "at most 100 letters",
    f"model={'x' * 3000}": "there is no such config",
    f"data.path={'x' * 20_000}": "longer than 10,000 letters",
    f"+{'.'.join('a' * 300)}=1": "more than 20 levels",
    f"+model.{'.'.join('a' * 300)}=1": "more than 20 levels",
    f"+{'/'.join('a' * 300)}=x": "more than 20 levels",
    f"trainer.epochs={'[' * 500}": "nested more than 20 deep",
    f"trainer.epochs={'[' * 500}{']' * 500}": "nested more than 20 deep",
    f"+a={'{a:' * 500}1{'}' * 500}": "nested more than 20 deep",
    f"seed={'int(' * 500}1{')' * 500}": "nested more than 20 deep",
    f"optimizer.no_decay=['{'(' * 3000}']": "nested more than 20 deep",
    f"seed={'1_' * 3000}": "…: should be a valid integer",
    "seed=0x10": "seed='0x10'",
    "seed=1\n2": "cannot read the override seed=1␣2",
    "data.path=~/photos (1)": "of its own, as in 'data.path=\"~/photos (1)\"'",
    "data.path=it's": "of its own, as in 'data.path=\"my photos (1)\"'",
    "data.size=[64,": (
        "a bracket is not closed; a shell splits at spaces, so put all of it in quotes, as in"
    ),
    "data.path": "cannot read the override data.path: it is not KEY=VALUE",
    "seed=\x1b[31m": "cannot read the override seed=␣[31m",
    "\u2028=1": "cannot read the override ␣=1",
    "=": "Could not override",
    "~": "Could not delete",
    "+=1": "must be a string",
    "seed=${": "cannot read",
    "seed=${seed}": "Recursive",
    "seed=${oc.env:NO_SUCH}": "NO_SUCH",
    "seed=${nothing:1}": "nothing",
    "model=null": "model",
    "model=../../etc": "there is no such config",
    "model=/etc/passwd": "there is no such config",
    "model.layers=3": "model.layers=3",
    "seed=choice(1,2)": "--multirun",
    "data=mnist5k,cifar10": "Ambiguous",
    "package@model=lecture_cnn": "does not exist",
}


@pytest.mark.parametrize("override", list(OUTLANDISH), ids=lambda override: ascii(override[:40]))
def test_an_outlandish_override_is_refused_in_one_line(shared_project: Path, override: str) -> None:
    with pytest.raises(InputError) as refusal:
        compose_config(shared_project, [override])
    said = str(refusal.value)
    assert OUTLANDISH[override] in said
    assert len(said.splitlines()) == 1
    assert len(said) < 700


def test_what_cannot_be_read_is_repeated_without_its_credentials(shared_project: Path) -> None:
    override = f"tracking.uri=http://ada:secret@host/{'[' * 50}"
    with pytest.raises(InputError, match="nested") as refusal:
        compose_config(shared_project, [override])
    assert "secret" not in str(refusal.value)


def test_a_sweep_refuses_what_no_parser_can_read(shared_project: Path) -> None:
    with pytest.raises(InputError, match="nested more than 20 deep"):
        sweep_jobs(shared_project, [f"seed={'[' * 500}"])


def test_a_file_that_is_nested_too_deeply_is_refused(project: Path) -> None:
    text = f"deep: {'[' * 3000}{']' * 3000}\n"
    (project / "conf" / "trainer" / "deep.yaml").write_text(text)
    with pytest.raises(InputError, match="nested too deeply"):
        compose_config(project, ["trainer=deep"])


def test_the_largest_that_is_allowed_is_allowed(shared_project: Path) -> None:
    """Bounds refuse what is out of reach, and nothing else."""
    overrides = [
        "trainer.epochs=1000000",
        "trainer.batch_size=1048576",
        "model.layers.conv1.filters=1048576",
        "model.layers.conv1.kernel_size=16384",
        # Side by side, brackets are not nested.
        "optimizer.no_decay=[" + ",".join(["'(a)'"] * 30) + "]",
    ]
    settings = settings_of(compose_config(shared_project, overrides))
    assert settings.trainer.epochs == 1_000_000


@pytest.mark.parametrize("override", THROUGH_DVC)
def test_dvc_exp_run_refuses_the_same_override(
    shared_project: Path, tmp_path: Path, override: str
) -> None:
    with pytest.raises(Exception) as refusal:  # noqa: PT011  Hydra and OmegaConf wrap ours
        _dvc_composes(shared_project, [override], tmp_path / "params.yaml")
    messages, error = [], refusal.value
    while error is not None:
        messages.append(str(error))
        error = error.__cause__ or error.__context__
    for fragment in REFUSED[override]:
        assert any(fragment in message for message in messages), messages
    assert not (tmp_path / "params.yaml").exists()


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["model=prelu_cnn", "optimizer=sgd", "optimizer.learning_rate=1e-3"],
        ["debug=overfit_batch", "model.layers.pool1=null", "data.path='a b/ü.zip'"],
        ["augment=full", "schedule=step", "tracking=none", "trainer=cpu_quick"],
    ],
)
def test_dvc_and_the_compose_stage_write_the_same_bytes(
    project: Path, tmp_path: Path, overrides: list[str]
) -> None:
    _dvc_composes(project, overrides, tmp_path / "dvc.yaml")
    with contextlib.suppress(InputError):  # Some of the data are not there; it says so last.
        compose_stage(project, overrides, QUIET)
    assert (project / "params.yaml").read_bytes() == (tmp_path / "dvc.yaml").read_bytes()


def test_params_hold_values_only_and_parse_to_the_same_settings(project: Path) -> None:
    compose_stage(project, ["model=lecture_cnn", "model.activation=tanh"], QUIET)
    text = (project / "params.yaml").read_text()
    assert "${" not in text
    assert "???" not in text
    assert "hydra" not in text
    settings = read_params(project / "params.yaml")
    composed = compose_config(project, ["model=lecture_cnn", "model.activation=tanh"])
    assert settings == settings_of(composed)
    assert settings.model.layers["conv1"].activation == "tanh"


def test_an_interpolation_is_resolved_and_checked(shared_project: Path) -> None:
    overrides = ["schedule.final_fraction=0.01", "optimizer.momentum=${schedule.final_fraction}"]
    config = compose_config(shared_project, overrides)
    optimizer = settings_of(config).optimizer
    assert isinstance(optimizer, MomentumSGDSettings)
    assert optimizer.momentum == 0.01


def test_null_removes_a_layer_and_plus_adds_one(shared_project: Path) -> None:
    overrides = ["model.layers.pool1=null", "+model.layers.extra={type: average_pool}"]
    specs = settings_of(compose_config(shared_project, overrides)).model.specs()
    assert "pool1" not in specs
    assert list(specs)[-1] == "extra"


def test_a_whole_number_stays_a_count_and_a_fraction_stays_a_fraction(
    compose: Callable[..., Any],
) -> None:
    split = compose("data.split.validation=1", "data.split.test=0.1").data.split
    assert (type(split.validation), type(split.test)) == (int, float)


def test_the_stage_keeps_what_dvc_composed_for_an_experiment(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _dvc_composes(project, ["optimizer.learning_rate=0.5"], project / "params.yaml")
    before = (project / "params.yaml").read_bytes()
    monkeypatch.setenv("DVC_EXP_NAME", "brisk-axle")
    compose_stage(project, [], QUIET)
    assert (project / "params.yaml").read_bytes() == before


def test_an_experiment_whose_params_were_edited_wrongly_is_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compose_stage(project, ["optimizer.momentum=0.8"], QUIET)
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("momentum: 0.8", "momentum: 9"))
    monkeypatch.setenv("DVC_EXP_NAME", "brisk-axle")
    with pytest.raises(InputError, match=r"optimizer\.momentum=9"):
        compose_stage(project, [], QUIET)


def test_a_size_of_null_is_refused_where_images_are_resized(project: Path) -> None:
    expected = (
        r"data\.size=null is not allowed: give \[height, width\], such as \[32, 32\], or "
        r"data\.geometry=as_is instead of resize"
    )
    with pytest.raises(InputError, match=expected):
        settings_of(compose_config(project, ["data=folder", "data.size=null"]))
    settings_of(compose_config(project, ["data=folder", "data.size=null", "data.geometry=as_is"]))


def test_composing_names_missing_data(project: Path) -> None:
    (project / "data" / "mnist-5k.zip").unlink()
    with pytest.raises(InputError, match=r"data\.path=.*mnist-5k\.zip does not exist"):
        compose_stage(project, [], QUIET)


def test_the_difference_between_params_and_conf_is_shown(project: Path) -> None:
    compose_stage(project, ["seed=7"], QUIET)
    assert difference(project, ["seed=7"]) == []
    changed = [line for line in difference(project, []) if not line.startswith(("---", "+++", "@"))]
    assert changed == ["-seed: 7", "+seed: 0"]


def test_params_that_were_never_composed_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"params\.yaml does not exist: `convforge compose`"):
        read_params(tmp_path / "params.yaml")


def test_params_with_a_wrong_value_name_the_key(project: Path) -> None:
    compose_stage(project, ["trainer.epochs=12"], QUIET)
    params = project / "params.yaml"
    params.write_text(params.read_text().replace(" epochs: 12", " epochs: none"))
    with pytest.raises(InputError, match=r"trainer\.epochs='none'"):
        read_params(params)


def test_params_that_are_no_yaml_are_one_plain_error(project: Path) -> None:
    (project / "params.yaml").write_text("data: [1,\nmodel: {")
    with pytest.raises(InputError, match=r"params\.yaml"):
        read_params(project / "params.yaml")


def test_params_that_were_not_resolved_are_one_plain_error(project: Path) -> None:
    with pytest.raises(InputError, match="is missing"):
        read_params(project / "conf" / "config.yaml")


def test_a_config_file_that_is_no_yaml_is_one_plain_error(project: Path) -> None:
    (project / "conf" / "optimizer" / "sgd.yaml").write_text("name: [sgd\nlearning_rate: {")
    with pytest.raises(InputError, match=r"optimizer/sgd"):
        compose_config(project, ["optimizer=sgd"])


def test_the_project_is_found_from_a_folder_below_it(project: Path) -> None:
    below = project / "conf" / "model"
    assert project_root(below) == project.resolve()
    assert project_root() == project.resolve()


def test_a_sweep_is_the_product_of_all_choices(shared_project: Path) -> None:
    jobs = sweep_jobs(shared_project, ["model=a,b", "optimizer.learning_rate=0.1,0.01", "seed=1"])
    assert jobs == [
        [f"model={model}", f"optimizer.learning_rate={rate}", "seed=1"]
        for model in "ab"
        for rate in ("0.1", "0.01")
    ]


@pytest.mark.parametrize(
    ("override", "values"),
    [
        ("seed=range(1,4)", ["1", "2", "3"]),
        ("optimizer.momentum=choice(0.5,0.9)", ["0.5", "0.9"]),
        ("optimizer=glob(*sgd)", ["keras_sgd", "momentum_sgd", "sgd"]),
        ("augment=glob(*,exclude=[full,light])", ["alexnet", "none"]),
    ],
)
def test_hydras_ways_to_write_choices_are_expanded(
    shared_project: Path, override: str, values: list[str]
) -> None:
    key = override.partition("=")[0]
    jobs = sweep_jobs(shared_project, [override])
    assert jobs == [[f"{key}={value}"] for value in values]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "seed=interval(0,3)",
            "an interval is for a search; add hydra/sweeper=optuna, or give a list, choice",
        ),
        ("model=glob(x*)", "model=glob(x*) fits no option of model"),
        ("seed=glob(*)", "seed=glob(*) fits no option of seed"),
    ],
)
def test_choices_that_are_no_list_are_refused(
    shared_project: Path, override: str, said: str
) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        sweep_jobs(shared_project, [override])
