"""Figures of classification: confusions, calibration, comparisons.

Those of trainings are in `training_plots`.
"""

import matplotlib.colors
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from neuromusic.core.figures import (
    BLUE,
    COLUMN_MM,
    FONT_SIZE,
    GREY,
    LIGHT_GREY,
    PAGE_MM,
    FigureStyle,
    add_legend,
    fitting_size,
    new_figure,
    styled,
    text_mm,
    wrapped,
)

MOST_IN_A_COLUMN = 12  # classes of a confusion matrix that fit into a column
DARK = 0.6  # share of the colour scale from which text is white
SQUARE_ROOT = matplotlib.colors.PowerNorm(0.5, 0, 1)
SHARES = [0, 0.05, 0.2, 0.5, 1]  # marks of the square-root scale


# --- Confusions -----------------------------------------------------------------------------------


@styled
def confusion(
    counts: NDArray[np.int64], classes: list[str], title: str, style: FigureStyle
) -> Figure:
    """Draw a confusion matrix.

    Parameters
    ----------
    counts : array (classes, classes)
        Number of clips; rows are true, columns predicted. Colours are shares of a row.
    classes : list of str
        Their names.
    title : str
        Title of the figure.
    style : FigureStyle
        Width of the figure.
    """
    width = style.width(COLUMN_MM if len(classes) <= MOST_IN_A_COLUMN else PAGE_MM)
    title = wrapped(title, width)
    above, below, left, right = 5 + 4 * title.count("\n"), _below(classes), _left(classes), 15
    size = width - left - right
    figure = new_figure(width, above + size + below)
    axis = figure.add_subplot()
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    image = axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    font = fitting_size(size / len(classes), len(str(counts.max())))
    for place, count in np.ndenumerate(counts):
        if count:
            _number(axis, place, str(count), share[place], font)
    _label_classes(axis, classes)
    axis.set(xlabel="predicted genre", ylabel="true genre")
    figure.suptitle(title)
    bar = figure.colorbar(image, ax=axis, label="% of the true genre's clips", shrink=0.9)
    bar.set_ticks([0, 0.5, 1], labels=["0", "50", "100"])
    return figure


@styled
def confusions(
    matrices: dict[str, NDArray[np.float64]], classes: list[str], notes: list[str],
    style: FigureStyle,
) -> Figure:  # fmt: skip
    """Draw confusion matrices (title -> shares of each true class) side by side.

    Colours are on a square-root scale, so that confusions remain visible next to the diagonal;
    numbers are per cent. ``notes`` are printed below. In a narrow figure the matrices are one below
    the other.
    """
    width = style.width(PAGE_MM)
    n_columns = len(matrices) if width > 0.8 * PAGE_MM else 1
    n_rows = -(-len(matrices) // n_columns)
    left, right = _left(classes), 15
    size = (width - left - right - 4 * (n_columns - 1)) / n_columns
    notes_text = wrapped("Cells off the diagonal: " + "; ".join(notes) + ".", width, FONT_SIZE)
    lines_mm = 4 * (2 + notes_text.count("\n"))
    height = n_rows * (size + 14) + _below(classes) + (n_rows - 1) * 2 + lines_mm
    figure = new_figure(width, height)
    axes = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    font = fitting_size(size / len(classes), 3)
    for axis, (title, matrix) in zip(axes.flat, matrices.items(), strict=True):
        image = axis.imshow(matrix, cmap="Blues", norm=SQUARE_ROOT)
        for place, share in np.ndenumerate(matrix):
            if round(100 * share):
                _number(axis, place, f"{100 * share:.0f}", float(SQUARE_ROOT(share)), font)
        _label_classes(axis, classes)
        axis.set_title(wrapped(title, size, FONT_SIZE), fontsize=FONT_SIZE)
    for axis in axes[-1]:
        axis.set_xlabel("answer")
    for axis in axes[:, 0]:
        axis.set_ylabel("true genre")
    bar = figure.colorbar(image, ax=axes, ticks=SHARES, aspect=30, pad=0.01)
    bar.ax.set_yticklabels([f"{100 * share:g}" for share in SHARES])
    bar.set_label("% of the true genre's answers")
    figure.supxlabel(notes_text, fontsize=FONT_SIZE)
    return figure


def _left(classes: list[str]) -> float:
    """Return the space for names of rows, in mm."""
    return 7 + text_mm(classes)


def _below(classes: list[str]) -> float:
    """Return the space for names of columns, which are at an angle of 45 degrees, in mm."""
    return 9 + 0.75 * text_mm(classes)


def _number(axis: Axes, place: tuple[int, ...], text: str, darkness: float, size: float) -> None:
    """Write a number into a cell (row, column), in white if the cell is dark."""
    row, column = place
    colour = "white" if darkness > DARK else "black"
    axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)


