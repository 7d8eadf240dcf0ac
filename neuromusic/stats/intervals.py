"""Confidence intervals of an accuracy and of a difference between two accuracies.

Clips of one artist are not independent, and networks that differ in their seed scored the same
clips. So both intervals come from a crossed random-effects model of groups (clips or artists) and
seeds, estimated by the method of moments: the variance of a mean over both is the variance of the
group means over the number of groups, plus that of the seeds over the number of seeds, less what
the residual contributes to the latter. Degrees of freedom follow Satterthwaite. They are those of
percent correct in multi-reader studies (Hillis 2007), with seeds as readers.
"""

from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike, NDArray

FEW = 5  # groups: if fewer than these vary, their spread says too little about the others


def accuracy_ci95(hits: ArrayLike, groups: NDArray[Any]) -> tuple[float, float]:
    """Return the two-sided 95 % interval of an accuracy, over groups and seeds.

    Wilson's score interval with an effective number of independent clips, a (1 - a) / variance,
    and a quantile of Student's t. The effective number is at most the number of values. If fewer
    than FEW groups contain a miss, or fewer than FEW a hit, it is at most the number of groups. So
    60 of 60 clips right gives .937 to 1.

    Parameters
    ----------
    hits : array_like of bool or of 0 and 1, shape (n,) or (n_seeds, n)
        Which values, such as clips, are right. The accuracy is their mean.
    groups : ndarray, shape (n,)
        Name of the clip or artist of each value. Groups are independent of each other.

    Returns
    -------
    tuple of float
        Lower and upper limit, in 0 to 1. They are 0 and 1 if there is only one group: nothing is
        known about the spread of others.

    References
    ----------
    Wilson, E. B. (1927). Probable inference, the law of succession, and statistical inference.
    Journal of the American Statistical Association 22, 209-212.
    Franco, C. et al. (2019). Comparative study of confidence intervals for proportions in complex
    sample surveys. Journal of Survey Statistics and Methodology 7, 334-364: Wilson's interval with
    an effective sample size.
    Satterthwaite, F. E. (1946). An approximate distribution of estimates of variance components.
    Biometrics Bulletin 2, 110-114.
    Hillis, S. L. (2007). A comparison of denominator degrees of freedom methods for multiple
    observer ROC analysis. Statistics in Medicine 26, 596-619.
    """
    totals, size = _group_totals(hits, groups)
    n_groups = len(size)
    if n_groups < 2:
        return 0.0, 1.0
    accuracy = float(totals.sum() / (len(totals) * size.sum()))
    of_groups = _variance_over_groups(totals.mean(0), size)
    of_seeds = _variance_over_seeds(totals, size)
    variance, quantile = _combine(of_groups, n_groups, [of_seeds])
    n = len(totals) * size.sum()
    if variance > 0:
        n = min(n, accuracy * (1 - accuracy) / variance)
    missed, hit = (totals < size).any(0).sum(), (totals > 0).any(0).sum()
    if min(missed, hit) < FEW:
        n = min(n, n_groups)
    square = quantile**2 / n
    centre = (accuracy + square / 2) / (1 + square)
    half = np.sqrt(square * accuracy * (1 - accuracy) + square**2 / 4) / (1 + square)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def difference_ci95(
    first: ArrayLike, second: ArrayLike, groups: NDArray[Any]
) -> tuple[float, float]:
    """Return the two-sided 95 % interval of a difference in accuracy on the same clips.

    The difference and its standard error, times a quantile of Student's t. The seeds of one side
    are independent of those of the other. If only one side has several, those of the other side are
    taken to vary as much. If neither has, the interval is about these two networks, and not about
    other seeds. If fewer than FEW groups differ, two groups are
    added, one that only the first side gets right and one that only the second does (Bonett and
    Price 2012); so the interval of two networks that agree on all clips is not 0 to 0.

    Parameters
    ----------
    first, second : array_like of bool or of 0 and 1, shape (n,) or (n_seeds, n)
        Which clips each side classified correctly. The numbers of seeds may differ.
    groups : ndarray, shape (n,)
        Name of the clip or artist of each value. Groups are independent of each other.

    Returns
    -------
    tuple of float
        Lower and upper limit of first minus second, in -1 to 1. They are -1 and 1 if there is only
        one group.

    References
    ----------
    Hillis, S. L. (2007). A comparison of denominator degrees of freedom methods for multiple
    observer ROC analysis. Statistics in Medicine 26, 596-619.
    Bonett, D. G. and Price, R. M. (2012). Adjusted Wald confidence interval for a difference of
    binomial proportions based on paired data. Journal of Educational and Behavioral Statistics 37,
    479-488.
    """
    sides = [_group_totals(side, groups) for side in (first, second)]
    size = sides[0][1]
    n_groups = len(size)
    if n_groups < 2:
        return -1.0, 1.0
    of_seeds = [_variance_over_seeds(totals, size) for totals, _ in sides]
    n_seeds = max(len(totals) for totals, _ in sides)
    if min(len(totals) for totals, _ in sides) == 1:  # the other side's variance, for one seed
        of_seeds = [((1 + n_seeds) * v, (1 + n_seeds) * share, df) for v, share, df in of_seeds]
    difference = sides[0][0].mean(0) - sides[1][0].mean(0)
    if (np.abs(difference) > 1e-9).sum() < FEW:
        difference = np.append(difference, [size.mean(), -size.mean()])
        size = np.append(size, [size.mean()] * 2)
    variance, quantile = _combine(_variance_over_groups(difference, size), n_groups, of_seeds)
    centre, half = difference.sum() / size.sum(), quantile * np.sqrt(variance)
    return max(-1.0, float(centre - half)), min(1.0, float(centre + half))


