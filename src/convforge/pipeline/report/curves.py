"""Learning curves: what overfitting looks like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from convforge.pipeline.metrics import CLASS_METRICS, headline
from convforge.pipeline.report.figure import picture
from convforge.pipeline.report.style import BLUE, FAINT, ORANGE, WIDTH
from convforge.pipeline.run_folder import read_history

_HEIGHT = 430
# Where the largest value is so many times the smallest, both are only seen on a logarithmic axis.
_WIDE = 4
# Beyond this there is a line for each power of ten alone.
_DECADES = 1000


def draw_curves(table: Path, path: Path) -> None:
    """Loss and error on training and validation images over the epochs, as a PNG at `path`.

    Of an accuracy the rest is drawn, the error rate, since 98 % and 99 % are twice as many errors.
    The gap between the two curves is tinted, and written above with the best epoch.

    Args:
        table: a run's `history.csv`.
        path: of the picture.
    """
    history = read_history(table)
    metric = headline(history)
    with picture(path, WIDTH, _HEIGHT) as figure:
        left, right = figure.subplots(1, 2)
        _draw_panel(left, history, "loss", "loss")
        if metric.higher_is_better:
            _draw_panel(right, history, metric.name, CLASS_METRICS[1].label, rest=True)
        else:
            _draw_panel(right, history, metric.name, metric.label)
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)


def _draw_panel(
    axes: Axes, history: dict[str, list[float]], name: str, title: str, *, rest: bool = False
) -> None:
    """One figure's curves; of a share, `rest` draws what is missing to all, in per cent."""
    epochs = np.array(history["epoch"])
    training, held_out = (np.array(history.get(column, [])) for column in (name, f"val_{name}"))
    if rest:
        training, held_out = 100 * (1 - training), 100 * (1 - held_out)
    unit = "%" if rest else ""
    axes.plot(epochs, training, color=BLUE, marker=".", label="training (augmented, dropout on)")
    notes = [f"last epoch: training {_written(training[-1], unit)}"]
    judged = training
    if len(held_out):
        judged = held_out
        axes.plot(epochs, held_out, color=ORANGE, marker=".", label="validation")
        axes.fill_between(epochs, training, held_out, color=FAINT, alpha=0.12, linewidth=0)
        gap = held_out[-1] - training[-1]
        notes[0] += f", validation {_written(held_out[-1], unit)}, gap {_written(gap, unit, '+')}"
    best = int(judged.argmin())
    axes.plot(
        epochs[best],
        judged[best],
        linestyle="",
        marker="o",
        markersize=10,
        markerfacecolor="none",
        markeredgewidth=1.5,
        color=ORANGE if len(held_out) else BLUE,
        label="best epoch",
    )
    split = "validation" if len(held_out) else "training"
    notes.append(f"best {split}: {_written(judged[best], unit)} in epoch {epochs[best]:.0f}")
    axes.set_title(title, pad=32, weight="bold")
    written = axes.annotate(
        "\n".join(notes),
        (0, 1),
        xytext=(0, 4),
        xycoords="axes fraction",
        textcoords="offset points",
        va="bottom",
        fontsize=8.5,
        color=FAINT,
    )
    # Else a long line would make the panel narrower.
    written.set_in_layout(False)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    if len(epochs) == 1:
        axes.set_xticks(epochs)
    axes.grid(True)
    _scale(axes, [*training, *held_out], unit)


def _scale(axes: Axes, values: Sequence[float] | NDArray[np.floating], unit: str) -> None:
    """A logarithmic axis where both ends would not be seen on a linear one."""
    positive = [value for value in values if value > 0]
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}{unit}"))
    if not positive or max(positive) / min(positive) < _WIDE:
        return
    axes.set_yscale("log", nonpositive="clip")
    axes.set_ylim(min(positive) / 1.4, max(positive) * 1.4)
    few = max(positive) / min(positive) < _DECADES
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}{unit}"))
    axes.yaxis.set_minor_locator(NullLocator())
    off = " (0 lies below)" if len(positive) < len(values) else ""
    axes.set_ylabel(f"logarithmic{off}", color=FAINT)


def _written(value: float, unit: str, sign: str = "") -> str:
    return f"{value:{sign}.2f}{unit}" if unit else f"{value:{sign}.3g}"
