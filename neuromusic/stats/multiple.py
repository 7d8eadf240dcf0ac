"""Corrections for multiple comparisons: how many of several small p values are false positives?"""

import logging

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike, NDArray

log = logging.getLogger(__name__)


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Return p values corrected by Holm's step-down method, as ``p.adjust(p, "holm")`` in R.

    The probability of any false rejection among the k tests stays at or below the level, whatever
    the dependence between them.

    Parameters
    ----------
    p : array_like, shape (k,)
        Uncorrected p values. NaN stays NaN and does not count as a test.

    Returns
    -------
    ndarray of float64, shape (k,)
        Corrected p values in the same order, at most 1.

    References
    ----------
    Holm, S. (1979). A simple sequentially rejective multiple test procedure. Scandinavian Journal
    of Statistics 6, 65-70.
    """
    p = np.asarray(p, np.float64)
    corrected = np.full(p.shape, np.nan)
    valid = np.flatnonzero(~np.isnan(p))
    order = valid[np.argsort(p[valid], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return corrected


def false_discovery(p: ArrayLike) -> NDArray[np.float64]:
    """Return q values: the smallest false discovery rate at which each test is rejected.

    Parameters
    ----------
    p : array_like, shape (k,)
        Uncorrected p values, such as one per voxel. NaN stays NaN and does not count as a test.
        They should be independent or positively dependent.

    Returns
    -------
    ndarray of float64, shape (k,)
        q values in the same order.

    Raises
    ------
    ValueError
        If a p value is not between 0 and 1.

    References
    ----------
    Benjamini, Y. and Hochberg, Y. (1995). Controlling the false discovery rate. Journal of the
    Royal Statistical Society B 57, 289-300. Computed by `scipy.stats.false_discovery_control`.
    """
    p = np.asarray(p, np.float64)
    q = np.full(p.shape, np.nan)
    valid = ~np.isnan(p)
    if valid.any():
        q[valid] = scipy.stats.false_discovery_control(p[valid])
    return q


def warn_if_nan(p: ArrayLike, what: str) -> None:
    """Warn of p values that are NaN and so do not count as tests: how many, and of ``what``."""
    p = np.asarray(p, np.float64)
    n = int(np.isnan(p).sum())
    if n:
        log.warning("%s: %d of %d p values are NaN; they are not corrected", what, n, p.size)
