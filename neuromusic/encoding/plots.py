"""Figures of an encoding from images: stages by areas, and a glass brain."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from neuromusic.core import plotting
from neuromusic.encoding.voxelwise import JOINT

LEAST_TOP = 0.05  # the colour scale ends here or higher
DARK_TEXT = 0.65  # share of the colour scale above which text is black


def best_measure(areas: pd.DataFrame) -> tuple[str, str]:
    """Return the column of `area_table` to show, and what it is: rc if any voxel is reliable."""
    return ("rc", "r / noise ceiling") if areas["rc"].notna().any() else ("r", "r")


def save_figures(
    directory: Path, areas: pd.DataFrame, similarity: pd.DataFrame, stages: Sequence[str]
) -> None:
    """Make ``directory`` with stage_by_area.png and, if there are similarities, similarity.png."""
    directory.mkdir()
    measure, label = best_measure(areas)
    counts = areas.drop_duplicates(["area", "subject"]).groupby("area", sort=False)
    titles = {
        str(area): f"{area}\n{rows['reliable'].sum()} of {rows['voxels'].sum()} reliable"
        for area, rows in counts
    }
    figure = stage_by_area(areas, measure, titles, [*stages, JOINT], label)
    plotting.save(figure, directory / "stage_by_area.png")
    if len(similarity):
        titles = {
            row.area: f"{row.area}\nceiling {row.ceiling_low:.2f}"
            for row in similarity.drop_duplicates("area").itertuples()
        }
        figure = stage_by_area(similarity, "rho", titles, stages, "Spearman's rho of RDMs")
        plotting.save(figure, directory / "similarity.png")


def stage_by_area(
    table: pd.DataFrame, value: str, titles: Mapping[str, str], stages: Sequence[str], label: str
) -> Figure:
    """Draw a value for each area (rows) and stage (columns), for the trained and random network.

    ``table`` has area, stage, network and ``value``, one row per subject; the mean over subjects is
    drawn, with a frame around the best stage of each area. ``titles`` maps the areas, in the order
    of the rows, to their titles.
    """
    grids = {
        str(name): rows.pivot_table(index="area", columns="stage", values=value, dropna=False)
        .reindex(index=list(titles))
        .pipe(lambda grid: grid[[stage for stage in stages if stage in grid]])
        for name, rows in table.groupby("network")
    }
    networks = [name for name in ("trained", "random") if name in grids]
    finite = np.concatenate([grid.to_numpy(float).ravel() for grid in grids.values()])
    limits = min(0.0, float(np.nanmin(finite))), max(LEAST_TOP, float(np.nanmax(finite)))
    widths = [len(grids[name].columns) for name in networks]
    figure, axes = plt.subplots(
        1, len(networks), figsize=(3 + 0.65 * sum(widths), 1.3 + 0.5 * len(titles)), squeeze=False,
        sharey=True, layout="constrained", width_ratios=widths,
    )  # fmt: skip
    for axis, name in zip(axes[0], networks, strict=True):
        image = _draw_grid(axis, grids[name].to_numpy(float), limits)
        columns = grids[name].columns
        axis.set_xticks(range(len(columns)), columns, rotation=45, ha="right")
        axis.set_yticks(range(len(titles)), titles.values())
        axis.set(title=f"{name} weights", xlabel="stage")
    axes[0][0].set_ylabel("area")
    figure.colorbar(image, ax=list(axes[0]), label=label, fraction=0.05)
    return figure


def _draw_grid(axis: Axes, grid: NDArray[np.float64], limits: tuple[float, float]) -> AxesImage:
    """Draw (areas, stages) as colours and numbers; frame the largest number of each row."""
    bottom, top = limits
    image = axis.imshow(grid, cmap="viridis", vmin=bottom, vmax=top)
    for (row, column), value in np.ndenumerate(grid):
        if not np.isfinite(value):
            continue
        colour = "black" if value > DARK_TEXT * top else "white"
        text = axis.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour)
        text.set_fontsize(8)
        if value == np.nanmax(grid[row]):
            corner = (column - 0.5, row - 0.5)
            axis.add_patch(plt.Rectangle(corner, 1, 1, fill=False, ec="red", lw=1.8))
    return image


def save_glass_brain(path: Path, title: str, figure_path: Path) -> None:
    """Draw a statistical map (NIfTI) on nilearn's glass brain and write the figure."""
    from nilearn import image
    from nilearn import plotting as nilearn_plotting

    figure = plt.figure(figsize=(9, 3))
    without_nan = image.math_img("np.nan_to_num(x)", x=str(path))
    nilearn_plotting.plot_glass_brain(
        without_nan, figure=figure, title=title, colorbar=True, display_mode="lyrz", threshold=0,
        plot_abs=False, cmap="viridis", vmin=0,
    )  # fmt: skip
    plotting.save(figure, figure_path)
