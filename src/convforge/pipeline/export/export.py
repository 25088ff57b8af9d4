"""Write a model in a format, run it by that format's runtime, and compare it with Keras."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convforge.augment.window import centre_window
from convforge.errors import InputError
from convforge.pipeline.composition import read_params
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.data.reading.samples import read_chunks
from convforge.pipeline.export.formats import (
    CALIBRATION,
    FORMATS,
    Format,
    is_saved_model,
    make_room,
    size,
)
from convforge.pipeline.pluralize import pluralize
from convforge.pipeline.prediction.image_files import decoded
from convforge.pipeline.progress import Progress
from convforge.pipeline.project import project_root
from convforge.pipeline.run_folder import RunFolder
from convforge.pipeline.stages.preprocess import prepared
from convforge.quiet_start import quiet_unless_it_fails
from convforge.serving.decode import Decoding, RawPixels
from convforge.serving.model_card import EXAMPLE, ModelCard, write_card
from convforge.serving.predictor import decode_image, decoding_of, find_model, load_predictor

# Of an output, between two runtimes that compute in float32.
_TOLERANCE = 1e-4
_COMPARED = 500
# Of them, those that are given in other sizes too.
_RESIZED = 50


def export(
    model: Path,
    form: str,
    out: Path | None,
    paths: Sequence[Path],
    progress: Progress,
) -> None:
    """Write the model in the format `form`, and say how its answers compare with Keras'.

    Args:
        model: its path; in a run's folder the run's own data are compared on.
        form: of `FORMATS`.
        out: where to; a folder, or None for the current one, gets a name made of the network's.
        paths: images, folders and archives to compare on, where there are no data of a run.
        progress: told of what is found.

    Raises:
        InputError: a package is missing, there are no images to calibrate by, or the exported model
            answers otherwise than Keras.
    """
    import keras

    target = FORMATS[form]
    target.check()
    _check_ending(out, target)
    if keras.config.backend() != "tensorflow":
        raise InputError(f"--to={form} needs KERAS_BACKEND=tensorflow")
    predictor = load_predictor(model)
    calibration, compared, labels = _images(model, predictor.card, paths, progress)
    if not target.is_exact and len(calibration) < 2:
        raise InputError(f"--to={form} needs images to calibrate by: give --images PATH …")
    path = _destination(out, f"{predictor.card.name}{target.ending}")
    make_room(path)
    batches: list[NDArray[Any]] = [compared]
    prepared_batches: list[NDArray[Any]] = batches
    if target.takes_any_size:
        batches = [compared.astype(np.uint8), *_other_sizes(compared)]
        prepared_batches = [_as_the_network_sees(batch, predictor.card) for batch in batches]
    expected = np.concatenate([predictor.outputs(batch) for batch in prepared_batches])
    with quiet_unless_it_fails():
        target.write(predictor, path, calibration)
        found = np.concatenate(target.run(path, batches))
    write_card(path.with_name(f"{path.name}.card.json"), predictor.card)
    said = f"{path}: {size(path) / 1e6:,.2f} MB"
    rows, columns, _ = predictor.card.image_shape
    sizes = "of any size" if target.takes_any_size else f"of {rows}×{columns}"
    on = f"{pluralize(len(expected), 'image')} {sizes}"
    apart = float(np.abs(expected - found).max())
    if target.is_exact:
        if not apart <= _TOLERANCE:
            raise InputError(f"{path} answers otherwise than Keras: {apart:.2g} apart on {on}")
        progress.say(f"{said}, like Keras on {on} (at most {apart:.1g} apart)")
    else:
        progress.say(f"{said}, {_compared(predictor.card, expected, found, labels)} on {on}")


def _check_ending(out: Path | None, target: Format) -> None:
    suffix = Path(f"net{target.ending}").suffix
    if out is not None and suffix and out.suffix != suffix and not out.is_dir():
        raise InputError(
            f"--out={out} is not allowed: give a name that ends in {suffix}, or a folder that is "
            "there"
        )


def _destination(out: Path | None, name: str) -> Path:
    folder = out or Path()
    return folder / name if folder.is_dir() and not is_saved_model(folder) else folder


def _other_sizes(images: NDArray[np.float32]) -> list[NDArray[np.uint8]]:
    """A few of the images enlarged and reduced, to compare how they are given their size back."""
    _, height, width, channels = images.shape
    batches = []
    for rows, columns in ((2 * height + 1, 3 * width), (-(-2 * height // 3), width)):
        size = Decoding(channels, (rows, columns), max_pixels=rows * columns)
        batches.append(np.stack([_fitted(image, size) for image in images[:_RESIZED]]))
    return batches


def _as_the_network_sees(images: NDArray[np.uint8], card: ModelCard) -> NDArray[np.float32]:
    """What `convforge predict` makes of files of these pixels."""
    rows, columns, _ = card.image_shape
    fitted = np.stack([_fitted(image, decoding_of(card)) for image in images])
    return np.asarray(centre_window(fitted, (rows, columns)), np.float32)


def _fitted(image: NDArray[Any], decoding: Decoding) -> NDArray[np.uint8]:
    height, width, channels = image.shape
    return RawPixels(height, width, channels).decode(image.astype(np.uint8).tobytes(), decoding)


def _compared(
    card: ModelCard,
    expected: NDArray[np.float32],
    found: NDArray[np.float32],
    labels: NDArray[np.int64] | None,
) -> str:
    if card.targets:
        return f"{np.abs(expected - found).mean():.3g} from Keras' numbers"
    same = float(np.mean(expected.argmax(1) == found.argmax(1)))
    text = f"the same class as Keras for {same:.1%}"
    if labels is None:
        return text
    right = [float(np.mean(outputs.argmax(1) == labels)) for outputs in (found, expected)]
    return f"accuracy {right[0]:.1%} beside Keras' {right[1]:.1%}, {text}"


def _images(
    model: Path, card: ModelCard, paths: Sequence[Path], progress: Progress
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64] | None]:
    """Images to calibrate by, images to compare on, and the classes of these where they are known.

    Those at `paths`; or those of the run's training and test splits; or the example.
    """
    if paths:
        given = [image for _, image in islice(decoded(paths, card, progress.warn), _COMPARED)]
        if not given:
            raise InputError("--images holds no image that can be read")
        images = np.stack(given).astype(np.float32)
        return images[:CALIBRATION], images, None
    run = RunFolder(model)
    if not run.config.is_file():
        example = find_model(model)[0].with_name(EXAMPLE)
        if not example.is_file():  # Of a run from before there was one.
            raise InputError(f"{model} has no {EXAMPLE} to compare on: give --images PATH …")
        image = decode_image(example.read_bytes(), card)[None].astype(np.float32)
        return image, image, None
    root = project_root()
    data = prepared(read_params(run.config).data, root, progress)
    manifest = Manifest.read(data)
    calibration, _ = _split(data, manifest, "train", CALIBRATION, card)
    compared, labels = _split(data, manifest, "test", _COMPARED, card)
    return calibration, compared, labels if card.classes else None


def _split(
    data: Path, manifest: Manifest, split: str, count: int, card: ModelCard
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    images, labels, left = [], [], count
    for chunk in read_chunks(data, manifest, split):
        images.append(chunk.images[:left])
        labels.append(chunk.labels[:left])
        left -= len(images[-1])
        if left <= 0:
            break
    if not images:
        raise InputError(f"{data} has no {split} images to compare on: give --images PATH …")
    rows, columns, _ = card.image_shape
    window = centre_window(np.concatenate(images), (rows, columns))
    return np.asarray(window, np.float32), np.concatenate(labels)
