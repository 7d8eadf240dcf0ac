"""Significance tests: is a difference, a similarity or a prediction more than chance?

docs/explanation/trust.md lists the test behind each number in the output files.
"""

import itertools
from typing import NamedTuple

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike, NDArray

SIGN_FLIPS = 10_000
MOST_EXACT_GROUPS = 12  # with more groups, signs are drawn at random
MANTEL_PERMUTATIONS = 10_000


class McNemar(NamedTuple):
    """Result of `mcnemar`: the numbers of discordant clips, and the p value."""

    only_first: int
    only_second: int
    p: float


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> McNemar:
    """Test whether two networks classify the same clips equally well; exact and two-sided.

    Under the null hypothesis, each clip that only one network classifies correctly is as likely to
    be the first network's as the second's. The test assumes independent clips; if clips share
    artists, use `sign_flip_test`.

    Parameters
    ----------
    first, second : ndarray of bool, shape (n,)
        Which clips each network classified correctly.

    Returns
    -------
    McNemar
        Number of clips that only the first and only the second network classified correctly, and p
        from the binomial distribution.

    References
    ----------
    McNemar, Q. (1947). Note on the sampling error of the difference between correlated proportions
    or percentages. Psychometrika 12, 153-157.
    Dietterich, T. G. (1998). Approximate statistical tests for comparing supervised classification
    learning algorithms. Neural Computation 10, 1895-1923: recommends it for a single test set.
    """
    only_first = int((first & ~second).sum())
    only_second = int((second & ~first).sum())
    tail = scipy.stats.binom.cdf(min(only_first, only_second), only_first + only_second, 0.5)
    return McNemar(only_first, only_second, min(1.0, 2 * float(tail)))


def sign_flip_test(difference: ArrayLike, groups: NDArray[np.generic], seed: int = 0) -> float:
    """Return the two-sided p value of a mean difference, by flipping the signs of whole groups.

    Under the null hypothesis, the summed difference of each group is as likely to be its negative
    (Fisher's randomisation test for paired data). With one clip per group and differences of -1, 0
    and 1 it equals McNemar's exact test.

    Parameters
    ----------
    difference : array_like, shape (n,)
        Difference between two networks on each clip.
    groups : ndarray, shape (n,)
        Name of the clip or artist of each difference.
    seed : int
        Seed of the draws.

    Returns
    -------
    float
        Exact for up to MOST_EXACT_GROUPS groups with a difference other than 0; from SIGN_FLIPS
        random flips, of which the observed signs are one, for more. It is never 0.

    References
    ----------
    Good, P. (2005). Permutation, Parametric and Bootstrap Tests of Hypotheses. Chapter 3.
    """
    _, group = np.unique(groups, return_inverse=True)
    totals = np.bincount(group, weights=np.asarray(difference, np.float64))
    totals = totals[np.abs(totals) > 1e-9]
    observed = abs(totals.sum()) - 1e-9
    if len(totals) <= MOST_EXACT_GROUPS:
        signs = np.array(list(itertools.product([-1, 1], repeat=len(totals))))
        return float((np.abs(signs @ totals) >= observed).mean())
    rng = np.random.default_rng(seed)
    signs = rng.integers(2, size=(SIGN_FLIPS - 1, len(totals)), dtype=np.int8) * 2 - 1
    return float((1 + (np.abs(signs @ totals) >= observed).sum()) / SIGN_FLIPS)


def mantel_test(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    rng: np.random.Generator,
    permutations: int = MANTEL_PERMUTATIONS,
) -> tuple[float, float]:
    """Correlate two matrices over the same classes and test the correlation (Mantel's test).

    A permutation reorders the classes of the second matrix, rows and columns alike, which keeps
    the dependence between the cells of a class. The test is one-sided: the matrices are similar.

    Parameters
    ----------
    first, second : ndarray of float64, shape (n, n)
        Matrices such as confusions; their diagonals are ignored. They need not be symmetric.
    rng : numpy.random.Generator
        Draws the permutations.
    permutations : int
        Number of permutations.

    Returns
    -------
    rho : float
        Spearman's correlation between the cells off the diagonal; NaN if one of the matrices has
        the same value in all of them.
    p : float
        Share of permutations with a correlation at least as high, the observed one included; 1 if
        rho is NaN.

    References
    ----------
    Mantel, N. (1967). The detection of disease clustering and a generalized regression approach.
    Cancer Research 27, 209-220.
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
    rho = float(x @ y / scale)  # y need not be centred, because x has mean 0
    orders = rng.permuted(np.tile(np.arange(len(first)), (permutations, 1)), axis=1)
    drawn = ranks[orders[:, :, None], orders[:, None, :]][:, off] @ x / scale
    return rho, float((1 + (drawn >= rho - 1e-12).sum()) / (1 + permutations))
