"""The champion among the versions of a registered model, and who takes its alias from it.

A challenger is a run that was evaluated. What both models say of each test image is in the store,
as `predictions.csv` of their runs: no model is loaded, and nothing but the store is asked, so the
same comparison works after an evaluation and any time later.
"""

from __future__ import annotations

import csv
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convforge.errors import InputError
from convforge.pipeline.progress import Progress
from convforge.pipeline.settings.tracking import RegistrySettings
from convforge.pipeline.tracking.paired_test import PairedTest, compare_errors, compare_right
from convforge.pipeline.tracking.registry import (
    Version,
    add_version,
    asking,
    default_name,
    version_with,
)
from convforge.pipeline.tracking.store import Store
from convforge.pipeline.tracking.uploader import LOCAL_SECONDS, TOTAL

#: The tag that says which test images a run's predictions are of.
TEST_DIGEST_TAG = "convforge.test_digest"
# Of all the data: what a run says that was evaluated before there was the other.
_DATA_DIGEST_TAG = "convforge.data_digest"
CHAMPION_TAG = "convforge.champion"
DECISION_TAG = "convforge.decision"
_PREDICTIONS = "predictions.csv"
# Params that decide about the test images where their targets are drawn.
_DRAWN, _DECIDE = "task.drawn", ("augment.", "seed")


class _IncomparableError(Exception):
    """Why two runs cannot be compared: the second half of a sentence."""


@dataclass(frozen=True)
class Decision:
    """What became of a challenger, in a line; its version where it was registered."""

    line: str
    version: Version | None


def challenge(uri: str, run_id: str, *, name: str | None, alias: str, level: float) -> Decision:
    """Give the run's model the alias if nobody has it, or if it beats who does by more than chance.

    Figures and decision are logged to the run.

    Args:
        uri: of the store that has the run.
        run_id: of the challenger.
        name: of the registered model; None is the network's and the data's.
        alias: the champion's.
        level: the p-value must be below it.

    Raises:
        InputError: the store cannot be asked, or one of the two was never evaluated.
    """
    with asking(uri) as client:
        return _challenge(client, run_id, name, alias, level)


def _challenge(client: Any, run_id: str, name: str | None, alias: str, level: float) -> Decision:
    run = client.get_run(run_id)
    name = name or default_name(run)
    champion = version_with(client, name, alias)
    if champion is None:
        version = add_version(client, run, name, alias)
        return _logged(client, run_id, f"{version}: the first {alias}", version)
    if champion.run_id == run_id:
        version = add_version(client, run, name, alias)
        return Decision(f"{version} is the {alias} already", version)
    other = Version(name, int(champion.version), False)
    try:
        found = _compare(client, run, other, champion.run_id)
    except _IncomparableError as reason:
        return _logged(client, run_id, f"not compared with {other}: {reason}", None, other)
    said = f"{found.counts} (p = {found.p_value:.3g}"
    if found.p_value >= level:
        line = f"not better than {other} by more than chance: {said}, not below {level:g})"
        return _logged(client, run_id, line, None, other, found)
    version = add_version(client, run, name, alias)
    line = f"{version}: the {alias} instead of {other}: {said})"
    return _logged(client, run_id, line, version, other, found)


def _logged(
    client: Any,
    run_id: str,
    line: str,
    version: Version | None,
    champion: Version | None = None,
    found: PairedTest | None = None,
) -> Decision:
    """The decision, once the run says it too."""
    from mlflow.entities import Metric, RunTag
    from mlflow.utils.time import get_current_time_millis

    decision = Decision(f"{'registered' if version else 'not registered'}: {line}", version)
    tags = {DECISION_TAG: decision.line, CHAMPION_TAG: str(champion) if champion else "none"}
    figures = (
        {
            "champion_p_value": found.p_value,
            "champion_n10": found.n10,
            "champion_n01": found.n01,
        }
        if found
        else {}
    )
    now = get_current_time_millis()
    client.log_batch(
        run_id,
        metrics=[Metric(key, value, now, 0) for key, value in figures.items()],
        tags=[RunTag(key, value) for key, value in tags.items()],
    )
    return decision


