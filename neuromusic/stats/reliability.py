"""TODO: docstring."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BOOTSTRAPS = 1000


BLOCK = 1000  # voxels held at a time where every clip meets every other


@dataclass(frozen=True)
class Ceiling:
    """What the repeats of a measurement say of its noise, one value a voxel.

    ``explainable``: the share of the variance of one presentation that all repeats have in common,
    with its 95 % interval over clips (2, voxels); not above 0 where there is no signal. ``r``: the
    highest correlation that a prediction can have with the mean of the repeats; NaN where
    ``explainable`` is not above 0.
    """

    explainable: NDArray[np.float64]
    interval: NDArray[np.float64]
    r: NDArray[np.float64]


def noise_ceiling(measured: NDArray[np.floating], rng: np.random.Generator) -> Ceiling:
    """Estimate the explainable variance and the ceiling of the mean over repeats.

    Signal power after Sahani & Linden (2003, NIPS 15, eq. 1): (N P(mean) - mean P) / (N - 1) of N
    repeats, unbiased, and so below 0 for about half of the voxels without signal. Ceiling after
    Schoppe et al. (2016, Front. Comput. Neurosci. 10, eq. 8): the root of the signal power over
    P(mean). The interval bootstraps whole clips.

    Raises ValueError for fewer than two repeats.
    """
    n_rep, n_clips = measured.shape[:2]
    if n_rep < 2:
        raise ValueError(f"{n_rep} repeat; the noise needs two or more")
    drawn = np.vstack(
        [
            np.full(n_clips, 1 / n_clips),
            rng.multinomial(n_clips, np.ones(n_clips) / n_clips, BOOTSTRAPS) / n_clips,
        ]
    )
    blocks = [
        _powers(measured[..., first : first + BLOCK], drawn)
        for first in range(0, measured.shape[3], BLOCK)
    ]
    share = np.concatenate([block[0] for block in blocks])
    interval = np.concatenate([block[1] for block in blocks], axis=1)
    return Ceiling(share, interval, np.concatenate([block[2] for block in blocks]))


def _powers(
    measured: NDArray[np.floating], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return explainable variance, its interval and the ceiling of some voxels.

    ``weight`` (draws, clips): what each clip counts, first as it is, then in every bootstrap.
    """
    n_rep, _, n_vol, _ = measured.shape
    measured = measured.astype(np.float64)
    mean = measured.mean(0)
    of_mean = weight @ (mean**2).sum(1) / n_vol - (weight @ mean.sum(1) / n_vol) ** 2
    squares = weight @ (measured**2).sum((0, 2)) / n_vol
    of_each = (squares - sum((weight @ each.sum(1) / n_vol) ** 2 for each in measured)) / n_rep
    signal = (n_rep * of_mean - of_each) / (n_rep - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = signal / of_each
        ceiling = np.sqrt(np.where(signal[0] > 0, signal[0], np.nan) / of_mean[0])
    return share[0], np.percentile(share[1:], [2.5, 97.5], axis=0), ceiling
