"""Tables of an encoding: what is added to the scores of voxels, and the scores of areas."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.encoding.clip_sets import ALL, ClipSet
from neuromusic.encoding.identification import identification
from neuromusic.encoding.model_names import JOINT, is_trained, split_name
from neuromusic.encoding.rois import Areas
from neuromusic.stats import multiple, reliability
from neuromusic.stats.run_shifts import run_members
from neuromusic.stats.shifts import shift_test

LEVEL = 0.05  # false discovery rate of reliable and of significant voxels
RELIABILITY = ""  # the key of the signed reliability in `Draws`; no stage has this name

Floats = NDArray[np.float64]
Matches = Mapping[tuple[str, str], NDArray[np.floating]]  # (area, stage) -> (clips, clips)
# Stage or RELIABILITY -> sums over the voxels of each area with the clips weighted, (draws, areas);
# see `ClipSet`.
Draws = dict[str, Floats]


def with_reliability(voxels: pd.DataFrame, stages: Sequence[str]) -> pd.DataFrame:
    """Add q_reliable and reliable, and rc_ of each stage; see `Encoding`."""
    if "ceiling_r" not in voxels:
        voxels = voxels.assign(ceiling_r=np.nan, p_reliable=np.nan)
    q = multiple.false_discovery(voxels["p_reliable"].to_numpy())
    voxels = voxels.assign(q_reliable=q, reliable=(q < LEVEL) & voxels["ceiling_r"].notna())
    relative = {
        f"rc_{name}": (voxels[f"r_{name}"] / voxels["ceiling_r"]).where(voxels["reliable"])
        for name in stages
    }
    return voxels.assign(**relative)


def with_best(voxels: pd.DataFrame, stages: Sequence[str]) -> pd.DataFrame:
    """Add the best stage of each voxel, chosen on the training runs, and its test scores.

    ``voxels`` has mse_, r_ and p_ of all ``stages``, of which those of the trained network are
    candidates. Returns it with best (missing if no stage could be fitted), best_r and best_p.
    """
    candidates = [name for name in stages if is_trained(name)]
    loss = voxels[[f"mse_{name}" for name in candidates]].fillna(np.inf).to_numpy()
    chosen = loss.argmin(1)
    every = np.arange(len(voxels))
    columns: dict[str, NDArray[Any]] = {"best": np.array(candidates, dtype=object)[chosen]}
    for key in ("r", "p"):
        of_stages = voxels[[f"{key}_{name}" for name in candidates]].to_numpy(np.float64)
        columns[f"best_{key}"] = of_stages[every, chosen]
    return voxels.assign(**columns)


def q_families(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the families of tests whose false discovery rates are controlled together.

    Each is over all voxels of a subject and the listed stages: those of the trained network, those
    of each copy of a control network, and all stages fitted together.
    """
    families: dict[str, list[str]] = {}
    for name in names:
        network, seed, _ = split_name(name)
        key = "joint" if name == JOINT else f"{network} {seed}" if seed > 1 else network
        families.setdefault(key, []).append(name)
    return families


