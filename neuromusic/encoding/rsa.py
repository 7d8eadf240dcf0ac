"""Representational similarity: do clips that a stage finds alike look alike in an area?

Kriegeskorte, Mur & Bandettini (2008, Front. Syst. Neurosci. 2); noise ceiling of several subjects
after Nili et al. (2014, PLoS Comput. Biol. 10, eq. 3).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform
from scipy.stats import rankdata

PERMUTATIONS = 2000


def dissimilarity(patterns: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return 1 - Pearson's r of every pair of patterns (clips, units), as scipy's pdist orders."""
    return np.asarray(pdist(np.asarray(patterns, dtype=np.float64), "correlation"))


def _ranked(rdm: NDArray[np.floating]) -> NDArray[np.float64]:
    ranks = rankdata(rdm)
    ranks -= ranks.mean()
    return np.asarray(ranks / np.sqrt((ranks**2).sum()))


def similarity(
    a: NDArray[np.floating], b: NDArray[np.floating], rng: np.random.Generator
) -> tuple[float, float]:
    """Return Spearman's rho of two dissimilarities and its one-sided p.

    The p comes from permutations of the clips (Mantel 1967), since the pairs of one clip go
    together.
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
    """Return the lower and upper noise ceiling of several subjects' dissimilarities.

    Each one's rho with the mean of the others (no model of the group need do better than the upper
    bound, its rho with the mean of all). Raises ValueError for fewer than two subjects.
    """
    if len(rdms) < 2:
        raise ValueError(f"{len(rdms)} subject; a ceiling between subjects needs two")
    ranked = np.array([_ranked(rdm) for rdm in rdms])
    lower = [
        float(own @ _ranked(np.delete(ranked, index, axis=0).mean(0)))
        for index, own in enumerate(ranked)
    ]
    upper = [float(own @ _ranked(ranked.mean(0))) for own in ranked]
    return float(np.mean(lower)), float(np.mean(upper))


def repeat_ceiling(patterns: NDArray[np.floating]) -> float:
    """Return the highest rho that a model can be expected to have with one subject's dissimilarity.

    ``patterns`` (repeats, clips, voxels): the dissimilarities of the odd and of the even repeats
    correlate with r; that of all has the reliability 2 r / (1 + r) (Spearman & Brown), whose root
    is the ceiling. NaN where r is not above 0.
    """
    halves = [_ranked(dissimilarity(patterns[half::2].mean(0))) for half in (0, 1)]
    r = float(halves[0] @ halves[1])
    return float(np.sqrt(2 * r / (1 + r))) if r > 0 else float("nan")
