"""TODO: docstring."""

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike, NDArray


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


def false_discovery(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the q of each p after Benjamini & Hochberg (1995), by scipy."""
    return np.asarray(scipy.stats.false_discovery_control(p))
