"""Figure of an encoding of single responses: how well each stage predicts each target."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neuromusic.core.figures import (
    BLUE,
    COLUMN_MM,
    FONT_SIZE,
    GREY,
    LIGHT_GREY,
    PAGE_MM,
    VERMILLION,
    FigureStyle,
    add_legend,
    new_figure,
    styled,
    text_mm,
    wrapped,
)
from neuromusic.encoding.sound_tables import PERMUTED, PUBLISHED, PUBLISHED_R2, SPECTROTEMPORAL

MOST_PANELS = 8  # targets that get a panel each; of more targets, the median is drawn
PANEL_MM = 58  # least width of a panel: less would be too narrow for four values per stage
SHIFT = 0.2  # between the values of a stage
SERIES = (  # network, what follows the stage's name, label, colour, marker, whether it is filled
    ("trained", "", "trained", BLUE, "o", True),
    ("trained", "+baseline", "trained, with the baseline", BLUE, "s", False),
    ("random", "", "random weights", VERMILLION, "o", True),
    ("random", "+baseline", "random weights, with the baseline", VERMILLION, "s", False),
)


@styled
def stages(
    targets: pd.DataFrame, voxels: pd.DataFrame | None, names: Sequence[str], n_splits: int,
    style: FigureStyle,
) -> Figure:  # fmt: skip
    """Draw r2 of each stage, one panel per target and one for the reconstructed voxels.

    Published values have a place of their own beside the stages.

    Parameters
    ----------
    targets, voxels : pandas.DataFrame
        The output of `target_table`, which may end with `published_rows`, and of `voxel_table`.
    names : sequence of str
        The stages, "all" and the best stage, as far as they are in the tables.
    n_splits : int
        Number of splits; bars go from the smallest to the largest value of them.
    style : FigureStyle
        Width of the figure.
    """
    panels = _panels(targets, voxels)
    width = style.width(PAGE_MM)
    most = max(1, int(width // PANEL_MM))
    n_rows = -(-len(panels) // most)
    n_columns = -(-len(panels) // n_rows)
    is_narrow = width < 1.4 * COLUMN_MM
    is_ours = targets["protocol"].iloc[0] == "ours"
    summary = ": mean" if is_ours else " (protocol of Tuckute et al. 2023): median"
    title = (
        f"Squared correlation on held-out sounds{summary} of {n_splits} random splits into "
        "halves; bars and grey band: smallest and largest split"
    )
    title = wrapped(title, width)
    legend_mm = 20 if is_narrow else 12
    panel_mm = 36 + 0.75 * text_mm(list(names))
    height = legend_mm + panel_mm * n_rows + 5 + 4 * title.count("\n")
    figure = new_figure(width, height)
    figure.suptitle(title)
    has_published = PUBLISHED in set(targets["network"])
    axes = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    for axis, (name, table) in zip(axes.flat, panels.items(), strict=False):
        _draw_panel(axis, table.set_index(["network", "features"]), names, has_published)
        axis.set_title(name)
        axis.tick_params(labelbottom=True)
    axes[0, 0].set_ylim(min(0.0, _lowest(panels) - 0.02), 1)
    for axis in axes[:, 0]:
        axis.set_ylabel("$r^2$")
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    add_legend(figure, axes.flat[0], width)
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
        panels["reconstructed voxels (median)"] = voxels
    return panels


def _lowest(panels: Mapping[str, pd.DataFrame]) -> float:
    return min(float(table["r2_min"].min()) for table in panels.values())


def _draw_panel(axis: Axes, table: pd.DataFrame, names: Sequence[str], has_published: bool) -> None:
    """Draw one target; ``table`` is indexed by network and features."""
    x = np.arange(len(names))
    baseline = table.loc[("none", "baseline")]
    axis.axhspan(baseline["r2_min"], baseline["r2_max"], color=LIGHT_GREY, lw=0)
    axis.axhline(baseline["r2"], color="black", ls="--", lw=0.8, label="spectro-temporal baseline")
    series = [each for each in SERIES if (each[0], f"{names[0]}{each[1]}") in table.index]
    for number, (network, suffix, label, colour, marker, is_filled) in enumerate(series):
        keys = [(network, f"{name}{suffix}") for name in names]
        present = np.array([key in table.index for key in keys])
        rows = table.loc[[key for key, found in zip(keys, present, strict=True) if found]]
        sides = np.stack([rows["r2"] - rows["r2_min"], rows["r2_max"] - rows["r2"]])
        centres = x[present] + SHIFT * (number - (len(series) - 1) / 2)
        axis.errorbar(
            centres, rows["r2"], np.maximum(sides, 0), color=colour, fmt=marker, ms=3, lw=0.8,
            mfc=colour if is_filled else "white", mew=0.8, label=label,
        )  # fmt: skip
    for border in np.arange(len(names) - 1 + has_published) + 0.5:
        axis.axvline(border, color=LIGHT_GREY, lw=0.5, zorder=0)
    if has_published:
        _draw_published(axis, table, len(names))
        x, names = np.arange(len(names) + 1), [*names, PUBLISHED]
    axis.set_xlim(-0.5, len(names) - 0.5)
    axis.set_xticks(
        x, names, rotation=45, ha="right", rotation_mode="anchor", fontsize=FONT_SIZE - 1
    )


def _draw_published(axis: Axes, table: pd.DataFrame, x: float) -> None:
    """Draw the published values of a target, if there are any; their rows are in PUBLISHED_R2."""
    networks = [name for name in PUBLISHED_R2 if name not in (SPECTROTEMPORAL, PERMUTED)]
    for names, marker, colour, label in (
        (networks, "D", GREY, "published networks"),
        ([SPECTROTEMPORAL], "_", "black", "published spectro-temporal baseline"),
        ([PERMUTED], "x", GREY, "published network with permuted weights"),
    ):
        keys = [(PUBLISHED, name) for name in names if (PUBLISHED, name) in table.index]
        r2 = table.loc[keys, "r2"]
        axis.plot(
            np.full(len(r2), x), r2, ls="", marker=marker, ms=3 if marker != "_" else 7,
            color=colour, mfc="none", mew=0.8, label=label,
        )  # fmt: skip
