"""Ridge regression with one penalty per target, chosen by leaving groups of samples out.

himalaya searches the penalties (`choose_penalties`) and, with several bands of features, the share
of each band. Its time grows with the number of training samples, of which there are thousands, each
in all folds but one. So each fold is replaced by a few rows with the same normal equations: the
predictions are the same (tests/encoding/test_ridge.py) in about a third of the time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from neuromusic.core.errors import InputError

ALPHAS = np.logspace(-3, 5, 13)  # in units of the features' mean squared singular value
SHARES = 100  # random divisions of the penalty between bands that are tried
MOST_VALUES = 30_000_000  # in the folds of one block of targets
SINGULAR = 1e-7  # share of the largest eigenvalue below which an eigenvalue is rounding error

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RidgeFit:
    """A fitted ridge regression of targets on features."""

    weights: NDArray[np.float32]  # (features, targets)
    x_mean: Floats  # (features,)
    y_mean: Floats  # (targets,)
    alpha: Floats  # (targets,), in the units of ALPHAS
    share: Floats  # (bands, targets), square of the factor that scales the features of each band
    lowest: NDArray[np.bool_]  # (targets,), whether alpha is the smallest of the grid
    highest: NDArray[np.bool_]  # (targets,), whether alpha is the largest of the grid
    loss: Floats  # (targets,), mean squared error in the groups left out, with the chosen penalty

    def predict(self, x: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the predictions (n, targets) from features (n, features)."""
        part = (x - self.x_mean).astype(np.float32) @ self.weights
        return (part + self.y_mean).astype(np.float32)


