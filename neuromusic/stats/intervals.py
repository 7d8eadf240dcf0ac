"""Confidence intervals: how precisely is a mean, such as an accuracy, measured?"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuromusic.stats.resampling import bootstrap


def percentiles95(means: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % percentile interval of bootstrapped values.

    Parameters
    ----------
    means : ndarray of float64, shape (n_bootstraps,)
        One value per bootstrap, such as a row of `bootstrap` or the difference of two rows.

    Returns
    -------
    tuple of float
        The 2.5th and the 97.5th percentile.

    References
    ----------
    Efron, B. and Tibshirani, R. (1993). An Introduction to the Bootstrap. Chapter 13.
    """
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def bootstrap_ci95(hits: ArrayLike, groups: NDArray[Any], seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval of a mean, by resampling whole groups.

    Parameters
    ----------
    hits : array_like, shape (n,) or (n_repeats, n)
        The values; booleans count as 0 and 1. For repeats see `bootstrap`.
    groups : ndarray, shape (n,)
        Name of the clip or artist of each value. A group is drawn as a whole.
    seed : int
        Seed of the draws.

    Returns
    -------
    tuple of float
        Lower and upper limit.

    References
    ----------
    Efron, B. and Tibshirani, R. (1993). An Introduction to the Bootstrap. Chapter 13.
    Davison, A. C. and Hinkley, D. V. (1997). Bootstrap Methods and their Application. Section 3.8.
    """
    return percentiles95(bootstrap([hits], groups, seed)[0])