def _compare(client: Any, run: Any, champion: Version, champion_run: str | None) -> PairedTest:
    """The challenger's answers beside the champion's.

    Raises:
        InputError: one of them has left no answers.
        _IncomparableError: they are answers to other questions.
    """
    if not champion_run:
        raise InputError(f"{champion} was registered without a run, so there are no answers of it")
    other = client.get_run(champion_run)
    own, theirs = (_answers(client, each) for each in (run, other))
    if _said(own) != _said(theirs):
        raise _IncomparableError(f"it predicts {_said(theirs)}, this one {_said(own)}")
    if not any(_have_the_same(tag, run, other) for tag in (TEST_DIGEST_TAG, _DATA_DIGEST_TAG)):
        raise _IncomparableError("it was tested on other images")
    names = [column.removeprefix("actual") for column in own if column.startswith("actual")]
    if any(own[f"actual{name}"] != theirs[f"actual{name}"] for name in names):
        raise _IncomparableError("the same images were to be given other answers")
    if _is_drawn(run) and _decides(run) != _decides(other):
        raise _IncomparableError("its test images were drawn by another augmentation or seed")
    if "predicted" in own:
        return compare_right(*(_right_classes(each) for each in (own, theirs)))
    if run.data.params.get("loss.name") == "hinge":
        return compare_right(*(_right_signs(each, names) for each in (own, theirs)))
    return compare_errors(*(_errors(each, names) for each in (own, theirs)))


_Table = Mapping[str, list[str]]


def _answers(client: Any, run: Any) -> _Table:
    """The columns of the run's `predictions.csv`."""
    with tempfile.TemporaryDirectory(prefix="convforge-") as folder:
        run_id = run.info.run_id
        if all(item.path != _PREDICTIONS for item in client.list_artifacts(run_id)):
            raise InputError(f"the run {run_id} was not evaluated: it has no {_PREDICTIONS}")
        path = Path(client.download_artifacts(run_id, _PREDICTIONS, folder))
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
    return {
        name: list(column) for name, column in zip(header, zip(*rows, strict=True), strict=True)
    }


def _have_the_same(tag: str, run: Any, other: Any) -> bool:
    value = run.data.tags.get(tag)
    return value is not None and value == other.data.tags.get(tag)


def _said(answers: _Table) -> str:
    names = [name.removeprefix("predicted_") for name in answers if name.startswith("predicted_")]
    return ", ".join(names) or "classes"


def _is_drawn(run: Any) -> bool:
    return run.data.params.get(_DRAWN, "None") not in ("None", "[]")


def _decides(run: Any) -> dict[str, str]:
    return {key: value for key, value in run.data.params.items() if key.startswith(_DECIDE)}


def _right_classes(answers: _Table) -> Any:
    return np.array(answers["actual"]) == np.array(answers["predicted"])


def _numbers(answers: _Table, kind: str, names: list[str]) -> Any:
    return np.array([answers[f"{kind}{name}"] for name in names], np.float64)


def _right_signs(answers: _Table, names: list[str]) -> Any:
    """Whether all of an image's signs are right."""
    actual, predicted = (_numbers(answers, kind, names) for kind in ("actual", "predicted"))
    return (np.sign(predicted) == actual).all(axis=0)


def _errors(answers: _Table, names: list[str]) -> Any:
    """Each image's absolute error; of several numbers the mean, in units of their spread."""
    actual, predicted = (_numbers(answers, kind, names) for kind in ("actual", "predicted"))
    spread = np.maximum(actual.std(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return (np.abs(predicted - actual) / spread).mean(axis=0)


def challenge_in_time(
    store: Store,
    run_id: str | None,
    settings: RegistrySettings,
    folder: Path,
    patience: float,
    progress: Progress,
) -> None:
    """`challenge`, and whatever becomes of it is a line: it neither fails a stage nor holds it up.

    Args:
        store: that has the run.
        run_id: of the challenger; None where the store has not got all of it.
        settings: the registered model's name, the champion's alias, the level.
        folder: of the run, to tell how to do the same later.
        patience: seconds without an answer after which a server is not waited for.
        progress: told.
    """
    name, alias, level = settings.name, settings.alias, settings.level
    named = f" --name {name}" if name else ""
    later = f"`convforge register {folder}{named} --alias {alias} --if-better {level:g}` does it"
    if run_id is None:
        progress.warn(f"not registered: {store.uri} has not got the run; after a sync {later}")
        return
    failed: list[Exception] = []

    def work() -> None:
        try:
            decision = challenge(store.uri, run_id, name=name, alias=alias, level=level)
            progress.say(decision.line)
        except Exception as error:
            failed.append(error)

    seconds = LOCAL_SECONDS if store.is_local else TOTAL * patience
    thread = threading.Thread(target=work, name="registry", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        progress.warn(f"{store.uri} has not said in {seconds:g} s what its models are; {later}")
    elif failed and isinstance(failed[0], InputError):
        progress.warn(f"not registered: {failed[0]}; {later}")
    elif failed:
        raise failed[0]
