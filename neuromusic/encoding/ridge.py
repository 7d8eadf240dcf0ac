"""Ridge regression with a penalty for every voxel, chosen by leaving groups of samples out.

himalaya searches the penalties (and, for several bands of features, how much of the penalty each
band carries). What it costs grows with the training samples, of which there are thousands and each
in all folds but one; so every fold is given as few rows that have the same normal equations, which
leaves every prediction as it was (tests/test_ridge.py) and takes about a third of the time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray

from neuromusic.core.errors import InputError

ALPHAS = np.logspace(-3, 5, 13)  # in units of the features' mean squared singular value
DRAWS = 30  # how the penalty may be shared out between bands
ROOM = 30_000_000  # numbers that the folds of one block of targets may hold
SINGULAR = 1e-7  # share of the largest eigenvalue below which a direction is rounding


@dataclass(frozen=True)
class RidgeFit:
    """A fitted ridge regression of targets on features."""

    weights: NDArray[np.float32]  # (features, targets)
    x_mean: NDArray[np.float64]  # (features,)
    y_mean: NDArray[np.float64]  # (targets,)
    alpha: NDArray[np.float64]  # (targets,), in the units of ALPHAS
    share: NDArray[
        np.float64
    ]  # (bands, targets), what the bands' features are scaled with, squared
    lowest: NDArray[np.bool_]  # (targets,) whether alpha is the smallest of the grid
    highest: NDArray[np.bool_]  # (targets,)

    def predict(self, x: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return what the features x (n, features) predict (n, targets)."""
        part = (x - self.x_mean).astype(np.float32) @ self.weights
        return (part + self.y_mean).astype(np.float32)