def with_q(voxels: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Add q_ of each stage, over the families of `q_families`, and best_q over the voxels."""
    columns: dict[str, NDArray[np.float64]] = {}
    for key, members in q_families(names).items():
        p = voxels[[f"p_{name}" for name in members]].to_numpy()
        what = "voxels of all stages together" if key == "joint" else f"voxels x {key} stages"
        multiple.warn_if_nan(p, what)
        q = multiple.false_discovery(p.ravel()).reshape(p.shape)
        columns |= {f"q_{name}": q[:, index] for index, name in enumerate(members)}
    columns["best_q"] = multiple.false_discovery(voxels["best_p"].to_numpy())
    return voxels.assign(**columns)


@dataclass(frozen=True)
class AreaTotals:
    """Sums over the voxels of each area, which the scores of areas are computed from.

    Parameters
    ----------
    matches : mapping of arrays (clips, clips)
        (area, stage) -> sum over the voxels of `scoring.clip_matches`.
    draws : mapping of arrays (draws, areas)
        See `Draws`. Without RELIABILITY there are no ceilings.
    runs : array (clips,)
        Test run of each clip; the clips of a run in the order played.
    of_lines : mapping of lists of arrays (shifts,)
        (area, stage) -> the matches of each run at each shift, if a run does not repeat its clips
        in a fixed order; otherwise they follow from ``matches``.
    has_folds : bool
        Whether parts of the data are predicted from each other.
    has_tests : bool
        Whether areas are tested. Not if folds leave out sounds of the same runs: the filter against
        drifts couples what is left out with what is fitted, which adds .01 to .04 to r. That is
        little for a voxel, but not for the mean of many.
    """

    matches: Matches
    draws: Draws
    runs: NDArray[np.int64]
    of_lines: Mapping[tuple[str, str], list[Floats]] = field(default_factory=dict)
    has_folds: bool = False
    has_tests: bool = True

    def shifts(self, key: tuple[str, str], clips: ClipSet) -> list[Floats] | None:
        """Return the matches of each run at each shift by whole clips, for `shift_test`.

        Predictions are those of the set's clips; they meet the measurements of all clips of the
        run, because clips that are not neighbours may not take each other's place. None for some of
        the clips if their order is not fixed.
        """
        if not self.has_tests:
            return None
        if self.of_lines:
            return self.of_lines[key] if clips.members.all() else None
        match = np.asarray(self.matches[key], np.float64)
        sums = []
        for run in run_members(self.runs):
            own = np.flatnonzero(clips.members[run])
            if len(own):
                at = [run[(own + shift) % len(run)] for shift in range(len(run))]
                sums.append(np.array([match[run[own], other].sum() for other in at]))
        return sums


def area_table(
    voxels: pd.DataFrame, areas: Areas, totals: AreaTotals, sets: Sequence[ClipSet]
) -> pd.DataFrame:
    """Return one row per stage, area that has voxels, and set of clips: scores, identification.

    A voxel for which a stage predicts a constant counts with r = 0.

    Parameters
    ----------
    voxels : pandas.DataFrame
        As in `Encoding`.
    areas : Areas
        The area of each voxel.
    totals : AreaTotals
        Sums over the voxels of each area.
    sets : sequence of ClipSet
        As `clip_sets` returns them.

    Returns
    -------
    pandas.DataFrame
        area, stage, clips (the set's name), n_clips, voxels, reliable and significant (numbers of
        voxels; significant if q is below LEVEL), r, ceiling_r and rc, each with _low and _high, as
        in `reliability.area_score`, p (one-sided, from shifts, of the area as a whole), p_holm
        (over the areas and stages of one network), r2 (mean), and the columns of `identification`.
        significant and r2 are NaN unless the set is that of all clips.
    """
    rows = []
    for (area, stage), match in totals.matches.items():
        index = areas.names.index(area)
        inside = voxels[areas.label == index + 1]
        if inside.empty:
            continue
        r2, significant = inside[f"r2_{stage}"].mean(), (inside[f"q_{stage}"] < LEVEL).sum()
        for each in sets:
            is_all = each.name == ALL
            r_sums = totals.draws[stage][each.rows, index]
            of_repeats = totals.draws.get(RELIABILITY, np.zeros((each.rows.stop, len(areas.names))))
            score = reliability.area_score(r_sums, of_repeats[each.rows, index], len(inside))
            own = match[np.ix_(each.members, each.members)]
            rows.append(
                {
                    "area": area, "stage": stage, "clips": each.name,
                    "n_clips": int(each.members.sum()), "voxels": len(inside),
                    "reliable": int(inside["reliable"].sum()),
                    "significant": int(significant) if is_all else None,
                    "r": score.r, "r_low": score.r_low, "r_high": score.r_high,
                    "p": p_of_shifts(totals.shifts((area, stage), each), totals.has_folds),
                    "ceiling_r": score.ceiling, "ceiling_r_low": score.ceiling_low,
                    "ceiling_r_high": score.ceiling_high,
                    "rc": score.score, "rc_low": score.score_low, "rc_high": score.score_high,
                    "r2": r2 if is_all else np.nan,
                }
                | identification(own, totals.runs[each.members], totals.has_folds)
                | ({} if totals.has_tests else {"p_rank": np.nan, "p_top1": np.nan})
            )  # fmt: skip
    return _with_p_holm(pd.DataFrame(rows))


def p_of_shifts(sums: Sequence[Floats] | None, both_ways: bool) -> float:
    """Return the one-sided p of `shift_test` of one series; NaN if there are no ``sums``."""
    return float(shift_test([run[:, None] for run in sums], both_ways).p[0]) if sums else np.nan


def _with_p_holm(table: pd.DataFrame) -> pd.DataFrame:
    """Add p_holm after p: over areas x stages of one network and one set of clips."""
    if table.empty:
        return table
    families = q_families(list(table["stage"].unique()))
    family = {name: key for key, members in families.items() for name in members}
    p_holm = table.groupby([table["stage"].map(family), "clips"])["p"].transform(multiple.holm)
    table.insert(table.columns.get_loc("p") + 1, "p_holm", p_holm)
    return table.astype({"significant": "Int64"})


def mean_r(areas: Areas, totals: AreaTotals, clips: ClipSet) -> dict[tuple[str, str], Floats]:
    """Return (area, stage) -> mean r over the area's voxels, for each row of the set's weights."""
    n_voxels = {area: len(areas.voxels(area)) for area in areas.names}
    return {
        (area, stage): totals.draws[stage][clips.rows, areas.names.index(area)] / n_voxels[area]
        for area, stage in totals.matches
        if n_voxels[area]
    }
