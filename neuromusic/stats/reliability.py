"""How reliable are responses that were measured repeatedly, and what could a model explain?

`clip_powers` divides the power of each clip's responses into signal and noise. All other numbers
are ratios of its sums over clips: the share of one presentation that is signal
(`explainable_variance`), the share of the mean of the repeats (`signed_reliability`), and the score
of an area relative to the best that any model could reach (`area_score`).
"""

from typing import NamedTuple

import numpy as np
import scipy.stats
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from neuromusic.stats.harmonics import FASTEST_HZ, harmonics, run_powers

LEAST_RUNS = 5  # with fewer, intervals are over half runs
SMOOTHED = 3  # harmonics over which the noise is averaged for degrees of freedom

Floats = NDArray[np.float64]


class ClipPowers(NamedTuple):
    """Power of each clip's responses, per volume: three arrays (clips, voxels) float64.

    ``signal`` is what all repeats have in common; it is unbiased, so without a response about half
    of its sums are below 0. ``mean`` is the power of the mean of the repeats, ``single`` that of
    one presentation. ``groups`` (clips,) is the run of each clip, or the half run if there are
    fewer than LEAST_RUNS: the unit of all intervals, because noise is correlated between neighbours
    and a response lasts into the next clip.
    """

    signal: Floats
    mean: Floats
    single: Floats
    groups: NDArray[np.int64]


def clip_powers(
    measured: NDArray[np.floating], runs: NDArray[np.integer], drift_cycles: float | None
) -> ClipPowers:
    """Return the signal power, the power of the mean and the power of one presentation.

    With N repeats y, the signal power is (N P(mean y) - mean P(y)) / (N - 1), where P is the mean
    square (Sahani & Linden, eq. 1). This assumes that the noise of the repeats is independent. If
    repeats follow each other in one run, it is not: autocorrelated noise and the filter against
    drifts couple them, which adds .001 (white noise) to .005 (1/f) to the explainable variance.
    In a run that repeats its clips in a fixed order the response has power only at multiples of
    1 / cycle, and the frequencies between them contain only noise (Victor & Mast 1991; Meigen &
    Bach 1999). There the noise is interpolated to those multiples.

    Parameters
    ----------
    measured : ndarray of floats, shape (repeats, clips, volumes, voxels)
        Cleaned responses, with mean 0 in each run; volumes counts those of one clip.
    runs : ndarray of integers, shape (clips,)
        Run of each clip. The clips of a run are in the order in which it played them.
    drift_cycles : float, optional
        If each run played its clips ``repeats`` times in the same order: up to how many cycles per
        run the filter removed (its cutoff in Hz times the duration of a run in s). None if the
        order is not fixed or the repeats are in different runs; then the noise of the repeats is
        taken as independent.

    Returns
    -------
    ClipPowers
        Sums over clips, divided by one another, are the estimates.

    Raises
    ------
    ValueError
        If there are fewer than two repeats.

    References
    ----------
    Sahani, M. and Linden, J. F. (2003). How linear are auditory cortical responses? Advances in
    Neural Information Processing Systems 15.
    Victor, J. D. and Mast, J. (1991). A new statistic for steady-state evoked potentials.
    Electroencephalography and Clinical Neurophysiology 78, 378-388.
    Meigen, T. and Bach, M. (1999). On the statistical significance of electrophysiological
    steady-state responses. Documenta Ophthalmologica 98, 207-232.
    """
    n_repeats = len(measured)
    if n_repeats < 2:
        raise ValueError(f"{n_repeats} repeat; the noise can be estimated from two or more")
    mean = (measured.mean(0, dtype=np.float64) ** 2).mean(1)
    single = np.einsum("rctv,rctv->cv", measured, measured, dtype=np.float64)
    single /= n_repeats * measured.shape[2]
    signal = (n_repeats * mean - single) / (n_repeats - 1)
    if drift_cycles is not None:
        for run in np.unique(runs):
            inside = runs == run
            of_run = measured[:, inside]
            n_volumes = int(np.prod(of_run.shape[:3]))
            found = harmonics(n_repeats, n_volumes, drift_cycles)
            noise = found.signs @ found.noise @ run_powers(of_run)
            independent = (single[inside] - signal[inside]).mean(0) / n_repeats
            signal[inside] += independent - noise
    return ClipPowers(signal, mean, single, interval_groups(runs))