def _label_classes(axis: Axes, classes: list[str]) -> None:
    axis.set_xticks(range(len(classes)), classes, rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(classes)), classes)
    axis.spines[["top", "right"]].set_visible(True)


# --- Calibration ----------------------------------------------------------------------------------


@styled
def reliability(
    bins: pd.DataFrame, calibration: dict[str, float], title: str,
    style: FigureStyle,
) -> Figure:  # fmt: skip
    """Draw accuracy against confidence, and the number of clips in each bin of confidence.

    ``bins`` is the output of `metrics.reliability`, ``calibration`` that of `metrics.calibration`.
    """
    width = style.width(COLUMN_MM)
    figure = new_figure(width, 1.15 * min(width, 120))
    axis, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    middle, bin_width = (bins["low"] + bins["high"]) / 2, (bins["high"] - bins["low"]).iloc[0]
    axis.bar(
        middle, bins["expected_high"] - bins["expected_low"], bin_width, bins["expected_low"],
        color=LIGHT_GREY, label="95 % of calibrated networks",
    )  # fmt: skip
    axis.plot([0, 1], [0, 1], color=GREY, lw=0.8)
    axis.plot(
        bins["confidence"], bins["accuracy"], "o", color=BLUE, label="this network", clip_on=False
    )
    axis.set(ylabel="accuracy", xlim=(0, 1), ylim=(-0.03, 1.03))
    text = (
        f"{title}: calibration error {calibration['error']:.3f}\n(if calibrated: "
        f"{calibration['error_if_calibrated']:.3f}, up to "
        f"{calibration['error_if_calibrated_95']:.3f})"
    )
    figure.suptitle(wrapped(text, width))
    add_legend(figure, axis, width)
    below.bar(middle, bins["n"], 0.9 * bin_width, color=GREY)
    below.set(xlabel="confidence (probability of the predicted genre)", ylabel="clips")
    below.yaxis.get_major_locator().set_params(integer=True, nbins=3)
    return figure


# --- Comparisons ----------------------------------------------------------------------------------


@styled
def comparison(table: pd.DataFrame, over: str, style: FigureStyle) -> Figure:
    """Draw the accuracies in `comparison.Comparison.table` with intervals, the best at the top.

    ``over`` says what the intervals are over. Published accuracies are of other clips, so they are
    not drawn on the same axis; a note says where they are.
    """
    n, width = len(table), style.width(PAGE_MM)
    note = "Published accuracies are in the table only: they are of other clips."
    note = wrapped(note if table["published"].notna().any() else "", 0.55 * width, FONT_SIZE)
    figure = new_figure(width, 28 + 7 * n + (4 * (2 + note.count("\n")) if note else 0))
    axis = figure.add_subplot()
    y = np.arange(n)
    bars = [table["accuracy"] - table["accuracy_low"], table["accuracy_high"] - table["accuracy"]]
    axis.vlines(
        table["chance"], y - 0.4, y + 0.4, color=GREY, lw=0.8, ls="--", label="chance", zorder=1
    )
    axis.scatter(
        table["random_weights"], y, marker="x", s=16, color=GREY, lw=1, label="random weights",
        clip_on=False,
    )  # fmt: skip
    axis.errorbar(
        table["accuracy"], y, xerr=np.maximum(bars, 0), fmt="o", color=BLUE, clip_on=False,
        label="accuracy",
    )  # fmt: skip
    names = [f"{row.run}\n{row.model}, n = {row.n}" for row in table.itertuples()]
    axis.set_yticks(y, [wrapped(name, 0.45 * width, FONT_SIZE - 1) for name in names])
    axis.tick_params(axis="y", labelsize=FONT_SIZE - 1)
    label = "accuracy (share of clips)"
    axis.set(xlim=(0, 1), xlabel=f"{label}\n{note}" if note else label, ylim=(n - 0.5, -0.5))
    figure.suptitle(wrapped(f"accuracy with 95 % interval over {over}", width))
    add_legend(figure, axis, width)
    return figure