def fit_ridge(
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    groups: NDArray[np.integer],
    alphas: Floats = ALPHAS,
    bands: Sequence[int] | None = None,
    seed: int = 0,
) -> RidgeFit:
    """Fit a ridge regression; each target's penalty is chosen by leaving one group out at a time.

    Parameters
    ----------
    x : array (n, features)
        Features on a common scale.
    y : array (n, targets)
        May be mapped into memory: it is read in blocks of targets.
    groups : array (n,)
        Group of each sample, such as the run of each volume.
    alphas : array (n_alphas,)
        Penalties to try, ascending, in units of the mean squared singular value of ``x``.
    bands : sequence of int, optional
        Number of features in each band, in the order of the columns: a banded ridge, with one
        penalty per band (Nunez-Elizalde et al. 2019, NeuroImage 197; Dupre la Tour et al. 2022,
        NeuroImage 264), the best of SHARES random divisions.
    seed : int
        Seed of the random divisions.

    Returns
    -------
    RidgeFit
        Fitted to all samples, with the penalties of the least mean squared error.

    Raises InputError if there are fewer than two groups, a feature is not finite or none varies.
    """
    if len(np.unique(groups)) < 2:
        raise InputError("ridge: to choose a penalty, two or more groups (runs) are needed")
    x = np.asarray(x, dtype=np.float64)
    if not np.isfinite(x).all():
        raise InputError("ridge: the features contain NaN or infinite values")
    x_mean = x.mean(0)
    sizes = list(bands) if bands is not None else [x.shape[1]]
    x, sizes, back = _rotated(x - x_mean, sizes)
    unit = float((x**2).sum()) / min(x.shape)
    if unit == 0:
        raise InputError("ridge: the features do not vary, so nothing can be predicted from them")
    problem = RidgeProblem(x, x.T @ x, _folds(x, np.asarray(groups)), sizes, alphas * unit, seed)
    block = max(1, MOST_VALUES // problem.n_fold_rows)
    parts = [
        _fit_block(problem, y[:, first : first + block]) for first in range(0, y.shape[1], block)
    ]
    weights, share, alpha, y_mean, loss = (
        np.concatenate(arrays, axis=-1) for arrays in zip(*parts, strict=True)
    )
    return RidgeFit(
        np.asarray(back @ weights if back is not None else weights, np.float32),
        x_mean,
        y_mean,
        alpha / unit,
        share,
        alpha < 1.01 * unit * alphas[0],
        alpha > 0.99 * unit * alphas[-1],
        loss,
    )


# --- Folds ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _FewRows:
    """A few rows with the same normal equations as many rows.

    ``x`` (rank, features) has the Gram matrix of the many rows; ``projection.T @ (many_x.T @
    many_y)``, with ``projection`` (features, rank), are the targets that belong to it.
    """

    x: Floats
    projection: Floats


@dataclass(frozen=True)
class _Fold:
    """One group left out.

    ``held`` (n,) marks its samples; ``x`` (rank + held, features) are the few training rows, and
    then the rows of the group.
    """

    held: NDArray[np.bool_]
    few: _FewRows
    x: Floats


@dataclass(frozen=True)
class RidgeProblem:
    """What all blocks of targets share.

    ``x`` (n, features) is centred, ``gram`` its Gram matrix; ``sizes`` are the features of each
    band; ``alphas`` are in the scale of ``x``.
    """

    x: Floats
    gram: Floats
    folds: list[_Fold]
    sizes: list[int]
    alphas: Floats
    seed: int

    @property
    def n_fold_rows(self) -> int:
        """Rows of all folds together."""
        return sum(len(fold.x) for fold in self.folds)


def _rotated(x: Floats, sizes: list[int]) -> tuple[Floats, list[int], Floats | None]:
    """Express each band in as few features as there are samples, which changes no prediction.

    Returns x, sizes, and the matrix that takes weights back to the original features, or None.
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


def _folds(x: Floats, groups: NDArray[np.integer]) -> list[_Fold]:
    """Return one fold per group, of centred features."""
    gram = x.T @ x
    folds = []
    for name in np.unique(groups):
        held = groups == name
        mean = x[~held].mean(0)
        few = _few_rows(gram - x[held].T @ x[held] - (~held).sum() * np.outer(mean, mean))
        folds.append(_Fold(held, few, np.vstack([few.x, x[held] - mean])))
    return folds


def _few_rows(gram: Floats) -> _FewRows:
    values, vectors = np.linalg.eigh(gram)
    kept = values > SINGULAR * values[-1]
    root = np.sqrt(values[kept])
    return _FewRows(root[:, None] * vectors[:, kept].T, vectors[:, kept] / root)


# --- Blocks of targets ----------------------------------------------------------------------------


def _fit_block(problem: RidgeProblem, y: NDArray[np.floating]) -> tuple[NDArray[np.floating], ...]:
    """Return weights (features, targets), share (bands, targets), alpha, the mean of y and loss."""
    y_mean = y.mean(0, dtype=np.float64)
    y = y - y_mean.astype(np.float32)
    x = problem.x.astype(np.float32)
    cross = x.T @ y
    targets = np.empty((problem.n_fold_rows, y.shape[1]), np.float32)
    splits, first = [], 0
    for fold in problem.folds:
        middle, last = first + len(fold.few.x), first + len(fold.x)
        held_x, held_y, n_others = x[fold.held], y[fold.held], (~fold.held).sum()
        sum_x, sum_y = held_x.sum(0), held_y.sum(0)
        # Sums over all samples are 0, so the sums over the others are these, negated.
        cross_of_others = cross - held_x.T @ held_y - np.outer(sum_x, sum_y / n_others)
        targets[first:middle] = fold.few.projection.astype(np.float32).T @ cross_of_others
        targets[middle:last] = held_y + sum_y / n_others
        splits.append((np.arange(first, middle), np.arange(middle, last)))
        first = last
    share, alpha, loss = choose_penalties(problem, targets, splits)
    return _refit(problem, cross, share, alpha), share, alpha, y_mean, loss


def choose_penalties(
    problem: RidgeProblem,
    y: NDArray[np.float32],
    splits: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
) -> tuple[Floats, Floats, Floats]:
    """Return the share of each band (bands, targets), penalty (targets,) and loss of least error.

    ``y`` (rows of all folds, targets) belongs to the rows of the folds one after the other;
    ``splits`` are the training and the held-out rows of each. himalaya tries all penalties and,
    with several bands, equal shares and random ones from a Dirichlet distribution.
    """
    import torch
    from himalaya.backend import set_backend
    from himalaya.kernel_ridge import generate_dirichlet_samples
    from himalaya.ridge import solve_group_ridge_random_search

    backend = set_backend("torch_cuda" if torch.cuda.is_available() else "torch")
    n_bands = len(problem.sizes)
    shares = np.full((1, n_bands), 1 / n_bands)
    if n_bands > 1:
        drawn = generate_dirichlet_samples(
            SHARES, n_bands, concentration=[0.1, 1.0], random_state=problem.seed
        )
        shares = np.vstack([shares, backend.to_numpy(drawn)])
    x = np.vstack([fold.x for fold in problem.folds]).astype(np.float32)
    deltas, _, scores = solve_group_ridge_random_search(
        np.split(x, np.cumsum(problem.sizes)[:-1], axis=1), y, backend.asarray(shares, "float32"),
        alphas=backend.asarray(problem.alphas, "float32"), cv=splits, return_weights=False,
        n_alphas_batch=4, n_targets_batch=1000, progress_bar=False, warn=False,
    )  # fmt: skip
    parts = np.exp(backend.to_numpy(deltas).astype(np.float64))  # share / alpha
    alpha = 1 / parts.sum(0)
    loss = -backend.to_numpy(scores).astype(np.float64).max(0)
    return parts * alpha, alpha, loss


def _refit(
    problem: RidgeProblem, cross: NDArray[np.float32], share: Floats, alpha: Floats
) -> NDArray[np.float32]:
    """Return the weights (features, targets) on all samples, with the chosen shares and penalties.

    In closed form, because himalaya's solver needs memory for features x targets x features if each
    target has its own penalty. ``cross`` (features, targets) is ``x.T @ y``.
    """
    weights = np.empty(cross.shape, np.float32)
    unique, which = np.unique(share.round(9), axis=1, return_inverse=True)
    for index, shares in enumerate(unique.T):
        chosen = which.ravel() == index
        root = np.repeat(np.sqrt(shares), problem.sizes)
        values, vectors = np.linalg.eigh((root[:, None] * problem.gram) * root)
        rotation = (vectors.T * root).astype(np.float32)
        shrunk = rotation @ cross[:, chosen] / (values[:, None] + alpha[chosen]).astype(np.float32)
        weights[:, chosen] = rotation.T @ shrunk
    return weights