def groups_df(n_groups: int) -> int:
    """Return the degrees of freedom of an interval over groups of clips, see `interval_groups`.

    Fewer than LEAST_RUNS groups are the halves of one or two runs, which share the clips at their
    border: one degree of freedom less.
    """
    return n_groups - 1 if n_groups >= LEAST_RUNS else max(1, n_groups - 2)


def interval_groups(runs: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the group (clips,) of each clip, from 0: its run, or half a run if there are few.

    Groups are the units of intervals over clips. ``runs`` (clips,) is the run of each clip.
    """
    groups = np.empty(len(runs), np.int64)
    names, first = np.unique(runs), 0
    parts = 1 if len(names) >= LEAST_RUNS else 2
    for run in names:
        clips = np.flatnonzero(runs == run)
        of_clip = np.arange(len(clips)) * parts // len(clips)
        groups[clips] = first + of_clip
        first += of_clip[-1] + 1
    return groups


# --- Voxels ---------------------------------------------------------------------------------------


class Explainable(NamedTuple):
    """Explainable variance of each voxel and its 95 % interval over clips; each is (voxels,)."""

    share: Floats
    low: Floats
    high: Floats


def explainable_variance(powers: ClipPowers) -> Explainable:
    """Return the share of the variance of one presentation that all repeats have in common.

    The estimate is unbiased, so about half of the voxels without a response are below 0. The
    interval is about other clips: t times the standard error of a ratio of sums over runs, or half
    runs.

    Parameters
    ----------
    powers : ClipPowers
        As `clip_powers` returns them.

    Returns
    -------
    Explainable
        NaN for a constant voxel; the interval is NaN if there are fewer than two.

    References
    ----------
    Sahani and Linden (2003), see `clip_powers`. Cochran, W. G. (1977). Sampling Techniques. Section
    6.3 (standard error of a ratio).
    """
    n_groups = int(powers.groups.max()) + 1
    group = np.arange(n_groups)[:, None] == powers.groups  # (groups, clips)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = powers.signal.sum(0) / powers.single.sum(0)
        residual = group @ (powers.signal - share * powers.single) / powers.single.sum(0)
        error = np.sqrt((residual**2).sum(0) * n_groups / (n_groups - 1.0))
    half = scipy.stats.t.ppf(0.975, groups_df(n_groups)) * error
    return Explainable(share, share - half, share + half)


def signed_reliability(powers: ClipPowers) -> Floats:
    """Return the share (voxels,) of the power of the mean of the repeats that is signal.

    Its square root is the highest correlation that any prediction can have with that mean (Schoppe
    et al. 2016, eq. 8). It is below 0 for about half of the voxels without a response; averages
    over voxels must include them. NaN for a constant voxel.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(powers.signal.sum(0) / powers.mean.sum(0))


def reliability_test(
    measured: NDArray[np.floating],
    runs: NDArray[np.integer],
    drift_cycles: float | None,
    tr_s: float,
) -> Floats:
    """Return the one-sided p value (voxels,) of the signal power, from the spectrum of the runs.

    In runs that repeat their clips in a fixed order, the ratio of the power at multiples of
    1 / cycle to the interpolated power of the noise there has an F distribution. Its degrees of
    freedom follow from the spectrum of the noise (Satterthwaite 1946), which may be of any smooth
    shape. The response may be the same for all clips. Only the harmonics ``Harmonics.tested``
    count: not the slowest ones, whose noise is extrapolated, nor those that are too fast for a
    haemodynamic response.

    Parameters
    ----------
    measured, runs, drift_cycles
        As for `clip_powers`.
    tr_s : float
        Repetition time in s.

    Returns
    -------
    ndarray of float64, shape (voxels,)
        NaN for a constant voxel, and for all voxels if ``drift_cycles`` is None or no run has
        more than one clip.

    References
    ----------
    Victor and Mast (1991); Meigen and Bach (1999), see `clip_powers`. Satterthwaite, F. E. (1946).
    An approximate distribution of estimates of variance components. Biometrics Bulletin 2, 110-114.
    """
    n_voxels = measured.shape[3]
    if drift_cycles is None:
        return np.full(n_voxels, np.nan)
    response, noise, response_sq, noise_sq = np.zeros((4, n_voxels))
    names = np.unique(runs)
    for size in np.unique([(runs == run).sum() for run in names]):
        alike = [measured[:, runs == run] for run in names if (runs == run).sum() == size]
        n_volumes = int(np.prod(alike[0].shape[:3]))
        found = harmonics(len(measured), n_volumes, drift_cycles, FASTEST_HZ * tr_s)
        if not found.tested.any():
            continue
        power = np.mean([run_powers(run) for run in alike], axis=0)
        weights = found.noise[found.tested]  # (harmonics, frequencies)
        response += len(alike) * power[found.at[found.tested]].sum(0)
        noise += len(alike) * (weights.sum(0) @ power)
        # Smoothed, because the squares of noisy powers would give too few degrees of freedom.
        smooth_sq = uniform_filter1d(weights @ power, SMOOTHED, axis=0, mode="nearest") ** 2
        response_sq += len(alike) * smooth_sq.sum(0)
        of_frequency = weights.T / np.maximum(weights.sum(0), np.finfo(float).tiny)[:, None]
        # Less what the noise of a smoothed power adds to its square. (In the response's squares it
        # stays, which makes up for what the noise of the degrees of freedom does to p.)
        excess = (weights**2).sum(1).mean() / (SMOOTHED * len(alike))
        sum_sq = weights.sum(0) ** 2 @ (of_frequency @ smooth_sq)
        noise_sq += len(alike) * sum_sq / (1 + excess)
    with np.errstate(invalid="ignore", divide="ignore"):
        df = 2 * noise**2 / response_sq, 2 * noise**2 / noise_sq
        return np.asarray(scipy.stats.f.sf(response / noise, *df))


# --- Areas ----------------------------------------------------------------------------------------


def clip_weights(runs: NDArray[np.integer]) -> Floats:
    """Return the weights of the clips, (1 + groups, clips): 1 for all, then without one group each.

    Groups are runs, or half runs if there are fewer than LEAST_RUNS, rather than clips (a grouped
    jackknife), because noise is correlated between neighbours and a response lasts into the next
    clip. ``runs`` (clips,) is the run of each clip, the clips of a run being in the order played.
    """
    groups = interval_groups(runs)
    left_out = np.arange(groups.max() + 1)[:, None] != groups
    return np.vstack([np.ones(len(runs)), left_out])


def reliability_draws(powers: ClipPowers, weights: Floats, inside: NDArray[np.bool_]) -> Floats:
    """Return the summed signed reliability of the voxels of each area, for each row of weights.

    Parameters
    ----------
    powers : ClipPowers
        As `clip_powers` returns them, of a block of voxels.
    weights : ndarray, shape (rows, clips)
        As `clip_weights` returns them.
    inside : ndarray of bool, shape (areas, voxels)
        The voxels of each area.

    Returns
    -------
    ndarray of float64, shape (rows, areas)
        To be added over blocks. A constant voxel counts as 0.
    """
    return _summed_ratio(powers.signal, powers.mean, weights, inside)


def correlation_draws(
    predicted: NDArray[np.floating],
    measured: NDArray[np.floating],
    weights: Floats,
    inside: NDArray[np.bool_],
) -> Floats:
    """Return the summed correlation of the voxels of each area, for each row of weights.

    Parameters
    ----------
    predicted, measured : ndarray of floats, shape (clips, volumes, voxels)
        Prediction, and mean of the repeats, of a block of voxels.
    weights, inside
        As for `reliability_draws`.

    Returns
    -------
    ndarray of float64, shape (rows, areas)
        To be added over blocks. A constant voxel or prediction counts as 0.
    """
    x = predicted - predicted.mean((0, 1), dtype=np.float64)
    y = measured - measured.mean((0, 1), dtype=np.float64)
    return _summed_ratio((x * y).sum(1), (y**2).sum(1), weights, inside, (x**2).sum(1))


def _summed_ratio(
    above: Floats,
    below: Floats,
    weights: Floats,
    inside: NDArray[np.bool_],
    also_below: Floats | None = None,
) -> Floats:
    """Return above / below, or above / sqrt(below * also_below), for each row, summed by area.

    The powers are (clips, voxels), the result (rows, areas).
    """
    scale = weights @ below
    if also_below is not None:
        scale = np.sqrt(scale * (weights @ also_below))
    return np.asarray(weights @ above / np.where(scale > 0, scale, np.inf) @ inside.T)


class AreaScore(NamedTuple):
    """Means over the voxels of an area, with 95 % intervals over clips.

    ``r`` is the mean correlation, ``ceiling`` the square root of the mean signed reliability, and
    ``score`` their ratio: 1 if nothing is left to explain.
    """

    r: float
    r_low: float
    r_high: float
    ceiling: float
    ceiling_low: float
    ceiling_high: float
    score: float
    score_low: float
    score_high: float


def area_score(r_sums: Floats, reliability_sums: Floats, n_voxels: int) -> AreaScore:
    """Return the mean r of an area, its ceiling and their ratio, each with its interval.

    A ratio of means is not biased by weak voxels, unlike the mean of r / ceiling over the voxels
    whose ceiling is defined. The reliability is a ratio too, which is too low in short measurements
    (by 14 % at an explainable variance of .02 with noise of AR(1) .6); the jackknife corrects that.
    The intervals are t times the jackknife standard error over runs (see `clip_weights`); that of
    the ceiling is computed for its square.

    Parameters
    ----------
    r_sums, reliability_sums : ndarray of float64, shape (rows,)
        A column of `correlation_draws` and of `reliability_draws`, added over blocks of voxels.
    n_voxels : int
        Number of voxels of the area.

    Returns
    -------
    AreaScore
        Ceiling and score are NaN if the mean reliability is not above 0, the score's interval is
        NaN if that is so without one of the runs; a ceiling's lower end is at least 0. All
        intervals are NaN if there is only one group of clips.

    References
    ----------
    Schoppe, O. et al. (2016). Measuring the performance of neural models. Frontiers in
    Computational Neuroscience 10, 10. Efron, B. and Tibshirani, R. (1993). An Introduction to the
    Bootstrap. Chapters 10.5 (bias) and 11 (jackknife).
    """
    r, share = r_sums / n_voxels, reliability_sums / n_voxels
    n_groups = len(share) - 1
    if n_groups > 1:
        share = share + (n_groups - 1) * (share[0] - share[1:].mean())
    ceiling = np.sqrt(np.where(share > 0, share, np.nan))
    score = r / ceiling
    low, high = np.sqrt(np.maximum(_jackknife95(share), 0)) if share[0] > 0 else (np.nan,) * 2
    return AreaScore(
        float(r[0]), *_jackknife95(r), float(ceiling[0]), float(low), float(high),
        float(score[0]), *_jackknife95(score),
    )  # fmt: skip


def _jackknife95(values: Floats) -> tuple[float, float]:
    """Return the 95 % interval of ``values[0]`` from ``values[1:]``, each without one group."""
    left_out = values[1:]
    n = len(left_out)
    if n < 2:
        return np.nan, np.nan
    error = np.sqrt((n - 1) * left_out.var())
    half = scipy.stats.t.ppf(0.975, groups_df(n)) * error
    return float(values[0] - half), float(values[0] + half)
