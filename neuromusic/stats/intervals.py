"""TODO: docstring."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuromusic.stats.resampling import bootstrap


def percentiles95(means: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % percentile interval of bootstrapped means."""
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def bootstrap_ci95(hits: ArrayLike, groups: NDArray[Any], seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean of one side of `bootstrap`."""
    return percentiles95(bootstrap([hits], groups, seed)[0])
