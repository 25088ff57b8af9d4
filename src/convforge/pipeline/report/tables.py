"""Tables for a terminal: what a data set holds, what a network costs."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from convforge.models.summary import LayerCost
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.printable import one_line
from convforge.pipeline.report.data_card import left_out, source_sizes, uneven_classes

# Classes that a terminal shows; the card has more.
_MOST_LISTED = 40


def print_inspection(manifest: Manifest) -> None:
    """Print the counts, the spread and the remarks of a data set."""
    classes = len(manifest.classes)
    shape = f"{times(manifest.image_shape)} pixels"
    print(f"{one_line(manifest.name)}: {shape}, {manifest.labels}\n")
    table = Table(box=None, pad_edge=False, show_footer=True)
    table.add_column("class" if classes else "", "all", max_width=60)
    for name, split in manifest.splits.items():
        table.add_column(name, f"{split.examples:,}", justify="right")
    for number, name in enumerate(manifest.classes[:_MOST_LISTED]):
        counts = (f"{count:,}" for count in manifest.class_counts(number))
        table.add_row(Text(one_line(name), overflow="ellipsis", no_wrap=True), *counts)
    if classes > _MOST_LISTED:
        table.add_row(f"… and {classes - _MOST_LISTED:,} more")
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    print()
    for target in manifest.targets:
        spread = f"mean {target.mean:.4g}; standard deviation {target.std:.4g}"
        print(f"{one_line(target.name)}: {target.min:.4g} to {target.max:.4g}; {spread}")
    mean, std = (
        ", ".join(f"{value:.1f}" for value in values)
        for values in (manifest.statistics.mean, manifest.statistics.std)
    )
    print(f"pixels of the training images, of 255: mean {mean}; standard deviation {std}")
    print(f"in the source: {source_sizes(manifest)}")
    remarks = [*manifest.findings, *uneven_classes(manifest)]
    for title, lines in (("left out", left_out(manifest)), ("to know", remarks)):
        print(f"{title}:" if lines else f"{title}: nothing")
        for line in lines:
            print(f"  {one_line(line)}")


def print_costs(title: str, rows: Sequence[LayerCost], frozen: Collection[str] = ()) -> None:
    """Print what each layer of a network costs, and the total.

    Args:
        title: above the table.
        rows: the layers.
        frozen: the names of those that are not trained.
    """
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, show_footer=True)
    table.add_column("layer", "total")
    table.add_column("type")
    table.add_column("feature map")
    table.add_column("sees", justify="right")
    total = [sum(row.parameters for row in rows), sum(row.multiply_adds for row in rows)]
    table.add_column("parameters", f"{total[0]:,}", justify="right")
    table.add_column("multiply-adds", f"{total[1]:,}", justify="right")
    table.add_column("fully connected instead", justify="right")
    for row in rows:
        table.add_row(
            row.name,
            f"{row.type} (frozen)" if row.name in frozen and row.parameters else row.type,
            times(row.output_shape),
            times(row.receptive_field),
            f"{row.parameters:,}",
            f"{row.multiply_adds:,}",
            "" if row.fully_connected is None else f"{row.fully_connected:,}",
        )
    # Piped, a table keeps its full width instead of being cut to 80 columns.
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    if frozen:
        held = sum(row.parameters for row in rows if row.name in frozen)
        print(f"\nparameters: {total[0] - held:,} trainable, {held:,} frozen")


def times(sizes: Sequence[int]) -> str:
    """Sizes as one writes them, such as 28×28×1."""
    return "×".join(str(size) for size in sizes)
