"""Variance partitioning: what a larger model explains beyond a smaller one, and a test of it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from neuromusic.stats.shifts import ShiftTest, shift_sums, shift_test

Floats = NDArray[np.float64]


def added_r2(
    measured: NDArray[np.floating],
    smaller: NDArray[np.floating],
    addition: NDArray[np.floating],
) -> Floats:
    """Return what each clip contributes to the R2 that an addition to a prediction explains.

    The sum over clips is R2 of ``smaller + addition`` minus R2 of ``smaller``, where R2 is 1 minus
    the sum of squared errors over the sum of squares around the mean: the unique variance of the
    added features (de Heer et al. 2017, equations 3 to 9; here with R2, because errors add up over
    clips and squared correlations do not). It may be negative: noise predicts worse than nothing.

    Parameters
    ----------
    measured, smaller, addition : arrays (clips, volumes of a clip, voxels)
        Measured series on test clips, their prediction, and what other features add to it.

    Returns
    -------
    ndarray of float64, shape (clips, voxels)
        Contributions in units of R2; NaN for constant voxels and where a prediction is NaN.

    References
    ----------
    de Heer, W. A. et al. (2017). The hierarchical cortical organization of human speech processing.
    Journal of Neuroscience 37, 6539-6557.
    """
    error = measured.astype(np.float64) - smaller
    gain = (error**2 - (error - addition) ** 2).sum(1)
    around_mean = measured - measured.mean((0, 1), dtype=np.float64)
    total = (around_mean**2).sum((0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, gain / total, np.nan)


def addition_test(
    measured: NDArray[np.floating],
    smaller: NDArray[np.floating],
    addition: NDArray[np.floating],
    run_of_clip: Sequence[int] | NDArray[np.integer],
) -> ShiftTest:
    """Test whether an addition to a prediction matches what the prediction leaves.

    The match is the product of the addition with the error of the smaller model (forecast
    encompassing: Clark and West 2007, equation 3.1, without the squared addition that makes R2
    negative under the null hypothesis). Its null distribution are the shifts by whole clips within
    runs of `shift_test`.

    Parameters
    ----------
    measured, smaller, addition : arrays (clips, volumes of a clip, voxels)
        As for `added_r2`; the clips of a run in the order in which they were played.
    run_of_clip : sequence of int, length clips
        Run of each clip.

    Returns
    -------
    ShiftTest
        t, degrees of freedom, and one-sided p (the addition explains something), for each voxel.

    References
    ----------
    Clark, T. E. and West, K. D. (2007). Approximately normal tests for equal predictive accuracy in
    nested models. Journal of Econometrics 138, 291-311.
    """
    runs = np.asarray(run_of_clip)
    inside = [runs == run for run in np.unique(runs)]
    return shift_test([addition_sums(measured[i], smaller[i], addition[i]) for i in inside])


def addition_sums(
    measured: NDArray[np.floating],
    smaller: NDArray[np.floating],
    addition: NDArray[np.floating],
) -> Floats:
    """Return how well an addition matches what the smaller model leaves, at each shift.

    Parameters
    ----------
    measured, smaller, addition : arrays (clips, volumes of a clip, voxels)
        As for `addition_test`, of one run; see `shift_sums`.

    Returns
    -------
    ndarray of float64, shape (clips, voxels)
        For `shift_test`. Sums over voxels test all of them together.
    """
    return shift_sums(addition, measured - smaller)
