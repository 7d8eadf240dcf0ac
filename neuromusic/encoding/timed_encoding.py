"""Which features predict responses in time: ridge regression on features at several lags.

Temporal response functions, as in Theunissen et al. (2001, Network 12, 289-316) and Crosse et al.
(2016, Frontiers in Human Neuroscience 10, 604), on sounds that the fit has not seen. The responses
are those of `timed_responses`; features of any network come as `Timed`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.progress import progress
from neuromusic.encoding import timed_folds, timed_scores
from neuromusic.encoding.sound_encoding import BASELINE as BASELINE
from neuromusic.encoding.sound_encoding import BEST as BEST
from neuromusic.encoding.timed_design import Lags, complete_rows, lags, on_samples
from neuromusic.encoding.timed_folds import Fold, StageFit
from neuromusic.encoding.timed_responses import TimedResponses, match_sounds
from neuromusic.features.timed import Timed
from neuromusic.stats.reliability import AreaScore

LEAST_SHORT = 20  # sounds of equal length that are short sounds and not stories
LEAST_IN_FOLD = 3  # sounds that are shifted within a fold
FOLDS = 10

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Stages = Mapping[str, Mapping[str, Timed]]  # stage -> sound -> features


@dataclass(frozen=True)
class TimedOptions:
    """How responses in time are fitted.

    Parameters
    ----------
    lags_s : tuple of float
        Shortest and longest delay of the response after the features, in s; below 0 for features of
        the future.
    lag_step_s : float
        From one delay to the next, at least a sample.
    components : int, optional
        Principal components of each stage, fitted to the training sounds; None for the units
        themselves.
    folds : int, optional
        Number of folds of sounds. By default ten (fewer if a fold had fewer than three sounds) for
        20 sounds or more, and otherwise one sound is left out at a time.
    seed : int
        Seed of the folds.

    Raises
    ------
    InputError
        If a number is out of range.

    Examples
    --------
    >>> import neuromusic as nm
    >>> nm.TimedOptions(lags_s=(0.0, 0.25)).components
    32
    """

    lags_s: tuple[float, float] = (0.0, 0.4)
    lag_step_s: float = 0.02
    components: int | None = 32
    folds: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        lags(*self.lags_s, self.lag_step_s, 1.0)
        for name, least in (("components", 1), ("folds", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name}={value}: expected a number from {least}")


@dataclass(frozen=True)
class StageResult:
    """How a stage predicts the targets.

    Parameters
    ----------
    name : str
        The stage, BASELINE or BEST.
    scores : list of AreaScore
        For each target r over all sounds and samples, ceiling, and their ratio, with intervals.
    p : array (targets,)
        Of r, one-sided, see `timed_scores.timed_test`.
    r_sample : array (samples, targets), optional
        r over sounds at each sample; for short sounds.
    unique : Unique, optional
        What the stage adds to the baseline.
    response : array (units, lags, targets) float32, optional
        Temporal response function: change of the response (in its standard deviations) with a unit
        of the features, the mean over the folds.
    lag_sd : array (lags, targets), optional
        Standard deviation of what the features at each lag alone contribute to the prediction.
    at_edge : array (targets,)
        Share of the folds whose penalty is the smallest or largest of the grid.
    chosen : list of Counter, optional
        For BEST, in how many folds which stage was chosen, for each target.
    """

    name: str
    scores: list[AreaScore]
    p: Floats
    r_sample: Floats | None
    unique: timed_scores.Unique | None
    response: Singles | None
    lag_sd: Floats | None
    at_edge: Floats
    chosen: list[Counter[str]] | None = None

    @property
    def r(self) -> Floats:
        """Correlation over all sounds and samples (targets,)."""
        return np.array([score.r for score in self.scores])


@dataclass(frozen=True)
class TimedResult:
    """An encoding of responses in time; see `encode_timed`.

    Parameters
    ----------
    stages : list of StageResult
        The baseline first, the best stage last.
    responses : TimedResponses
        The targets that vary.
    options : TimedOptions
        As given.
    lags : Lags
        Delays in samples.
    folds : list of arrays
        Test sounds of each fold.
    is_short : bool
        Whether the mean time course over sounds was removed and whole sounds were shifted.
    notes : list of str
        What could not be computed and why, one sentence each.
    """

    stages: list[StageResult]
    responses: TimedResponses
    options: TimedOptions
    lags: Lags
    folds: list[NDArray[np.int64]]
    is_short: bool
    notes: list[str] = field(default_factory=list)


def encode_timed(
    features: Stages,
    responses: TimedResponses,
    options: TimedOptions = TimedOptions(),
    baseline: Mapping[str, Timed] | None = None,
) -> TimedResult:
    """Predict responses in time from the features of each stage, on sounds held out.

    Features are averaged over each sample of the responses, standardised and reduced to principal
    components on the training sounds, and taken at several lags. Penalties are chosen by
    cross-validation within the training sounds. If there are LEAST_SHORT sounds or more of equal
    length, the mean time course over the training sounds is removed from responses and features, so
    that the onset that sounds have in common predicts nothing. Otherwise sounds are stories: each
    keeps its own mean, and samples without features at all lags do not count.

    Parameters
    ----------
    features : mapping
        Stage -> sound -> features. Names of sounds are those of the responses, with or without
        suffix; their order does not matter.
    responses : TimedResponses
        As `read_timed` returns them.
    options : TimedOptions
        Lags, components and folds.
    baseline : mapping, optional
        Sound -> acoustic features, which are a stage of their own; the other stages are also scored
        by what they add to it.

    Returns
    -------
    TimedResult
        Scores of the baseline, of each stage, and of the stage that is chosen for each target and
        fold by its error within the training sounds.

    Raises
    ------
    InputError
        If names do not match, features are not finite, or no target varies.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> heard = {f"{n}": Timed(rng.standard_normal((300, 2), np.float32), 0.01, 0.0)
    ...          for n in range(4)}
    >>> values = [np.roll(each.values[None], 10, axis=1) for each in heard.values()]
    >>> measured = TimedResponses(list(heard), ["left", "right"], values, rate_hz=100.0)
    >>> [stage] = encode_timed({"A1": heard}, measured).stages
    >>> (stage.r > 0.99).all()
    np.True_
    """
    stages = {**({BASELINE: baseline} if baseline is not None else {}), **features}
    if not stages:
        raise InputError("there are no features; expected those of one stage or more")
    notes: list[str] = []
    responses = _varying(responses, notes)
    is_short = responses.are_equally_long and len(responses.sounds) >= LEAST_SHORT
    delays = lags(*options.lags_s, options.lag_step_s, responses.rate_hz)
    n_samples = [each.shape[1] for each in responses.values]
    grids: dict[str, list[Singles]] = {}
    for name, heard in stages.items():
        names = match_sounds(responses.sounds, list(heard), f"stage {name}")
        grids[name] = on_samples(name, heard, names, n_samples, responses.first_sample_s, delays)
    used = _used(grids, delays, responses.sounds, is_short)
    folds = _folds(len(n_samples), options)
    data = timed_folds.Data(grids, _scaled(responses, used), used, delays, is_short)
    fits: dict[str, list[StageFit]] = {name: [] for name in grids}
    with progress("fitting", len(folds) * len(grids)) as bar:
        for number, test in enumerate(folds):
            fold = Fold(data, test, options.components, [options.seed, number])
            for name, fit in fold.fits(BASELINE):
                fits[name].append(fit)
                bar.advance()
    return _scored(fits, data, responses, options, folds, notes)


def check(responses: TimedResponses, options: TimedOptions) -> tuple[Lags, list[NDArray[np.int64]]]:
    """Return the lags, and the test sounds of each fold, before features are computed.

    Raises InputError if no target varies, there are more folds than sounds, or a sound is shorter
    than the lags.
    """
    _varying(responses, [])
    delays = lags(*options.lags_s, options.lag_step_s, responses.rate_hz)
    lengths = [each.shape[1] for each in responses.values]
    if min(lengths) < delays.before + delays.after + 2:
        sound = responses.sounds[int(np.argmin(lengths))]
        raise InputError(
            f"lags_s={options.lags_s[0]:g}, {options.lags_s[1]:g}: are longer than the response to "
            f"{sound}, {min(lengths) / responses.rate_hz:g} s; give shorter ones"
        )
    return delays, _folds(len(lengths), options)


# --- Preparing ------------------------------------------------------------------------------------


def _varying(responses: TimedResponses, notes: list[str]) -> TimedResponses:
    """Leave out targets that are constant."""
    spread = np.array([each.mean(0).std(0) for each in responses.values])
    size = np.max([np.abs(each).max((0, 1)) for each in responses.values], axis=0)
    good = spread.max(0) > 1e-9 * size
    if not good.any():
        raise InputError("the responses do not vary in time, so nothing can be predicted")
    if good.all():
        return responses
    left_out = [name for name, keep in zip(responses.targets, good, strict=True) if not keep]
    notes.append(f"left out: {len(left_out)} constant targets, such as {left_out[0]}")
    kept = [name for name, keep in zip(responses.targets, good, strict=True) if keep]
    values = [each[:, :, good] for each in responses.values]
    return TimedResponses(
        responses.sounds, kept, values, responses.rate_hz, responses.first_sample_s
    )


def _used(
    grids: Mapping[str, list[Singles]], delays: Lags, sounds: Sequence[str], is_short: bool
) -> list[slice]:
    """Return the samples of each sound that are fitted and scored: all of short sounds."""
    used = []
    for number, sound in enumerate(sounds):
        complete = {name: complete_rows(grid[number], delays) for name, grid in grids.items()}
        rows = np.logical_and.reduce(list(complete.values()))
        if is_short:
            rows = np.ones_like(rows)
        if rows.sum() < 2:
            fewest = min(complete, key=lambda name: int(complete[name].sum()))
            raise InputError(
                f"stage {fewest}: its features of {sound} do not cover the response at all lags; "
                "expected frames while the response was measured"
            )
        first, last = np.flatnonzero(rows)[[0, -1]]
        used.append(slice(int(first), int(last) + 1))
    return used


def _folds(n: int, options: TimedOptions) -> list[NDArray[np.int64]]:
    """Return the test sounds of each fold: random ones, or one sound at a time if there are few."""
    if options.folds is None and n < LEAST_SHORT:
        return [np.array([sound]) for sound in range(n)]
    number = options.folds or min(FOLDS, n // LEAST_IN_FOLD)
    if number > n:
        raise InputError(f"folds={number}: there are only {n} sounds")
    order = np.random.default_rng(options.seed).permutation(n)
    return [np.sort(order[first::number]) for first in range(number)]


def _scaled(responses: TimedResponses, used: Sequence[slice]) -> list[Singles]:
    """Return the means over the repeats in units of each target's standard deviation."""
    means = [each[rows] for each, rows in zip(responses.means, used, strict=True)]
    together = np.concatenate([each - each.mean(0) for each in means])
    middle = np.concatenate(means).mean(0)
    return [((each - middle) / together.std(0)).astype(np.float32) for each in means]


