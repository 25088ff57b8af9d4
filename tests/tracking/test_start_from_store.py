"""`trainer.start_from` a model that MLflow keeps: which it is, and the run that starts from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convforge.errors import InputError
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.stages.train import train
from convforge.pipeline.tracking.model_reference import address_of, identity_in_store
from convforge.pipeline.tracking.registry import register
from convforge.pipeline.tracking.replay import State
from convforge.serving.predictor import load_predictor

pytestmark = pytest.mark.integration

QUIET = Progress(Verbosity.QUIET)
NET = ("model=softmax_linear", "augment=none", "debug=one_step", "tracking=mlflow")


@pytest.fixture(scope="module")
def run(
    compose: Callable[..., Any], digits: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a run whose model has a version and an alias."""
    root = tmp_path_factory.mktemp("store")
    train(compose(*NET), digits, root / "run", root, QUIET)
    state = State.read(root / "run")
    register(str(state.run_id), str(state.tracking_uri), "digits", "champion")
    return root / "run"


def test_a_model_is_the_run_that_made_it_however_it_is_called(run: Path) -> None:
    state = State.read(run)
    uri, run_id = str(state.tracking_uri), str(state.run_id)
    calls = (run_id, f"runs:/{run_id}", f"runs:/{run_id}/model", "models:/digits/1")
    for reference in (*calls, "models:/digits@champion", "models:/digits/latest"):
        address = address_of(reference)
        assert address is not None
        assert identity_in_store(address, uri) == (run_id, run_id), reference
    kept = f"models:/{state.model_id}"
    assert identity_in_store(kept, uri) == (kept, None)
    for wrong in ("models:/digits@champin", "models:/digits/7", "models:/digit/latest"):
        with pytest.raises(InputError, match=r"sqlite|has no version"):
            identity_in_store(wrong, uri)


@pytest.mark.slow
@pytest.mark.parametrize("reference", ["RUN", "runs:/RUN/model", "models:/digits@champion"])
def test_a_run_starts_from_a_model_that_its_store_keeps(
    compose: Callable[..., Any], digits: Path, run: Path, tmp_path: Path, reference: str
) -> None:
    run_id = str(State.read(run).run_id)
    still = ("optimizer.learning_rate=1e-12", "schedule=constant", "optimizer.weight_decay=0")
    named = f"trainer.start_from='{reference.replace('RUN', run_id)}'"
    train(compose(*NET, *still, "seed=1", named), digits, tmp_path / "run", run.parent, QUIET)
    report = json.loads((tmp_path / "run" / "started_from.json").read_text())
    assert (report["identity"], report["run_id"]) == (run_id, run_id)
    assert report["taken"] == ["logits/kernel", "logits/bias"]
    one, other = (load_predictor(folder).model.weights for folder in (run, tmp_path / "run"))
    for left, right in zip(one, other, strict=True):
        np.testing.assert_allclose(np.asarray(left), np.asarray(right), atol=1e-8)
