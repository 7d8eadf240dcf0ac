"""Intervals of the mean r of areas for the figure, and which stage is best beyond chance."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from neuromusic.encoding.contrast_tables import (
    Results,
    Side,
    areas_of,
    p_of_side,
    scores_of,
    sides_of,
    subject_values,
)
from neuromusic.encoding.model_names import TRAINED
from neuromusic.stats.area_contrasts import area_contrast
from neuromusic.stats.group import subject_t_test

LEVEL = 0.05  # of all framed cells together


def area_intervals(results: Results, stages: Sequence[str]) -> pd.DataFrame:
    """Return the mean r of each area and stage over the subjects, with intervals.

    Parameters
    ----------
    results : mapping of AreaResults
        Subject -> result.
    stages : sequence of str
        The stages of the trained network, among which the best is looked for.

    Returns
    -------
    pandas.DataFrame
        One row per area, network and stage: area, stage, network, subjects (number), r, r_low and
        r_high (95 % interval), best. With one subject the interval is that of `area_contrast`, over
        test runs and seeds; with several it is Student's t over subjects. ``best`` is whether the
        stage is above 0 and above every other of ``stages``, each at a one-sided level of LEVEL
        divided by the number of areas x stages (Bonferroni).
    """
    areas = areas_of(results)
    every = list(dict.fromkeys(side for each in results.values() for side in sides_of(each)))
    level = LEVEL / max(1, len(areas) * len(stages))
    rows = []
    for area in areas:
        for side in every:
            values = subject_values(results, area, side)
            low, high = _interval(results, area, side)
            rows.append(
                {
                    "area": area,
                    "stage": side.stage,
                    "network": side.network,
                    "subjects": int(np.isfinite(values).sum()),
                    "r": float(np.nanmean(values)) if np.isfinite(values).any() else np.nan,
                    "r_low": low,
                    "r_high": high,
                    "best": side.network == TRAINED
                    and side.stage in stages
                    and _is_best(results, area, side, stages, level),
                }
            )
    return pd.DataFrame(rows)


def _interval(results: Results, area: str, side: Side) -> tuple[float, float]:
    if len(results) > 1:
        found = subject_t_test(subject_values(results, area, side))
        return found.low, found.high
    [result] = results.values()
    scores = scores_of(result, area, side)
    if not len(scores):
        return np.nan, np.nan
    of_score = area_contrast(scores, np.zeros(scores.shape[1]))
    return of_score.low, of_score.high


def _is_best(results: Results, area: str, side: Side, stages: Sequence[str], level: float) -> bool:
    others = [Side(TRAINED, stage) for stage in stages if stage != side.stage]
    tests = [_p_above(results, area, side, other) for other in (None, *others)]
    return all(p < level for p in tests)


def _p_above(results: Results, area: str, side: Side, other: Side | None) -> float:
    """Return the one-sided p of a stage's r being above that of another, or above 0."""
    if len(results) > 1:
        return subject_t_test(subject_values(results, area, side, other), "greater").p
    [result] = results.values()
    if other is None:
        return p_of_side(result, area, side)
    found = area_contrast(
        scores_of(result, area, side), scores_of(result, area, other), result.has_folds
    )
    return found.p / 2 if found.difference > 0 else 1 - found.p / 2
