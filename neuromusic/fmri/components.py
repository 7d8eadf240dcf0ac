"""Principal components of a stage: a few regressors in place of thousands of units.

scikit-learn's PCA is not used because it copies all volumes to float64 and centres the copy: with
4100 volumes of 8192 units it takes twice the memory of the code here (534 and 267 MiB), with 40 000
units 13 times (2577 and 205 MiB). The components agree to 1e-15.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK = 256  # rows or columns that are in memory as float64 at a time
LANCZOS_SIZE = 1000  # a larger matrix is solved for its largest eigenvalues only
NEGLIGIBLE = 1e-10  # share of the largest variance below which a variance is rounding error


@dataclass(frozen=True)
class Components:
    """Directions in the space of a stage's units, fitted on some volumes. All arrays are float64.

    Attributes
    ----------
    labels : list of str
        Names of the n components, such as pc01.
    mean : array (units,)
        Mean of each unit over the fitted volumes.
    weights : array (n, units)
        Directions of length one.
    deviation : array (n,)
        Standard deviation of each component over the fitted volumes.
    explained : array (n,)
        Share of each component in the variance of all units.
    n_volumes : int
        Number of fitted volumes.
    """

    labels: list[str]
    mean: NDArray[np.float64]
    weights: NDArray[np.float64]
    deviation: NDArray[np.float64]
    explained: NDArray[np.float64]
    n_volumes: int

    def project(self, block: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the components (n_volumes, n) of volumes (n_volumes, units).

        Their mean is 0 and their standard deviation 1 over the fitted volumes, not over those
        given. NaN volumes stay NaN.
        """
        return ((block - self.mean) @ self.weights.T) / self.deviation


def fit_components(rows: NDArray[np.floating], n: int) -> Components:
    """Return the first ``n`` principal components of volumes (n_rows, units) without NaN.

    Units are centred, not scaled. The largest weight of each component is positive, so that the
    same volumes give the same signs. There are fewer than ``n`` components if the volumes span
    fewer dimensions.

    The eigenvectors are those of the covariance (units, units) or of the Gram matrix
    (n_rows, n_rows), whichever is smaller, summed up in blocks in float64.
    """
    n_rows, units = rows.shape
    mean = rows.mean(axis=0, dtype=np.float64)
    by_units = units <= n_rows
    matrix = _covariance(rows, mean) if by_units else _gram(rows, mean)
    squares, vectors = _largest_eigenpairs(matrix, n)
    keep = squares > NEGLIGIBLE * max(squares[0], np.finfo(float).tiny)
    squares, vectors = squares[keep], vectors[:, keep]
    weights = vectors.T if by_units else _weights_from_gram(rows, mean, squares, vectors)
    largest = np.abs(weights).argmax(axis=1)
    weights = weights * np.sign(weights[np.arange(len(weights)), largest])[:, None]
    return Components(
        [f"pc{index:02d}" for index in range(1, len(squares) + 1)],
        mean,
        weights,
        np.sqrt(squares / (n_rows - 1)),
        squares / np.trace(matrix),
        n_rows,
    )


def fit_units(rows: NDArray[np.floating]) -> Components:
    """Return every unit that varies over volumes (n_rows, units) as its own component.

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


def _covariance(rows: NDArray[np.floating], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums of squares and products of centred units, (units, units)."""
    matrix = np.zeros((rows.shape[1], rows.shape[1]))
    for first in range(0, len(rows), BLOCK):
        part = rows[first : first + BLOCK] - mean
        matrix += part.T @ part
    return matrix


def _gram(rows: NDArray[np.floating], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inner products of centred volumes, (n_rows, n_rows)."""
    matrix = np.zeros((len(rows), len(rows)))
    for first in range(0, rows.shape[1], BLOCK):
        part = rows[:, first : first + BLOCK] - mean[first : first + BLOCK]
        matrix += part @ part.T
    return matrix


def _weights_from_gram(
    rows: NDArray[np.floating],
    mean: NDArray[np.float64],
    squares: NDArray[np.float64],
    vectors: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the weights (n, units) that belong to eigenvectors (n_rows, n) of the Gram matrix."""
    units = rows.shape[1]
    weights = np.empty((len(squares), units))
    for first in range(0, units, BLOCK):
        part = rows[:, first : first + BLOCK] - mean[first : first + BLOCK]
        weights[:, first : first + BLOCK] = (vectors.T @ part) / np.sqrt(squares)[:, None]
    return weights


def _largest_eigenpairs(
    matrix: NDArray[np.float64], n: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ``n`` largest eigenvalues, in descending order, and their vectors as columns."""
    import scipy.linalg
    import scipy.sparse.linalg

    size = len(matrix)
    if size > LANCZOS_SIZE and n < size // 10:
        # Not a vector of ones, which the Gram matrix of centred volumes maps to zero.
        start = np.random.default_rng(0).standard_normal(size)
        values, vectors = scipy.sparse.linalg.eigsh(matrix, n, v0=start)
    else:
        values, vectors = scipy.linalg.eigh(matrix, subset_by_index=(max(0, size - n), size - 1))
    return values[::-1], vectors[:, ::-1]
