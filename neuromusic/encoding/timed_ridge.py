"""Ridge regression from sums of products of groups of samples.

A design in time has tens of thousands of rows and hundreds of columns, fitted once per fold with
nested folds. Whatever is left out, the normal equations are sums over the groups that remain, so
each row is multiplied only once. The predictions are those of `ridge.fit_ridge`, in about a
twentieth of the time (tests/encoding/test_timed_ridge.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.encoding.ridge import ALPHAS
from neuromusic.encoding.unique_variance import LEAST_OWN, MOST_COLUMNS, SINGULAR

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]


@dataclass(frozen=True)
class Products:
    """Sums over the samples of a group, of features x (p), other features z and targets y."""

    n: int
    x: Floats  # (p,)
    y: Floats  # (targets,)
    xx: Floats  # (p, p)
    xy: Floats  # (p, targets)
    yy: Floats  # (targets,), squares

    def __add__(self, other: "Products") -> "Products":
        return Products(
            self.n + other.n, self.x + other.x, self.y + other.y, self.xx + other.xx,
            self.xy + other.xy, self.yy + other.yy,
        )  # fmt: skip

    def __sub__(self, other: "Products") -> "Products":
        return Products(
            self.n - other.n, self.x - other.x, self.y - other.y, self.xx - other.xx,
            self.xy - other.xy, self.yy - other.yy,
        )  # fmt: skip

    def about(self, x_mean: Floats, y_mean: Floats) -> "Products":
        """Return the same sums after the means were subtracted from each sample."""
        n, x, y = self.n, self.x, self.y
        xx = self.xx - np.outer(x, x_mean) - np.outer(x_mean, x) + n * np.outer(x_mean, x_mean)
        xy = self.xy - np.outer(x, y_mean) - np.outer(x_mean, y) + n * np.outer(x_mean, y_mean)
        yy = self.yy - 2 * y * y_mean + n * y_mean**2
        return Products(n, x - n * x_mean, y - n * y_mean, xx, xy, yy)

    def centred(self) -> "Products":
        """Return the sums about the group's own means."""
        return self.about(self.x / self.n, self.y / self.n)


def products(x: Singles, y: Singles) -> Products:
    """Return the sums of products of samples, features (n, p) and targets (n, targets)."""
    return Products(
        len(x),
        x.sum(0, dtype=np.float64),
        y.sum(0, dtype=np.float64),
        (x.T @ x).astype(np.float64),
        (x.T @ y).astype(np.float64),
        np.square(y, dtype=np.float64).sum(0),
    )


@dataclass(frozen=True)
class ProductFit:
    """A ridge regression: prediction = (x - x_mean) @ weights + y_mean."""

    weights: Floats  # (p, targets)
    x_mean: Floats  # (p,)
    y_mean: Floats  # (targets,)
    alpha: Floats  # (targets,), in units of the mean squared singular value
    loss: Floats  # (targets,), mean squared error in the groups left out
    at_edge: NDArray[np.bool_]  # (targets,), whether alpha is the smallest or largest of the grid

    def predict(self, x: Singles) -> Singles:
        """Return the predictions (n, targets) from features (n, p)."""
        constant = self.y_mean - self.x_mean @ self.weights
        return x @ self.weights.astype(np.float32) + constant.astype(np.float32)


def fit_products(groups: Sequence[Products], alphas: Floats = ALPHAS) -> ProductFit:
    """Fit a ridge regression; each target's penalty is chosen by leaving one group out at a time.

    Parameters
    ----------
    groups : sequence of Products
        Of the training samples; two groups or more.
    alphas : array (n_alphas,)
        Penalties to try, ascending, in units of the mean squared singular value of the features.

    Returns
    -------
    ProductFit
        As `ridge.fit_ridge` returns it for one band.

    Raises
    ------
    InputError
        If there are fewer than two groups, or the features do not vary.
    """
    if len(groups) < 2:
        raise InputError("ridge: to choose a penalty, two or more groups of samples are needed")
    total = groups[0]
    for group in groups[1:]:
        total = total + group
    whole = total.centred()
    unit = float(np.trace(whole.xx)) / min(whole.n, len(whole.x))
    if not unit > 0:
        raise InputError("the features do not vary, so nothing can be predicted from them")
    losses = np.mean([_losses(total - group, group, alphas * unit) for group in groups], axis=0)
    best = losses.argmin(0)
    value, vector = np.linalg.eigh(whole.xx)
    shrunk = vector.T @ whole.xy / (value.clip(0)[:, None] + unit * alphas[best])
    at_edge = (best == 0) | (best == len(alphas) - 1)
    return ProductFit(
        vector @ shrunk, total.x / total.n, total.y / total.n, alphas[best], losses.min(0), at_edge
    )


