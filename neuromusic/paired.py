"""Two networks on the same clips: tests and what becomes of many of them.

Definitions and sources: docs/trust.md.
"""

import itertools

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike, NDArray

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


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Return p values (k,) corrected for being k; NaN stays NaN and does not count.

    Holm 1979, Scandinavian Journal of Statistics 6, 65-70.
    """
    p = np.asarray(p, np.float64)
    out = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    out[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return out
