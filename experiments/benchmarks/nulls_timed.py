"""The rows of nulls.py for responses in time: short sounds, and stories."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from nulls_models import Array, Row, row
from nulls_simulations import LEVEL, Floats32, noise

from neuromusic.encoding.timed_encoding import StageResult, TimedOptions, encode_timed
from neuromusic.encoding.timed_responses import TimedResponses
from neuromusic.encoding.timed_scores import Unique
from neuromusic.features.timed import Timed

RATE_HZ, UNITS, TARGETS, REPEATS = 25.0, 4, 8, 2
DELAY = 3  # samples from the features to the response
SIZE = 0.5  # of the response, in standard deviations of the noise of one presentation
FEATURE_NOISE = "AR(1) .8"  # the features are noise of this kind
OPTIONS = TimedOptions(lags_s=(0.0, 0.24), lag_step_s=0.04)


@dataclass(frozen=True)
class Sounds:
    """How many sounds of how many samples are simulated, and with which noises."""

    name: str
    number: int
    samples: int
    noises: tuple[str, ...]


DESIGNS = (
    Sounds("60 short sounds", 60, 50, ("white", "AR(1) .8", "1/f", LEVEL)),
    Sounds("10 stories", 10, 1500, ("white", "AR(1) .8", "AR(1) .95", "1/f")),
    Sounds("4 stories", 4, 1500, ("AR(1) .8",)),
)


def timed_responses(n: int) -> Iterator[Row]:
    """Encode responses without a relation to a stage, and responses that it drives."""
    for number, design in enumerate(DESIGNS):
        draws = [[7, number, k] for k in range(-(-n // TARGETS))]
        for kind in design.noises:
            alone = [_encoded(design, kind, 0.0, rng) for rng in map(np.random.default_rng, draws)]
            p = np.concatenate([stage.p for stage in alone])
            yield row("p of r in time", design.name, f"null: {kind}", len(p), p=p)
            beside = [
                _encoded(design, kind, SIZE, rng, "baseline")
                for rng in map(np.random.default_rng, draws)
            ]
            p = np.concatenate([_unique(stage).p for stage in beside])
            data = f"null: {kind}, beside the baseline's response"
            yield row("unique_p in time", design.name, data, len(p), p=p)
        for drives in ("stage", "baseline"):
            stages = [
                _encoded(design, FEATURE_NOISE, SIZE, rng, drives)
                for rng in map(np.random.default_rng, draws)
            ]
            yield from _coverages(design, stages, drives)


def _coverages(design: Sounds, stages: list[StageResult], drives: str) -> Iterator[Row]:
    """Compare intervals with the truth, which for r and unique_r2 is the mean of all results."""
    data = f"a stage that adds {'all' if drives == 'stage' else 'nothing'}"
    if drives == "stage":
        scores = [score for stage in stages for score in stage.scores]
        r, low, high = np.array([(each.r, each.r_low, each.r_high) for each in scores]).T
        yield row("r in time", design.name, data, len(r), coverage=_share(low, r.mean(), high))
        truth = np.sqrt(SIZE**2 / (SIZE**2 + 1 / REPEATS))
        ceiling, low, high = np.array(
            [(each.ceiling, each.ceiling_low, each.ceiling_high) for each in scores]
        ).T
        yield row(
            "ceiling_r in time", design.name, data, len(r),
            estimate_truth=float(ceiling.mean() / truth), coverage=_share(low, truth, high),
        )  # fmt: skip
    unique = [_unique(stage) for stage in stages]
    r2, low, high = (np.concatenate([getattr(u, k) for u in unique]) for k in ("r2", "low", "high"))
    if drives == "stage":
        share = _share(low, r2.mean(), high)
        yield row("unique_r2 in time", design.name, data, len(r2), coverage=share)
    else:  # not 95 %: a stage that adds nothing predicts a little worse than nothing
        yield row(
            "share of unique_r2 intervals with 0", design.name, data, len(r2),
            estimate_truth=_share(low, 0.0, high),
        )  # fmt: skip


def _share(low: Array, truth: float, high: Array) -> float:
    return float(((low <= truth) & (truth <= high)).mean())


def _unique(stage: StageResult) -> Unique:
    assert stage.unique is not None
    return stage.unique


def _encoded(
    design: Sounds, kind: str, size: float, rng: np.random.Generator, drives: str = "stage"
) -> StageResult:
    """Return how a stage predicts responses in noise of ``kind``, beside a baseline.

    One of the two drives the responses, if ``size`` is not 0; they are unrelated to each other.
    """
    names = [f"s{k:02d}" for k in range(design.number)]
    driving, other = (dict(zip(names, _features(design, rng), strict=True)) for _ in range(2))
    values = []
    for name in names:
        signal = np.roll(driving[name].values[:, :1], DELAY, axis=0)
        values.append(size * signal + _noise(design, kind, rng))
    measured = TimedResponses(names, [f"t{k}" for k in range(TARGETS)], values, RATE_HZ)
    stage, baseline = (driving, other) if drives == "stage" else (other, driving)
    return encode_timed({"stage": stage}, measured, OPTIONS, baseline=baseline).stages[1]


def _features(design: Sounds, rng: np.random.Generator) -> list[Timed]:
    series = noise(FEATURE_NOISE, (design.number, design.samples, UNITS), rng)
    return [Timed(each, 1 / RATE_HZ, 0.0) for each in series]


def _noise(design: Sounds, kind: str, rng: np.random.Generator) -> Floats32:
    """Return the noise of one sound (repeats, samples, targets)."""
    if kind == LEVEL:
        level = rng.standard_normal((REPEATS, 1, TARGETS), np.float32)
        white = 0.1 * rng.standard_normal((REPEATS, design.samples, TARGETS), np.float32)
        return level + white
    return noise(kind, (REPEATS, design.samples, TARGETS), rng)
