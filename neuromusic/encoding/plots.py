"""Figures of an encoding from images: stages by areas, and representational similarity."""

from collections.abc import Sequence
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
    BLUE,
    FONT_SIZE,
    GREY,
    LIGHT_GREY,
    PAGE_MM,
    SEQUENTIAL,
    VERMILLION,
    FigureStyle,
    add_legend,
    fitting_size,
    new_figure,
    save,
    styled,
    text_mm,
    wrapped,
)
from neuromusic.encoding.stage_components import JOINT

LEAST_TOP = 0.05  # the colour scale ends here or higher
DARK_TEXT = 0.6  # share of the colour scale above which text is black
MOST_AREAS = 24  # that are drawn
PANEL_MM = 44  # least width of a panel
WIDE_MM = 130  # width from which grids are side by side, and legends in columns
NETWORKS = {"trained": (BLUE, -0.12), "random": (GREY, 0.12)}  # colour, shift on the axis


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
        directory / "stage_by_area.tsv", sep="\t", index=False, na_rep="n/a", float_format="%.4f"
    )
    save(stage_by_area(areas, intervals, stages, style), directory / "stage_by_area", style)
    if len(similarity) and similarity["rho"].notna().any():
        save(similarities(similarity, stages, style), directory / "similarity", style)


def _choose_areas(areas: pd.DataFrame) -> tuple[list[str], str]:
    """Return the areas to draw, in their order, and a note if some are left out.

    Those with the most reliable voxels, or the most voxels, are drawn.
    """
    columns = [name for name in ("reliable", "voxels") if name in areas] or ["ceiling_low"]
    counts = areas.groupby("area", sort=False)[columns].max()
    if len(counts) <= MOST_AREAS:
        return [str(area) for area in counts.index], ""
    chosen = set(counts.sort_values(columns, ascending=False, kind="stable").index[:MOST_AREAS])
    names = [str(area) for area in counts.index if area in chosen]
    what = "the most reliable voxels" if "reliable" in areas else "the highest ceiling"
    return names, f"; {MOST_AREAS} of {len(counts)} areas, those with {what}"


# --- Stages by areas ------------------------------------------------------------------------------


@styled
def stage_by_area(
    areas: pd.DataFrame, intervals: pd.DataFrame, stages: Sequence[str],
    style: FigureStyle,
) -> Figure:  # fmt: skip
    """Draw the mean r of each area and stage: as colours, and in a panel per area with intervals.

    Parameters
    ----------
    areas : pandas.DataFrame
        The output of `tables.area_scores`: one row per subject, area, stage and network.
    intervals : pandas.DataFrame
        The output of `area_intervals.area_intervals`. Cells that are ``best`` get a frame.
    stages : sequence of str
        The stages of the trained network, in their order. The colours end at the largest r among
        them, so neither noise nor the joint model sets the scale.
    style : FigureStyle
        Width of the figure.
    """
    names, note = _choose_areas(areas)
    width = style.width(PAGE_MM)
    columns = [*stages, *({JOINT} & set(intervals["stage"]))]
    networks = [name for name in NETWORKS if name in set(intervals["network"])]
    n_columns, n_rows = _panel_grid(len(names), width)
    n_below = 1 if width > WIDE_MM else len(networks)  # grids one below the other
    grids_mm = n_below * (16 + 6.0 * len(names) + 0.75 * text_mm(columns))
    heights = [grids_mm, 16 + 36.0 * n_rows]
    n_subjects = areas["subject"].nunique()
    over = f"mean of {n_subjects} subjects" if n_subjects > 1 else f"sub-{areas['subject'].iat[0]}"
    title = wrapped(f"r of predicted and measured responses to the test clips, {over}{note}", width)
    figure = new_figure(width, sum(heights) + 5 + 4 * title.count("\n"))
    figure.suptitle(title)
    parts: Any = figure.subfigures(2, 1, height_ratios=heights)
    above, below = parts
    _draw_grids(above, areas, intervals, names, columns, stages, networks, width)
    grid = _Grid(names, columns, n_rows, n_columns)
    subjects = areas if n_subjects > 1 else None
    _draw_panels(below, grid, intervals, subjects, width)
    return figure


