"""Confusion matrices of several observers of the same genres, and how similar they are.

Two matrices are compared by Spearman's rank correlation of their cells off the diagonal, with a p
value from permutations of the genres (Mantel 1967; see `stats.significance`).
"""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.stats.significance import MANTEL_PERMUTATIONS, mantel_test


def count(answers: pd.DataFrame, classes: list[str]) -> NDArray[np.int64]:
    """Return counts (n, n) of answers: one row per true class, one column per answer."""
    table = pd.crosstab(answers["true"], answers["answer"])
    return table.reindex(index=classes, columns=classes, fill_value=0).to_numpy(np.int64)


def count_all(
    answers: Mapping[str, pd.DataFrame], classes: list[str]
) -> dict[str, NDArray[np.int64]]:
    """Return observer -> counts (n, n); raise InputError if an observer has no answer to a genre.

    Without an answer the shares of that row would be undefined.
    """
    counts = {}
    for name, table in answers.items():
        counts[name] = count(table, classes)
        empty = [genre for genre, n in zip(classes, counts[name].sum(1), strict=True) if n == 0]
        if empty:
            raise InputError(f"{name}: no answer to {empty[0]}; each observer needs every genre")
    return counts


def shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return counts (n, n) divided by the sums of their rows."""
    return np.asarray(counts / counts.sum(1, keepdims=True), dtype=np.float64)


def long_table(counts: Mapping[str, NDArray[np.int64]], classes: list[str]) -> pd.DataFrame:
    """Return one row per observer and cell: who, true, answer, count, share."""
    rows = [
        (name, classes[i], classes[j], matrix[i, j], share)
        for name, matrix in counts.items()
        for (i, j), share in np.ndenumerate(shares(matrix))
    ]
    return pd.DataFrame(rows, columns=["who", "true", "answer", "count", "share"])


def correlate(counts: Mapping[str, NDArray[np.int64]], seed: int) -> pd.DataFrame:
    """Return one row per pair of observers: first, second, spearman, p, cells, permutations."""
    rng = np.random.default_rng(seed)
    rows = []
    for first, second in combinations(counts, 2):
        n = len(counts[first])
        rho, p = mantel_test(shares(counts[first]), shares(counts[second]), rng)
        rows.append((first, second, rho, p, n * (n - 1), MANTEL_PERMUTATIONS))
    columns = ["first", "second", "spearman", "p", "cells", "permutations"]
    return pd.DataFrame(rows, columns=columns)
