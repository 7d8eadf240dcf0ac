"""Figures of an encoding from images: stages by areas, and representational similarity."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from neuromusic.core.figures import (
    FONT_SIZE,
    GREEN,
    GREY,
    LIGHT_GREY,
    PAGE_MM,
    SEQUENTIAL,
    VERMILLION,
    FigureStyle,
    fitting_size,
    new_figure,
    save,
    styled,
    text_mm,
    wrapped,
)
from neuromusic.encoding.clip_sets import ALL
from neuromusic.encoding.model_names import BASELINE, JOINT, NO_NETWORK, TRAINED
from neuromusic.encoding.panels import (
    NETWORKS,
    Grid,
    choose_areas,
    finish_panels,
    panel_grid,
    split_by_signal,
)

LEAST_TOP = 0.05  # the colour scale ends here or higher
DARK_TEXT = 0.6  # share of the colour scale above which text is black
WIDE_MM = 130  # width from which grids are side by side, and legends in columns
GAP = 0.5  # between the areas with signal and the others, in rows of a grid


def best_measure(areas: pd.DataFrame) -> tuple[str, str]:
    """Return the column of `area_table` to log, and what it is: rc if any voxel is reliable."""
    return ("rc", "r / noise ceiling") if areas["rc"].notna().any() else ("r", "r")


def save_figures(
    directory: Path, areas: pd.DataFrame, intervals: pd.DataFrame, similarity: pd.DataFrame,
    stages: Sequence[str], style: FigureStyle,
) -> None:  # fmt: skip
    """Make ``directory`` with stage_by_area and, if there are similarities, similarity.

    ``areas`` is the output of `tables.area_scores`, ``intervals`` that of
    `area_intervals.area_intervals`, which is also written.
    """
    directory.mkdir()
    intervals.to_csv(
        directory / "stage_by_area.tsv",
        sep="\t",
        index=False,
        na_rep="n/a",
        float_format="%.4f",
        lineterminator="\n",
    )
    save(stage_by_area(areas, intervals, stages, style), directory / "stage_by_area", style)
    if len(similarity) and similarity["rho"].notna().any():
        save(similarities(similarity, stages, style), directory / "similarity", style)


# --- Stages by areas ------------------------------------------------------------------------------


@styled
def stage_by_area(
    areas: pd.DataFrame, intervals: pd.DataFrame, stages: Sequence[str],
    style: FigureStyle,
) -> Figure:  # fmt: skip
    """Draw the mean r of each area and stage: as colours, and in a panel per area with intervals.

    Areas without a response come last, set apart. All grids share one scale, and so do all panels.

    Parameters
    ----------
    areas : pandas.DataFrame
        The output of `tables.area_scores`: one row per subject, area, stage, network, seed and set
        of clips, of which those of all clips are drawn.
    intervals : pandas.DataFrame
        The output of `area_intervals.area_intervals`. Cells that are ``best`` get a frame.
    stages : sequence of str
        The stages of the trained network, in their order. The colours end at the largest r among
        them, so neither noise nor the joint model sets the scale.
    style : FigureStyle
        Width of the figure.
    """
    areas = areas[areas["clips"] == ALL]
    names, note = choose_areas(areas)
    rows = _Rows(*split_by_signal(areas, names))
    width = style.width(PAGE_MM)
    columns = [*stages, *({JOINT} & set(intervals["stage"]))]
    networks = [name for name in NETWORKS if name in set(intervals["network"])]
    n_columns, n_rows = panel_grid(len(names), width)
    n_below = 1 if width > WIDE_MM else len(networks)  # grids one below the other
    grids_mm = n_below * (16 + 6.0 * (len(names) + GAP) + 0.75 * text_mm(columns))
    heights = [grids_mm, 22 + 36.0 * n_rows]
    n_subjects = areas["subject"].nunique()
    over = f"mean of {n_subjects} subjects" if n_subjects > 1 else f"sub-{areas['subject'].iat[0]}"
    title = wrapped(f"r of predicted and measured responses to the test clips, {over}{note}", width)
    figure = new_figure(width, sum(heights) + 5 + 4 * title.count("\n"))
    figure.suptitle(title)
    parts: Any = figure.subfigures(2, 1, height_ratios=heights)
    above, below = parts
    _draw_grids(above, areas, intervals, rows, columns, stages, networks, width)
    grid = Grid(rows.names, columns, n_rows, n_columns)
    _draw_panels(below, grid, intervals, areas if n_subjects > 1 else None, width, rows.silent)
    return figure


@dataclass(frozen=True)
class _Rows:
    """The areas of a grid: those with a response, then those without."""

    with_signal: list[str]
    silent: list[str]

    @property
    def names(self) -> list[str]:
        """All areas, in the order in which they are drawn."""
        return [*self.with_signal, *self.silent]

    @property
    def places(self) -> NDArray[np.float64]:
        """The y coordinate of each area."""
        gap = GAP if self.with_signal else 0.0
        n = len(self.with_signal)
        return np.array([index + gap * (index >= n) for index in range(len(self.names))])


def _draw_grids(
    figure: SubFigure, areas: pd.DataFrame, intervals: pd.DataFrame, rows: _Rows,
    columns: list[str], stages: Sequence[str], networks: list[str], width: float,
) -> None:  # fmt: skip
    """Draw one grid of areas by stages per network, with the same colours."""
    of_stages = intervals[(intervals["network"] == TRAINED) & intervals["stage"].isin(stages)]
    top = max(LEAST_TOP, float(of_stages.loc[of_stages["area"].isin(rows.names), "r"].max()))
    shown = {name: _stages_of(intervals, name, columns) for name in networks}
    counts = areas.drop_duplicates(["area", "subject"]).groupby("area")[["reliable", "voxels"]]
    labels = [
        f"{name} ({n_reliable} of {n})"
        for name, (n_reliable, n) in zip(
            rows.names, counts.sum().loc[rows.names].to_numpy(), strict=True
        )
    ]
    n_cells = [len(shown[name]) for name in networks]
    if width > WIDE_MM:
        axes = figure.subplots(1, len(networks), squeeze=False, sharey=True, width_ratios=n_cells)
        cell_mm = (width - text_mm(labels) - 25) / sum(n_cells)
    else:
        axes = figure.subplots(len(networks), 1, squeeze=False)
        cell_mm = (width - text_mm(labels) - 25) / max(n_cells)
    axes = axes.ravel()
    for axis, name in zip(axes, networks, strict=True):
        table = intervals[intervals["network"] == name].set_index(["area", "stage"])
        places = pd.MultiIndex.from_product([rows.names, shown[name]])
        cells = table.reindex(places)
        shape = (len(rows.names), len(shown[name]))
        values = cells["r"].to_numpy(float).reshape(shape)
        best = (cells["best"] == True).to_numpy().reshape(shape)  # noqa: E712  # NaN if missing
        image = _draw_grid(axis, values, best, rows, top, fitting_size(cell_mm, 4))
        axis.set_xticks(
            range(len(shown[name])), shown[name], rotation=45, ha="right", rotation_mode="anchor"
        )
        axis.set_yticks(rows.places, labels)
        for tick in axis.get_yticklabels()[len(rows.with_signal) :]:
            tick.set_color(GREY)
        axis.set(title=f"{name} weights", xlabel="stage")
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
    figure.align_xlabels(axes)
    axes[0].set_ylabel("area (reliable voxels)")
    frame = "\nframe: best beyond chance" if intervals["best"].any() else ""
    figure.colorbar(
        image, ax=list(axes), label=f"mean r{frame}", extend="both", pad=0.01,
        aspect=20 * (1 if width > WIDE_MM else len(networks)), extendfrac=0.03,
    )  # fmt: skip


def _stages_of(intervals: pd.DataFrame, network: str, columns: list[str]) -> list[str]:
    """Return the stages that a network has."""
    of_network = set(intervals.loc[intervals["network"] == network, "stage"])
    return [name for name in columns if name in of_network]


def _draw_grid(
    axis: Axes, values: NDArray[np.float64], best: NDArray[np.bool_], rows: _Rows, top: float,
    size: float,
) -> AxesImage:  # fmt: skip
    """Draw (areas, stages) as colours and numbers, with a frame around the best stages."""
    n, places = len(rows.with_signal), rows.places
    for part in (slice(0, n), slice(n, None)):
        if len(places[part]):
            edges = (-0.5, values.shape[1] - 0.5, places[part][-1] + 0.5, places[part][0] - 0.5)
            image = axis.imshow(
                values[part], cmap=SEQUENTIAL, vmin=0, vmax=top, aspect="auto", extent=edges
            )
    axis.set_ylim(places[-1] + 0.5, places[0] - 0.5)
    for (index, column), value in np.ndenumerate(values):
        if not np.isfinite(value):
            continue
        colour = "black" if value > DARK_TEXT * top else "white"
        text = f"{value:.2f}".replace("-0.00", "0.00").replace("-", "\N{MINUS SIGN}")
        place = float(places[index])
        axis.text(column, place, text, ha="center", va="center", color=colour, fontsize=size)
        if best[index, column]:
            corner = (column - 0.46, place - 0.44)
            axis.add_patch(Rectangle(corner, 0.92, 0.88, fill=False, ec=VERMILLION, lw=1.6))
    return image


# --- Panels ---------------------------------------------------------------------------------------


def _draw_panels(
    figure: SubFigure, grid: Grid, intervals: pd.DataFrame, subjects: pd.DataFrame | None,
    width: float, silent: Collection[str],
) -> None:  # fmt: skip
    """Draw a panel per area: r of each stage with its interval, and the values of the subjects.

    Areas that are ``silent`` have a grey background.
    """
    of = "test runs" if subjects is None else "subjects, and one dot per subject"
    figure.suptitle(wrapped(f"Mean r with its 95 % interval over {of}", width), fontsize=FONT_SIZE)
    axes = figure.subplots(grid.n_rows, grid.n_columns, sharex=True, sharey=True, squeeze=False)
    position = {stage: number for number, stage in enumerate(grid.stages)}
    for axis, area in zip(axes.flat, grid.areas, strict=False):
        for network, look in NETWORKS.items():
            rows = intervals.query("area == @area and network == @network")
            rows = rows[rows["stage"].isin(position)]
            if rows.empty:
                continue
            x = rows["stage"].map(position).to_numpy(float) + look.shift
            if subjects is not None:
                single = subjects.query("area == @area and network == @network")
                single = single[single["stage"].isin(position)]
                single = single.groupby(["subject", "stage"], sort=False)["r"].mean().reset_index()
                axis.scatter(
                    single["stage"].map(position).to_numpy(float) + look.shift + 0.1, single["r"],
                    s=4, color=look.colour, alpha=0.45, lw=0,
                )  # fmt: skip
            sides = np.stack([rows["r"] - rows["r_low"], rows["r_high"] - rows["r"]])
            axis.errorbar(
                x, rows["r"], np.maximum(sides, 0), fmt=look.marker, ms=3, lw=1, mew=0.8,
                color=look.colour, mfc=look.face, label=f"{network} weights",
            )  # fmt: skip
        is_baseline = (intervals["area"] == area) & (intervals["network"] == NO_NETWORK)
        for r in intervals.loc[is_baseline, "r"]:
            axis.axhline(r, color=GREEN, lw=0.9, ls=(0, (4, 2)), zorder=1, label=BASELINE)
        axis.axhline(0, color=GREY, lw=0.6, zorder=0)
        axis.set_title(area, fontsize=FONT_SIZE)
        if area in silent:
            axis.set_facecolor("0.94")
            axis.set_title(f"{area} (no reliable response)", fontsize=FONT_SIZE, color=GREY)
    shown = [intervals["r"]] if subjects is None else [intervals["r"], subjects["r"]]
    low, high = np.nanmin(np.concatenate(shown)), np.nanmax(np.concatenate(shown))
    margin = max(high - low, LEAST_TOP)  # longer intervals, as with two subjects, are cut off
    axis = axes.flat[0]
    bottom, top = axis.get_ylim()
    axis.set_ylim(max(bottom, low - margin, -1.02), min(top, high + margin, 1.02))
    finish_panels(figure, axes, grid, "mean r", width)


# --- Similarity -----------------------------------------------------------------------------------


@styled
def similarities(table: pd.DataFrame, stages: Sequence[str], style: FigureStyle) -> Figure:
    """Draw Spearman's rho of the dissimilarities of stages and areas, one panel per area.

    ``table`` is the output of `tables.area_similarity`; rho and the ceiling are means over
    subjects. Areas without any rho are not drawn.
    """
    table = table[table.groupby("area")["rho"].transform("count") > 0]
    names, note = choose_areas(table)
    width = style.width(PAGE_MM)
    n_columns, n_rows = panel_grid(len(names), width)
    n_subjects = int(table["subjects"].max())
    of = f"mean of {n_subjects} subjects" if n_subjects > 1 else "1 subject"
    title = f"Similarity of the test clips in stages and areas (Spearman's rho of RDMs, {of}){note}"
    title = wrapped(title, width)
    legend = (
        "noise ceiling, from the other subjects" if n_subjects > 1
        else "noise ceiling, from halves of the repeats"
    )  # fmt: skip
    figure = new_figure(width, 24 + 36 * n_rows + 4 * title.count("\n"))
    figure.suptitle(title)
    axes = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    position = {stage: number for number, stage in enumerate(stages)}
    for axis, area in zip(axes.flat, names, strict=False):
        rows = table[table["area"] == area]
        low, high = rows["ceiling_low"].iat[0], rows["ceiling_high"].iat[0]
        for network, look in NETWORKS.items():
            of_network = rows[rows["network"] == network]
            of_network = of_network.groupby("stage", sort=False)["rho"].mean()
            if of_network.empty:
                continue
            x = of_network.index.map(position).to_numpy(float) + look.shift
            axis.plot(
                x, of_network, look.marker, ms=4, color=look.colour, label=f"{network} weights",
                mfc=look.face,
            )  # fmt: skip
        axis.fill_between(
            [-0.6, len(stages) - 0.4], low, max(high, low + 0.004), color=LIGHT_GREY, lw=0,
            zorder=0, label=legend,
        )  # fmt: skip
        axis.axhline(0, color=GREY, lw=0.6, zorder=0)
        axis.set_title(area if np.isfinite(low) else f"{area} (no ceiling)", fontsize=FONT_SIZE)
    grid = Grid(names, list(stages), n_rows, n_columns)
    finish_panels(figure, axes, grid, "rho", width)
    return figure
