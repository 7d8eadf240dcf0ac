"""Ridge regression with one penalty per target, chosen by leaving groups of samples out.

What depends on the features only is computed once (`ridge_problem`) and used for any number of
blocks of targets (`fit_targets`). Each fold is diagonalised once, and predictions are computed for
nine of the thirteen penalties or so: those for the others are linear combinations of them. With
several bands of features, himalaya searches the penalty of each band.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from neuromusic.core.errors import InputError

if TYPE_CHECKING:  # imported where it is used: images are checked without torch
    from torch import Tensor

ALPHAS = np.logspace(-3, 5, 13)  # in units of the features' mean squared singular value
SHARES = 100  # random divisions of the penalty between bands that are tried
MOST_VALUES = 30_000_000  # in the targets of one block, in all folds if there are several bands
TARGETS_AT_ONCE = 256  # whose predictions of a group, with all penalties, fit into the cache
SINGULAR = 1e-7  # share of the largest eigenvalue below which an eigenvalue is rounding error
ROUNDING = 1e-4  # share of its largest shrinkage by which that of a penalty may be wrong

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]


@dataclass(frozen=True)
class RidgeFit:
    """A fitted ridge regression of targets on features."""

    weights: Singles  # (features, targets)
    x_mean: Floats  # (features,)
    y_mean: Floats  # (targets,)
    alpha: Floats  # (targets,), in the units of ALPHAS
    share: Floats  # (bands, targets), square of the factor that scales the features of each band
    lowest: NDArray[np.bool_]  # (targets,), whether alpha is the smallest of the grid
    highest: NDArray[np.bool_]  # (targets,), whether alpha is the largest of the grid
    loss: Floats  # (targets,), mean squared error in the groups left out, with the chosen penalty

    def predict(self, x: NDArray[np.floating]) -> Singles:
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
    return fit_targets(ridge_problem(x, groups, alphas, bands, seed), y)


# --- What depends on the features only ------------------------------------------------------------


@dataclass(frozen=True)
class _Fold:
    """One group left out; the other samples are centred and diagonalised.

    ``held`` (n,) marks the group's samples, ``mean`` (features,) is the mean of the others, whose
    Gram matrix has the eigenvalues ``values`` (rank,) and the eigenvectors ``vectors`` (features,
    rank).
    """

    held: NDArray[np.bool_]
    mean: Floats
    values: Floats
    vectors: Singles


@dataclass(frozen=True)
class RidgeProblem:
    """Features of a regression, prepared for any number of blocks of targets.

    ``x`` (n, features) is centred about ``x_mean``; if there were more features than samples, they
    are rotated, and ``back`` takes weights to the original ones. ``gram`` is their Gram matrix,
    with the eigenvalues ``values`` and ``vectors``; ``sizes`` are the features of each band;
    ``unit`` is the unit of ``alphas``.
    """

    x: Singles
    x_mean: Floats
    gram: Floats
    values: Floats
    vectors: Floats
    folds: list[_Fold]
    sizes: list[int]
    alphas: Floats
    unit: float
    seed: int
    back: Floats | None

    @property
    def n_bytes(self) -> int:
        """Size of the arrays in memory."""
        of_folds = sum(fold.vectors.nbytes + fold.held.nbytes for fold in self.folds)
        return self.x.nbytes + self.gram.nbytes + self.vectors.nbytes + of_folds


def ridge_problem(
    x: NDArray[np.floating],
    groups: NDArray[np.integer],
    alphas: Floats = ALPHAS,
    bands: Sequence[int] | None = None,
    seed: int = 0,
) -> RidgeProblem:
    """Return what `fit_targets` needs to know of the features; the arguments are `fit_ridge`'s."""
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
    gram = x.T @ x
    values, vectors = np.linalg.eigh(gram)
    return RidgeProblem(
        x.astype(np.float32), x_mean, gram, values.clip(0), vectors,
        _folds(x, gram, np.asarray(groups)), sizes, alphas, unit, seed, back,
    )  # fmt: skip


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


def _folds(x: Floats, gram: Floats, groups: NDArray[np.integer]) -> list[_Fold]:
    """Return one fold per group, of centred features."""
    folds = []
    for name in np.unique(groups):
        held = groups == name
        mean = x[~held].mean(0)
        rest = gram - x[held].T @ x[held] - (~held).sum() * np.outer(mean, mean)
        values, vectors = np.linalg.eigh(rest)
        kept = values > SINGULAR * values[-1]
        folds.append(_Fold(held, mean, values[kept], vectors[:, kept].astype(np.float32)))
    return folds


# --- Blocks of targets ----------------------------------------------------------------------------


