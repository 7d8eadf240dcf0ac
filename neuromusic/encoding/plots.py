"""The figure of single responses: how well each stage predicts them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from neuromusic.core.plotting import COLOURS

MOST_PANELS = 8  # targets that have a panel each; of more than that their median is drawn
LINES = (  # network, what follows the stage's name, label, colour, width
    ("trained", "+baseline", "trained, with the baseline", COLOURS[0], 2.0),
    ("trained", "", "trained", COLOURS[1], 2.0),
    ("random", "+baseline", "random weights, with the baseline", "0.45", 1.0),
    ("random", "", "random weights", "0.65", 1.5),
)


def stages(targets: pd.DataFrame, voxels: pd.DataFrame | None, names: Sequence[str]) -> Figure:
    """Draw r2 of every stage, a panel a target and one for the voxels.

    ``targets`` and ``voxels`` as in `fmri.sound_step`. Bars go from the least to the largest half.
    """
    found = list(dict.fromkeys(targets["target"]))
    if len(found) <= MOST_PANELS:
        panels = {str(name): targets[targets["target"] == name] for name in found}
    else:
        columns = ["r2", "r2_min", "r2_max"]
        median = targets.groupby(["network", "features"], sort=False)[columns].median()
        panels = {f"median of {len(found)} targets": median.reset_index()}
    if voxels is not None:
        panels["voxels (median)"] = voxels
    n_columns = min(4, len(panels))
    n_rows = -(-len(panels) // n_columns)
    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=(1.2 + 3.0 * n_columns, 1.0 + 2.6 * n_rows), sharex=True,
        sharey=True, squeeze=False,
    )  # fmt: skip
    for axis, (title, table) in zip(axes.flat, panels.items(), strict=False):
        _panel(axis, table.set_index(["network", "features"]), names)
        axis.set_title(title, fontsize=10)
    for axis in axes[:, 0]:
        axis.set_ylabel("$r^2$ on unheard sounds")
    for index, axis in enumerate(axes.flat):
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_visible(index < len(panels))
        if index + n_columns >= len(panels):
            axis.tick_params(labelbottom=True)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3, frameon=False
    )
    figure.tight_layout()
    return figure


def _panel(axis: plt.Axes, table: pd.DataFrame, names: Sequence[str]) -> None:
    x = np.arange(len(names))
    baseline = table.loc[("none", "baseline")]
    axis.axhspan(baseline["r2_min"], baseline["r2_max"], color="0.93", lw=0)
    axis.axhline(baseline["r2"], color="black", ls="--", lw=1, label="spectro-temporal baseline")
    for shift, (network, suffix, label, colour, width) in enumerate(LINES):
        rows = table.loc[[(network, f"{name}{suffix}") for name in names]]
        sides = [rows["r2"] - rows["r2_min"], rows["r2_max"] - rows["r2"]]
        at = x + 0.08 * (shift - 1.5)
        # "all" is no stage further on: no line leads to it.
        axis.plot(at[:-1], rows["r2"][:-1], color=colour, lw=width, label=label)
        axis.errorbar(
            at, rows["r2"], np.clip(sides, 0, None), color=colour, fmt="o", ms=3, elinewidth=0.7
        )
    axis.set_xticks(x, names, rotation=45, ha="right", fontsize=8)
    axis.set_ylim(min(0.0, float(table["r2_min"].min())), 1)


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
