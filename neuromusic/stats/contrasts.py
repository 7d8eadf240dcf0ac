"""The variance of a contrast in a linear model: what a design can and cannot tell apart."""

import numpy as np
from numpy.typing import NDArray


def contrast_variance(design: NDArray[np.floating], contrast: NDArray[np.floating]) -> float:
    """Return the variance of a contrast's least-squares estimate for white noise of variance 1.

    This is c (X'X)^-1 c', the inverse of the design's efficiency (Friston et al. 2007, Statistical
    Parametric Mapping, ch. 15). Its square root, times the standard deviation of the noise, is the
    standard error. The ratio of the variances in two designs is the contrast's variance inflation.

    Parameters
    ----------
    design : array (n_volumes, n_columns)
        Design matrix X; it may be singular.
    contrast : array (n_columns,)
        Weights c of the columns.

    Returns
    -------
    float
        The variance; infinite if the design does not determine the contrast.

    Examples
    --------
    >>> import numpy as np
    >>> from neuromusic.stats.contrasts import contrast_variance
    >>> round(contrast_variance(np.repeat(np.eye(2), 4, axis=0), np.array([1, -1])), 6)
    0.5
    """
    inverse = np.linalg.pinv(np.asarray(design, dtype=np.float64))
    weights = np.asarray(contrast, dtype=np.float64) @ inverse
    if not np.allclose(weights @ design, contrast, atol=1e-6):
        return float("inf")
    return float(weights @ weights)
