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

SHIFT = 0.15  # of the two points of a stage
HEIGHT_MM = 42.0  # of a row of panels
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
    """Draw the R2 that stages add to smaller models: a panel per area, up to two points per stage.

    One point is what the stage adds to the acoustic baseline, the other what it adds to the
    baseline and the stage below. The R2 of the baseline is in the title of the panel, because
    on its scale small increments could not be seen. All panels share one scale; areas without a
    reliable voxel come last, on grey.

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
    title = f"R² that stages add in the test clips, {of}, 95 % intervals over {over}{note}"
    title = wrapped(title, width)
    figure = new_figure(width, 30 + HEIGHT_MM * n_rows + 4 * title.count("\n"))
    figure.suptitle(title)
    axes = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    for area, axis in zip(drawn, axes.flat, strict=False):
        rows = means[means["area"] == area]
        _draw_area(axis, rows, stages)
        baseline = rows.loc[rows["is_beyond_baseline"], "smaller_r2"].mean()
        lines = [area]
        if not np.isnan(baseline):
            lines.append(f"baseline R² {baseline:.2f}".replace("-", "−"))
        if area in silent:
            lines.append("no reliable response")
            axis.set_facecolor(SILENT)
        axis.set_title(
            "\n".join(lines), fontsize=FONT_SIZE, color=GREY if area in silent else "black"
        )
    finish_panels(figure, axes, Grid(drawn, stages, n_rows, n_columns), "mean R² added", width)
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
    """Draw what each stage adds, with intervals."""
    position = {stage: number for number, stage in enumerate(stages)}
    has_below = not rows["is_beyond_baseline"].all()
    looks = (
        (True, -SHIFT * has_below, BLUE, "o", "beyond the acoustic baseline"),
        (False, SHIFT, GREEN, "s", "beyond the baseline and the stage below"),
    )
    for is_first, shift, colour, marker, label in looks[: 1 + has_below]:
        of_kind = rows[rows["is_beyond_baseline"] == is_first]
        x = of_kind["stage"].map(position).to_numpy(float) + shift
        r2 = of_kind["r2"].to_numpy(float)
        sides = np.stack([r2 - of_kind["r2_low"], of_kind["r2_high"] - r2])
        axis.errorbar(
            x, r2, np.maximum(sides, 0), fmt=marker, color=colour, ms=4, lw=1, label=label
        )  # fmt: skip
    axis.axhline(0, color=GREY, lw=0.6, zorder=0)
