"""The weights that a run starts from where they are another model's: `trainer.start_from`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convforge.errors import InputError
from convforge.pipeline.filesystem.atomic_file import write_text
from convforge.pipeline.pluralize import pluralize
from convforge.pipeline.project import resolve_path
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.tracking.model_reference import (
    address_of,
    identity_in_store,
    is_there,
    model_folder,
    store_uri,
)
from convforge.pipeline.tracking.replay import State
from convforge.pipeline.tracking.store import store_of
from convforge.serving.model_archive import ModelArchive
from convforge.serving.model_card import CARD, read_card
from convforge.serving.predictor import find_model

# Variables that a line of the terminal names.
_MOST_NAMED = 4


@dataclass(frozen=True)
class Source:
    """A model that a run starts from, found and not read yet.

    Args:
        reference: as the config says it.
        place: a path here, or an address in `store`.
        store: the MLflow store that has it, or None for a path.
        identity: the id of the run that made it where MLflow keeps it, else the SHA-256 of its
            weights.
        run_id: of the run that made it, where that is known.
    """

    reference: str
    place: str
    store: str | None
    identity: str
    run_id: str | None


@dataclass(frozen=True)
class Weights:
    """A model's variables by `layer/variable`, and which epoch's they are, for people."""

    arrays: Mapping[str, NDArray[Any]]
    described: str


@dataclass(frozen=True)
class Start:
    """What became of a source's variables, and of the new net's.

    Args:
        start_from: the source, as the config says it.
        identity: as `Source` has it; so is `run_id`.
        run_id: see `identity`.
        weights: which epoch's they are.
        taken: those that fitted by layer, variable and shape.
        new: the net's others, each with the reason.
        not_used: the source's others, each with the reason.
    """

    start_from: str
    identity: str
    run_id: str | None
    weights: str
    taken: Sequence[str]
    new: Mapping[str, str]
    not_used: Mapping[str, str]

    def lines(self) -> Iterator[str]:
        """In a few lines for the terminal."""
        whole = pluralize(len(self.taken) + len(self.new), "variable")
        yield (
            f"starts from {self.start_from} ({self.weights}): {len(self.taken):,} of {whole} taken"
        )
        if self.new:
            yield f"  left as new: {_few(self.new)}"
        # Those of another shape stand above.
        missing = {name: why for name, why in self.not_used.items() if name not in self.new}
        if missing:
            yield f"  not used of it: {_few(missing)}"

    def tags(self) -> dict[str, str]:
        """For the run in MLflow."""
        tags = {
            "convforge.started_from": self.identity,
            "convforge.started_from_taken": f"{len(self.taken)} of "
            f"{len(self.taken) + len(self.new)} variables",
        }
        return tags | ({"convforge.started_from_run": self.run_id} if self.run_id else {})

    def write(self, path: Path) -> None:
        """Write all of it to the file `path`."""
        write_text(path, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> Start | None:
        """What `write` wrote, or None where it did not."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None


def find_source(settings: Settings, out: Path, root: Path) -> Source | None:
    """The model that `trainer.start_from` names, or None where it names none.

    Args:
        settings: of the run; a path counts from the project's folder.
        out: the run's own folder.
        root: the project's folder.

    Raises:
        InputError: there is no such model, or it lies in `out`.
    """
    reference = settings.trainer.start_from
    if reference is None:
        return None
    path = resolve_path(reference, root)
    address = None if is_there(path) else address_of(reference)
    try:
        if address is None:
            return _on_disk(reference, path, out)
        store = store_of(settings.tracking, root)
        uri = store.uri if store else store_uri()
        identity = identity_in_store(address, uri)
        return Source(reference, address, uri, identity.name, identity.run_id)
    except InputError as error:
        raise InputError(f"trainer.start_from={reference}: {error}") from error


def _on_disk(reference: str, path: Path, out: Path) -> Source:
    file = _weights_file(path)
    if file.resolve().is_relative_to(out.resolve()):
        raise InputError(f"it lies in {out}, which this run writes anew: copy it, or write another")
    digest = ModelArchive(file).weights_digest
    # A run's folder has its record beside `model/`.
    records = [State.read(folder) for folder in (path, file.parent.parent) if folder.is_dir()]
    run_id = next((record.run_id for record in records if record.run_id), None)
    return Source(reference, str(path), None, digest, run_id)


def _weights_file(path: Path) -> Path:
    # Without a card too: what it answers does not matter.
    if path.suffix == ".keras" and path.is_file():
        return path
    return find_model(path)[0]


def read_weights(source: Source) -> Weights:
    """The variables of the model, in the numbers that they have there.

    Keras builds the model for it, which moves Keras' names and seeds: start Keras afterwards.

    Raises:
        InputError: it is gone, or not what this project or Keras saves.
    """
    try:
        with model_folder(source.place, source.store) as folder:
            file = _weights_file(folder)
            has_card = (file.parent / CARD).is_file()
            described = read_card(file.parent).weights if has_card else "a Keras file"
            model = ModelArchive(file).load()
    except InputError as error:
        raise InputError(f"trainer.start_from={source.reference}: {error}") from error
    return Weights(variables(model, lambda variable: variable.numpy()), described)


def variables(model: Any, value: Any) -> dict[str, Any]:
    """`value` of each of a model's variables, by `layer/variable`."""
    return {
        f"{layer.name}/{variable.path.rpartition(f'{layer.name}/')[2]}": value(variable)
        for layer in model.layers
        for variable in layer.weights
    }


def start_from(model: Any, weights: Weights, source: Source) -> Start:
    """Give `model` the weights that fit it by the names of layer and variable, and by shape.

    The moving statistics of batch normalisation are among them; an optimizer's state is not. They
    get the type of the variable: in whatever precision a model was trained, its weights fit.

    Raises:
        InputError: none fits.
    """
    own = variables(model, lambda variable: variable)
    taken, new, not_used = [], {}, {}
    for name, variable in own.items():
        array = weights.arrays.get(name)
        if array is None:
            new[name] = "missing there"
        elif array.shape != tuple(variable.shape):
            shapes = f"{_shape(array.shape)} there, {_shape(variable.shape)} here"
            new[name] = not_used[name] = f"other shape: {shapes}"
        else:
            variable.assign(np.asarray(array, np.float32))
            taken.append(name)
    not_used |= {name: "missing here" for name in weights.arrays if name not in own}
    if not taken:
        raise InputError(
            f"trainer.start_from={source.reference}: none of its variables "
            f"({_few(not_used) or 'it has none'}) fits this net by name and shape; it has "
            f"{', '.join(list(own)[:_MOST_NAMED])}"
        )
    return Start(
        *(source.reference, source.identity, source.run_id, weights.described),
        *(taken, new, not_used),
    )


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "one number"


def _few(reasons: Mapping[str, str]) -> str:
    named = [f"{name} ({why})" for name, why in list(reasons.items())[:_MOST_NAMED]]
    rest = len(reasons) - len(named)
    return ", ".join(named) + (f" and {rest:,} more" if rest else "")
