"""Two networks on the same clips: tests and what becomes of many of them.

Definitions and sources: docs/trust.md.
"""

import itertools

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike, NDArray

from neuromusic.stats.reliability import BLOCK

FLIPS = 10_000
EXACT = 12  # groups up to which every combination of signs is tried


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> tuple[int, int, float]:
    """Return (clips that only the first got right, only the second, two-sided exact p).

    ``first`` and ``second`` (n,) say of the same clips which were right. Under the null hypothesis
    each discordant clip is one or the other with a chance of a half (McNemar 1947, Psychometrika
    12, 153-157; exact by the binomial distribution, as Dietterich 1998 recommends for one test
    set). It takes clips for independent.
    """
    only_first = int((first & ~second).sum())
    only_second = int((second & ~first).sum())
    less = scipy.stats.binom.cdf(min(only_first, only_second), only_first + only_second, 0.5)
    return only_first, only_second, min(1.0, 2 * float(less))


def flip_test(difference: ArrayLike, groups: NDArray[np.generic], seed: int = 0) -> float:
    """Return the two-sided p of a mean difference (n,), from flipping the signs of whole groups.

    Where the networks are alike, each group's summed difference is as likely to be its negative
    (Fisher's sign-flip test; Good 2005, Permutation, Parametric and Bootstrap Tests, chapter 3).
    Exact up to EXACT groups that differ at all, beyond that from FLIPS draws, of which the one
    that was seen is one, so that p is never 0. With one clip a group and differences of -1, 0 and 1
    it is McNemar's exact test.
    """
    _, group = np.unique(groups, return_inverse=True)
    totals = np.bincount(group, weights=np.asarray(difference, np.float64))
    totals = totals[np.abs(totals) > 1e-9]
    seen = abs(totals.sum()) - 1e-9
    if len(totals) <= EXACT:
        signs = np.array(list(itertools.product([-1, 1], repeat=len(totals))))
        return float((np.abs(signs @ totals) >= seen).mean())
    rng = np.random.default_rng(seed)
    signs = rng.integers(2, size=(FLIPS - 1, len(totals)), dtype=np.int8) * 2 - 1
    return float((1 + (np.abs(signs @ totals) >= seen).sum()) / FLIPS)


MANTEL_PERMUTATIONS = 10_000


def rank_correlation(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    rng: np.random.Generator,
    permutations: int = MANTEL_PERMUTATIONS,
) -> tuple[float, float]:
    """Return (Spearman's rho, p) of the cells off the diagonal of two matrices (n, n).

    p is the share of permutations with a rho at least as high, the observed one counted (Mantel
    1967; one-sided: that the two confuse the same). A permutation exchanges the classes of the
    second matrix, rows and columns alike, which keeps the dependence between the cells of a class.
    rho is NaN, and p 1, where one of them has the same value in all cells.
    """
    off = ~np.eye(len(first), dtype=bool)
    x = scipy.stats.rankdata(first[off])
    ranks = np.zeros_like(second)
    ranks[off] = scipy.stats.rankdata(second[off])
    y = ranks[off]
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan"), 1.0
    x = (x - x.mean()) / np.linalg.norm(x - x.mean())
    scale = np.linalg.norm(y - y.mean())
    rho = float(x @ y / scale)  # x has the mean 0
    orders = rng.permuted(np.tile(np.arange(len(first)), (permutations, 1)), axis=1)
    drawn = ranks[orders[:, :, None], orders[:, None, :]][:, off] @ x / scale
    return rho, float((1 + (drawn >= rho - 1e-12).sum()) / (1 + permutations))


PERMUTATIONS = 2000


def permutation_p(matches: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the one-sided p of each voxel's correlation, from permutations of whole clips.

    ``matches`` as `clip_matches` returns them. Volumes of one clip are not independent of each
    other, so clips change places as a whole.
    p = (1 + permutations that reach the correlation) / (1 + permutations); 1 for a constant voxel.
    """
    n_voxels, n_clips, _ = matches.shape
    orders = np.array([rng.permutation(n_clips) for _ in range(PERMUTATIONS)])
    rows = np.repeat(np.arange(PERMUTATIONS), n_clips)
    pairs = (np.arange(n_clips) * n_clips + orders).ravel()
    ones = np.ones(len(pairs), np.float32)
    picks = scipy.sparse.csr_array((ones, (rows, pairs)), (PERMUTATIONS, n_clips**2))
    p = np.empty(n_voxels)
    for first in range(0, n_voxels, BLOCK):
        part = matches[first : first + BLOCK]
        chance = picks @ part.reshape(len(part), -1).T
        reached = (chance >= np.trace(part, axis1=1, axis2=2) - 1e-6).sum(0)
        p[first : first + BLOCK] = (1 + reached) / (1 + PERMUTATIONS)
    return p
