"""Which volumes of a subject an encoding is fitted to, and which it is scored on."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.encoding.folds import Fold, clip_blocks, training_and_test
from neuromusic.encoding.ridge import RidgeProblem, fit_targets, ridge_problem
from neuromusic.fmri.scans import repeat_rows, shift_blocks
from neuromusic.stats.shifts import LEAST_CLIPS

log = logging.getLogger(__name__)

PATTERN_FROM_S = 6.0
PARTS = 5  # of a single run, from which a penalty is chosen


@dataclass(frozen=True)
class UsedRows:
    """Which rows are fitted, and which are scored.

    Parameters
    ----------
    folds : list of Fold
        Which rows are fitted to predict which.
    runs : array (rows,)
        The run of each row.
    test : array (repeats, clips, volumes)
        Numbers of the rows that are scored.
    clips : list of str
        The scored clips, or segments of them.
    clip_runs : array (clips,)
        The block of each clip, see `clip_blocks`: its test run, if each clip was played in one.
    blocks : list of arrays
        See `shift_blocks`.
    drift_cycles : float or None
        How many cycles of the slowest frequency that was not removed fit into a scored run. None if
        a run does not repeat its clips in a fixed order without silence, or if runs have different
        lengths: then the noise within a cycle cannot be told from the signal.
    tr_s : float
        Repetition time in s.
    pattern_from : int
        First volume of a clip's pattern: the response to the clip before has faded.
    each_repeat : bool
        Whether repeats are scored one by one instead of averaged. If folds leave out runs, the
        prediction of one repeat is fitted to the others, and would be compared with their noise.
    """

    folds: list[Fold]
    runs: NDArray[np.int64]
    test: NDArray[np.int64]
    clips: list[str]
    clip_runs: NDArray[np.int64]
    blocks: list[NDArray[np.int64]]
    drift_cycles: float | None
    tr_s: float
    pattern_from: int
    each_repeat: bool = False

    @property
    def in_order(self) -> bool:
        """Whether every test run repeats its clips in a fixed order, and there are no folds."""
        return not self.has_folds and all(len(block) == len(self.test) for block in self.blocks)

    @property
    def has_folds(self) -> bool:
        """Whether parts of the data are predicted from each other."""
        return len(self.folds) > 1

    def centred(self, repeats: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return rows (``test.ravel()``, voxels) with mean 0 in each fold, if there are several.

        What is fitted without the sounds of a fold has a mean that is the lower, the higher theirs
        is; over folds, this would correlate predictions negatively with noise.
        """
        if not self.has_folds:
            return repeats
        out = np.empty_like(repeats)
        for fold in self.folds:
            out[fold.test] = repeats[fold.test] - repeats[fold.test].mean(0, dtype=np.float64)
        return out

    def standardised(self, centred: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return rows with mean 0 and standard deviation 1 in each fold, if there are several.

        The length of all predictions together depends on how well they agree with the noise, so a
        correlation over all folds, which divides by it, would be too low.
        """
        if not self.has_folds:
            return centred
        out = np.empty_like(centred)
        for fold in self.folds:
            deviation = centred[fold.test].std(0, dtype=np.float64)
            scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 0)
            out[fold.test] = centred[fold.test] * scale
        return out

    def scored(self, repeats: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Return what is scored: the mean of the repeats, or each; (clips, volumes, voxels)."""
        blocks = repeats.reshape(*self.test.shape, repeats.shape[1])
        return list(blocks) if self.each_repeat else [blocks.mean(0)]

    def played(self, repeats: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Return each test run as played, averaged over its repeats: (clips, volumes, voxels).

        ``repeats`` (repeats x clips x volumes, voxels) are the rows ``test.ravel()``. If a run does
        not repeat its clips in a fixed order, each presentation is a clip of its own.
        """
        return [repeats[block].mean(0) for block in self.blocks]


MakeFolds = Callable[[pd.DataFrame, NDArray[np.bool_], NDArray[np.int64]], list[Fold]]


def used_rows(
    rows: pd.DataFrame,
    designs: Iterable[NDArray[np.float32]],
    high_pass_hz: float,
    tr_s: float,
    make_folds: MakeFolds = training_and_test,
) -> UsedRows:
    """Return which of the rows of `Scans` are used.

    Parameters
    ----------
    rows : pandas.DataFrame
        As in `Scans`.
    designs : iterable of arrays (rows, columns)
        Rows with NaN in any of them, and those that are not kept, are not used.
    high_pass_hz : float
        The cutoff of the filter.
    tr_s : float
        Repetition time in s.
    make_folds : callable
        Returns the folds for the rows, which of them (rows,) are usable, and ``test``.
    """
    finite = np.all([np.isfinite(design).all(1) for design in designs], axis=0)
    usable: NDArray[np.bool_] = finite & rows["kept"].to_numpy()
    test, clips = repeat_rows(rows, usable)
    blocks = shift_blocks(rows, test)
    drift = _drift_cycles(rows, test, blocks, high_pass_hz * tr_s)
    folds, run = make_folds(rows, usable, test), rows["run"].to_numpy()
    fold_of = np.empty(test.size, np.int64)
    for number, fold in enumerate(folds):
        fold_of[fold.test] = number
    of_repeats = fold_of.reshape(test.shape)
    return UsedRows(
        folds, run, test, clips, clip_blocks(rows, test), _within_folds(blocks, of_repeats), drift,
        tr_s, min(round(PATTERN_FROM_S / tr_s), test.shape[2] // 2),
        bool((of_repeats != of_repeats[0]).any()),
    )  # fmt: skip


def _within_folds(
    blocks: list[NDArray[np.int64]], fold_of: NDArray[np.int64]
) -> list[NDArray[np.int64]]:
    """Return the blocks of `shift_blocks`, or those of each fold if folds leave out sounds.

    ``fold_of`` (repeats, clips, volumes) is the fold of each scored volume. Predictions are shifted
    to measurements that were left out with them, because those of other folds were fitted; and all
    repeats of a sound together, because they have its response in common.
    """
    of_clip = fold_of[0, :, 0]
    if len(np.unique(of_clip)) == 1 or (fold_of != fold_of[0]).any():
        return blocks
    position = np.arange(fold_of.size).reshape(fold_of.shape)
    return [position[:, of_clip == fold] for fold in np.unique(of_clip)]


def _drift_cycles(
    rows: pd.DataFrame, test: NDArray[np.int64], blocks: Sequence[NDArray[np.int64]],
    cycles_per_volume: float,
) -> float | None:  # fmt: skip
    scored = rows[rows["run"].isin(rows["run"].iloc[test.ravel()].unique())]
    n_volumes = scored.groupby("run").size()
    if n_volumes.nunique() != 1 or any(len(block) != len(test) for block in blocks):
        return None
    if (scored["within"] < 0).any():
        return None
    return float(cycles_per_volume * n_volumes.iat[0])


@dataclass(frozen=True)
class FoldFits:
    """What regressions predict of the scored rows, each row in the fold that leaves it out.

    ``repeats`` (repeats x clips x volumes, voxels) are the predictions of ``test.ravel()``.
    ``loss`` and ``alpha`` (voxels,) are means over the folds, of the penalty the geometric one;
    ``edges`` (2,) are the numbers of voxels with the smallest and the largest penalty, over all
    folds.
    """

    repeats: NDArray[np.float32]
    loss: NDArray[np.float64]
    alpha: NDArray[np.float64]
    edges: NDArray[np.int64]


@dataclass(frozen=True)
class FoldProblem:
    """A regression in one fold: the fitted rows, and the design (rows, columns) of the predicted.

    What depends on the design only, so that it can be used for many blocks of voxels.
    """

    ridge: RidgeProblem
    scored: NDArray[np.float32]

    @property
    def n_bytes(self) -> int:
        """Size of the arrays in memory."""
        return self.ridge.n_bytes + self.scored.nbytes


def fold_problems(
    designs: Iterable[NDArray[np.float32]], used: UsedRows, bands: Sequence[int] | None = None
) -> list[FoldProblem]:
    """Prepare a regression in each fold.

    Parameters
    ----------
    designs : iterable of arrays (rows, columns)
        The design in each fold.
    used : UsedRows
        The folds.
    bands : sequence of int, optional
        See `fit_ridge`.
    """
    problems, scored = [], used.test.ravel()
    for fold, design in zip(used.folds, designs, strict=True):
        train = fold.train
        x, runs = design[train], used.runs[train]
        if fold.removed is not None:
            x = _without(x, fold.removed[train], runs)
        ridge = ridge_problem(x, penalty_groups(runs), bands=bands)
        problems.append(FoldProblem(ridge, design[scored[fold.test]]))
    return problems


def fit_folds(
    problems: Sequence[FoldProblem],
    series: NDArray[np.float32],
    used: UsedRows,
    centred: bool = False,
) -> FoldFits:
    """Fit a regression in each fold, and predict the rows that it leaves out.

    Parameters
    ----------
    problems : sequence of FoldProblem
        The regression in each fold, as `fold_problems` returns them.
    series : array (rows, voxels)
        The voxels' series.
    used : UsedRows
        The folds.
    centred : bool
        Return predictions without the means of the fitted rows.
    """
    repeats = np.empty((used.test.size, series.shape[1]), np.float32)
    losses, alphas, edges = [], [], np.zeros(2, np.int64)
    for fold, problem in zip(used.folds, problems, strict=True):
        y = series[fold.train]
        if fold.removed is not None:
            y = _without(y, fold.removed[fold.train], used.runs[fold.train])
        fit = fit_targets(problem.ridge, y)
        predicted = fit.predict(problem.scored)
        repeats[fold.test] = predicted - fit.y_mean.astype(np.float32) if centred else predicted
        losses.append(fit.loss)
        alphas.append(fit.alpha)
        edges += [fit.lowest.sum(), fit.highest.sum()]
    if len(used.folds) == 1:
        return FoldFits(repeats, losses[0], alphas[0], edges)
    alpha = np.exp(np.log(alphas).mean(0))
    return FoldFits(repeats, np.mean(losses, axis=0), alpha, edges)


def penalty_groups(runs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the groups (rows,) that are left out in turn to choose a penalty: the runs.

    Of a single run, its parts: PARTS groups of adjacent rows.
    """
    if len(np.unique(runs)) > 1:
        return runs
    return np.arange(len(runs)) * PARTS // max(1, len(runs))


def _without(
    series: NDArray[np.float32], removed: NDArray[np.float32], runs: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return rows (rows, columns) without what `Fold.removed` explains in each run."""
    out = np.empty_like(series)
    for run in np.unique(runs):
        inside = runs == run
        basis = removed[inside]
        out[inside] = series[inside] - basis @ (basis.T @ series[inside])
    return out


def warn_if_untestable(used: UsedRows, label: str) -> None:
    """Say which numbers the test runs are too few for."""
    if max(block.shape[1] for block in used.blocks) < LEAST_CLIPS:
        log.warning("%s: no test run has %d clips, so there are no p values", label, LEAST_CLIPS)
    if used.has_folds and not used.each_repeat:
        log.warning(
            "%s: folds leave out sounds of the same runs, so areas have neither p values nor tests "
            "of identification; voxels have p values", label,
        )  # fmt: skip
    if len(used.test) < 2:
        log.warning(
            "%s: the test clips were not repeated, so the noise is unknown: there is neither "
            "explainable variance nor a ceiling", label,
        )  # fmt: skip
    elif used.drift_cycles is None:
        log.warning(
            "%s: not every test run repeats its clips in a fixed order, so it cannot be tested "
            "which voxels are reliable; the ceilings of areas are given", label,
        )  # fmt: skip
