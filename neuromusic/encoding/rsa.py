"""Representational similarity: are clips that are similar in a stage also similar in an area?

Kriegeskorte, Mur and Bandettini (2008, Front. Syst. Neurosci. 2:4); noise ceiling between subjects
after Nili et al. (2014, PLoS Comput. Biol. 10:e1003553).

Only pairs of clips of different runs are compared. Within a run, detrending makes patterns
anticorrelated and clips share noise with their neighbours, in the same way in all subjects. Because
detrending also takes the mean of each run from the patterns of an area, it is taken from those of
stages too.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from scipy.stats import rankdata

from neuromusic.core.errors import listed
from neuromusic.encoding.model_names import split_name
from neuromusic.stats.run_shifts import (
    draw_shifts,
    n_shifts,
    p_of_first,
    p_of_maximum,
    run_members,
    shifted_pair_sums,
)

log = logging.getLogger(__name__)

CONSTANT = 1e-6  # a pattern that differs from the mean of its run by less than this share is equal

Patterns = Mapping[str, NDArray[np.float32]]  # area -> (repeats, clips, voxels)
Floats = NDArray[np.float64]

# --- Dissimilarities ------------------------------------------------------------------------------


def pairs_across_runs(runs: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of both clips of each pair of different runs; ``runs`` is (clips,)."""
    first, second = np.triu_indices(len(runs), 1)
    across = runs[first] != runs[second]
    return first[across], second[across]


def dissimilarity(patterns: NDArray[np.floating], runs: NDArray[np.int64]) -> Floats:
    """Return 1 - Pearson's r of each pair of clips of different runs (a vectorised RDM).

    Parameters
    ----------
    patterns : ndarray of floats, shape (clips, units)
        Responses; the mean of each run is taken from them.
    runs : ndarray of int64, shape (clips,)
        Run of each clip.

    Returns
    -------
    ndarray of float64, shape (pairs,)
        In the order of `pairs_across_runs`; NaN for pairs with a pattern that is constant.
    """
    centred = np.array(patterns, dtype=np.float64)
    size = np.linalg.norm(centred, axis=1)
    for run in run_members(runs):
        centred[run] -= centred[run].mean(0)
    centred -= centred.mean(1, keepdims=True)
    centred[np.linalg.norm(centred, axis=1) <= CONSTANT * size] = np.nan
    first, second = np.triu_indices(len(runs), 1)
    return np.asarray(pdist(centred, "correlation")[runs[first] != runs[second]])


def ranked(rdm: NDArray[np.floating]) -> Floats:
    """Return ranks with mean 0 and length 1; the product of two such vectors is Spearman's rho.

    All are NaN if a dissimilarity is NaN or all are equal.
    """
    ranks = rankdata(rdm)
    ranks -= ranks.mean()
    with np.errstate(invalid="ignore"):
        return np.asarray(ranks / np.sqrt((ranks**2).sum()))


def _square(vectors: NDArray[np.floating], runs: NDArray[np.int64]) -> Floats:
    """Return vectors (n, pairs) as symmetric matrices (n, clips, clips), 0 within runs."""
    first, second = pairs_across_runs(runs)
    square = np.zeros((len(vectors), len(runs), len(runs)))
    square[:, first, second] = square[:, second, first] = vectors
    return square


# --- Ceilings -------------------------------------------------------------------------------------


def subject_ceiling(rdms: Sequence[NDArray[np.floating]]) -> tuple[float, float]:
    """Return the lower and upper noise ceiling of the mean over subjects of rho.

    The lower one is the mean rho of each subject with the mean of the others, the upper one that
    with the mean of all, which no model of the group can exceed on average (Nili et al. 2014,
    "noise ceiling"). The true model is between them, closer to the lower one if there are many
    subjects.

    Parameters
    ----------
    rdms : sequence of ndarray of floats, each of shape (pairs,)
        The `dissimilarity` of each subject.

    Raises
    ------
    ValueError
        If there are fewer than two subjects.
    """
    if len(rdms) < 2:
        raise ValueError(f"{len(rdms)} subject; a ceiling between subjects needs two or more")
    ranks = np.array([ranked(rdm) for rdm in rdms])
    lower = [
        float(own @ ranked(np.delete(ranks, index, axis=0).mean(0)))
        for index, own in enumerate(ranks)
    ]
    upper = [float(own @ ranked(ranks.mean(0))) for own in ranks]
    return float(np.mean(lower)), float(np.mean(upper))


