"""Figures that only a page has."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from neuromusic.core.figures import (
    BLUE,
    COLUMN_MM,
    GREY,
    FigureStyle,
    new_figure,
    styled,
)


@styled
def draw_scores(table: pd.DataFrame, chance: float, style: FigureStyle) -> Figure:
    """Draw accuracies with their intervals, and chance as a line.

    ``table`` has the columns score, accuracy, accuracy_low, accuracy_high and n.
    """
    width, n = style.width(COLUMN_MM), len(table)
    figure = new_figure(width, 16 + 8 * n)
    axis = figure.add_subplot()
    y = np.arange(n)
    axis.axvline(chance, color=GREY, lw=0.8, ls="--")
    axis.annotate(
        "chance", (chance, 1), (2, 0), xycoords=("data", "axes fraction"), va="top",
        textcoords="offset points", color=GREY,
    )  # fmt: skip
    axis.hlines(y, table["accuracy_low"], table["accuracy_high"], color=BLUE, lw=1.2)
    axis.plot(table["accuracy"], y, "o", color=BLUE, clip_on=False)
    labels = [f"{row.score}\nn = {row.n}" for row in table.itertuples()]
    axis.set_yticks(y, labels)
    axis.set(xlim=(0, 1), ylim=(n - 0.5, -0.7), xlabel="accuracy, 95 % interval")
    return figure
