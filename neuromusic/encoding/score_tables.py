"""Tables of an encoding: what is added to the scores of voxels, and the scores of areas."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.encoding.identification import identification
from neuromusic.encoding.rois import Areas
from neuromusic.encoding.stage_components import JOINT, RANDOM
from neuromusic.stats import multiple, reliability

LEVEL = 0.05  # false discovery rate of reliable and of significant voxels
RELIABILITY = ""  # the key of the signed reliability in `Draws`; no stage has this name

Floats = NDArray[np.float64]
Matches = Mapping[tuple[str, str], NDArray[np.floating]]  # (area, stage) -> (clips, clips)
# Stage or RELIABILITY -> sums over the voxels of each area with the clips weighted, (draws, areas);
# see `reliability.clip_weights`.
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
    candidates = [name for name in stages if not name.startswith(RANDOM)]
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
    of the random network, and all stages fitted together.
    """
    families: dict[str, list[str]] = {}
    for name in names:
        is_random = name.startswith(RANDOM)
        key = "joint" if name == JOINT else "random" if is_random else "trained"
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


def area_table(
    voxels: pd.DataFrame,
    areas: Areas,
    matches: Matches,
    draws: Draws,
    runs: NDArray[np.int64],
) -> pd.DataFrame:
    """Return one row per stage and area that has voxels: scores, and identification of clips.

    A voxel for which a stage predicts a constant counts with r = 0.

    Parameters
    ----------
    voxels : pandas.DataFrame
        As in `Encoding`.
    areas : Areas
        The area of each voxel.
    matches : mapping of arrays (clips, clips)
        (area, stage) -> sum over the voxels of `scoring.clip_matches`.
    draws : mapping of arrays (draws, areas)
        See `Draws`. Without RELIABILITY there are no ceilings.
    runs : array (clips,)
        Test run of each clip.

    Returns
    -------
    pandas.DataFrame
        area, stage, voxels, reliable and significant (numbers of voxels; significant if q is below
        LEVEL), r, ceiling_r and rc, each with _low and _high, as in `reliability.area_score`, r2
        (mean), and the columns of `identification`.
    """
    rows = []
    for (area, stage), match in matches.items():
        index = areas.names.index(area)
        inside = voxels[areas.label == index + 1]
        if inside.empty:
            continue
        r_sums = draws[stage][:, index]
        of_repeats = draws[RELIABILITY][:, index] if RELIABILITY in draws else np.zeros_like(r_sums)
        score = reliability.area_score(r_sums, of_repeats, len(inside))
        rows.append(
            {
                "area": area,
                "stage": stage,
                "voxels": len(inside),
                "reliable": int(inside["reliable"].sum()),
                "significant": int((inside[f"q_{stage}"] < LEVEL).sum()),
                "r": score.r, "r_low": score.r_low, "r_high": score.r_high,
                "ceiling_r": score.ceiling, "ceiling_r_low": score.ceiling_low,
                "ceiling_r_high": score.ceiling_high,
                "rc": score.score, "rc_low": score.score_low, "rc_high": score.score_high,
                "r2": inside[f"r2_{stage}"].mean(),
            }
            | identification(match, runs)
        )  # fmt: skip
    return pd.DataFrame(rows)


def clip_contributions(areas: Areas, matches: Matches) -> dict[tuple[str, str], Floats]:
    """Return `Encoding.clip_r`; parameters as for `area_table`."""
    n_voxels = {area: len(areas.voxels(area)) for area in areas.names}
    return {
        (area, stage): np.diag(match).astype(np.float64) / n_voxels[area]
        for (area, stage), match in matches.items()
        if n_voxels[area]
    }
