"""Tables of differences between stages and networks, in each subject, and of all subjects together.

`contrast_table` compares stages with each other, and with those of the control networks, in one
subject. `group_table` has the tests over subjects of scores and of differences.
"""

import itertools
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.encoding.area_results import AreaResults
from neuromusic.encoding.model_names import CONTROLS, TRAINED, ModelName, split_name
from neuromusic.encoding.score_tables import p_of_shifts
from neuromusic.stats import multiple
from neuromusic.stats.area_contrasts import area_contrast
from neuromusic.stats.group import group_row

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Results = Mapping[str, AreaResults]  # subject -> result


class Side(NamedTuple):
    """A stage of the trained network, or of all copies of a control network together."""

    network: str
    stage: str


def sides_of(result: AreaResults) -> list[Side]:
    """Return the stages of all networks that a subject was encoded with, each once."""
    names = dict.fromkeys(split_name(name) for _, name in result.area_r)
    return list(dict.fromkeys(Side(name.network, name.stage) for name in names))


def copies_of(result: AreaResults, area: str, side: Side) -> list[tuple[str, str]]:
    """Return the keys of ``AreaResults.area_r`` of all copies of a network's stage in an area."""
    keys = [(area, str(ModelName(side.network, seed, side.stage))) for seed in _seeds(result)]
    return [key for key in dict.fromkeys(keys) if key in result.area_r]


def _seeds(result: AreaResults) -> list[int]:
    return sorted({split_name(name).seed for _, name in result.area_r})


def scores_of(result: AreaResults, area: str, side: Side) -> Floats:
    """Return the mean r of an area (copies, 1 + groups), see `area_contrast`; maybe 0 copies."""
    keys = copies_of(result, area, side)
    return np.array([result.area_r[key] for key in keys]).reshape(len(keys), -1)


def p_of_side(result: AreaResults, area: str, side: Side) -> float:
    """Return the one-sided p of an area's r, the mean over the copies, from shifts within runs."""
    sums = [result.area_shifts[key] for key in copies_of(result, area, side)]
    known = [each for each in sums if each is not None]
    if not known:
        return float("nan")
    means = [np.mean(runs, axis=0) for runs in zip(*known, strict=True)]
    return p_of_shifts(means, result.has_folds)


def areas_of(results: Results) -> list[str]:
    """Return the areas in which any subject has voxels."""
    return list(dict.fromkeys(area for each in results.values() for area, _ in each.area_r))


# --- One subject ----------------------------------------------------------------------------------


def contrasts_of(stages: Sequence[str], result: AreaResults) -> list[tuple[Side, Side]]:
    """Return the pairs that are compared: stages with each other, and with the controls' own."""
    pairs = [(Side(TRAINED, a), Side(TRAINED, b)) for a, b in itertools.combinations(stages, 2)]
    known = sides_of(result)
    controls = [
        (Side(TRAINED, stage), Side(control, stage)) for control in CONTROLS for stage in stages
    ]
    return pairs + [pair for pair in controls if pair[1] in known]


def contrast_table(results: Results, stages: Sequence[str]) -> pd.DataFrame:
    """Compare the mean r of the areas between stages, and between networks.

    Parameters
    ----------
    results : mapping of AreaResults
        Subject -> result.
    stages : sequence of str
        The stages of the trained network.

    Returns
    -------
    pandas.DataFrame
        One row per subject, area and pair: subject, area, stage, minus_network, minus_stage, seeds
        (copies of minus_network whose scores are averaged), difference (of the mean r),
        difference_low and _high (95 %), t, df, p (two-sided), p_holm (over all rows of the subject
        and area); see `area_contrast`.
    """
    rows = []
    for subject, result in results.items():
        for area in areas_of({subject: result}):
            of_area: list[dict[str, Any]] = [
                {"subject": subject, "area": area, "stage": first.stage,
                 "minus_network": second.network, "minus_stage": second.stage,
                 "seeds": len(scores_of(result, area, second))}
                | _contrast_row(result, area, first, second)
                for first, second in contrasts_of(stages, result)
            ]  # fmt: skip
            p_holm = multiple.holm([row["p"] for row in of_area])
            rows += [row | {"p_holm": p} for row, p in zip(of_area, p_holm, strict=True)]
    table = pd.DataFrame(rows)
    if len(table) and table["p"].isna().all():
        log.warning(
            "contrasts: the test clips are in one group, so differences between stages have "
            "neither intervals nor p values"
        )
    return table


def _contrast_row(result: AreaResults, area: str, first: Side, second: Side) -> dict[str, float]:
    found = area_contrast(
        scores_of(result, area, first), scores_of(result, area, second), result.has_folds
    )
    return {
        "difference": found.difference, "difference_low": found.low,
        "difference_high": found.high, "t": found.t, "df": found.df, "p": found.p,
    }  # fmt: skip


# --- All subjects ---------------------------------------------------------------------------------


def group_table(results: Results, stages: Sequence[str]) -> pd.DataFrame:
    """Return the tests over subjects: of each score, and of each difference.

    Parameters
    ----------
    results, stages
        As for `contrast_table`.

    Returns
    -------
    pandas.DataFrame
        One row per area and effect: area, effect (r or difference), network, stage, minus_network
        and minus_stage (missing for r), alternative (greater: p_t is one-sided; or two-sided), the
        columns of `group_row`, with p_t_holm after p_t, over the rows of the area with the same
        effect and network. The prevalence is from each subject's p of the area (one-sided), and
        missing for differences. With one subject the tests are NaN.
    """
    rows = []
    every = list(dict.fromkeys(side for each in results.values() for side in sides_of(each)))
    pairs = contrasts_of(stages, next(iter(results.values())))
    for area in areas_of(results):
        for side in every:
            p = [p_of_side(result, area, side) for result in results.values()]
            tests = group_row(subject_values(results, area, side), p, "greater")
            rows.append(_group_start(area, "r", side, None) | tests)
        for first, second in pairs:
            values = subject_values(results, area, first, second)
            tests = group_row(values, np.full(len(values), np.nan), "two-sided")
            tests |= {"n_significant": np.nan}
            rows.append(_group_start(area, "difference", first, second) | tests)
    table = pd.DataFrame(rows).astype({"n_significant": "Int64"})
    p_holm = table.groupby(["area", "effect", "network"])["p_t"].transform(multiple.holm)
    table.insert(table.columns.get_loc("p_t") + 1, "p_t_holm", p_holm)
    if len(results) == 1:
        log.info("group.tsv: there is one subject, so there are no tests over subjects (n/a)")
    return table


def subject_values(
    results: Results, area: str, side: Side, minus: Side | None = None
) -> list[float]:
    """Return each subject's mean r, or the difference of two; NaN without voxels in the area."""
    values = []
    for result in results.values():
        sides = [scores_of(result, area, each) for each in (side, minus) if each is not None]
        means = [scores[:, 0].mean() if len(scores) else np.nan for scores in sides]
        values.append(float(means[0] - sum(means[1:])))
    return values


def _group_start(area: str, effect: str, side: Side, minus: Side | None) -> dict[str, object]:
    return {
        "area": area, "effect": effect, "network": side.network, "stage": side.stage,
        "minus_network": minus.network if minus else None,
        "minus_stage": minus.stage if minus else None,
        "alternative": "two-sided" if minus else "greater",
    }  # fmt: skip