def _draw_grids(
    figure: SubFigure, areas: pd.DataFrame, intervals: pd.DataFrame, names: list[str],
    columns: list[str], stages: Sequence[str], networks: list[str], width: float,
) -> None:  # fmt: skip
    """Draw one grid of areas by stages per network, with the same colours."""
    of_stages = intervals[(intervals["network"] == "trained") & intervals["stage"].isin(stages)]
    top = max(LEAST_TOP, float(of_stages.loc[of_stages["area"].isin(names), "r"].max()))
    shown = {name: _stages_of(intervals, name, columns) for name in networks}
    counts = areas.drop_duplicates(["area", "subject"]).groupby("area")[["reliable", "voxels"]]
    labels = [
        f"{name} ({n_reliable} of {n})"
        for name, (n_reliable, n) in zip(names, counts.sum().loc[names].to_numpy(), strict=True)
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
        places = pd.MultiIndex.from_product([names, shown[name]])
        values = table["r"].reindex(places).to_numpy(float).reshape(len(names), -1)
        best = table["best"].reindex(places, fill_value=False).to_numpy(bool).reshape(values.shape)
        image = _draw_grid(axis, values, best, top, fitting_size(cell_mm, 4))
        axis.set_xticks(
            range(len(shown[name])), shown[name], rotation=45, ha="right", rotation_mode="anchor"
        )
        axis.set_yticks(range(len(names)), labels)
        axis.set(title=f"{name} weights", xlabel="stage")
        axis.spines[["top", "right"]].set_visible(True)
    figure.align_xlabels(axes)
    axes[0].set_ylabel("area (reliable voxels)")
    frame = "\nframe: best beyond chance" if intervals["best"].any() else ""
    figure.colorbar(image, ax=list(axes), label=f"mean r{frame}", extend="both", pad=0.01)


def _stages_of(intervals: pd.DataFrame, network: str, columns: list[str]) -> list[str]:
    """Return the stages that a network has."""
    of_network = set(intervals.loc[intervals["network"] == network, "stage"])
    return [name for name in columns if name in of_network]


def _draw_grid(
    axis: Axes, values: NDArray[np.float64], best: NDArray[np.bool_], top: float, size: float
) -> AxesImage:
    """Draw (areas, stages) as colours and numbers, with a frame around the best stages."""
    image = axis.imshow(values, cmap=SEQUENTIAL, vmin=0, vmax=top, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if not np.isfinite(value):
            continue
        colour = "black" if value > DARK_TEXT * top else "white"
        text = f"{value:.2f}".replace("-0.00", "0.00").replace("-", "\N{MINUS SIGN}")
        axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)
        if best[row, column]:
            corner = (column - 0.46, row - 0.44)
            axis.add_patch(Rectangle(corner, 0.92, 0.88, fill=False, ec=VERMILLION, lw=1.6))
    return image


# --- Panels ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Grid:
    """Panels of a figure, one per area, with the stages on their x axes."""

    areas: list[str]
    stages: list[str]
    n_rows: int
    n_columns: int


def _panel_grid(n_areas: int, width: float) -> tuple[int, int]:
    """Return (columns, rows) of panels for a figure of a width in mm."""
    most = max(1, int(width // PANEL_MM))
    n_rows = -(-n_areas // most)
    return -(-n_areas // n_rows), n_rows


def _draw_panels(
    figure: SubFigure, grid: _Grid, intervals: pd.DataFrame, subjects: pd.DataFrame | None,
    width: float,
) -> None:  # fmt: skip
    """Draw a panel per area: r of each stage with its interval, and the values of the subjects."""
    axes = figure.subplots(grid.n_rows, grid.n_columns, sharex=True, sharey=True, squeeze=False)
    position = {stage: number for number, stage in enumerate(grid.stages)}
    for axis, area in zip(axes.flat, grid.areas, strict=False):
        for network, (colour, shift) in NETWORKS.items():
            rows = intervals.query("area == @area and network == @network")
            rows = rows[rows["stage"].isin(position)]
            x = rows["stage"].map(position).to_numpy(float) + shift
            if subjects is not None:
                single = subjects.query("area == @area and network == @network")
                single = single[single["stage"].isin(position)]
                axis.scatter(
                    single["stage"].map(position).to_numpy(float) + 2.4 * shift, single["r"], s=5,
                    color=colour, alpha=0.45, lw=0, label=f"subjects, {network}",
                )  # fmt: skip
            sides = np.stack([rows["r"] - rows["r_low"], rows["r_high"] - rows["r"]])
            axis.errorbar(
                x, rows["r"], np.maximum(sides, 0), fmt="o", ms=3.5, lw=1, color=colour,
                mfc=colour if network == "trained" else "white",
                label=f"{network} weights, 95 % interval",
            )  # fmt: skip
        axis.axhline(0, color=GREY, lw=0.6, zorder=0)
        axis.set_title(area, fontsize=FONT_SIZE)
    _finish_panels(figure, axes, grid, "mean r", width)


def _finish_panels(
    figure: SubFigure | Figure, axes: NDArray[Any], grid: _Grid, label: str, width: float
) -> None:
    """Label the axes of the panels, hide the empty ones, and add a legend below."""
    for index, axis in enumerate(axes.flat):
        if index >= len(grid.areas):
            axis.set_visible(False)
            continue
        axis.set_xticks(
            range(len(grid.stages)), grid.stages, rotation=45, ha="right", rotation_mode="anchor"
        )
        axis.set_xlim(-0.6, len(grid.stages) - 0.4)
        axis.tick_params(labelbottom=index + grid.n_columns >= len(grid.areas))
    for axis in axes[:, 0]:
        axis.set_ylabel(label)
    add_legend(figure, axes.flat[0], width)


# --- Similarity -----------------------------------------------------------------------------------


@styled
def similarities(table: pd.DataFrame, stages: Sequence[str], style: FigureStyle) -> Figure:
    """Draw Spearman's rho of the dissimilarities of stages and areas, one panel per area.

    ``table`` is the output of `tables.area_similarity`; rho and the ceiling are means over
    subjects. Areas without any rho are not drawn.
    """
    table = table[table.groupby("area")["rho"].transform("count") > 0]
    names, note = _choose_areas(table)
    width = style.width(PAGE_MM)
    n_columns, n_rows = _panel_grid(len(names), width)
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
        for network, (colour, shift) in NETWORKS.items():
            of_network = rows[rows["network"] == network]
            x = of_network["stage"].map(position).to_numpy(float) + shift
            axis.plot(
                x, of_network["rho"], "o", ms=4, color=colour, label=f"{network} weights",
                mfc=colour if network == "trained" else "white",
            )  # fmt: skip
        axis.fill_between(
            [-0.6, len(stages) - 0.4], low, max(high, low + 0.004), color=LIGHT_GREY, lw=0,
            zorder=0, label=legend,
        )  # fmt: skip
        axis.axhline(0, color=GREY, lw=0.6, zorder=0)
        axis.set_title(area if np.isfinite(low) else f"{area} (no ceiling)", fontsize=FONT_SIZE)
    grid = _Grid(names, list(stages), n_rows, n_columns)
    _finish_panels(figure, axes, grid, "rho", width)
    return figure