def fit_targets(problem: RidgeProblem, y: NDArray[np.floating]) -> RidgeFit:
    """Fit targets (n, targets), which may be mapped into memory; see `fit_ridge`."""
    n_rows = len(problem.x)
    if len(problem.sizes) > 1:
        n_rows = sum(len(fold.values) + fold.held.sum() for fold in problem.folds)
    block = max(1, MOST_VALUES // n_rows)
    parts = [
        _fit_block(problem, y[:, first : first + block]) for first in range(0, y.shape[1], block)
    ]
    weights, share, alpha, y_mean, loss = (
        np.concatenate(arrays, axis=-1) for arrays in zip(*parts, strict=True)
    )
    back, alphas = problem.back, problem.alphas
    return RidgeFit(
        np.asarray(back @ weights if back is not None else weights, np.float32),
        problem.x_mean,
        y_mean,
        alpha,
        share,
        alpha < 1.01 * alphas[0],
        alpha > 0.99 * alphas[-1],
        loss,
    )


def _fit_block(problem: RidgeProblem, y: NDArray[np.floating]) -> tuple[NDArray[np.floating], ...]:
    """Return weights (features, targets), share (bands, targets), alpha, the mean of y and loss."""
    y_mean = y.mean(0, dtype=np.float64)
    y = np.subtract(y, y_mean, dtype=np.float32)
    held = [_HeldOut.of(problem.x, y, fold) for fold in problem.folds]
    cross = np.zeros((problem.x.shape[1], y.shape[1]), np.float32)
    for each in held:
        cross += each.cross
    if len(problem.sizes) > 1:
        share, alpha, loss = _search_bands(problem, cross, held)
        return _refit_bands(problem, cross, share, alpha), share, alpha / problem.unit, y_mean, loss
    losses = np.zeros((len(problem.alphas), y.shape[1]))
    for fold, each in zip(problem.folds, held, strict=True):
        losses += _losses(problem, fold, each.cross_of_others(cross), each) / len(held)
    best = losses.argmin(0)
    alpha = problem.alphas[best]
    shrunk = problem.vectors.T.astype(np.float32) @ cross
    shrunk /= np.add.outer(problem.values, problem.unit * alpha).astype(np.float32)
    weights = problem.vectors.astype(np.float32) @ shrunk
    return weights, np.ones((1, y.shape[1])), alpha, y_mean, losses.min(0)


@dataclass(frozen=True)
class _HeldOut:
    """The targets of a group that is left out: ``y`` about the mean of the other samples.

    ``cross`` (features, targets) are the group's sums of products about the means of all samples,
    of which ``sum_x`` (features,) and ``sum_y`` (targets,) are sums; ``n_others`` is the number of
    the other samples.
    """

    y: Singles
    cross: Singles
    sum_x: Singles
    sum_y: Singles
    n_others: int

    @classmethod
    def of(cls, x: Singles, y: Singles, fold: _Fold) -> "_HeldOut":
        held_x, held_y, n_others = x[fold.held], y[fold.held], int((~fold.held).sum())
        sum_y = held_y.sum(0)
        # Sums over all samples are 0, so the sums over the others are these, negated.
        return cls(
            held_y + sum_y / n_others, held_x.T @ held_y, held_x.sum(0), sum_y, n_others
        )  # fmt: skip

    def cross_of_others(self, cross: Singles) -> Singles:
        """Return the other samples' sums of products, about their own means."""
        return np.asarray(
            cross - self.cross - np.outer(self.sum_x, self.sum_y / self.n_others), np.float32
        )


def _losses(problem: RidgeProblem, fold: _Fold, cross: Singles, held: _HeldOut) -> Floats:
    """Return the mean squared error (alphas, targets) in a group, fitted to the others.

    ``cross`` (features, targets) are the other samples' sums of products.
    """
    import torch

    def on_device(array: NDArray[np.floating]) -> "Tensor":
        return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(device)

    device = "cuda" if torch.cuda.is_available() else "cpu"
    penalties = problem.alphas * problem.unit
    chosen, others, mixed = _computed_penalties(fold.values, penalties)
    inverse = on_device(1 / np.add.outer(penalties, fold.values))  # (alphas, rank)
    mixing, vectors = on_device(mixed), on_device(fold.vectors)
    x = on_device(problem.x[fold.held] - fold.mean) @ vectors
    out = np.empty((len(penalties), cross.shape[1]))
    for first in range(0, cross.shape[1], TARGETS_AT_ONCE):
        part = slice(first, first + TARGETS_AT_ONCE)
        y, weights = on_device(held.y[:, part]), vectors.T @ on_device(cross[:, part])
        predicted = x @ (inverse[chosen, :, None] * weights)  # (chosen, held samples, targets)
        rest = (mixing @ predicted.flatten(1)).view(len(others), *y.shape)
        lengths = torch.empty(len(penalties), y.shape[1], device=device)
        lengths[chosen] = predicted.square_().sum(1)
        lengths[others] = rest.square_().sum(1)
        # The error is |y|^2 + |prediction|^2 - 2 y prediction. With a large penalty the prediction
        # is so small that the difference of y from it would be rounded to y.
        products = inverse @ (weights * (x.T @ y))
        change = lengths.double() - 2 * products.double()
        out[:, part] = (y.double().square().sum(0) + change).cpu().numpy()
    return out / len(x)


def _computed_penalties(values: Floats, penalties: Floats) -> tuple[list[int], list[int], Floats]:
    """Return which penalties to compute predictions for, and how the others follow from them.

    A prediction depends on the penalty only through the shrinkage value / (value + penalty) of each
    eigenvalue. As functions of the eigenvalue, the shrinkages of a dense grid of penalties are
    nearly dependent: an interpolative decomposition (Cheng et al. 2005, SIAM J. Sci. Comput. 26,
    1389, section 3) finds a few of which the others are linear combinations, here to ROUNDING of
    each penalty's largest shrinkage. Only the length of predictions is computed this way.

    Returns the indices of the penalties to compute and of the others, and the factors (others,
    computed).
    """
    n = len(penalties)
    largest = values.max() / (penalties + values.max())
    shrinkage = values / np.add.outer(penalties, values) / largest[:, None]
    _, order = scipy.linalg.qr(shrinkage.T, mode="r", pivoting=True)
    for n_chosen in range(1, n):
        chosen, others = np.sort(order[:n_chosen]), np.sort(order[n_chosen:])
        factors = np.linalg.lstsq(shrinkage[chosen].T, shrinkage[others].T, rcond=None)[0].T
        if np.abs(factors @ shrinkage[chosen] - shrinkage[others]).max() < ROUNDING:
            return (
                chosen.tolist(),
                others.tolist(),
                largest[others, None] * factors / largest[chosen],
            )
    return list(range(n)), [], np.empty((0, n))


# --- Several bands --------------------------------------------------------------------------------


def _search_bands(
    problem: RidgeProblem, cross: Singles, held: Sequence[_HeldOut]
) -> tuple[Floats, Floats, Floats]:
    """Return the share of each band (bands, targets), penalty (targets,) and loss of least error.

    himalaya tries all penalties with equal shares and random ones from a Dirichlet distribution.
    Its time grows with the number of training samples, so those of each fold are replaced by a few
    rows with the same normal equations.
    """
    import torch
    from himalaya.backend import set_backend
    from himalaya.kernel_ridge import generate_dirichlet_samples
    from himalaya.ridge import solve_group_ridge_random_search

    xs: list[Singles] = []
    ys: list[Singles] = []
    splits, first = [], 0
    for fold, each in zip(problem.folds, held, strict=True):
        root = np.sqrt(fold.values).astype(np.float32)
        held_x = (problem.x[fold.held] - fold.mean).astype(np.float32)
        xs += [root[:, None] * fold.vectors.T, held_x]
        few_y = (fold.vectors / root).T @ each.cross_of_others(cross)
        ys += [few_y.astype(np.float32), each.y]
        middle, last = first + len(root), first + len(root) + len(each.y)
        splits.append((np.arange(first, middle), np.arange(middle, last)))
        first = last
    backend = set_backend("torch_cuda" if torch.cuda.is_available() else "torch")
    n_bands = len(problem.sizes)
    drawn = generate_dirichlet_samples(
        SHARES, n_bands, concentration=[0.1, 1.0], random_state=problem.seed
    )
    shares = np.vstack([np.full((1, n_bands), 1 / n_bands), backend.to_numpy(drawn)])
    bands = np.split(np.vstack(xs).astype(np.float32), np.cumsum(problem.sizes)[:-1], axis=1)
    deltas, _, scores = solve_group_ridge_random_search(
        bands, np.vstack(ys), backend.asarray(shares, "float32"),
        alphas=backend.asarray(problem.alphas * problem.unit, "float32"), cv=splits,
        return_weights=False, n_alphas_batch=4, n_targets_batch=1000, progress_bar=False,
        warn=False,
    )  # fmt: skip
    parts = np.exp(backend.to_numpy(deltas).astype(np.float64))  # share / alpha
    alpha = 1 / parts.sum(0)
    loss = -backend.to_numpy(scores).astype(np.float64).max(0)
    return parts * alpha, alpha, loss


def _refit_bands(problem: RidgeProblem, cross: Singles, share: Floats, alpha: Floats) -> Singles:
    """Return the weights (features, targets) on all samples, with the chosen shares and penalties.

    In closed form, because himalaya's solver needs memory for features x targets x features if each
    target has its own penalty. ``cross`` (features, targets) are the sums of products.
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