# --- Scoring --------------------------------------------------------------------------------------


def _scored(
    fits: Mapping[str, list[StageFit]], data: timed_folds.Data, responses: TimedResponses,
    options: TimedOptions, folds: list[NDArray[np.int64]], notes: list[str],
) -> TimedResult:  # fmt: skip
    order = np.argsort(np.concatenate(folds))
    of = timed_scores.units([len(y) for y in data.y], folds, data.is_short, responses.rate_hz)
    some = next(iter(fits.values()))
    measured = _joined([fit.measured for fit in some], order, data.is_short)
    reliability = _reliability(responses, data, of) if responses.has_repeats else None
    candidates = [name for name in fits if name != BASELINE]
    if len(candidates) > 1:
        fits = {**fits, BEST: timed_folds.best([fits[name] for name in candidates])}
    stages = []
    for name, of_folds in fits.items():
        reasons = dict.fromkeys(fit.note for fit in of_folds if fit.note)
        notes += [f"{'' if name in (BASELINE, BEST) else 'stage '}{name}: {r}" for r in reasons]
        predicted = _joined([fit.predicted for fit in of_folds], order, data.is_short)
        r = timed_scores.correlations(predicted, measured, of)
        test = timed_scores.timed_test(predicted, measured, of)
        own = None
        if all(fit.smaller is not None and fit.addition is not None for fit in of_folds):
            smaller = _joined([fit.smaller or [] for fit in of_folds], order, data.is_short)
            addition = _joined([fit.addition or [] for fit in of_folds], order, data.is_short)
            own = timed_scores.unique(measured, smaller, addition, of)
        responses_of = [fit.response for fit in of_folds if fit.response is not None]
        deviations = [fit.lag_sd for fit in of_folds if fit.lag_sd is not None]
        has_response = len(responses_of) == len(of_folds)
        stages.append(
            StageResult(
                name,
                timed_scores.scores(r, reliability),
                test.p,
                timed_scores.sample_correlations(predicted, measured) if data.is_short else None,
                own,
                np.mean(responses_of, axis=0) if has_response else None,
                np.mean(deviations, axis=0) if has_response else None,
                np.mean([fit.at_edge for fit in of_folds], axis=0),
                _counts(of_folds, candidates) if name == BEST else None,
            )
        )
    if not np.isfinite(stages[0].p).any() and np.isfinite(stages[0].r).any():
        notes.append(
            "no p values: there are fewer than three sounds in a fold to shift, or fewer than "
            f"three segments of {timed_scores.SEGMENT_S:g} s in each story"
        )
    return TimedResult(stages, responses, options, data.lags, folds, data.is_short, notes)


def _joined(
    parts: Sequence[Sequence[Singles]], order: NDArray[np.int64], is_short: bool
) -> list[NDArray[np.floating]]:
    """Return the series of all folds in the order of the sounds; stories about their means."""
    series = [sound for part in parts for sound in part]
    in_order = [series[index] for index in order]
    return in_order if is_short else timed_scores.centred(in_order)  # type: ignore[return-value]


def _reliability(
    responses: TimedResponses, data: timed_folds.Data, of: timed_scores.Units
) -> Floats:
    repeats = [each[:, rows] for each, rows in zip(responses.values, data.used, strict=True)]
    if data.is_short:
        common = np.mean([each.mean(0) for each in repeats], axis=0)
        repeats = [each - common for each in repeats]
    else:
        repeats = [each - each.mean(1, keepdims=True) for each in repeats]
    return timed_scores.reliabilities(repeats, of)


def _counts(fits: Sequence[StageFit], names: Sequence[str]) -> list[Counter[str]]:
    chosen = np.array([fit.chosen for fit in fits])
    return [Counter(names[index] for index in column) for column in chosen.T]
