"""One fold of an encoding in time: fit to the training sounds, predict the sounds held out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.encoding.timed_design import Lags, Projection, fit_projection, with_lags
from neuromusic.encoding.timed_ridge import (
    ProductFit,
    Products,
    fit_products,
    products,
    residual,
    residual_products,
)

INNER = 5  # folds in which penalties are chosen, of short sounds or of a story
LEAST_INNER_STORIES = 3  # training stories that are left out one at a time

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]


@dataclass(frozen=True)
class Data:
    """What all folds share.

    Parameters
    ----------
    grids : mapping
        Stage -> features of each sound, see `timed_design.on_samples`.
    y : list of arrays (samples, targets)
        The samples of each sound that are used.
    used : list of slices
        Which samples of each response these are.
    lags : Lags
        Delays.
    is_short : bool
        Whether the mean time course over sounds is removed.
    """

    grids: Mapping[str, list[Singles]]
    y: list[Singles]
    used: list[slice]
    lags: Lags
    is_short: bool


@dataclass(frozen=True)
class StageFit:
    """Predictions of a stage for the test sounds of a fold.

    Parameters
    ----------
    measured, predicted : list of arrays (samples, targets)
        One per test sound.
    loss : array (targets,)
        Mean squared error in training sounds that were left out.
    at_edge : array (targets,)
        Whether the penalty is at an edge of the grid.
    smaller, addition : list of arrays (samples, targets), optional
        Predictions of the baseline, and what the stage adds to them.
    response, lag_sd : arrays, optional
        See `StageResult`.
    note : str
        Why something is missing.
    chosen : array (targets,), optional
        Of a best stage, the number of the stage.
    """

    measured: list[Singles]
    predicted: list[Singles]
    loss: Floats
    at_edge: NDArray[np.bool_]
    smaller: list[Singles] | None = None
    addition: list[Singles] | None = None
    response: Singles | None = None
    lag_sd: Floats | None = None
    note: str = ""
    chosen: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class _Design:
    """A stage's design: one array (samples, columns) per sound, and sums of its groups."""

    projection: Projection
    x: list[Singles]
    groups: list[Products]
    fit: ProductFit


