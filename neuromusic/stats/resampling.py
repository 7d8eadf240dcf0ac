"""Resampling of clips: bootstraps of whole groups, and random halves for cross-validation."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

BOOTSTRAPS = 10_000
DRAWS_AT_ONCE = 4_000_000  # random numbers in memory


def bootstrap(
    sides: Sequence[ArrayLike], groups: NDArray[Any], seed: int = 0
) -> NDArray[np.float64]:
    """Return the means of resampled groups; every side gets the same groups.

    Groups are drawn with replacement, each with all its values (cluster bootstrap). A side with
    repeats, such as a network that was trained with several seeds, draws its repeats as well,
    independently of those of other sides (pigeonhole bootstrap).

    Parameters
    ----------
    sides : sequence of array_like, each of shape (n,) or (n_repeats, n)
        Values to average, such as the hits of each of two networks on the same clips.
    groups : ndarray, shape (n,)
        Name of the clip or artist of each value.
    seed : int
        Seed of the draws.

    Returns
    -------
    ndarray of float64, shape (n_sides, BOOTSTRAPS)
        One mean per side and bootstrap. Differences between rows are paired.

    References
    ----------
    Davison, A. C. and Hinkley, D. V. (1997). Bootstrap Methods and their Application. Section 3.8.
    Owen, A. B. (2007). The pigeonhole bootstrap. Annals of Applied Statistics 1, 386-411.
    """
    names, group = np.unique(groups, return_inverse=True)
    size = np.bincount(group)
    tables = [np.atleast_2d(np.asarray(side, np.float64)) for side in sides]
    totals = [
        np.stack([np.bincount(group, weights=row, minlength=len(names)) for row in table])
        for table in tables
    ]
    rng = np.random.default_rng(seed)
    repeat_rngs = [np.random.default_rng([seed, 1, index]) for index in range(len(tables))]
    means: list[list[NDArray[np.float64]]] = [[] for _ in tables]
    for n in _chunks(len(size)):
        drawn = rng.integers(len(size), size=(n, len(size)))
        counts = size[drawn].sum(1)
        for side, total, repeat_rng in zip(means, totals, repeat_rngs, strict=True):
            side.append(_sums(total, drawn, repeat_rng) / counts)
    return np.stack([np.concatenate(side) for side in means])


def _chunks(n_groups: int) -> Iterator[int]:
    """Yield how many bootstraps to draw at once, until there are BOOTSTRAPS."""
    most = max(1, DRAWS_AT_ONCE // n_groups)
    for first in range(0, BOOTSTRAPS, most):
        yield min(most, BOOTSTRAPS - first)


def _sums(
    totals: NDArray[Any], drawn: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the sum of each bootstrap, averaged over drawn repeats if there are several.

    ``totals`` (n_repeats, n_groups); ``drawn`` (n, n_groups) are indices of groups.
    """
    n_repeats = len(totals)
    if n_repeats == 1:
        return np.asarray(totals[0][drawn].sum(1))
    picked = rng.integers(n_repeats, size=(len(drawn), n_repeats))
    sums = np.stack([row[drawn].sum(1) for row in totals], axis=1)  # (n, n_repeats)
    return np.asarray(np.take_along_axis(sums, picked, 1).mean(1))


def random_halves(
    n: int, splits: int, seed: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Split n items at random into a training and a test half, several times.

    Parameters
    ----------
    n : int
        Number of items.
    splits : int
        Number of splits. The first ones do not depend on how many there are.
    seed : int
        Seed of the permutations.

    Returns
    -------
    list of tuple of ndarray of int64
        Per split the indices of the training half, n // 2 in random order, and of the test half.
    """
    orders = [np.random.default_rng([seed, split]).permutation(n) for split in range(splits)]
    return [(order[: n // 2], order[n // 2 :]) for order in orders]