def repeat_ceiling(patterns: NDArray[np.floating], runs: NDArray[np.int64]) -> tuple[float, float]:
    """Return the lower and upper bound of the rho that the true model has with one subject's RDM.

    If the RDMs of two halves of the repeats correlate with r, 1 / r - 1 is the noise of a half
    relative to the signal. With twice the repeats it is halved if the noise of patterns acts on
    dissimilarities linearly, which is so if it is weak (this is the formula of Spearman and
    Brown), and quartered if products of noise dominate. So rho is between
    sqrt(1 / (1 + (1 / r - 1) / 2)) and sqrt(1 / (1 + (1 / r - 1) / 4)).

    Parameters
    ----------
    patterns : ndarray of floats, shape (repeats, clips, voxels)
        Two repeats or more.
    runs : ndarray of int64, shape (clips,)
        Run of each clip.

    Returns
    -------
    tuple of float
        r is the mean of two splits: odd and even repeats, first and second half. NaN if r is not
        above 0.
    """
    half = len(patterns) // 2
    every = np.arange(len(patterns))
    splits = [(every % 2).astype(bool), every >= half]
    r = float(np.mean([_split_r(patterns, split, runs) for split in splits]))
    if not r > 0:
        return float("nan"), float("nan")
    noise = 1 / r - 1
    return float(np.sqrt(1 / (1 + noise / 2))), float(np.sqrt(1 / (1 + noise / 4)))


def _split_r(
    patterns: NDArray[np.floating], split: NDArray[np.bool_], runs: NDArray[np.int64]
) -> float:
    one, other = (ranked(dissimilarity(patterns[each].mean(0), runs)) for each in (split, ~split))
    return float(one @ other)


# --- Subjects and stages --------------------------------------------------------------------------


class AreaRdm(NamedTuple):
    """The dissimilarities of the test clips in one area of one subject.

    ``voxels`` is the number of voxels, ``rdm`` (pairs,) the `dissimilarity` of the mean over the
    repeats, and ``ceiling`` the `repeat_ceiling`. ``rdm`` is empty if there are no pairs of clips
    of different runs, or fewer than two voxels.
    """

    voxels: int
    rdm: Floats
    ceiling: tuple[float, float]


def area_rdms(patterns: Patterns, runs: NDArray[np.int64]) -> dict[str, AreaRdm]:
    """Return area -> its dissimilarities; ``runs`` (clips,) has the test run of each clip."""
    counted = _counted(runs)
    runs = runs[counted]
    found = {}
    for area, repeats in patterns.items():
        n_voxels, nothing = repeats.shape[2], (float("nan"), float("nan"))
        if n_voxels < 2 or not _has_pairs(runs):
            found[area] = AreaRdm(n_voxels, np.zeros(0), nothing)
            continue
        used = repeats[:, counted]
        ceiling = repeat_ceiling(used, runs) if len(used) > 1 else nothing
        found[area] = AreaRdm(n_voxels, dissimilarity(used.mean(0), runs), ceiling)
    return found


def stage_rdms(
    stages: Mapping[str, NDArray[np.float32]], runs: NDArray[np.int64]
) -> dict[str, Floats]:
    """Return stage -> the `dissimilarity` of its responses to clips (clips, units); maybe empty."""
    counted = _counted(runs)
    runs = runs[counted]
    if not _has_pairs(runs):
        return {name: np.zeros(0) for name in stages}
    return {name: dissimilarity(units[counted], runs) for name, units in stages.items()}


