"""Principal components of a stage: few regressors for what thousands of units do."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK = 256  # rows or columns that are held in float64 at a time
LANCZOS = 1000  # size of a matrix above which a few eigenvalues are sought by themselves
NEGLIGIBLE = 1e-10  # of the largest variance: what rounding leaves


@dataclass(frozen=True)
class Components:
    """Directions in the space of a stage's units, fitted on some volumes.

    ``labels`` (n) such as pc01; ``mean`` (units,); ``weights`` (n, units), rows of length one;
    ``deviation`` (n,) of the scores over the fitted volumes; ``explained`` (n,), each one's share
    of the variance of all units; ``n_volumes`` fitted on. All float64.
    """

    labels: list[str]
    mean: NDArray[np.float64]
    weights: NDArray[np.float64]
    deviation: NDArray[np.float64]
    explained: NDArray[np.float64]
    n_volumes: int

    def project(self, block: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the scores (n_vol, n) of volumes (n_vol, units); NaN volumes stay NaN.

        Deviation 1 and mean 0 over the volumes of the fit, not over those given.
        """
        return ((block - self.mean) @ self.weights.T) / self.deviation


def fit_components(rows: NDArray[np.floating], n: int) -> Components:
    """Return the first ``n`` principal components of volumes (n_rows, units), without NaN.

    Units are centred, not scaled. The largest weight of a component is positive, so that the same
    volumes give the same signs. Fewer than ``n`` where the volumes do not span as many.

    The eigenvectors come from the smaller of the covariance (units, units) and the Gram matrix
    (n_rows, n_rows), summed up block by block in float64.
    """
    n_rows, units = rows.shape
    mean = rows.mean(axis=0, dtype=np.float64)
    if units <= n_rows:
        matrix = np.zeros((units, units))
        for first in range(0, n_rows, BLOCK):
            part = rows[first : first + BLOCK] - mean
            matrix += part.T @ part
    else:
        matrix = np.zeros((n_rows, n_rows))
        for first in range(0, units, BLOCK):
            part = rows[:, first : first + BLOCK] - mean[first : first + BLOCK]
            matrix += part @ part.T
    squares, vectors = _largest(matrix, n)
    keep = squares > NEGLIGIBLE * max(squares[0], np.finfo(float).tiny)
    squares, vectors = squares[keep], vectors[:, keep]
    if units <= n_rows:
        weights = vectors.T
    else:
        weights = np.empty((len(squares), units))
        for first in range(0, units, BLOCK):
            part = rows[:, first : first + BLOCK] - mean[first : first + BLOCK]
            weights[:, first : first + BLOCK] = (vectors.T @ part) / np.sqrt(squares)[:, None]
    strongest = np.abs(weights).argmax(axis=1)
    weights = weights * np.sign(weights[np.arange(len(weights)), strongest])[:, None]
    return Components(
        [f"pc{index:02d}" for index in range(1, len(squares) + 1)],
        mean,
        weights,
        np.sqrt(squares / (n_rows - 1)),
        squares / np.trace(matrix),
        n_rows,
    )


def fit_units(rows: NDArray[np.floating]) -> Components:
    """Return every unit that varies over volumes (n_rows, units) as a component of its own.

    Labels count all units from 1, so unit0007 is column 6 of the stage's activations.
    """
    n_rows, units = rows.shape
    deviation = rows.std(axis=0, dtype=np.float64, ddof=1)
    keep = np.flatnonzero(deviation > 0)
    return Components(
        [f"unit{index + 1:04d}" for index in keep],
        rows.mean(axis=0, dtype=np.float64),
        np.eye(units)[keep],
        deviation[keep],
        deviation[keep] ** 2 / np.sum(deviation**2),
        n_rows,
    )


def _largest(
    matrix: NDArray[np.float64], n: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ``n`` largest eigenvalues, falling, and their vectors as columns."""
    import scipy.linalg
    import scipy.sparse.linalg

    size = len(matrix)
    if size > LANCZOS and n < size // 10:
        # Not all ones, a vector that the Gram matrix of centred volumes sends to zero.
        start = np.random.default_rng(0).standard_normal(size)
        values, vectors = scipy.sparse.linalg.eigsh(matrix, n, v0=start)
    else:
        values, vectors = scipy.linalg.eigh(matrix, subset_by_index=(max(0, size - n), size - 1))
    return values[::-1], vectors[:, ::-1]
