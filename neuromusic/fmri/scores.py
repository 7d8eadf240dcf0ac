"""How well a prediction fits repeated measurements, and how well any prediction could.

A measurement is (repeats, clips, volumes of a clip, voxels); a prediction (clips, volumes, voxels).
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
import scipy.stats
from numpy.typing import NDArray

BOOTSTRAPS = 1000
PERMUTATIONS = 2000
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


def correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return Pearson's r of the columns of two (n, voxels); NaN where one does not vary."""
    a = a - a.mean(0, dtype=np.float64)
    b = b - b.mean(0, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((a * b).sum(0) / np.sqrt((a**2).sum(0) * (b**2).sum(0)))


def r2(measured: NDArray[np.floating], predicted: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the coefficient of determination of the columns of two (n, voxels)."""
    error = ((measured - predicted).astype(np.float64) ** 2).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(1 - error / (measured.var(0, dtype=np.float64) * len(measured)))


def _standard(x: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return (clips, volumes, voxels) with mean 0 and length 1 in every voxel, 0 if constant."""
    x = x - x.mean((0, 1), dtype=np.float64)
    length = np.sqrt((x**2).sum((0, 1)))
    return (x / np.where(length > 0, length, np.inf)).astype(np.float32)


def clip_matches(
    predicted: NDArray[np.floating], measured: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Return how well each clip's prediction fits each clip's measurement, a voxel at a time.

    (clips, volumes, voxels) both; out (voxels, clips predicted, clips measured). The diagonal of a
    voxel sums up to its correlation; a permuted one to that of a permutation of whole clips.
    """
    p, m = _standard(predicted), _standard(measured)
    return np.matmul(p.transpose(2, 0, 1), m.transpose(2, 1, 0))


def permutation_p(matches: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the one-sided p of each voxel's correlation, from permutations of whole clips.

    ``matches`` as `clip_matches` returns them. Volumes of one clip are not independent of each
    other, so clips change places as a whole.
    p = (1 + permutations that reach the correlation) / (1 + permutations); 1 for a constant voxel.
    """
    n_voxels, n_clips, _ = matches.shape
    orders = np.array([rng.permutation(n_clips) for _ in range(PERMUTATIONS)])
    rows = np.repeat(np.arange(PERMUTATIONS), n_clips)
    pairs = (np.arange(n_clips) * n_clips + orders).ravel()
    ones = np.ones(len(pairs), np.float32)
    picks = scipy.sparse.csr_array((ones, (rows, pairs)), (PERMUTATIONS, n_clips**2))
    p = np.empty(n_voxels)
    for first in range(0, n_voxels, BLOCK):
        part = matches[first : first + BLOCK]
        chance = picks @ part.reshape(len(part), -1).T
        reached = (chance >= np.trace(part, axis1=1, axis2=2) - 1e-6).sum(0)
        p[first : first + BLOCK] = (1 + reached) / (1 + PERMUTATIONS)
    return p


def false_discovery(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the q of each p after Benjamini & Hochberg (1995), by scipy."""
    return np.asarray(scipy.stats.false_discovery_control(p))


def identification(matches: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the rank (from 1) of each clip's own prediction among those of all clips.

    ``matches`` (clips predicted, clips measured): which of the predicted patterns fits what was
    measured while a clip was heard (Kay et al. 2008, Nature 452). Ties share their ranks, so that
    predictions that are all alike identify nothing.
    """
    own = np.diag(matches)
    ties = (matches == own).sum(0) - 1
    return np.asarray(1 + (matches > own).sum(0) + ties / 2)