def _counted(runs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which clips (clips,) are compared: those of runs with two clips or more."""
    return np.isin(runs, [run for run in np.unique(runs) if (runs == run).sum() > 1])


def _has_pairs(runs: NDArray[np.int64]) -> bool:
    return len(np.unique(runs)) > 1


# --- Table ----------------------------------------------------------------------------------------


def similarity_table(
    stages: Mapping[str, Floats],
    subjects: Sequence[Mapping[str, AreaRdm]],
    runs: NDArray[np.int64],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Compare the RDMs of stages with those of areas over the test clips.

    Parameters
    ----------
    stages : mapping of arrays (pairs,)
        Stage -> its dissimilarities, see `stage_rdms`.
    subjects : sequence of mappings
        `area_rdms` of each subject, with the clips in the same order.
    runs : ndarray of int64, shape (clips,)
        Test run of each clip; the clips of a run in the order played.
    rng : numpy.random.Generator
        Draws the shifts, which all areas and stages share.

    Returns
    -------
    pandas.DataFrame
        One row per area with voxels, and stage: area, stage, rho (Spearman's, the mean over
        subjects), p (one-sided, from shifts of the clips within runs), p_max (p corrected over the
        stages of one network in this area), ceiling_low and ceiling_high (of the same mean and
        pairs: between subjects, or from the repeats of one subject), pairs, subjects. What cannot
        be computed is NaN; a warning says why.
    """
    areas = [name for name in _names(subjects) if any(_voxels(each, name) for each in subjects)]
    runs = runs[_counted(runs)]
    possible = _is_possible(runs)
    n_pairs = len(pairs_across_runs(runs)[0])
    rows = []
    by_area: dict[str, Floats] = {}
    for area in areas:
        used = [each[area] for each in subjects if _voxels(each, area) > 1]
        low, high = float("nan"), float("nan")
        if possible and used:
            rdms = [each.rdm for each in used]
            by_area[area] = np.mean([ranked(rdm) for rdm in rdms], axis=0)
            low, high = subject_ceiling(rdms) if len(rdms) > 1 else used[0].ceiling
        rows += [
            {
                "area": area, "stage": stage, "rho": np.nan, "p": np.nan, "p_max": np.nan,
                "ceiling_low": low, "ceiling_high": high, "pairs": n_pairs, "subjects": len(used),
            }
            for stage in stages
        ]  # fmt: skip
    table = pd.DataFrame(rows)
    if by_area:
        _add_tests(table, stages, by_area, runs, rng)
    _warn_of_missing(table, possible)
    return table


def _names(subjects: Sequence[Mapping[str, AreaRdm]]) -> list[str]:
    return list(dict.fromkeys(area for subject in subjects for area in subject))


def _voxels(subject: Mapping[str, AreaRdm], area: str) -> int:
    return subject[area].voxels if area in subject else 0


def _add_tests(
    table: pd.DataFrame,
    by_stage: Mapping[str, Floats],
    by_area: Mapping[str, Floats],
    runs: NDArray[np.int64],
    rng: np.random.Generator,
) -> None:
    """Fill rho, p and p_max of the areas in ``by_area`` (name -> mean of the ranked RDMs)."""
    stage_ranks = np.array([ranked(rdm) for rdm in by_stage.values()])
    of_stages, of_areas = (
        _square(vectors, runs) for vectors in (stage_ranks, np.array(list(by_area.values())))
    )
    values = shifted_pair_sums(of_stages, of_areas, runs, draw_shifts(runs, rng))
    copies = [split_name(name)[:2] for name in by_stage]
    networks = [np.array([each == one for each in copies]) for one in dict.fromkeys(copies)]
    for index, area in enumerate(by_area):
        of_area = values[:, index]
        p_max = np.full(len(by_stage), np.nan)
        for network in networks:
            p_max[network] = p_of_maximum(of_area[network])
        columns = ["rho", "p", "p_max"]
        table.loc[table["area"] == area, columns] = np.column_stack(
            [of_area[:, 0], p_of_first(of_area), p_max]
        )


def _is_possible(runs: NDArray[np.int64]) -> bool:
    """Return whether there are pairs of clips of different runs; warn if not, or if p is coarse."""
    if not _has_pairs(runs):
        log.warning(
            "similarity: clips of different test runs are compared, but only %d has two clips or "
            "more; rho is n/a", len(np.unique(runs)),
        )  # fmt: skip
        return False
    if n_shifts(runs) < 20:
        log.warning(
            "similarity: the clips of the test runs can be shifted in %d ways only, so no p is "
            "below %.2g", n_shifts(runs), 1 / n_shifts(runs),
        )  # fmt: skip
    return True


def _warn_of_missing(table: pd.DataFrame, possible: bool) -> None:
    """Say for which areas and stages there is no rho, and why."""
    if not possible or table.empty:
        return
    small = table["subjects"] == 0
    if small.any():
        names = listed(table.loc[small, "area"].unique())
        log.warning("similarity: %s: one voxel has no pattern; rho is n/a", names)
    missing = table[table["rho"].isna() & ~small]
    for key, other in (("stage", "area"), ("area", "stage")):
        counts = missing.groupby(key)[other].nunique()
        every = table.loc[~small, other].nunique()
        if (counts == every).any():
            names = listed(counts.index[counts == every])
            log.warning(
                "similarity: %s %s: the response to a clip is the same as to the others of its "
                "run, or in all units; rho is n/a", key, names,
            )  # fmt: skip
