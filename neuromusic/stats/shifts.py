"""The test of predicted time series: shifts by whole clips within runs, in closed form.

Volumes are not exchangeable: noise is autocorrelated, the response to a clip lasts into the next
one, and detrending couples all volumes of a run. A shift of the measured series by whole clips
keeps all of that, but pairs each prediction with the response to another clip.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats
from numpy.typing import NDArray

LEAST_CLIPS = 3  # in a run: two clips have one shift, whose variance is unknown

Floats = NDArray[np.float64]


class ShiftTest(NamedTuple):
    """Result of `shift_test`: one value per voxel, and the degrees of freedom of all of them.

    ``p`` is one-sided (the prediction is better than chance). ``t`` and ``p`` are NaN for a voxel
    or a prediction that is constant, and for all voxels if no run has LEAST_CLIPS clips.
    """

    t: Floats
    df: int
    p: Floats


def shift_sums(predicted: NDArray[np.floating], measured: NDArray[np.floating]) -> Floats:
    """Return how well the predictions of one run match its measurement at each shift.

    Parameters
    ----------
    predicted, measured : ndarray of floats, shape (clips, volumes of a clip, voxels)
        The clips in the order in which the run played them. If the run repeats them in a fixed
        order, the means over the repeats; otherwise every presentation as a clip of its own.

    Returns
    -------
    ndarray of float64, shape (clips, voxels)
        Row k: the sum over clips j of the products of prediction j with measurement (j + k), the
        first clip following the last. Row 0 is the match as played.
    """
    return np.stack(
        [
            np.einsum("jtv,jtv->v", predicted, np.roll(measured, -shift, axis=0), dtype=np.float64)
            for shift in range(len(predicted))
        ]
    )


def shift_test(sums: Sequence[NDArray[np.floating]], both_ways: bool = False) -> ShiftTest:
    """Test whether predictions match the measurement better than they match shifted measurements.

    Under the null hypothesis, the match as played of each run is one more draw from the
    distribution of its shifted matches (runs are exchangeability blocks). So

        t = sum_r (S_r[0] - mean_k S_r[k]) / sqrt(sum_r var_k(S_r[k]) n_r / (n_r - 1)), k > 0,

    has a t distribution with the sum of n_r - 2 degrees of freedom, n_r being the number of clips
    in run r. Unlike a permutation test, it has no smallest p. It assumes that the matches at the
    shifts of a run are about normal, and that the noise is stationary from clip to clip.

    Parameters
    ----------
    sums : sequence of ndarray, each of shape (clips of the run, voxels)
        One array per run, as returned by `shift_sums`. Runs with fewer than LEAST_CLIPS clips do
        not count.
    both_ways : bool
        Whether the arrays are those of folds, each predicted from the others. Without an effect,
        what fold r predicts of fold s matches it nearly as well as the other way round (both are
        the product of their noise, weighted by the likeness of their features), so the sum over
        folds has twice the variance that independent folds would give it.

    Returns
    -------
    ShiftTest
        t, degrees of freedom and one-sided p.

    References
    ----------
    Winkler, A. M. et al. (2014). Permutation inference for the general linear model. NeuroImage 92,
    381-397; (2015). Multi-level block permutation. NeuroImage 123, 253-268 (exchangeability
    blocks).
    """
    counted = [run for run in sums if len(run) >= LEAST_CLIPS]
    if not counted:
        none = np.full(np.shape(sums[0])[1:] if len(sums) else (0,), np.nan)
        return ShiftTest(none, 0, none.copy())
    excess, variance = np.zeros(counted[0].shape[1:]), np.zeros(counted[0].shape[1:])
    for run in counted:
        n = len(run)
        excess += run[0] - run[1:].mean(0)
        variance += run[1:].var(0, ddof=1) * n / (n - 1)
    if both_ways:
        variance *= 2
    df = sum(len(run) - 2 for run in counted)
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.where(variance > 0, excess / np.sqrt(variance), np.nan)
    return ShiftTest(t, df, scipy.stats.t.sf(t, df))
