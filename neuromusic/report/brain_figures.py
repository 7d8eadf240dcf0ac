"""The figures of an encoding: stages by areas, and where the best stage's voxels lie."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

CEILING = 0.05  # a colour scale ends no lower


def stage_by_area(
    table: pd.DataFrame, value: str, areas: Sequence[str], stages: Sequence[str], label: str
) -> Figure:
    """Draw a value of areas (rows) by stages (columns) of the trained and the random network.

    ``table`` has area, stage, network and ``value``, a row a subject; the mean over subjects is
    drawn, and the best stage of every area framed.
    """
    rows = list(areas)
    if "reliable" in table:
        sums = (
            table.drop_duplicates(["area", "subject"]).groupby("area")[["reliable", "voxels"]].sum()
        )
        rows = [f"{area}\n{sums['reliable'][area]} of {sums['voxels'][area]}" for area in areas]
    networks = [name for name in ("trained", "random") if (table["network"] == name).any()]
    grids = {
        name: table[table["network"] == name]
        .pivot_table(index="area", columns="stage", values=value, dropna=False)
        .reindex(index=areas, columns=stages)
        .to_numpy(dtype=float)
        for name in networks
    }
    finite = np.concatenate([grid[np.isfinite(grid)] for grid in grids.values()])
    top = max(CEILING, float(finite.max(initial=0)))
    bottom = min(0.0, float(finite.min(initial=0)))
    size = (1.6 + len(networks) * (0.8 + 0.62 * len(stages)), 1.3 + 0.5 * len(areas))
    figure, axes = plt.subplots(
        1, len(networks), figsize=size, squeeze=False, sharey=True, layout="constrained"
    )
    for axis, name in zip(axes[0], networks, strict=True):
        grid = grids[name]
        image = axis.imshow(grid, cmap="viridis", vmin=bottom, vmax=top)
        for (row, column), number in np.ndenumerate(grid):
            if np.isfinite(number):
                colour = "black" if number > 0.65 * top else "white"
                axis.text(
                    column, row, f"{number:.2f}", ha="center", va="center", color=colour, fontsize=8
                )
            if np.isfinite(grid[row]).any() and number == np.nanmax(grid[row]):
                frame = plt.Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, ec="red", lw=1.8)
                axis.add_patch(frame)
        axis.set_xticks(range(len(stages)), stages, rotation=45, ha="right")
        axis.set_yticks(range(len(areas)), rows)
        axis.set(title=f"{name} weights", xlabel="stage")
    axes[0][0].set_ylabel("area, voxels above the floor" if "reliable" in table else "area")
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
