"""Shifts of the clips within runs, for tests of what is computed over clips rather than volumes.

As in `stats.shifts`, clips are shifted in the order in which a run plays them, independently in
each run, the first clip following the last. This keeps what clips of one run have in common
(neighbours that share noise, detrending) and is valid if the noise is stationary from clip to clip.
Runs are exchangeability blocks (Winkler et al. 2014, NeuroImage 92, 381-397).
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

SHIFTS = 10_000  # drawn if there are more than these; the first is the order as played
ROUNDING = 1e-9  # difference that counts as a tie

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def run_members(runs: NDArray[np.int64]) -> list[Ints]:
    """Return the indices of the clips of each run; ``runs`` (clips,) is the run of each clip."""
    return [np.flatnonzero(runs == run) for run in np.unique(runs)]


def n_shifts(runs: NDArray[np.int64]) -> int:
    """Return the number of combinations of shifts; 1 / n_shifts is the smallest possible p."""
    return int(np.prod([len(run) for run in run_members(runs)], dtype=object))


def draw_shifts(runs: NDArray[np.int64], rng: np.random.Generator) -> Ints:
    """Return combinations of shifts (draws, runs), in clips; the first one is no shift.

    They are all combinations if there are up to SHIFTS of them, otherwise SHIFTS random ones.
    """
    sizes = [len(run) for run in run_members(runs)]
    if n_shifts(runs) <= SHIFTS:
        return np.indices(sizes).reshape(len(sizes), -1).T
    shifts = rng.integers(sizes, size=(SHIFTS, len(sizes)))
    shifts[0] = 0
    return shifts


def shifted_pair_sums(
    first: NDArray[np.floating], second: NDArray[np.floating], runs: Ints, shifts: Ints
) -> Floats:
    """Sum the products of two matrices over pairs of clips of different runs, at each shift.

    Parameters
    ----------
    first, second : ndarray of floats, shape (a, clips, clips) and (b, clips, clips)
        Symmetric matrices; cells within a run do not count.
    runs : ndarray of int64, shape (clips,)
        Run of each clip; the clips of a run in the order played.
    shifts : ndarray of int64, shape (draws, runs)
        See `draw_shifts`. ``second`` is shifted, rows and columns alike.

    Returns
    -------
    ndarray of float64, shape (a, b, draws)
    """
    total = np.zeros((len(first), len(second), len(shifts)))
    for (i, rows), (j, columns) in combinations(enumerate(run_members(runs)), 2):
        shape = (len(rows), len(columns))
        x, y = (np.fft.rfft2(each[:, rows][:, :, columns]) for each in (first, second))
        # sums[..., k, l]: the block of the first, and that of the second shifted by k and l clips
        sums = np.fft.irfft2(x.conj()[:, None] * y, s=shape)
        total += sums[..., shifts[:, i], shifts[:, j]]
    return total


def p_of_first(values: NDArray[np.floating]) -> Floats:
    """Return one-sided p values: how often a shift reaches the value as played.

    ``values`` is (..., draws), the first draw being no shift; p is (...), NaN where that is NaN.
    """
    observed = values[..., :1]
    p = (values >= observed - ROUNDING).mean(-1)
    return np.where(np.isnan(observed[..., 0]), np.nan, p)


def p_of_maximum(values: NDArray[np.floating]) -> Floats:
    """Return one-sided p values corrected over tests, from the maximum over them at each shift.

    Each test is first standardised over the draws, so that all have the same weight. The
    probability of any false rejection among the tests stays at or below the level (Westfall and
    Young 1993, Resampling-Based Multiple Testing; Nichols and Holmes 2002, Hum. Brain Mapp. 15,
    1-25).

    Parameters
    ----------
    values : ndarray of floats, shape (tests, draws)
        With the same shifts for all tests, the first being no shift.

    Returns
    -------
    ndarray of float64, shape (tests,)
        NaN for a test whose value is NaN, which does not count, or the same at all shifts.
    """
    spread = values.std(-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.where(spread > ROUNDING, (values - values.mean(-1, keepdims=True)) / spread, np.nan)
    maximum = np.where(np.isnan(z), -np.inf, z).max(0, initial=-np.inf)
    p = (maximum >= z[:, :1] - ROUNDING).mean(-1)
    return np.where(np.isnan(z[:, 0]), np.nan, p)


def p_of_run_sums(sums: Sequence[NDArray[np.int64]]) -> float:
    """Return the exact one-sided p value of a sum over runs.

    Parameters
    ----------
    sums : sequence of ndarray of int64, each of shape (clips of the run,)
        What each run adds to the sum at each shift, the first being no shift.

    Returns
    -------
    float
        Share of all combinations of shifts whose sum is at least as high; NaN if there is only one
        combination.
    """
    if all(len(run) < 2 for run in sums):
        return float("nan")
    chance = np.ones(1)  # probability of each sum, from the lowest
    for run in sums:
        chance = np.convolve(chance, np.bincount(run - run.min()) / len(run))
    observed = sum(int(run[0] - run.min()) for run in sums)
    return min(1.0, float(chance[observed:].sum()))