def fit_ridge(
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    groups: NDArray[np.integer],
    alphas: NDArray[np.float64] = ALPHAS,
    bands: Sequence[int] | None = None,
    seed: int = 0,
) -> RidgeFit:
    """Fit a ridge regression whose penalty is chosen, target by target, by leaving a group out.

    Parameters
    ----------
    x : (n, features)
        Features on a common scale; ``bands``, their numbers in each band, asks for a banded ridge:
        a penalty for each band (Nunez-Elizalde et al. 2019, NeuroImage 197; Dupre la Tour et al.
        2022, NeuroImage 264), found among DRAWS random shares from ``seed``.
    y : (n, targets)
        May be memory-mapped: it is read in blocks of targets.
    groups : (n,)
        Such as the run of each volume; each group is left out once.
    alphas : (n_alphas,), ascending
        In units of the mean squared singular value of x.

    Returns
    -------
    RidgeFit
        Refitted on all samples. The score of a penalty is the mean squared error.

    Raises InputError where fewer than two groups or any value that is not finite is given.
    """
    if len(np.unique(groups)) < 2:
        raise InputError("ridge: a penalty cannot be chosen with fewer than two groups (runs)")
    x = np.asarray(x, dtype=np.float64)
    if not np.isfinite(x).all():
        raise InputError("ridge: the features hold NaN or infinite values")
    x_mean = x.mean(0)
    x, sizes, back = _rotated(x - x_mean, list(bands) if bands is not None else [x.shape[1]])
    unit = float((x**2).sum()) / min(x.shape)
    if unit == 0:
        raise InputError("ridge: the features do not vary; nothing can be predicted from them")
    folds = _folds(x, np.asarray(groups))
    gram = x.T @ x
    block = max(1, ROOM // sum(len(fold.x) for fold in folds))
    parts = [
        _fit_block(x, y[:, first : first + block], folds, gram, sizes, alphas * unit, seed)
        for first in range(0, y.shape[1], block)
    ]
    weights, share, alpha, y_mean = (
        np.concatenate(each, axis=-1) for each in zip(*parts, strict=True)
    )
    return RidgeFit(
        np.asarray(back @ weights if back is not None else weights, np.float32),
        x_mean,
        y_mean,
        alpha / unit,
        share,
        alpha < 1.01 * unit * alphas[0],
        alpha > 0.99 * unit * alphas[-1],
    )


@dataclass(frozen=True)
class _FewRows:
    """``x`` has the Gram matrix of many rows; ``y = onto.T @ (many_x.T @ many_y)`` goes with it."""

    x: NDArray[np.float64]  # (rank, features)
    onto: NDArray[np.float64]  # (features, rank)


@dataclass(frozen=True)
class _Fold:
    """One group left out: the rows for training, and then those of the group."""

    held: NDArray[np.bool_]  # (n,)
    few: _FewRows
    x: NDArray[np.float64]  # (rank + held, features)


def _few_rows(gram: NDArray[np.float64]) -> _FewRows:
    value, vector = np.linalg.eigh(gram)
    kept = value > SINGULAR * value[-1]
    root = np.sqrt(value[kept])
    return _FewRows(root[:, None] * vector[:, kept].T, vector[:, kept] / root)


def _rotated(
    x: NDArray[np.float64], sizes: list[int]
) -> tuple[NDArray[np.float64], list[int], NDArray[np.float64] | None]:
    """Express every band in as few features as there are samples, which changes no ridge.

    Returns (x, sizes, the matrix that takes weights back to the features given or None).
    """
    if max(sizes) <= len(x):
        return x, sizes, None
    parts, backs, first = [], [], 0
    for size in sizes:
        left, value, right = np.linalg.svd(x[:, first : first + size], full_matrices=False)
        parts.append(left * value)
        backs.append(right.T)
        first += size
    return np.hstack(parts), [part.shape[1] for part in parts], scipy.linalg.block_diag(*backs)


def _folds(x: NDArray[np.float64], groups: NDArray[np.integer]) -> list[_Fold]:
    """Return the folds of centred features."""
    gram = x.T @ x
    folds = []
    for name in np.unique(groups):
        held = groups == name
        mean = x[~held].mean(0)
        few = _few_rows(gram - x[held].T @ x[held] - (~held).sum() * np.outer(mean, mean))
        folds.append(_Fold(held, few, np.vstack([few.x, x[held] - mean])))
    return folds


def _fit_block(
    x: NDArray[np.float64], y: NDArray[np.floating], folds: list[_Fold], gram: NDArray[np.float64],
    sizes: list[int], alphas: NDArray[np.float64], seed: int,
) -> tuple[NDArray[np.floating], ...]:  # fmt: skip
    """Return weights (features, targets), share (bands, targets), alpha and the mean of y."""
    y_mean = y.mean(0, dtype=np.float64)
    y = y - y_mean.astype(np.float32)
    narrow = x.astype(np.float32)
    cross = narrow.T @ y
    stack = np.empty((sum(len(fold.x) for fold in folds), y.shape[1]), np.float32)
    splits, first = [], 0
    for fold in folds:
        middle, last = first + len(fold.few.x), first + len(fold.x)
        held_x, held_y, n_others = narrow[fold.held], y[fold.held], (~fold.held).sum()
        sum_x, sum_y = held_x.sum(0), held_y.sum(0)
        # Sums over all samples are 0, so those over the others are these with the other sign.
        own = cross - held_x.T @ held_y - np.outer(sum_x, sum_y / n_others)
        stack[first:middle] = fold.few.onto.astype(np.float32).T @ own
        stack[middle:last] = held_y + sum_y / n_others
        splits.append((np.arange(first, middle), np.arange(middle, last)))
        first = last
    share, alpha = _search(folds, stack, splits, sizes, alphas, seed)
    return _refit(gram, cross, sizes, share, alpha), share, alpha, y_mean


def _search(
    folds: list[_Fold], y: NDArray[np.float32], splits: Sequence[tuple[NDArray[np.int64], ...]],
    sizes: list[int], alphas: NDArray[np.float64], seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:  # fmt: skip
    """Return share (bands, targets) and alpha (targets,) of the least error, by himalaya."""
    from himalaya.backend import set_backend
    from himalaya.kernel_ridge import generate_dirichlet_samples
    from himalaya.ridge import solve_group_ridge_random_search

    backend = set_backend("torch_cuda" if torch.cuda.is_available() else "torch")
    n = len(sizes)
    shares = np.full((1, n), 1 / n)
    if n > 1:
        drawn = generate_dirichlet_samples(DRAWS, n, concentration=[0.1, 1.0], random_state=seed)
        shares = np.vstack([shares, backend.to_numpy(drawn)])
    x = np.vstack([fold.x for fold in folds]).astype(np.float32)
    deltas, _, _ = solve_group_ridge_random_search(
        np.split(x, np.cumsum(sizes)[:-1], axis=1), y, backend.asarray(shares, "float32"),
        alphas=backend.asarray(alphas, "float32"), cv=splits, return_weights=False,
        n_alphas_batch=4, n_targets_batch=1000, progress_bar=False, warn=False,
    )  # fmt: skip
    parts = np.exp(backend.to_numpy(deltas).astype(np.float64))  # share / alpha
    alpha = 1 / parts.sum(0)
    return parts * alpha, alpha


def _refit(
    gram: NDArray[np.float64], cross: NDArray[np.float32], sizes: list[int],
    share: NDArray[np.float64], alpha: NDArray[np.float64],
) -> NDArray[np.float32]:  # fmt: skip
    """Return the weights (features, targets) on all samples, given what was chosen.

    In closed form: himalaya's own solver holds features x targets x features where every target has
    its penalty.
    """
    weights = np.empty(cross.shape, np.float32)
    draws, which = np.unique(share.round(9), axis=1, return_inverse=True)
    for index, draw in enumerate(draws.T):
        mine = which.ravel() == index
        root = np.repeat(np.sqrt(draw), sizes)
        value, vector = np.linalg.eigh((root[:, None] * gram) * root)
        onto = (vector.T * root).astype(np.float32)
        shrunk = onto @ cross[:, mine] / (value[:, None] + alpha[mine]).astype(np.float32)
        weights[:, mine] = onto.T @ shrunk
    return weights
