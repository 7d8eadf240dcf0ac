"""Scores of predicted responses in time: correlations, ceilings, intervals and tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from neuromusic.stats.reliability import AreaScore, area_score, groups_df
from neuromusic.stats.shifts import ShiftTest, shift_sums, shift_test

Floats = NDArray[np.float64]
Series = Sequence[NDArray[np.floating]]  # per sound (samples, targets)

SEGMENT_S = 5.0  # shortest shift within a story
LEAST_SEGMENTS = 3  # of a story that is tested
LEAST_STORIES = 5  # below which the halves of stories are the units of intervals


@dataclass(frozen=True)
class Units:
    """The units of intervals and of tests.

    Parameters
    ----------
    groups : list of arrays (samples,)
        Unit of intervals of each sample, an array per sound: a sound, or half a story if there are
        fewer than LEAST_STORIES.
    folds : list of arrays
        For short sounds of equal length, the sounds of each fold; whole sounds are shifted within
        them. For stories empty; segments are shifted within each story.
    segment : int
        Samples of the shortest shift within a story.
    """

    groups: list[NDArray[np.int64]]
    folds: list[NDArray[np.int64]]
    segment: int

    @property
    def n_groups(self) -> int:
        """Number of units of intervals."""
        return int(max(group.max() for group in self.groups)) + 1


def units(n_samples: Sequence[int], folds: Sequence[NDArray[np.int64]], is_short: bool,
          rate_hz: float) -> Units:  # fmt: skip
    """Return the units for sounds of some lengths; ``folds`` are the test sounds of each."""
    parts = 1 if is_short or len(n_samples) >= LEAST_STORIES else 2
    groups = [parts * sound + np.arange(n) * parts // n for sound, n in enumerate(n_samples)]
    return Units(groups, list(folds) if is_short else [], round(SEGMENT_S * rate_hz))


def centred(series: Series) -> list[Floats]:
    """Return series without the mean of each sound."""
    return [each - each.mean(0, dtype=np.float64) for each in series]


# --- Correlation and ceiling ----------------------------------------------------------------------


def group_sums(values: Series, of: Units) -> Floats:
    """Return sums (groups, targets) of values (samples, targets) per sound."""
    total = np.zeros((of.n_groups, values[0].shape[1]))
    for each, group in zip(values, of.groups, strict=True):
        for unit in np.unique(group):
            total[unit] += each[group == unit].sum(0, dtype=np.float64)
    return total


def correlations(predicted: Series, measured: Series, of: Units) -> Floats:
    """Return r over all sounds and samples (1 + groups, targets), then without each group."""
    x, y = list(predicted), list(measured)
    parts: list[Series] = [x, y, [a * a for a in x], [b * b for b in y]]
    parts.append([a * b for a, b in zip(x, y, strict=True)])
    counts = group_sums([np.ones((len(a), 1)) for a in x], of)
    n, sx, sy, xx, yy, xy = (
        np.vstack([total.sum(0), total.sum(0) - total])
        for total in (counts, *(group_sums(part, of) for part in parts))
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.sqrt((xx - sx**2 / n).clip(0) * (yy - sy**2 / n).clip(0))
        return np.asarray((xy - sx * sy / n) / scale)


def reliabilities(repeats: Sequence[NDArray[np.floating]], of: Units) -> Floats:
    """Return the share of the power of the means of repeats that is signal, as `correlations`.

    Parameters
    ----------
    repeats : sequence of arrays (repeats, samples, targets)
        One per sound; sounds with a single repeat do not count. Without the mean of each sound, or
        the mean time course over sounds.
    of : Units
        The units that are left out.

    Returns
    -------
    array (1 + groups, targets)
        Signed: without a signal it is below 0 for half of the targets. NaN if no sound is repeated.

    References
    ----------
    Sahani, M. and Linden, J. F. (2003). How linear are auditory cortical responses? NIPS 15, eq. 1.
    Schoppe, O. et al. (2016). Frontiers in Computational Neuroscience 10, 10, eq. 8.
    """
    signals, means = [], []
    for each in repeats:
        n, mean = len(each), np.square(each.mean(0, dtype=np.float64))
        single = np.square(each, dtype=np.float64).mean(0)
        signals.append((n * mean - single) / (n - 1) if n > 1 else np.zeros_like(mean))
        means.append(mean if n > 1 else np.zeros_like(mean))
    signal, power = (group_sums(part, of) for part in (signals, means))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(
            np.vstack([signal.sum(0), signal.sum(0) - signal])
            / np.vstack([power.sum(0), power.sum(0) - power])
        )


def scores(r: Floats, reliability: Floats | None) -> list[AreaScore]:
    """Return r, ceiling and their ratio with 95 % intervals for each target, see `area_score`.

    The arguments are the output of `correlations` and `reliabilities`; without repeats, ceiling and
    ratio are NaN.
    """
    if reliability is None:
        reliability = np.full_like(r, np.nan)
    return [area_score(r[:, k], reliability[:, k], 1) for k in range(r.shape[1])]


def sample_correlations(predicted: Series, measured: Series) -> Floats:
    """Return r over sounds at each sample (samples, targets), for sounds of equal length."""
    x, y = (np.stack([np.asarray(a, np.float64) for a in each]) for each in (predicted, measured))
    x, y = x - x.mean(0), y - y.mean(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((x * y).sum(0) / np.sqrt((x**2).sum(0) * (y**2).sum(0)))


# --- Test -----------------------------------------------------------------------------------------


def timed_test(predicted: Series, measured: Series, of: Units) -> ShiftTest:
    """Test whether predictions match the responses better than they match shifted ones.

    Short sounds: the responses of a fold are shifted by whole sounds, so that each prediction meets
    the response to another sound that its fit did not see either. Noise of any shape in time is
    kept. It is valid if sounds are exchangeable: presented in random order, apart from a time
    course that they have in common.

    Stories: the responses to a story are shifted by multiples of about SEGMENT_S within the story,
    its end following its beginning. It is valid if the response is stationary within a story, and
    its autocorrelation short beside a segment. Stories are not paired with each other, because the
    fits that predict one were made on the others.

    Each pair of sounds in different folds counts twice in a cross-validated match, once from either
    side, but not in a shifted one; ``both_ways`` of `shift_test` accounts for that.

    It is conservative where the features have few effective dimensions (as they have if the chosen
    penalty is large): a cross-validated match is skewed, and below 0 in most samples without an
    effect. In simulations 0 to 2 % of p were below .05, with white, AR(1) and 1/f noise.

    Parameters
    ----------
    predicted, measured : sequence of arrays (samples, targets)
        One per sound, about their means.
    of : Units
        The folds of short sounds, or the segment.

    Returns
    -------
    ShiftTest
        One-sided p, one per target; NaN if folds or stories have fewer than three sounds or
        segments.
    """
    if of.folds:
        sums = [
            shift_sums(*(np.stack([each[i] for i in fold]) for each in (predicted, measured)))
            for fold in of.folds
        ]
        return shift_test(sums, both_ways=True)
    sums = []
    for x, y in zip(predicted, measured, strict=True):
        n = len(x) // of.segment
        if n >= LEAST_SEGMENTS:
            rows = len(x) // n * n
            shape = (n, rows // n, -1)
            sums.append(shift_sums(x[:rows].reshape(shape), y[:rows].reshape(shape)))
    if not sums:
        none = np.full(predicted[0].shape[1], np.nan)
        return ShiftTest(none, 0, none.copy())
    return shift_test(sums, both_ways=True)


# --- Unique variance ------------------------------------------------------------------------------


class Unique(NamedTuple):
    """What a stage adds to R2 of the baseline; each is (targets,). ``p`` is one-sided."""

    r2: Floats
    low: Floats
    high: Floats
    p: Floats


def unique(measured: Series, smaller: Series, addition: Series, of: Units) -> Unique:
    """Return what an addition to a prediction adds to R2, with 95 % interval and test.

    Parameters
    ----------
    measured, smaller, addition : sequence of arrays (samples, targets)
        Responses, the baseline's predictions, and what the stage adds to them, about their means.
    of : Units
        Units of the interval (t times the standard error of a sum over them) and of the test. The
        interval is about other sounds with the same fits. Features that add nothing predict
        slightly worse than nothing, so it is often below 0 then.

    Returns
    -------
    Unique
        R2 is 1 minus squared errors over squares about the mean, so it is signed, see
        `stats.partition.added_r2`. The test is that of the addition against what the baseline
        leaves, see `stats.partition.addition_test`.
    """
    errors = [a.astype(np.float64) - b for a, b in zip(measured, smaller, strict=True)]
    gain = group_sums([e**2 - (e - a) ** 2 for e, a in zip(errors, addition, strict=True)], of)
    total = group_sums([np.square(each, dtype=np.float64) for each in measured], of).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = gain / total
    n = len(share)
    half = np.full(share.shape[1], np.nan)
    if n > 1:
        half = scipy.stats.t.ppf(0.975, groups_df(n)) * share.std(0, ddof=1) * np.sqrt(n)
    r2 = share.sum(0)
    return Unique(r2, r2 - half, r2 + half, timed_test(addition, errors, of).p)
