"""Figure of an encoding of single responses: how well each stage predicts each target."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neuromusic.core.plotting import COLOURS

MOST_PANELS = 8  # targets that get a panel each; of more targets, the median is drawn
MOST_COLUMNS = 4
LINES = (  # network, what follows the stage's name, label, colour, width
    ("trained", "+baseline", "trained, with the baseline", COLOURS[0], 2.0),
    ("trained", "", "trained", COLOURS[1], 2.0),
    ("random", "+baseline", "random weights, with the baseline", "0.45", 1.0),
    ("random", "", "random weights", "0.65", 1.5),
)


def stages(targets: pd.DataFrame, voxels: pd.DataFrame | None, names: Sequence[str]) -> Figure:
    """Draw r2 of each stage, one panel per target and one for the voxels.

    ``targets`` and ``voxels`` are `target_table` and `voxel_table`; ``names`` are the stages and
    "all". Bars go from the smallest to the largest value of the splits.
    """
    panels = _panels(targets, voxels)
    n_columns = min(MOST_COLUMNS, len(panels))
    n_rows = -(-len(panels) // n_columns)
    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=(1.2 + 3.0 * n_columns, 1.0 + 2.6 * n_rows), sharex=True,
        sharey=True, squeeze=False,
    )  # fmt: skip
    for axis, (title, table) in zip(axes.flat, panels.items(), strict=False):
        _draw_panel(axis, table.set_index(["network", "features"]), names)
        axis.set_title(title, fontsize=10)
    for axis in axes[:, 0]:
        axis.set_ylabel("$r^2$ on test sounds")
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


def _panels(targets: pd.DataFrame, voxels: pd.DataFrame | None) -> Mapping[str, pd.DataFrame]:
    """Return title -> table of each panel."""
    names = list(dict.fromkeys(targets["target"]))
    if len(names) <= MOST_PANELS:
        panels = {str(name): targets[targets["target"] == name] for name in names}
    else:
        columns = ["r2", "r2_min", "r2_max"]
        median = targets.groupby(["network", "features"], sort=False)[columns].median()
        panels = {f"median of {len(names)} targets": median.reset_index()}
    if voxels is not None:
        panels["voxels (median)"] = voxels
    return panels


def _draw_panel(axis: Axes, table: pd.DataFrame, names: Sequence[str]) -> None:
    """Draw one target; ``table`` is indexed by network and features."""
    x = np.arange(len(names))
    baseline = table.loc[("none", "baseline")]
    axis.axhspan(baseline["r2_min"], baseline["r2_max"], color="0.93", lw=0)
    axis.axhline(baseline["r2"], color="black", ls="--", lw=1, label="spectro-temporal baseline")
    for shift, (network, suffix, label, colour, width) in enumerate(LINES):
        rows = table.loc[[(network, f"{name}{suffix}") for name in names]]
        sides = [rows["r2"] - rows["r2_min"], rows["r2_max"] - rows["r2"]]
        at = x + 0.08 * (shift - 1.5)
        # "all" is not a further stage, so no line leads to it.
        axis.plot(at[:-1], rows["r2"][:-1], color=colour, lw=width, label=label)
        axis.errorbar(
            at, rows["r2"], np.clip(sides, 0, None), color=colour, fmt="o", ms=3, elinewidth=0.7
        )
    axis.set_xticks(x, names, rotation=45, ha="right", fontsize=8)
    axis.set_ylim(min(0.0, float(table["r2_min"].min())), 1)
