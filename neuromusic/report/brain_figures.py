"""The figures of an encoding: stages by areas, and where the best stage's voxels lie."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

CEILING = 0.05  # a colour scale ends no lower


def stage_by_area(
    table: pd.DataFrame, value: str, rows: Mapping[str, str], stages: Sequence[str], label: str
) -> Figure:
    """Draw a value of areas (rows) by stages (columns) of the trained and the random network.

    ``table`` has area, stage, network and ``value``, a row a subject: the mean over subjects is
    drawn, and the best stage of every area framed. ``rows``: area -> what its row is called.
    """
    grids = {
        name: own.pivot_table(index="area", columns="stage", values=value, dropna=False)
        .reindex(index=list(rows))
        .pipe(lambda grid: grid[[stage for stage in stages if stage in grid]])
        for name, own in table.groupby("network")
    }
    networks = [name for name in ("trained", "random") if name in grids]
    finite = np.concatenate([grid.to_numpy(float).ravel() for grid in grids.values()])
    top = max(CEILING, float(np.nanmax(finite)))
    bottom = min(0.0, float(np.nanmin(finite)))
    widths = [len(grids[name].columns) for name in networks]
    figure, axes = plt.subplots(
        1, len(networks), figsize=(3 + 0.65 * sum(widths), 1.3 + 0.5 * len(rows)), squeeze=False,
        sharey=True, layout="constrained", width_ratios=widths,
    )  # fmt: skip
    for axis, name in zip(axes[0], networks, strict=True):
        grid = grids[name].to_numpy(float)
        image = axis.imshow(grid, cmap="viridis", vmin=bottom, vmax=top)
        for (row, column), number in np.ndenumerate(grid):
            if np.isfinite(number):
                colour = "black" if number > 0.65 * top else "white"
                place = {"ha": "center", "va": "center", "fontsize": 8, "color": colour}
                axis.text(column, row, f"{number:.2f}", **place)
                if number == np.nanmax(grid[row]):
                    corner = (column - 0.5, row - 0.5)
                    axis.add_patch(plt.Rectangle(corner, 1, 1, fill=False, ec="red", lw=1.8))
        axis.set_xticks(range(grid.shape[1]), grids[name].columns, rotation=45, ha="right")
        axis.set_yticks(range(len(rows)), rows.values())
        axis.set(title=f"{name} weights", xlabel="stage")
    axes[0][0].set_ylabel("area")
    figure.colorbar(image, ax=list(axes[0]), label=label, fraction=0.05)
    return figure


def glass_brain(path: Path, title: str) -> Figure:
    """Draw a statistical map (NIfTI) on nilearn's glass brain."""
    from nilearn import image, plotting

    figure = plt.figure(figsize=(9, 3))
    shown = image.math_img("np.nan_to_num(x)", x=str(path))
    plotting.plot_glass_brain(
        shown, figure=figure, title=title, colorbar=True, display_mode="lyrz", threshold=0,
        plot_abs=False, cmap="viridis", vmin=0,
    )  # fmt: skip
    return figure
