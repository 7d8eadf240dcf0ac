"""Noise ceilings: how well could any model predict responses that were measured repeatedly?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BOOTSTRAPS = 1000
VOXELS_AT_ONCE = 1000  # limits the memory that bootstraps and permutations take


@dataclass(frozen=True)
class Ceiling:
    """What repeats of a measurement reveal about its noise.

    Parameters
    ----------
    explainable : ndarray of float64, shape (voxels,)
        Share of the variance of one presentation that all repeats have in common. It is unbiased,
        so about half of the voxels without signal are below 0.
    interval : ndarray of float64, shape (2, voxels)
        95 % interval of ``explainable``, over clips.
    r : ndarray of float64, shape (voxels,)
        Highest correlation that any prediction can have with the mean of the repeats; NaN where
        ``explainable`` is not above 0.
    """

    explainable: NDArray[np.float64]
    interval: NDArray[np.float64]
    r: NDArray[np.float64]


def noise_ceiling(measured: NDArray[np.floating], rng: np.random.Generator) -> Ceiling:
    """Estimate the explainable variance and the noise ceiling of each voxel.

    With N repeats y, the signal power is (N P(mean y) - mean P(y)) / (N - 1), where P is the
    variance over time (Sahani & Linden, eq. 1). ``explainable`` is the signal power over mean P(y).
    The ceiling is the square root of the signal power over P(mean y) (Schoppe et al., eq. 8). The
    interval resamples whole clips.

    Parameters
    ----------
    measured : ndarray of floats, shape (repeats, clips, volumes, voxels)
        Responses; volumes counts those of one clip.
    rng : numpy.random.Generator
        Draws the bootstraps.

    Returns
    -------
    Ceiling
        Explainable variance, its interval and the ceiling, per voxel.

    Raises
    ------
    ValueError
        If there are fewer than two repeats.

    References
    ----------
    Sahani, M. and Linden, J. F. (2003). How linear are auditory cortical responses? Advances in
    Neural Information Processing Systems 15.
    Schoppe, O. et al. (2016). Measuring the performance of neural models. Frontiers in
    Computational Neuroscience 10, 10.
    """
    n_repeats, n_clips = measured.shape[:2]
    if n_repeats < 2:
        raise ValueError(f"{n_repeats} repeat; the noise can be estimated from two or more")
    weights = np.vstack(
        [
            np.full(n_clips, 1 / n_clips),
            rng.multinomial(n_clips, np.ones(n_clips) / n_clips, BOOTSTRAPS) / n_clips,
        ]
    )
    blocks = [
        _ceiling_of_block(measured[..., first : first + VOXELS_AT_ONCE], weights)
        for first in range(0, measured.shape[3], VOXELS_AT_ONCE)
    ]
    return Ceiling(
        np.concatenate([block.explainable for block in blocks]),
        np.concatenate([block.interval for block in blocks], axis=1),
        np.concatenate([block.r for block in blocks]),
    )


def _ceiling_of_block(measured: NDArray[np.floating], weights: NDArray[np.float64]) -> Ceiling:
    """Return the ceiling of some voxels.

    ``weights`` (1 + BOOTSTRAPS, clips): the weight of each clip, first in the data as they are,
    then in each bootstrap.
    """
    n_repeats, _, n_volumes, _ = measured.shape
    measured = measured.astype(np.float64)
    mean = measured.mean(0)
    power_of_mean = (
        weights @ (mean**2).sum(1) / n_volumes - (weights @ mean.sum(1) / n_volumes) ** 2
    )
    squares = weights @ (measured**2).sum((0, 2)) / n_volumes
    squared_means = sum((weights @ repeat.sum(1) / n_volumes) ** 2 for repeat in measured)
    mean_power = (squares - squared_means) / n_repeats
    signal = (n_repeats * power_of_mean - mean_power) / (n_repeats - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = signal / mean_power
        r = np.sqrt(np.where(signal[0] > 0, signal[0], np.nan) / power_of_mean[0])
    return Ceiling(share[0], np.percentile(share[1:], [2.5, 97.5], axis=0), r)