class Fold:
    """The training and test sounds of one fold.

    ``seed`` is that of the random directions for stages of many units.
    """

    def __init__(
        self, data: Data, test: NDArray[np.int64], components: int | None, seed: Sequence[int]
    ) -> None:
        self.data, self.test, self.components, self.seed = data, test, components, seed
        self.train = np.setdiff1d(np.arange(len(data.y)), test)

    def fits(self, baseline: str) -> Iterator[tuple[str, StageFit]]:
        """Yield the fit of each stage; with the additions to a stage named ``baseline``."""
        under: _Design | None = None
        for name in self.data.grids:
            try:
                design = self._design(name)
            except InputError as error:
                yield name, self._nothing(str(error))
                continue
            if name == baseline:
                under = design
            yield name, self._fit(design, under if name != baseline else None)

    @cached_property
    def y(self) -> list[Singles]:
        """Responses of all sounds; short ones without the training sounds' mean time course."""
        return self._without_common(self.data.y)

    @cached_property
    def groups(self) -> list[list[tuple[int, slice]]]:
        """Samples (sound, rows) of each group in which penalties are chosen."""
        whole = slice(None)
        if self.data.is_short:
            mixed = np.random.default_rng(self.seed).permutation(self.train)
            return [[(sound, whole) for sound in mixed[first::INNER]] for first in range(INNER)]
        if len(self.train) >= LEAST_INNER_STORIES:
            return [[(sound, whole)] for sound in self.train]
        parts: list[list[tuple[int, slice]]] = [[] for _ in range(INNER)]
        for sound in self.train:
            borders = np.linspace(0, len(self.data.y[sound]), INNER + 1).astype(int)
            for part, first, last in zip(parts, borders, borders[1:], strict=False):
                part.append((sound, slice(first, last)))
        return parts

    def _without_common(self, series: list[Singles]) -> list[Singles]:
        if not self.data.is_short:
            return series
        common = np.mean([series[sound] for sound in self.train], axis=0, dtype=np.float64)
        return [each - common.astype(np.float32) for each in series]

    def _rows(self, series: list[Singles], group: list[tuple[int, slice]]) -> Singles:
        return np.concatenate([series[sound][rows] for sound, rows in group])

    def _design(self, name: str) -> _Design:
        data, rng = self.data, np.random.default_rng(self.seed)
        grids = data.grids[name]
        projection = fit_projection([grids[sound] for sound in self.train], self.components, rng)
        lagged = [with_lags(projection.apply(grid), data.lags) for grid in grids]
        x = self._without_common([each[rows] for each, rows in zip(lagged, data.used, strict=True)])
        groups = [
            products(self._rows(x, group), self._rows(self.y, group)) for group in self.groups
        ]
        return _Design(projection, x, groups, fit_products(groups))

    def _fit(self, design: _Design, under: _Design | None) -> StageFit:
        fit = design.fit
        response, lag_sd = self._response(design)
        smaller = addition = None
        note = ""
        if under is not None:
            smaller = [under.fit.predict(under.x[sound]) for sound in self.test]
            added = self._addition(under, design)
            if isinstance(added, str):
                smaller, note = None, f"unique variance: {added}"
            else:
                addition = added
        return StageFit(
            [self.y[sound] for sound in self.test],
            [fit.predict(design.x[sound]) for sound in self.test],
            fit.loss, fit.at_edge, smaller, addition, response, lag_sd, note,
        )  # fmt: skip

    def _addition(self, under: _Design, design: _Design) -> list[Singles] | str:
        """Return what the stage adds to the baseline's predictions of the test sounds."""
        crosses = [
            (self._rows(under.x, group).T @ self._rows(design.x, group)).astype(np.float64)
            for group in self.groups
        ]
        smaller, larger = _total(under.groups), _total(design.groups)
        found = residual(smaller, np.sum(crosses, axis=0), larger)
        if isinstance(found, str):
            return found
        groups = [
            residual_products(b, cross, s, found, under.fit)
            for b, cross, s in zip(under.groups, crosses, design.groups, strict=True)
        ]
        fit = fit_products(groups)
        return [fit.predict(found.of(under.x[sound], design.x[sound])) for sound in self.test]

    def _response(self, design: _Design) -> tuple[Singles, Floats]:
        """Return the response function (units, lags, targets), and deviations (lags, targets)."""
        matrix, n_lags = design.projection.matrix, len(self.data.lags.samples)
        n = matrix.shape[1]
        w = design.fit.weights.reshape(n_lags, n, -1)
        total = _total(design.groups).centred()
        blocks = total.xx.reshape(n_lags, n, n_lags, n)[np.arange(n_lags), :, np.arange(n_lags)]
        variance = np.einsum("lkt,lkm,lmt->lt", w, blocks / total.n, w, optimize=True)
        response = np.einsum("uk,lkt->ult", matrix, w.astype(np.float32), optimize=True)
        return response, np.sqrt(variance.clip(0))

    def _nothing(self, reason: str) -> StageFit:
        measured = [self.y[sound] for sound in self.test]
        missing = [np.full_like(each, np.nan) for each in measured]
        n = measured[0].shape[1]
        return StageFit(measured, missing, np.full(n, np.inf), np.zeros(n, np.bool_), note=reason)


def _total(groups: Sequence[Products]) -> Products:
    total = groups[0]
    for group in groups[1:]:
        total = total + group
    return total


def best(stages: Sequence[Sequence[StageFit]]) -> list[StageFit]:
    """Return the fits of the stage with the least loss, for each fold and target."""
    chosen = []
    for fits in zip(*stages, strict=True):
        index = np.argmin([fit.loss for fit in fits], axis=0)

        def pick(
            name: str, fits: tuple[StageFit, ...] = fits, index: Floats = index
        ) -> list[Singles]:
            each = [getattr(fit, name) for fit in fits]
            return [
                np.stack([series[k][:, t] for t, k in enumerate(index)], axis=1)
                for series in zip(*each, strict=True)
            ]

        has_unique = all(fit.smaller is not None for fit in fits)
        columns = np.arange(len(index))
        chosen.append(
            StageFit(
                fits[0].measured, pick("predicted"),
                np.array([fit.loss for fit in fits])[index, columns],
                np.array([fit.at_edge for fit in fits])[index, columns],
                pick("smaller") if has_unique else None,
                pick("addition") if has_unique else None,
                chosen=index,
            )
        )  # fmt: skip
    return chosen
