"""A t test of scores from random splits that share items: the corrected resampled t test.

Ten random halves of the same items are not ten measurements: two splits share half of their
training items and half of their test items. A plain t test over splits, or "better in ten of ten
splits", therefore finds differences that are not there.
"""

from typing import NamedTuple

import numpy as np
import scipy.stats
from numpy.typing import NDArray

NEGLIGIBLE = 1e-9  # share of the largest difference below which a deviation is rounding error

Floats = NDArray[np.float64]


class ResampledT(NamedTuple):
    """Result of `corrected_resampled_t`: t and p of each column, and the degrees of freedom."""

    t: Floats
    df: int
    p: Floats  # two-sided


def corrected_resampled_t(
    differences: NDArray[np.floating], n_train: int, n_test: int
) -> ResampledT:
    """Test whether the mean difference between two predictors, over random splits, is 0.

    ``t = mean / sqrt((1 / J + n_test / n_train) * variance)`` with J - 1 degrees of freedom. The
    term ``n_test / n_train`` stands for the correlation between splits, which cannot be estimated
    from them; it assumes a correlation of ``n_test / (n_train + n_test)``.

    Parameters
    ----------
    differences : ndarray of floats, shape (J,) or (J, n)
        Difference of the two scores on the test items of each of J random splits.
    n_train, n_test : int
        Number of training and of test items in each split.

    Returns
    -------
    ResampledT
        ``t`` and ``p`` with shape () or (n,); ``p`` is two-sided. NaN with fewer than two splits,
        for a difference that is NaN in some split, and for one that is the same in all splits,
        whose variance is unknown.

    Raises
    ------
    ValueError
        If a number of items is not positive.

    References
    ----------
    Nadeau, C. and Bengio, Y. (2003). Inference for the generalization error. Machine Learning 52,
    239-281. Section 3, "corrected resampled t-test statistic".
    """
    if n_train < 1 or n_test < 1:
        raise ValueError(f"n_train={n_train}, n_test={n_test}: expected positive numbers of items")
    differences = np.asarray(differences, np.float64)
    n_splits = len(differences)
    if n_splits < 2:
        unknown = np.full(differences.shape[1:], np.nan)
        return ResampledT(unknown, 0, unknown)
    deviation = differences.std(0, ddof=1)
    varies = deviation > NEGLIGIBLE * np.abs(differences).max(0)
    error = np.sqrt(1 / n_splits + n_test / n_train) * np.where(varies, deviation, np.nan)
    t = differences.mean(0) / error
    return ResampledT(t, n_splits - 1, 2 * scipy.stats.t.sf(np.abs(t), n_splits - 1))


def corrected_resampled_interval(
    scores: NDArray[np.floating], n_train: int, n_test: int, level: float = 0.95
) -> tuple[Floats, Floats]:
    """Return the interval of a mean score that belongs to `corrected_resampled_t`.

    ``mean -+ t * sqrt((1 / J + n_test / n_train) * variance)``, with the quantile of t at J - 1
    degrees of freedom. It is about other splits of the same items, so it does not say how far
    scores would differ for other items.

    Parameters
    ----------
    scores : ndarray of floats, shape (J,) or (J, n)
        Scores on the test items of each of J random splits.
    n_train, n_test : int
        Number of training and of test items in each split.
    level : float
        Coverage.

    Returns
    -------
    low, high : ndarray of floats, shape () or (n,)
        NaN with fewer than two splits.

    References
    ----------
    Nadeau, C. and Bengio, Y. (2003). Inference for the generalization error. Machine Learning 52,
    239-281. Section 3.
    """
    scores = np.asarray(scores, np.float64)
    n_splits = len(scores)
    if n_splits < 2:
        unknown = np.full(scores.shape[1:], np.nan)
        return unknown, unknown
    error = np.sqrt((1 / n_splits + n_test / n_train) * scores.var(0, ddof=1))
    half = scipy.stats.t.ppf((1 + level) / 2, n_splits - 1) * error
    return scores.mean(0) - half, scores.mean(0) + half