def _losses(rest: Products, held: Products, alphas: Floats) -> Floats:
    """Return the mean squared error (alphas, targets) in a group, fitted to the rest."""
    train, test = rest.centred(), held.about(rest.x / rest.n, rest.y / rest.n)
    value, vector = np.linalg.eigh(train.xx)
    cross, test_xy = vector.T @ train.xy, vector.T @ test.xy
    test_xx = vector.T @ test.xx @ vector
    losses = []
    for alpha in alphas:
        w = cross / (value.clip(0)[:, None] + alpha)
        losses.append(test.yy - 2 * (w * test_xy).sum(0) + (w * (test_xx @ w)).sum(0))
    return np.array(losses) / held.n


# --- Unique variance ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Residual:
    """A design without its least-squares prediction from a smaller model's design.

    ``(x - x_mean) - (smaller - smaller_mean) @ map``, without the columns that are not ``own``.
    """

    map: Floats  # (p of the smaller model, p)
    own: NDArray[np.bool_]  # (p,)
    smaller_mean: Floats
    x_mean: Floats

    def of(self, smaller: Singles, x: Singles) -> Singles:
        """Return the residual (n, columns) of samples (n, p)."""
        mapped, constant = self.map[:, self.own], self.x_mean - self.smaller_mean @ self.map
        part = x[:, self.own] - smaller @ mapped.astype(np.float32)
        return np.asarray(part - constant[self.own].astype(np.float32))


def residual(smaller: Products, cross: Floats, larger: Products) -> Residual | str:
    """Return the residual of a design from a smaller model's design.

    The same as `unique_variance.residual_design`, from sums of products.

    Parameters
    ----------
    smaller, larger : Products
        Of all training samples.
    cross : array (p of the smaller model, p of the larger)
        Sum of the products of both.

    Returns
    -------
    Residual or str
        Or the reason why there is none.
    """
    n, means = smaller.n, (smaller.x / smaller.n, larger.x / larger.n)
    under, cross = smaller.centred().xx, cross - n * np.outer(*means)
    value, vector = np.linalg.eigh(under)
    kept = value > SINGULAR * value[-1]
    if kept.sum() > MOST_COLUMNS * n:
        return (
            f"the baseline has {kept.sum()} independent columns, more than half of the {n} "
            "training samples; use fewer components or lags"
        )
    directions = vector[:, kept] / np.sqrt(value[kept])
    mapped = directions @ (directions.T @ cross)
    before = np.diag(larger.centred().xx)
    after = before - (cross * mapped).sum(0)
    own = after >= LEAST_OWN * np.maximum(before, np.finfo(float).tiny)
    if not own.any():
        return "is a linear function of the baseline's features"
    return Residual(mapped, own, *means)


def residual_products(
    smaller: Products, cross: Floats, larger: Products, found: Residual, fit: ProductFit
) -> Products:
    """Return the sums of a group for a residual design, and for what the smaller model leaves of y.

    Parameters
    ----------
    smaller, larger : Products
        Of the group.
    cross : array (p of the smaller model, p of the larger)
        Sum of the products of both in the group.
    found : Residual
        The residual of the larger design.
    fit : ProductFit
        Of the smaller model, to all training samples; its errors are the targets.

    Returns
    -------
    Products
        Equal to ``products(found.of(smaller_x, x), y - fit.predict(smaller_x))``.
    """
    b, mapped, w = smaller.about(found.smaller_mean, fit.y_mean), found.map, fit.weights
    s = larger.about(found.x_mean, fit.y_mean)
    cross = (
        cross - np.outer(smaller.x, found.x_mean) - np.outer(found.smaller_mean, larger.x)
        + smaller.n * np.outer(found.smaller_mean, found.x_mean)
    )  # fmt: skip
    xx = s.xx - cross.T @ mapped - mapped.T @ cross + mapped.T @ b.xx @ mapped
    xy = s.xy - cross.T @ w - mapped.T @ (b.xy - b.xx @ w)
    yy = b.yy - 2 * (w * b.xy).sum(0) + (w * (b.xx @ w)).sum(0)
    own = found.own
    x = (s.x - b.x @ mapped)[own]
    return Products(s.n, x, b.y - b.x @ w, xx[np.ix_(own, own)], xy[own], yy)
