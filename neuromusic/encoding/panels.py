"""What figures of areas share: which areas are drawn, how networks look, and a panel per area."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from neuromusic.core.figures import BLUE, GREY, VERMILLION, add_legend
from neuromusic.encoding.model_names import PERMUTED, RANDOM, TRAINED

MOST_AREAS = 24  # that are drawn
PANEL_MM = 44  # least width of a panel
WITHOUT_SIGNAL = "noise"  # the name that `simulate` gives to voxels without a response


@dataclass(frozen=True)
class Look:
    """How the values of a network are drawn: its marker, and its shift on an axis of stages."""

    colour: str
    face: str
    marker: str
    shift: float


NETWORKS = {
    TRAINED: Look(BLUE, BLUE, "o", -0.25),
    RANDOM: Look(GREY, "white", "o", 0.0),
    PERMUTED: Look(VERMILLION, "white", "s", 0.25),
}


def choose_areas(areas: pd.DataFrame) -> tuple[list[str], str]:
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


def split_by_signal(areas: pd.DataFrame, names: list[str]) -> tuple[list[str], list[str]]:
    """Return the areas with a response, and those that no subject has a reliable voxel in.

    If that is so for all of them, as without repeats, only WITHOUT_SIGNAL is set apart.
    """
    reliable = areas.groupby("area")["reliable"].max()
    silent = [name for name in names if not reliable[name] or name == WITHOUT_SIGNAL]
    if len(silent) == len(names):
        silent = [name for name in names if name == WITHOUT_SIGNAL]
    return [name for name in names if name not in silent], silent


@dataclass(frozen=True)
class Grid:
    """Panels of a figure, one per area, with the stages on their x axes."""

    areas: list[str]
    stages: list[str]
    n_rows: int
    n_columns: int


def panel_grid(n_areas: int, width: float) -> tuple[int, int]:
    """Return (columns, rows) of panels for a figure of a width in mm."""
    most = max(1, int(width // PANEL_MM))
    n_rows = -(-n_areas // most)
    return -(-n_areas // n_rows), n_rows


def finish_panels(
    figure: SubFigure | Figure, axes: NDArray[Any], grid: Grid, label: str, width: float
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
