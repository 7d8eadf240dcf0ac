"""Scores of predictions: correlation, r2, and how well clips match their predictions.

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


def unit_length(x: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return (clips, volumes, voxels) with mean 0 and length 1 in each voxel; 0 if constant.

    The product of two such arrays, summed over clips and volumes, is the voxel's correlation.
    """
    x = x - x.mean((0, 1), dtype=np.float64)
    length = np.sqrt((x**2).sum((0, 1)))
    return (x / np.where(length > 0, length, np.inf)).astype(np.float32)


def clip_matches(
    predicted: NDArray[np.floating], measured: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return how well the prediction for each clip matches the measurement of each clip.

    Parameters
    ----------
    predicted, measured : arrays (clips, volumes of a clip, voxels)
        Series of the voxels of an area, as returned by `unit_length`.

    Returns
    -------
    array (clips predicted, clips measured) float64
        Contributions to the sum of the voxels' correlations, which is the trace.
    """
    x, y = (array.reshape(len(array), -1) for array in (predicted, measured))
    return (x @ y.T).astype(np.float64)
