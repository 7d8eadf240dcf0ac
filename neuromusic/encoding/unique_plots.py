"""Figure of the unique variance of stages: what they add to an acoustic baseline, by area."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neuromusic.core.figures import (
    BLUE,
    FONT_SIZE,
    GREEN,
    GREY,
    PAGE_MM,
    FigureStyle,
    new_figure,
    save,
    styled,
    wrapped,
)
from neuromusic.encoding.model_names import BASELINE
from neuromusic.encoding.panels import (
    Grid,
    choose_areas,
    finish_panels,
    panel_grid,
    split_by_signal,
)
from neuromusic.stats.group import subject_t_test

PALE_BLUE = "#A6CEE8"
BAR = 0.34  # width, in stages
SHIFT = 0.19  # of the two bars of a stage
HEIGHT_MM = 38.0  # of a row of panels
BASE = "0.75"
SILENT = "0.94"  # background of areas without a reliable response


def save_figure(
    directory: Path, unique: pd.DataFrame, areas: pd.DataFrame, style: FigureStyle
) -> None:
    """Draw unique_variance into ``directory`` if anything could be compared.

    ``unique`` is the output of `tables.area_unique_variance`, ``areas`` that of
    `tables.area_scores`.
    """
    if len(unique):
        save(unique_variance(unique, areas, style), directory / "unique_variance", style)


@styled
def unique_variance(unique: pd.DataFrame, areas: pd.DataFrame, style: FigureStyle) -> Figure:
    """Draw the R2 of nested models as stacked bars: a panel per area, two bars per stage.

    The left bar is the acoustic baseline and what the stage adds to it; the right one the baseline,
    what the stage below adds to it, and what the stage adds to both. An increment below 0 is drawn
    downwards. All panels share one scale; areas without a reliable voxel come last, on grey.

    Parameters
    ----------
    unique : pandas.DataFrame
        The output of `tables.area_unique_variance`.
    areas : pandas.DataFrame
        The output of `tables.area_scores`, which says where responses are reliable.
    style : FigureStyle
        Width of the figure.
    """
    names, note = choose_areas(areas)
    with_signal, silent = split_by_signal(areas, names)
    means = _over_subjects(unique)
    stages = list(dict.fromkeys(unique["stage"]))
    drawn = [name for name in (*with_signal, *silent) if name in set(unique["area"])]
    width = style.width(PAGE_MM)
    n_columns, n_rows = panel_grid(len(drawn), width)
    n_subjects = unique["subject"].nunique()
    of = f"mean of {n_subjects} subjects" if n_subjects > 1 else f"sub-{unique['subject'].iat[0]}"
    over = "subjects" if n_subjects > 1 else "test runs"
    title = f"R² of nested models in the test clips, {of}, 95 % intervals over {over}{note}"
    title = wrapped(title, width)
    figure = new_figure(width, 30 + HEIGHT_MM * n_rows + 4 * title.count("\n"))
    figure.suptitle(title)
    axes = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    for area, axis in zip(drawn, axes.flat, strict=False):
        _draw_area(axis, means[means["area"] == area], stages)
        axis.set_title(area, fontsize=FONT_SIZE)
        if area in silent:
            axis.set_facecolor(SILENT)
            axis.set_title(f"{area} (no reliable response)", fontsize=FONT_SIZE, color=GREY)
    finish_panels(figure, axes, Grid(drawn, stages, n_rows, n_columns), "mean R²", width)
    return figure


def _over_subjects(unique: pd.DataFrame) -> pd.DataFrame:
    """Return one row per area, stage and kind of comparison.

    With several subjects r2 and smaller_r2 are means, and the interval of r2 is Student's t over
    subjects.
    """
    rows = []
    of_baseline = unique["beyond"] == BASELINE
    for (area, stage, is_first), group in unique.groupby(
        ["area", "stage", of_baseline], sort=False
    ):
        row = {"area": area, "stage": stage, "is_beyond_baseline": is_first}
        row |= group[["smaller_r2", "r2", "r2_low", "r2_high"]].mean().to_dict()
        if len(group) > 1:
            test = subject_t_test(group["r2"])
            row |= {"r2_low": test.low, "r2_high": test.high}
        rows.append(row)
    return pd.DataFrame(rows)


def _draw_area(axis: Axes, rows: pd.DataFrame, stages: list[str]) -> None:
    """Draw both stacks of bars of each stage."""
    position = {stage: number for number, stage in enumerate(stages)}
    of_baseline = rows.loc[rows["is_beyond_baseline"], "smaller_r2"]
    baseline = float(of_baseline.mean()) if len(of_baseline) else np.nan
    has_below = not rows["is_beyond_baseline"].all()
    looks = (
        (True, -SHIFT * has_below, BLUE, "stage, beyond the baseline"),
        (False, SHIFT, GREEN, "stage, beyond the baseline and the stage below"),
    )
    for is_first, shift, colour, label in looks[: 1 + has_below]:
        of_kind = rows[rows["is_beyond_baseline"] == is_first]
        x = of_kind["stage"].map(position).to_numpy(float) + shift
        smaller, r2 = (of_kind[name].to_numpy(float) for name in ("smaller_r2", "r2"))
        axis.bar(x, baseline, BAR, color=BASE, label="acoustic baseline" if is_first else None)
        if not is_first:
            axis.bar(
                x, smaller - baseline, BAR, baseline, color=PALE_BLUE,
                label="stage below, beyond the baseline",
            )  # fmt: skip
        axis.bar(x, r2, BAR, smaller, color=colour, label=label)
        sides = np.stack([r2 - of_kind["r2_low"], of_kind["r2_high"] - r2])
        axis.errorbar(x, smaller + r2, np.maximum(sides, 0), fmt="none", ecolor="black", lw=0.8)
    axis.axhline(0, color=GREY, lw=0.6, zorder=0)
