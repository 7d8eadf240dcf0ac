"""The figure of a benchmark: the best stage of each network, for each target of each data set."""

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
    wrapped,
)
from neuromusic.encoding.benchmark_table import NONE, best_scores
from neuromusic.encoding.sound_tables import PUBLISHED

# Wong 2011, like those of core.figures; more networks get other markers.
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, "#E69F00", "#56B4E9", "black")
MARKERS = ("o", "s", "D", "^", "v")
GROUP = 0.8  # width of the values of one target
PANEL_MM, LEGEND_MM = 48, 6


@styled
def benchmark(table: pd.DataFrame, style: FigureStyle) -> Figure:
    """Draw a panel per data set: scores by target, with one marker per network.

    Filled markers are trained networks with the interval of their best stage, open ones the same
    with random weights; a dash is the baseline, a line the ceiling, crosses are published networks.

    Parameters
    ----------
    table : pandas.DataFrame
        The output of `table_of`.
    style : FigureStyle
        Width of the figure.
    """
    width = style.width(PAGE_MM)
    datasets = list(dict.fromkeys(table["dataset"]))
    is_own = table["weights"].isin(["trained", "random"])
    networks = list(dict.fromkeys(table.loc[is_own, "network"]))
    title = wrapped(
        "Best stage of each network, chosen without the test sounds, or all stages of combined "
        "networks with the baseline; bars: 95 % intervals",
        width,
    )
    legend_mm = 8 + LEGEND_MM * (1 + len(networks) // 3)
    figure = new_figure(width, PANEL_MM * len(datasets) + legend_mm + 5 * (1 + title.count("\n")))
    figure.suptitle(title)
    axes = figure.subplots(len(datasets), squeeze=False)[:, 0]
    for axis, dataset in zip(axes, datasets, strict=True):
        _draw(axis, best_scores(table, dataset), networks)
        axis.set_title(dataset)
    add_legend(figure, _with_most_labels(axes), width)
    return figure


def _with_most_labels(axes: "np.ndarray[tuple[int], np.dtype[np.object_]]") -> Axes:
    axis: Axes = max(axes, key=lambda each: len(each.get_legend_handles_labels()[1]))
    return axis


def _draw(axis: Axes, rows: pd.DataFrame, networks: list[str]) -> None:
    """Draw one data set; ``rows`` is the output of `best_scores`."""
    targets = list(dict.fromkeys(rows["target"]))
    place = {target: number for number, target in enumerate(targets)}
    rows = rows.assign(x=rows["target"].map(place))
    half = GROUP / 2
    baseline = rows[rows["weights"] == NONE]
    for number, row in enumerate(baseline.itertuples()):
        label = "acoustic baseline" if number == 0 else None
        axis.plot([row.x - half, row.x + half], [row.score] * 2, "k--", lw=0.8, label=label)
    ceilings = rows.dropna(subset=["ceiling"]).drop_duplicates("target")
    for number, row in enumerate(ceilings.itertuples()):
        label = "ceiling" if number == 0 else None
        axis.plot([row.x - half, row.x + half], [row.ceiling] * 2, c=GREY, lw=1.5, label=label)
    published = rows[rows["weights"] == PUBLISHED]
    if len(published):
        axis.plot(
            published["x"] + half + 0.04, published["score"], "x", c=GREY, ms=3.5, mew=0.8,
            label="published",
        )  # fmt: skip
    step = GROUP / (len(networks) + 1)
    for number, network in enumerate(networks):
        shift = step * (number + 1) - half
        colour = COLOURS[number % len(COLOURS)]
        marker = MARKERS[number // len(COLOURS) % len(MARKERS)]
        own = rows[rows["network"] == network]
        _draw_network(axis, own[own["weights"] == "trained"], shift, colour, marker, network)
        random = own[own["weights"] == "random"]
        beside = random["x"] + shift + step / 4
        axis.plot(beside, random["score"], marker, c=colour, mfc="white", ms=3)
    axis.plot([], [], "o", c=GREY, mfc="white", ms=3.5, label="the same with random weights")
    for edge in range(1, len(targets)):
        axis.axvline(edge - 0.5, color=LIGHT_GREY, lw=0.6)
    axis.set_xticks(range(len(targets)), targets)
    axis.set_xlim(-0.5, len(targets) - 0.5)
    axis.set_ylim(min(0.0, float(rows["score"].min()) - 0.02), 1)
    axis.set_ylabel("$r$" if (rows["measure"] == "r").all() else "$r^2$")


def _draw_network(
    axis: Axes, rows: pd.DataFrame, shift: float, colour: str, marker: str, label: str
) -> None:
    """Draw one trained network with its intervals, cut at the frame."""
    x = rows["x"] + shift
    axis.vlines(x, rows["low"], rows["high"], color=colour, lw=0.8)
    axis.plot(x, rows["score"], marker, c=colour, label=label)
