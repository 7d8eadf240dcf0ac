"""Ridge regression whose penalty is chosen by leaving out one sound at a time, in closed form."""

from typing import NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from neuromusic.core.errors import InputError

# From the largest to the smallest: of equal errors, the largest penalty counts.
LOO_ALPHAS = 10.0 ** np.arange(49, -51, -1)

Floats = NDArray[np.float64]


class LooPrediction(NamedTuple):
    """Predictions for the test sounds, and how the penalty of each target was chosen."""

    predicted: Floats  # (test sounds, targets)
    loss: Floats  # (targets,), mean squared error of the training sounds left out
    alpha: Floats  # (targets,), the penalty


def predict_loo(x: Floats, y: Floats, test_x: Floats) -> LooPrediction:
    """Fit a ridge regression with intercept to training sounds and predict test sounds.

    Parameters
    ----------
    x : array (n, features)
        Features of the training sounds. Their mean is removed, their scale is kept, so a feature
        with a large variance is penalised less.
    y : array (n, targets)
        Responses to the training sounds.
    test_x : array (n_test, features)
        Features of the test sounds.

    Returns
    -------
    LooPrediction
        Each target has the penalty of LOO_ALPHAS with the least squared error in training sounds
        left out, as in `sklearn.linear_model.RidgeCV`, whose alphas have the same units.

    Raises
    ------
    InputError
        If no feature varies.

    Notes
    -----
    With G = X X' + alpha I in the space of differences between sounds, the error of a sound that is
    left out is (G^-1 y)_i / (G^-1)_ii (Rifkin and Lippert 2007, Notes on regularized least squares,
    MIT-CSAIL-TR-2007-025, section 4). Helmert contrasts span that space, so the intercept is
    refitted too. Singular values, not differences of large inverses, keep it exact at penalties at
    which RidgeCV loses the error in rounding (below 1e-10).
    """
    n = len(x)
    x_mean, y_mean = x.mean(0), y.mean(0)
    contrasts = scipy.linalg.helmert(n)  # (n - 1, n), orthonormal, orthogonal to a constant
    rotated = contrasts @ (x - x_mean)
    left, value, right = np.linalg.svd(rotated, full_matrices=x.shape[1] < n - 1)
    value[value <= value.max(initial=0.0) * max(rotated.shape) * np.finfo(np.float64).eps] = 0
    if not value.any():
        raise InputError("no feature differs between the sounds; the stage may be inactive")
    square = np.zeros(n - 1)  # of the singular values, with those that are 0
    square[: len(value)] = value**2
    basis = contrasts.T @ left  # (n, n - 1)
    cross = basis.T @ (y - y_mean)
    alphas = _distinct(square)
    losses = []
    for alpha in alphas:
        weight = (square.min() + alpha) / (square + alpha)  # of G^-1, scaled to at most 1
        errors = basis @ (weight[:, None] * cross) / (np.square(basis) @ weight)[:, None]
        losses.append(np.square(errors).mean(0))
    alpha = alphas[np.argmin(losses, axis=0)]
    shrunk = value[:, None] / (value[:, None] ** 2 + alpha) * cross[: len(value)]
    predicted = (test_x - x_mean) @ (right[: len(value)].T @ shrunk) + y_mean
    return LooPrediction(predicted, np.min(losses, axis=0), alpha)


def _distinct(square: Floats) -> Floats:
    """Return the penalties of LOO_ALPHAS that give different errors, from the largest.

    ``square`` are the squared singular values. A penalty that is lost beside the smallest of them
    in double precision changes nothing, and neither does one beside which the largest is lost.
    """
    eps = np.finfo(np.float64).eps / 1000
    low, high = eps * square[square > 0].min(), square.max() / eps
    largest, rest = LOO_ALPHAS[:1], LOO_ALPHAS[1:]
    return np.concatenate([largest, rest[(rest >= low) & (rest <= high)]])
