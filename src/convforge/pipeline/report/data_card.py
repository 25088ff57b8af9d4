"""The data card: what a prepared data set is, where it comes from, and what it is not good for.

It says the same of the same data on every machine and on every day, so that DVC and MLflow keep
one version of it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from math import sqrt
from pathlib import Path

from convforge.pipeline.data.absent_classes import absent_classes
from convforge.pipeline.data.manifest import FILE_NAME, Manifest
from convforge.pipeline.filesystem.atomic_file import write_text
from convforge.pipeline.pluralize import pluralize
from convforge.pipeline.printable import one_line

CARD = "card.md"

_MOST_CLASSES, _MOST_REASONS, _MOST_NAMES, _MOST_SHARDS = 1000, 20, 5, 20
_NOTE_NAMES = re.compile(r"(readme|licen[cs]e|copying)(\.(md|rst|txt))?", re.I)
_ABOUT_LICENCE = re.compile(
    r"licen[cs]e|copyright|creative commons|public domain|\bCC[ -](BY|0)|\bMIT\b|terms of use", re.I
)
_MOST_NOTE_BYTES, _MOST_QUOTES, _QUOTE_LENGTH = 100_000, 3, 400
_NAME_LENGTH = 80
# Fewer training images of a class than this are worth a warning.
_FEW_IMAGES = 20
_UNEVEN = 3


def data_card(manifest: Manifest, source: Path | None, pictures: Sequence[str] = ()) -> str:
    """The card as Markdown.

    Args:
        manifest: of the prepared data.
        source: what they were made from, to look for a README beside it; or None.
        pictures: names of contact sheets that lie beside the card.
    """
    sections = (
        _title(manifest, pictures),
        _origin(manifest, source),
        _contents(manifest),
        _pixels(manifest),
        _preparation(manifest),
        _left_out(manifest),
        _findings(manifest),
        _limits(manifest),
        _checksums(manifest),
    )
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def write_card(
    folder: Path, manifest: Manifest, source: Path | None, pictures: Sequence[str] = ()
) -> Path:
    """Write `card.md` into `folder`; a reader sees the old one or the new one, never half of it."""
    path = folder / CARD
    write_text(path, data_card(manifest, source, pictures))
    return path


def report_data(
    data: Path, manifest: Manifest, out: Path, source: Path | None, *, most_bytes: int | None = None
) -> list[Path]:
    """Write the card of the prepared `data` into the folder `out`, and its contact sheets.

    Sheets of an earlier call are removed; `most_bytes` is as in `draw_contact_sheets`.

    Returns:
        The files written, the card first.
    """
    from convforge.pipeline.report.contact_sheet import draw_contact_sheets

    out.mkdir(parents=True, exist_ok=True)
    for file in out.iterdir():
        if is_own(file.name):
            file.unlink()
    pictures = draw_contact_sheets(data, manifest, out, most_bytes=most_bytes)
    return [write_card(out, manifest, source, [path.name for path in pictures]), *pictures]


def is_own(name: str) -> bool:
    """Whether a file of this name is one that `report_data` writes."""
    return name == CARD or re.fullmatch(r"(overview|contact_sheet)(_.+)?\.png", name) is not None


def _title(manifest: Manifest, pictures: Sequence[str]) -> Iterator[str]:
    yield f"# Data card: {_plain(manifest.name)}"
    yield ""
    total = sum(split.examples for split in manifest.splits.values())
    yield (
        f"{pluralize(total, 'image')}, {_plain(manifest.labels)}, {_shape(manifest)} "
        f"pixels ({'grey' if manifest.image_shape[2] == 1 else 'RGB'}, 8 bits)."
    )
    for picture in pictures:
        yield ""
        yield f"![{Path(picture).stem}]({picture})"


def _origin(manifest: Manifest, source: Path | None) -> Iterator[str]:
    yield "## Source"
    yield ""
    yield f"- Made from `{manifest.source}` (`data.path={manifest.config.get('path')}`)."
    if source is None or not source.exists():
        yield "- Licence: **not known**. The source is not there any more, nor a README beside it."
        return
    quotes = licence_notes(source)
    if not quotes:
        yield (
            "- Licence: **not known**. No README or LICENSE beside the data says; find out before "
            "you publish them, or a model trained on them."
        )
    for name, quote in quotes:
        yield f"- `{name}` beside the data says: “{quote}”"


def licence_notes(source: Path) -> list[tuple[str, str]]:
    """What a README or LICENSE beside the data says of licence: its name and the passages.

    It is looked for in the folder `source`, or in the folder of the file `source`.
    """
    folder = source if source.is_dir() else source.parent
    try:
        names = sorted(path.name for path in folder.iterdir() if _NOTE_NAMES.fullmatch(path.name))
        quotes = []
        for name in names:
            if (folder / name).is_file():
                with (folder / name).open("rb") as file:
                    text = file.read(_MOST_NOTE_BYTES).decode(errors="replace")
                quotes += [(name, passage) for passage in _passages(text)]
    except OSError:
        return []
    return quotes[:_MOST_QUOTES]


def _passages(text: str) -> list[str]:
    """The paragraphs and list items that speak of a licence, one line each."""
    blocks = re.split(r"\n\s*\n|\n(?=\s*[-*+#] )", text)
    lines = (" ".join(block.split()).lstrip("-*+# ") for block in blocks)
    found = [line for line in lines if _ABOUT_LICENCE.search(line)]
    cut = [
        line if len(line) <= _QUOTE_LENGTH else f"{line[:_QUOTE_LENGTH].rstrip()}…"
        for line in found
    ]
    return [_plain(line.replace("**", "")) for line in cut]


def _contents(manifest: Manifest) -> Iterator[str]:
    splits = manifest.splits
    if manifest.targets:
        yield from _target_table(manifest)
        return
    yield "## Classes and splits"
    yield ""
    yield f"| class | name | {' | '.join(splits)} |"
    yield f"|--:|---|{'--:|' * len(splits)}"
    for number, name in enumerate(manifest.classes[:_MOST_CLASSES]):
        counts = (f"{count:,}" for count in manifest.class_counts(number))
        yield f"| {number} | {_plain(name)} | {' | '.join(counts)} |"
    if len(manifest.classes) > _MOST_CLASSES:
        more = len(manifest.classes) - _MOST_CLASSES
        yield f"| | *{more:,} more: see `{FILE_NAME}`* |{' |' * len(splits)}"
    yield f"| | **all** | {' | '.join(f'{split.examples:,}' for split in splits.values())} |"


def _target_table(manifest: Manifest) -> Iterator[str]:
    yield "## Targets and splits"
    yield ""
    yield "| split | images |"
    yield "|---|--:|"
    for name, split in manifest.splits.items():
        yield f"| {name} | {split.examples:,} |"
    yield ""
    yield "Of the training images:"
    yield ""
    yield "| target | least | greatest | mean | standard deviation |"
    yield "|---|--:|--:|--:|--:|"
    for target in manifest.targets:
        values = (target.min, target.max, target.mean, target.std)
        yield f"| {_plain(target.name)} | {' | '.join(f'{value:.6g}' for value in values)} |"


def _pixels(manifest: Manifest) -> Iterator[str]:
    statistics = manifest.statistics
    names = ("grey",) if len(statistics.mean) == 1 else ("red", "green", "blue")
    yield "## Pixels"
    yield ""
    yield f"- In the source: {source_sizes(manifest)}."
    yield f"- Here: {_shape(manifest)}, 8 bits. Of the training images, in units of 0..255:"
    yield ""
    yield f"| | {' | '.join(names)} |"
    yield f"|---|{'--:|' * len(names)}"
    yield f"| mean | {' | '.join(f'{value:.2f}' for value in statistics.mean)} |"
    yield f"| standard deviation | {' | '.join(f'{value:.2f}' for value in statistics.std)} |"
    if len(names) == 3:
        components = statistics.principal_components
        total = sum(component.variance for component in components) or 1.0
        for number, component in enumerate(components, start=1):
            row = " | ".join(f"{part:+.3f}" for part in component.direction)
            share = component.variance / total
            yield f"| principal component {number}: {share:.1%} of the variance | {row} |"


def source_sizes(manifest: Manifest) -> str:
    """Heights and widths of the images before they were resized."""
    height, width = manifest.height, manifest.width
    if (height.min, width.min) == (height.max, width.max):
        return f"every image {height.min}×{width.min} pixels"
    return (
        f"{height.min} to {height.max} pixels high (mean {height.mean:.0f}), "
        f"{width.min} to {width.max} wide (mean {width.mean:.0f})"
    )


def _preparation(manifest: Manifest) -> Iterator[str]:
    yield "## How it was prepared"
    yield ""
    yield "`convforge preprocess`, with this `data` group of the config:"
    yield ""
    yield "| key | value |"
    yield "|---|---|"
    for key, value in _flat(manifest.config):
        written = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield f"| `{key}` | {_plain(written)} |"


def _flat(config: dict[str, object], prefix: str = "data.") -> Iterator[tuple[str, object]]:
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _findings(manifest: Manifest) -> Iterator[str]:
    yield "## What to know"
    yield ""
    yield from (f"- {_plain(line)}" for line in manifest.findings)
    if not manifest.findings:
        yield "Nothing stood out: no copies of images, no classes that cannot be told apart."


def _left_out(manifest: Manifest) -> Iterator[str]:
    counts = manifest.counts
    yield "## What was left out"
    yield ""
    yield (
        f"{pluralize(counts.found, 'item')} found = {counts.used:,} used + {counts.bad:,} bad + "
        f"{counts.dropped:,} dropped from training since they are held out as well."
    )
    lines = left_out(manifest)
    if lines:
        yield ""
    for line in lines:
        yield f"- {_plain(line)}"


def left_out(manifest: Manifest) -> list[str]:
    """What is not in the data and why, a line for each reason, the commonest first."""
    reasons = Counter(item.reason for item in manifest.bad_items)
    lines = []
    for reason, count in reasons.most_common(_MOST_REASONS):
        names = [item.name for item in manifest.bad_items if item.reason == reason]
        lines.append(f"{count:,} × {reason}: {_some(names)}")
    if len(reasons) > _MOST_REASONS:
        others = pluralize(len(reasons) - _MOST_REASONS, "other reason")
        lines.append(f"{others}: see {FILE_NAME}")
    if manifest.counts.dropped:
        pairs = [f"{twin.name} is {twin.same_as}" for twin in manifest.duplicates]
        count = manifest.counts.dropped
        lines.append(f"{count:,} × training image that is held out as well: {_some(pairs)}")
    lines += (f"{count:,} × {reason}" for reason, count in manifest.passed_over.items())
    return lines


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(map(_short, names[:_MOST_NAMES]))
    return f"{shown}, …" if len(names) > _MOST_NAMES else shown


def _limits(manifest: Manifest) -> Iterator[str]:
    yield "## Intended use and limits"
    yield ""
    answers = "targets" if manifest.targets else "classes"
    yield (
        f"- Meant for training and comparing models on these {answers}. A model learns these "
        "images; nothing says that it works on others."
    )
    yield from _class_limits(manifest)
    yield from _target_limits(manifest)
    if not manifest.splits["test"].examples:
        yield "- No test images: nothing can be said of how well a model does on others."
    yield (
        "- Not checked: whether the labels are right, near-duplicates (the same scene twice), "
        "personal data, or whom and what the images leave out."
    )


def _class_limits(manifest: Manifest) -> Iterator[str]:
    if not manifest.classes:
        return
    yield from (f"- {_plain(line)}." for line in uneven_classes(manifest))
    tested = manifest.splits["test"].examples
    if tested:
        # The normal approximation to the binomial at 90 %: 1.96 standard errors.
        points = 196 * sqrt(0.9 * 0.1 / tested)
        yield (
            f"- {pluralize(tested, 'test image')}: an accuracy of 90 % is known to ±{points:.1f} "
            "points (95 % interval). Smaller differences between two models may be chance."
        )


def uneven_classes(manifest: Manifest) -> list[str]:
    """What is to be known of classes with few images or none, or with many more than others."""
    if not manifest.classes:
        return []
    lines = absent_classes(manifest)
    counts = manifest.splits["train"].class_counts
    pairs = zip(manifest.classes, counts, strict=True)
    few = [name for name, count in pairs if count < _FEW_IMAGES]
    if few:
        have = "has" if len(few) == 1 else "have"
        lines.append(
            f"{len(few):,} of {pluralize(len(counts), 'class', 'classes')} {have} fewer than "
            f"{_FEW_IMAGES} training images: {_some(few)}"
        )
    if min(counts) * _UNEVEN < max(counts):
        lines.append(
            f"Uneven classes: {min(counts):,} to {max(counts):,} training images. Accuracy "
            "alone says little; look at the confusion matrix"
        )
    return lines


def _target_limits(manifest: Manifest) -> Iterator[str]:
    for target in manifest.targets:
        yield (
            f"- {_plain(target.name)}: a model has seen {target.min:.4g} to {target.max:.4g}; "
            f"one that always says {target.mean:.4g} has a root mean square error of about "
            f"{target.std:.4g}."
        )


def _checksums(manifest: Manifest) -> Iterator[str]:
    yield "## Checksums"
    yield ""
    yield f"- Digest of classes, splits, labels and images: `{manifest.digest}`"
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    for shard in shards[:_MOST_SHARDS]:
        yield f"- `{shard.file}`: {pluralize(shard.examples, 'image')}, CRC-32C `{shard.crc32c}`"
    if len(shards) > _MOST_SHARDS:
        more = pluralize(len(shards) - _MOST_SHARDS, "more shard")
        yield f"- {more}: see `{FILE_NAME}`"


def _shape(manifest: Manifest) -> str:
    return "×".join(map(str, manifest.image_shape))


def _short(text: str) -> str:
    return text if len(text) <= _NAME_LENGTH else f"{text[:_NAME_LENGTH]}…"


def _plain(text: str) -> str:
    r"""`text` so that Markdown shows it as it is: a class or a file may have any name.

    Example:
        >>> print(_plain("a|b_*c\n"))
        a\|b\_\*c␣
    """
    return re.sub(r"([\\`*_\[\]<>|~$&])", r"\\\1", one_line(text))
