"""The tables and figures of all subjects of an encoding, or of one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.figures import FigureStyle
from neuromusic.encoding import contrast_tables, plots, tables, unique_plots
from neuromusic.encoding.area_intervals import area_intervals
from neuromusic.encoding.contrast_tables import Results


def write_group(
    directory: Path,
    results: Results,
    stages: Sequence[str],
    stage_rdms: Mapping[str, NDArray[np.float64]],
    seed: int,
    style: FigureStyle,
) -> pd.DataFrame:
    """Write areas.tsv, contrasts.tsv, group.tsv, similarity.tsv, unique.tsv and figures.

    Parameters
    ----------
    directory : Path
        An existing directory.
    results : mapping of AreaResults
        Subject -> result.
    stages : sequence of str
        The stages of the trained network.
    stage_rdms : mapping of arrays (pairs,)
        `tables.stage_rdms_of` the first subject.
    seed : int
        Seed of the shifts that similarities are tested with.
    style : FigureStyle
        Formats and width of the figures.

    Returns
    -------
    pandas.DataFrame
        The table of areas.
    """
    areas = tables.area_scores(results)
    similarity = tables.area_similarity(results, stage_rdms, seed)
    unique = tables.area_unique_variance(results)
    written = {
        "areas": areas,
        "similarity": similarity,
        "contrasts": contrast_tables.contrast_table(results, stages),
        "group": contrast_tables.group_table(results, stages),
        "unique": unique,
    }
    for name, table in written.items():
        table.to_csv(
            directory / f"{name}.tsv", sep="\t", index=False, na_rep="n/a", float_format="%.6g",
            lineterminator="\n",
        )  # fmt: skip
    folder = directory / "figures"
    plots.save_figures(folder, areas, area_intervals(results, stages), similarity, stages, style)
    unique_plots.save_figure(folder, unique, areas, style)
    return areas
