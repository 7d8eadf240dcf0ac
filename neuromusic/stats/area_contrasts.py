"""Is one stage of a network closer to an area than another, or than the same stage of a control?"""

from typing import NamedTuple

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from neuromusic.stats.reliability import groups_df

Floats = NDArray[np.float64]


class AreaContrast(NamedTuple):
    """Result of `area_contrast`: a difference, its 95 % interval, t, df and the two-sided p."""

    difference: float
    low: float
    high: float
    t: float
    df: float
    p: float


FOLD_INFLUENCE = 2  # of clips on a score, in units of their influence while the fits stay the same


def area_contrast(
    first: NDArray[np.floating], second: NDArray[np.floating], has_folds: bool = False
) -> AreaContrast:
    """Test whether the mean r of an area differs between two stages, in one subject.

    The variance of the difference is that of a jackknife over runs (half runs if there are few, see
    `reliability.clip_weights`), which are left out of both sides together, because both predict the
    same measurement. If a side has several copies (a control network with several seeds), its score
    is their mean, and the variance between the copies is added: that of their scores less what
    the clips contribute to it, divided by their number. So with several copies the result is
    about other clips and other seeds, with one copy about other clips and this network.

    Parameters
    ----------
    first, second : ndarray of floats, shape (copies, 1 + groups) or (1 + groups,)
        Mean r of the area, over all clips and then without each group of clips. Zeros as ``second``
        give the interval of ``first`` itself.
    has_folds : bool
        Whether parts of the data are predicted from each other. Then a clip counts twice: where it
        is scored, and where others are predicted from it. The jackknife sees only the first, so its
        variance is multiplied by the most that this can add, FOLD_INFLUENCE squared (without a
        response it is twice the variance, so p is conservative there).

    Returns
    -------
    AreaContrast
        first minus second. The degrees of freedom are those of `groups_df` or, with several copies,
        Satterthwaite's. With fewer than two groups, or if the difference does not vary between
        groups (as between equal stages), everything but the difference is NaN.

    References
    ----------
    Efron, B. and Tibshirani, R. (1993). An Introduction to the Bootstrap. Chapter 11 (jackknife).
    Satterthwaite, F. E. (1946). An approximate distribution of estimates of variance components.
    Biometrics Bulletin 2, 110-114. Hillis, S. L. (2007). A comparison of denominator degrees of
    freedom methods for multiple observer ROC analysis. Statistics in Medicine 26, 596-619 (least
    degrees of freedom).
    """
    sides = [np.atleast_2d(np.asarray(side, np.float64)) for side in (first, second)]
    values = sides[0].mean(0) - sides[1].mean(0)
    difference, n_groups = float(values[0]), len(values) - 1
    of_clips = float(_jackknife_variance(values)) if n_groups > 1 else 0.0
    if not of_clips > 1e-20:
        return AreaContrast(difference, *[float("nan")] * 5)
    of_clips *= FOLD_INFLUENCE**2 if has_folds else 1
    least = groups_df(n_groups)
    variance, squares = of_clips, of_clips**2 / least
    for copies in sides:
        n = len(copies)
        if n > 1:
            total = copies[:, 0].var(ddof=1) / n
            of_residual = _jackknife_variance(copies - copies.mean(0)).sum() / (n - 1) / n
            variance += max(total - of_residual, 0)
            squares += total**2 / (n - 1)
            least = min(least, n - 1)
    df = max(variance**2 / squares, least)
    error = np.sqrt(variance)
    half, t = scipy.stats.t.ppf(0.975, df) * error, difference / error
    p = 2 * scipy.stats.t.sf(abs(t), df)
    return AreaContrast(
        difference, *map(float, (difference - half, difference + half, t, df, p))
    )  # fmt: skip


def _jackknife_variance(values: Floats) -> Floats:
    """Return the jackknife variance of ``values[..., 0]`` from those without one group each."""
    n = values.shape[-1] - 1
    return np.asarray((n - 1) * values[..., 1:].var(-1))