def _group_totals(
    hits: ArrayLike, groups: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the hits of each group, (n_seeds, n_groups), and the size of each, (n_groups,)."""
    _, group = np.unique(groups, return_inverse=True)
    rows = np.atleast_2d(np.asarray(hits, np.float64))
    totals = np.stack([np.bincount(group, weights=row) for row in rows])
    return totals.astype(np.float64), np.bincount(group).astype(np.float64)


def _variance_over_groups(total: NDArray[np.float64], size: NDArray[np.float64]) -> float:
    """Return the variance of the mean sum(total) / sum(size), with groups as the sample.

    That of a ratio (Cochran 1977, Sampling Techniques, eq. 6.13).
    """
    n = len(size)
    residual = total - total.sum() / size.sum() * size
    return float(n / (n - 1) * (residual**2).sum() / size.sum() ** 2)


def _variance_over_seeds(
    totals: NDArray[np.float64], size: NDArray[np.float64]
) -> tuple[float, float, int]:
    """Return the variance of the mean with seeds as the sample, the residual's share, and df.

    ``totals`` (n_seeds, n_groups). All are 0 for one seed.
    """
    n_seeds, n_groups = totals.shape
    if n_seeds == 1:
        return 0.0, 0.0, 0
    means = totals.sum(1) / size.sum()
    residual = totals - totals.mean(0) - (means - means.mean())[:, None] * size
    share = (residual**2).sum() / size.sum() ** 2 / n_seeds
    share *= n_groups / ((n_groups - 1) * (n_seeds - 1))
    return float(means.var(ddof=1) / n_seeds), float(share), n_seeds - 1


def _combine(
    of_groups: float, n_groups: int, of_seeds: list[tuple[float, float, int]]
) -> tuple[float, float]:
    """Return the variance of a mean over groups and seeds, and the 97.5 % quantile of its t.

    ``of_seeds`` is the output of `_variance_over_seeds` for each side.
    """
    repeated = [side for side in of_seeds if side[2]]
    variance = of_groups + sum(max(total - share, 0) for total, share, _ in repeated)
    squares = of_groups**2 / (n_groups - 1) + sum(v**2 / df for v, _, df in repeated)
    least = min([n_groups - 1, *(df for _, _, df in repeated)])
    df = max(variance**2 / squares, least) if squares > 0 else n_groups - 1
    return variance, float(scipy.stats.t.ppf(0.975, df))
