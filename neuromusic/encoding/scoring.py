"""How well a prediction fits repeated measurements, and how well any prediction could.

A measurement is (repeats, clips, volumes of a clip, voxels); a prediction (clips, volumes, voxels).
"""

import numpy as np
from numpy.typing import NDArray


def correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return Pearson's r of the columns of two (n, voxels); NaN where one does not vary."""
    a = a - a.mean(0, dtype=np.float64)
    b = b - b.mean(0, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((a * b).sum(0) / np.sqrt((a**2).sum(0) * (b**2).sum(0)))


def r2(measured: NDArray[np.floating], predicted: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the coefficient of determination of the columns of two (n, voxels)."""
    error = ((measured - predicted).astype(np.float64) ** 2).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(1 - error / (measured.var(0, dtype=np.float64) * len(measured)))


def _standard(x: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return (clips, volumes, voxels) with mean 0 and length 1 in every voxel, 0 if constant."""
    x = x - x.mean((0, 1), dtype=np.float64)
    length = np.sqrt((x**2).sum((0, 1)))
    return (x / np.where(length > 0, length, np.inf)).astype(np.float32)


def clip_matches(
    predicted: NDArray[np.floating], measured: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Return how well each clip's prediction fits each clip's measurement, a voxel at a time.

    (clips, volumes, voxels) both; out (voxels, clips predicted, clips measured). The diagonal of a
    voxel sums up to its correlation; a permuted one to that of a permutation of whole clips.
    """
    p, m = _standard(predicted), _standard(measured)
    return np.matmul(p.transpose(2, 0, 1), m.transpose(2, 1, 0))


def identification(matches: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the rank (from 1) of each clip's own prediction among those of all clips.

    ``matches`` (clips predicted, clips measured): which of the predicted patterns fits what was
    measured while a clip was heard (Kay et al. 2008, Nature 452). Ties share their ranks, so that
    predictions that are all alike identify nothing.
    """
    own = np.diag(matches)
    ties = (matches == own).sum(0) - 1
    return np.asarray(1 + (matches > own).sum(0) + ties / 2)
