"""Scores of predictions: correlation, r2, and identification of the clip that was played.

Noise ceilings and p values are in `stats.reliability` and `stats.significance`.
"""

import numpy as np
from numpy.typing import NDArray


def correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return Pearson's r of each column of two arrays (n, voxels); NaN if one is constant."""
    a = a - a.mean(0, dtype=np.float64)
    b = b - b.mean(0, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((a * b).sum(0) / np.sqrt((a**2).sum(0) * (b**2).sum(0)))


def r2(measured: NDArray[np.floating], predicted: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the coefficient of determination of each column of two arrays (n, voxels)."""
    error = ((measured - predicted).astype(np.float64) ** 2).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(1 - error / (measured.var(0, dtype=np.float64) * len(measured)))


def clip_matches(
    predicted: NDArray[np.floating], measured: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Return how well the prediction for each clip matches the measurement of each clip.

    Parameters
    ----------
    predicted, measured : arrays (clips, volumes of a clip, voxels)
        Series of each voxel.

    Returns
    -------
    array (voxels, clips predicted, clips measured) float32
        Contributions to the voxel's correlation: their sum over the diagonal is the correlation,
        and over a permuted diagonal the correlation after that permutation of whole clips.
    """
    x, y = _unit_length(predicted), _unit_length(measured)
    return np.matmul(x.transpose(2, 0, 1), y.transpose(2, 1, 0))


def _unit_length(x: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return (clips, volumes, voxels) with mean 0 and length 1 in each voxel; 0 if constant."""
    x = x - x.mean((0, 1), dtype=np.float64)
    length = np.sqrt((x**2).sum((0, 1)))
    return (x / np.where(length > 0, length, np.inf)).astype(np.float32)


def identification_ranks(matches: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the rank (from 1) of the right clip's prediction among those of all clips.

    ``matches`` (clips predicted, clips measured); the result has one rank per clip measured (Kay
    et al. 2008, Nature 452). Ties share their ranks, so that predictions that are all alike
    identify nothing.
    """
    right = np.diag(matches)
    ties = (matches == right).sum(0) - 1
    return np.asarray(1 + (matches > right).sum(0) + ties / 2)
