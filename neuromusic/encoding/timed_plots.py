"""Figures of an encoding of responses in time."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neuromusic.core.figures import (
    BLUE,
    GREEN,
    GREY,
    LIGHT_GREY,
    PAGE_MM,
    PURPLE,
    VERMILLION,
    FigureStyle,
    add_legend,
    new_figure,
    styled,
    text_mm,
    wrapped,
)

MOST_LINES = 4  # targets that are drawn one by one; of more, the median and quartiles
PANEL_MM, PANEL_HEIGHT_MM = 45.0, 38.0
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE)


@styled
def stages(table: pd.DataFrame, style: FigureStyle) -> Figure:
    """Draw r, and r2 beyond the baseline, of each stage: a dot per target, and their median.

    Of the network with random weights, if it is in the table, only the median is drawn.
    ``table`` is the output of `timed_tables.target_table`.
    """
    names = list(dict.fromkeys(table["stage"]))
    has_unique = table["unique_r2"].notna().any()
    width = style.width(PAGE_MM)
    n_panels = 1 + has_unique
    title = wrapped("Correlation of predicted and measured responses to sounds held out", width)
    # Panels are under each other if the names of the stages need the width.
    is_wide = len(names) * 6 * n_panels < width
    shape = (1, n_panels) if is_wide else (n_panels, 1)
    height = 15 + shape[0] * (40 + 0.75 * text_mm(names))
    figure = new_figure(width, height)
    figure.suptitle(title)
    axes = figure.subplots(*shape, squeeze=False).ravel()
    _draw_stages(axes[0], table, names, "r", "ceiling_r")
    axes[0].set_ylabel("r")
    if has_unique:
        _draw_stages(axes[1], table, names, "unique_r2", None)
        axes[1].set_ylabel("$R^2$ beyond the baseline")
    add_legend(figure, axes[0], width)
    return figure


def _draw_stages(
    axis: Axes, table: pd.DataFrame, names: Sequence[str], column: str, ceiling: str | None
) -> None:
    rng = np.random.default_rng(0)
    axis.axhline(0, color=LIGHT_GREY, lw=0.6, zorder=0)
    is_random, labelled = table["network"] == "random", False
    for x, name in enumerate(names):
        of_stage = table["stage"] == name
        values = table.loc[of_stage & ~is_random, column].to_numpy(float)
        random = table.loc[of_stage & is_random, column].to_numpy(float)
        if np.isfinite(random).any():
            axis.hlines(np.nanmedian(random), x - 0.35, x + 0.35, color=VERMILLION, lw=1.4,
                        zorder=3, label="_" if labelled else "median, random weights")  # fmt: skip
            labelled = True
        aside = rng.uniform(-0.2, 0.2, len(values)) if len(values) > 1 else np.zeros(1)
        axis.plot(x + aside, values, ".", color=BLUE, ms=3, alpha=0.6, zorder=2,
                  label="target" if x == 0 else "_")  # fmt: skip
        if np.isfinite(values).any():
            median = np.nanmedian(values)
            axis.hlines(median, x - 0.35, x + 0.35, color="black", lw=1.4, zorder=3,
                        label="median of the targets" if x == 0 else "_")  # fmt: skip
    if ceiling is not None and table[ceiling].notna().any():
        median = float(table.loc[table["stage"] == names[0], ceiling].median())
        axis.axhline(median, color=GREY, ls="--", lw=0.8, label="ceiling (median)")
    axis.set_xlim(-0.5, len(names) - 0.5)
    axis.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")


@styled
def samples(table: pd.DataFrame, style: FigureStyle) -> Figure:
    """Draw r over sounds at each time, a panel per stage; see `timed_tables.sample_table`."""
    title = "Correlation over sounds at each time after the onset"
    return _curves(table, ("time_s", "r"), ("time after the onset (s)", "r"), title, style)


@styled
def response_functions(table: pd.DataFrame, style: FigureStyle) -> Figure:
    """Draw temporal response functions, a panel per stage; see `timed_tables.response_table`."""
    title = (
        "Temporal response functions: contribution of the features at each lag (SD of the "
        "prediction from this lag alone, in SDs of the response)"
    )
    return _curves(table, ("lag_s", "sd"), ("lag (s)", "SD"), title, style)


def _curves(
    table: pd.DataFrame, columns: tuple[str, str], labels: tuple[str, str], title: str,
    style: FigureStyle,
) -> Figure:  # fmt: skip
    names = list(dict.fromkeys(table["stage"]))
    width = style.width(PAGE_MM)
    n_columns = min(len(names), max(1, int(width // PANEL_MM)))
    n_rows = -(-len(names) // n_columns)
    title = wrapped(title, width)
    height = 16 + PANEL_HEIGHT_MM * n_rows + 4 * title.count("\n")
    figure = new_figure(width, height)
    figure.suptitle(title)
    axes = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    for axis, name in zip(axes.flat, names, strict=False):
        _draw_curves(axis, table[table["stage"] == name], *columns)
        axis.set_title(wrapped(name, width / n_columns))
        axis.tick_params(labelbottom=True)
        axis.set_xlabel(labels[0])
    for axis in axes[:, 0]:
        axis.set_ylabel(labels[1])
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    add_legend(figure, axes.flat[0], width)
    return figure


def _draw_curves(axis: Axes, table: pd.DataFrame, x: str, y: str) -> None:
    """Draw a line per target, or the median and all targets behind it."""
    by_target = table.pivot(index=x, columns="target", values=y)
    by_target = by_target[list(dict.fromkeys(table["target"]))]
    axis.axhline(0, color=LIGHT_GREY, lw=0.6, zorder=0)
    if by_target.shape[1] <= MOST_LINES:
        for colour, (target, values) in zip(COLOURS, by_target.items(), strict=False):
            axis.plot(by_target.index, values, color=colour, label=str(target))
        return
    low, median, high = by_target.quantile([0.25, 0.5, 0.75], axis=1).to_numpy()
    axis.fill_between(by_target.index, low, high, color=LIGHT_GREY, lw=0, label="quartiles")
    n = by_target.shape[1]
    axis.plot(by_target.index, median, color=BLUE, label=f"median of {n} targets")
