"""Representational similarity: are clips that are similar in a stage also similar in an area?

Kriegeskorte, Mur and Bandettini (2008, Front. Syst. Neurosci. 2); noise ceiling between subjects
after Nili et al. (2014, PLoS Comput. Biol. 10, eq. 3).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform
from scipy.stats import rankdata

PERMUTATIONS = 2000

Patterns = Mapping[str, NDArray[np.float32]]  # area -> (repeats, clips, voxels)


def dissimilarity(patterns: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return 1 - Pearson's r of each pair of clips in (clips, units), as scipy's pdist orders them.

    This vector (pairs,) is the upper triangle of a representational dissimilarity matrix (RDM).
    """
    return np.asarray(pdist(np.asarray(patterns, dtype=np.float64), "correlation"))


def _ranked(rdm: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return ranks with mean 0 and length 1; the product of two such vectors is Spearman's rho."""
    ranks = rankdata(rdm)
    ranks -= ranks.mean()
    return np.asarray(ranks / np.sqrt((ranks**2).sum()))


def similarity(
    a: NDArray[np.floating], b: NDArray[np.floating], rng: np.random.Generator
) -> tuple[float, float]:
    """Return Spearman's rho of two RDMs, and its one-sided p value.

    p is from permutations of the clips (Mantel 1967), because pairs that share a clip are not
    independent.
    """
    ranks, square = _ranked(a), squareform(_ranked(b))
    rho = float(ranks @ squareform(square, checks=False))
    upper = np.triu_indices(len(square), 1)
    reached = 0
    for _ in range(PERMUTATIONS):
        order = rng.permutation(len(square))
        reached += ranks @ square[order][:, order][upper] >= rho - 1e-12
    return rho, (1 + reached) / (1 + PERMUTATIONS)


def subject_ceiling(rdms: Sequence[NDArray[np.floating]]) -> tuple[float, float]:
    """Return the lower and upper noise ceiling of several subjects' RDMs.

    The lower one is the mean rho of each subject with the mean of the others, the upper one that
    with the mean of all, which no model of the group can exceed on average.

    Raises ValueError if there are fewer than two subjects.
    """
    if len(rdms) < 2:
        raise ValueError(f"{len(rdms)} subject; a ceiling between subjects needs two or more")
    ranked = np.array([_ranked(rdm) for rdm in rdms])
    lower = [
        float(ranks @ _ranked(np.delete(ranked, index, axis=0).mean(0)))
        for index, ranks in enumerate(ranked)
    ]
    upper = [float(ranks @ _ranked(ranked.mean(0))) for ranks in ranked]
    return float(np.mean(lower)), float(np.mean(upper))


def repeat_ceiling(patterns: NDArray[np.floating]) -> float:
    """Return the highest rho that a model can be expected to have with one subject's RDM.

    ``patterns`` is (repeats, clips, voxels). If the RDMs of odd and even repeats correlate with r,
    the reliability of that of all repeats is 2 r / (1 + r) (Spearman-Brown); the ceiling is its
    square root. NaN if r is not above 0.
    """
    odd, even = (_ranked(dissimilarity(patterns[first::2].mean(0))) for first in (0, 1))
    r = float(odd @ even)
    return float(np.sqrt(2 * r / (1 + r))) if r > 0 else float("nan")


def similarity_table(
    stages: Mapping[str, NDArray[np.float32]],
    subjects: Sequence[Patterns],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Compare the RDMs of stages with those of areas over the test clips.

    Parameters
    ----------
    stages : mapping of arrays (clips, units)
        Stage -> its response to each clip.
    subjects : sequence of mappings
        Patterns of each subject, with the clips in the same order.
    rng : numpy.random.Generator
        Draws the permutations.

    Returns
    -------
    pandas.DataFrame
        One row per area and stage: area, stage, rho (with the mean of the subjects' RDMs), p,
        ceiling_low and ceiling_high (between subjects, or between repeats if there is one subject;
        NaN for one repeat), subjects. Areas with fewer than two voxels in all subjects have no row.
    """
    rows = []
    for area in dict.fromkeys(area for subject in subjects for area in subject):
        patterns = [
            subject[area] for subject in subjects if area in subject and subject[area].shape[2] > 1
        ]
        if not patterns:
            continue
        rdms = [dissimilarity(repeats.mean(0)) for repeats in patterns]
        low, high = subject_ceiling(rdms) if len(rdms) > 1 else _ceiling_of_one(patterns[0])
        mean = np.mean([rdm / rdm.std() for rdm in rdms], axis=0)
        for stage, units in stages.items():
            rho, p = similarity(dissimilarity(units), mean, rng)
            rows.append(
                {
                    "area": area, "stage": stage, "rho": rho, "p": p, "ceiling_low": low,
                    "ceiling_high": high, "subjects": len(rdms),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def _ceiling_of_one(patterns: NDArray[np.float32]) -> tuple[float, float]:
    ceiling = repeat_ceiling(patterns) if len(patterns) > 1 else float("nan")
    return ceiling, ceiling
