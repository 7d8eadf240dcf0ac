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

    Groups are drawn with replacement, each with all its values (cluster bootstrap). For accuracies
    use `intervals`: the percentiles of few groups, or of groups that are nearly all right, are too
    narrow.

    Parameters
    ----------
    sides : sequence of array_like, each of shape (n,)
        Values to average, such as the contributions of the same clips to two scores.
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
    """
    names, group = np.unique(groups, return_inverse=True)
    size = np.bincount(group)
    totals = [
        np.bincount(group, weights=np.asarray(side, np.float64), minlength=len(names))
        for side in sides
    ]
    rng = np.random.default_rng(seed)
    means: list[list[NDArray[np.float64]]] = [[] for _ in totals]
    for n in _chunks(len(size)):
        drawn = rng.integers(len(size), size=(n, len(size)))
        counts = size[drawn].sum(1)
        for side_means, total in zip(means, totals, strict=True):
            side_means.append(total[drawn].sum(1) / counts)
    return np.stack([np.concatenate(side_means) for side_means in means])


def _chunks(n_groups: int) -> Iterator[int]:
    """Yield how many bootstraps to draw at once, until there are BOOTSTRAPS."""
    most = max(1, DRAWS_AT_ONCE // n_groups)
    for first in range(0, BOOTSTRAPS, most):
        yield min(most, BOOTSTRAPS - first)


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
