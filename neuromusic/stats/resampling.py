"""TODO: docstring."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

BOOTSTRAPS = 10_000


CHUNK = 4_000_000  # numbers drawn at a time


def bootstrap(
    sides: Sequence[ArrayLike], groups: NDArray[Any], seed: int = 0
) -> NDArray[np.float64]:
    """Return means (sides, BOOTSTRAPS) of resampled groups, the same groups for every side.

    A side is (n,), or (repeats, n) where a network was trained more than once; then its repeats are
    drawn too, apart from those of other sides. ``groups`` (n,) names each one's clip or artist; a
    group is drawn whole (cluster bootstrap, Davison and Hinkley 1997, section 3.8; with repeats the
    pigeonhole bootstrap of Owen 2007, Annals of Applied Statistics 1, 386-411).
    """
    names, group = np.unique(groups, return_inverse=True)
    size = np.bincount(group)
    tables = [np.atleast_2d(np.asarray(side, np.float64)) for side in sides]
    totals = [
        np.stack([np.bincount(group, weights=row, minlength=len(names)) for row in table])
        for table in tables
    ]
    rng = np.random.default_rng(seed)
    repeats = [np.random.default_rng([seed, 1, index]) for index in range(len(tables))]
    rows = max(1, CHUNK // len(size))
    means: list[list[NDArray[np.float64]]] = [[] for _ in tables]
    for first in range(0, BOOTSTRAPS, rows):
        n = min(rows, BOOTSTRAPS - first)
        drawn = rng.integers(len(size), size=(n, len(size)))
        counts = size[drawn].sum(1)
        for side, total, own in zip(means, totals, repeats, strict=True):
            if len(total) == 1:
                side.append(total[0][drawn].sum(1) / counts)
                continue
            picked = own.integers(len(total), size=(n, len(total)))
            sums = np.stack([row[drawn].sum(1) for row in total], axis=1)  # (n, repeats)
            side.append(np.take_along_axis(sums, picked, 1).mean(1) / counts)
    return np.stack([np.concatenate(side) for side in means])


def random_halves(
    n: int, splits: int, seed: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return training and test sounds of so many random halves, in random order.

    Of an odd number the test half has one more.
    """
    orders = [np.random.default_rng([seed, split]).permutation(n) for split in range(splits)]
    return [(order[: n // 2], order[n // 2 :]) for order in orders]
