"""Simulated voxels for nulls.py: the runs of ds003720, and voxels whose truth is known.

A voxel is a response to the clips plus noise and drift, cleaned by the package's own filter. The
filter, the haemodynamic response and the noise are linear, so each is a matrix: the package's
functions are applied to unit impulses once.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from neuromusic.design.experiment import Split, load_experiment
from neuromusic.design.orders import presentations, read_order
from neuromusic.design.timing import HIGH_PASS_HZ
from neuromusic.fmri.bold import filtered
from neuromusic.fmri.hrf import hrf
from neuromusic.fmri.volumes import convolved

ORDERS = Path(__file__).resolve().parents[2] / "orders"
_TIME = load_experiment("ds003720").time
assert _TIME.tr_s and _TIME.duration_s
TR_S = _TIME.tr_s
VOLUMES_PER_CLIP = round(_TIME.duration_s / TR_S)
NOISES = ("white", "AR(1) .3", "AR(1) .6", "1/f")
LEVEL = "one level per clip"  # responses that no feature explains
COURSE = "a time course per clip"
RESPONSES = (LEVEL, COURSE)
DRIFT_SD = 2.0  # of the drift, in standard deviations of the noise
CLIP_CORRELATION = 0.7  # from volume to volume of a time course
CALIBRATION_RUNS, CALIBRATION_VOXELS = 12, 2000  # simulated to compute truths

Floats32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Design:
    """Which clip each volume of each run belongs to.

    ``clip`` (runs, volumes) counts the clips of the design from 0, dummy included; the dummy is
    the first presentation. Every run plays its own clips, ``repeats`` times in the same order.
    """

    name: str
    clip: NDArray[np.int64]
    n_clips: int
    repeats: int

    @property
    def runs(self) -> NDArray[np.int64]:
        """The run of each clip (clips,), from 0; the clips are in the order of the runs."""
        return np.repeat(np.arange(len(self.clip)), self.n_clips // len(self.clip))

    @property
    def drift_cycles(self) -> float:
        """Up to how many cycles per run the filter removes."""
        return HIGH_PASS_HZ * (self.clip.shape[1] - VOLUMES_PER_CLIP) * TR_S


@lru_cache
def real_design(split: Split, n_runs: int) -> Design:
    """Return the first training or test runs of ds003720, from its events."""
    name = {"train": "ExpTrnOrder.mat", "test": "ExpValOrder.mat"}[split]
    table = presentations(read_order(ORDERS / name, split))
    table = table[table["run"] <= n_runs]
    played = table[table["trial"] > 0]
    number = {clip: index for index, clip in enumerate(played["clip"].unique())}
    volumes = [
        np.repeat(run["clip"].map(number).to_numpy(), VOLUMES_PER_CLIP)
        for _, run in table.groupby("run")
    ]
    repeats = int(played["repeat"].max())
    design = Design(f"{n_runs} runs", np.array(volumes), len(number), repeats)
    in_order = np.arange(design.n_clips).reshape(n_runs, -1)
    in_order = np.tile(in_order, design.repeats)
    assert (design.clip[:, VOLUMES_PER_CLIP::VOLUMES_PER_CLIP] == in_order).all()
    return design


def simulated_design(n_runs: int) -> Design:
    """Return a design with test runs like the first one of ds003720, each with its own clips."""
    run = real_design("test", 1)
    clip = run.clip + run.n_clips * np.arange(n_runs)[:, None]
    return Design(f"{n_runs} runs", clip, run.n_clips * n_runs, run.repeats)


# --- Linear maps ----------------------------------------------------------------------------------


@lru_cache
def filter_matrix(n_volumes: int) -> Floats32:
    """Return the filter of `encode`, (n_volumes, n_volumes)."""
    return filtered(np.eye(n_volumes), TR_S, HIGH_PASS_HZ, standardise=False)


@lru_cache
def hrf_matrix(n_volumes: int) -> Floats32:
    """Return the convolution with the haemodynamic response, (n_volumes, n_volumes)."""
    return np.asarray(convolved(np.eye(n_volumes), hrf("spm", TR_S)), np.float32)


@lru_cache
def noise_matrix(kind: str, n_volumes: int) -> Floats32:
    """Return what turns white noise into noise of ``kind`` with variance 1, stationary."""
    lags = np.arange(n_volumes)
    if kind == "1/f":  # half of the variance white, half a cut from a longer periodic series
        length = 4 * n_volumes
        power = 1 / np.maximum(1, np.minimum(np.arange(length), length - np.arange(length)))
        power[0] = 0
        pink = np.fft.ifft(power).real[:n_volumes]
        covariance = 0.5 * pink / pink[0] + 0.5 * (lags == 0)
    else:
        rho = 0.0 if kind == "white" else float(kind.removeprefix("AR(1) "))
        covariance = rho**lags
    return np.asarray(np.linalg.cholesky(scipy.linalg.toeplitz(covariance)), np.float32)


def without_dummy(series: Floats32) -> Floats32:
    """Return (runs, volumes, columns) without the volumes of the dummy."""
    return series[:, VOLUMES_PER_CLIP:]


def filtered_runs(series: Floats32) -> Floats32:
    """Drop the dummy from (runs, volumes, columns) and filter the rest, as `encode` does."""
    series = without_dummy(series)
    return filter_matrix(series.shape[1]) @ series


def standardised(series: Floats32) -> Floats32:
    """Scale each run (runs, volumes, voxels) to standard deviation 1, as `encode` does."""
    return (series - series.mean(1, keepdims=True)) / series.std(1, ddof=1, keepdims=True)


def by_clip(design: Design, series: Floats32) -> Floats32:
    """Sort runs (runs, volumes without the dummy, voxels) by what was played.

    Returns (repeats, clips, volumes of a clip, voxels).
    """
    shape = (len(series), design.repeats, -1, VOLUMES_PER_CLIP, series.shape[2])
    sorted_runs = np.moveaxis(series.reshape(shape), 1, 0)
    return sorted_runs.reshape(design.repeats, design.n_clips, *sorted_runs.shape[3:])


# --- Noise and responses --------------------------------------------------------------------------


def noise(kind: str, shape: tuple[int, int, int], rng: np.random.Generator) -> Floats32:
    """Return stationary noise with SD 1; ``shape`` is (runs, volumes, voxels)."""
    return noise_matrix(kind, shape[1]) @ rng.standard_normal(shape, np.float32)


def drift(shape: tuple[int, int, int], rng: np.random.Generator) -> Floats32:
    """Return a line and a slow wave of random size and phase, (runs, volumes, voxels)."""
    time = np.linspace(-1, 1, shape[1], dtype=np.float32)[:, None]
    of_run = (shape[0], 1, shape[2])
    speed, phase = np.pi * rng.uniform(0.2, 0.8, of_run), np.pi * rng.uniform(0, 2, of_run)
    wave = np.sin(speed.astype(np.float32) * time + phase.astype(np.float32))
    sizes = DRIFT_SD * rng.standard_normal((2, *of_run), np.float32)
    return sizes[0] * time + sizes[1] * wave


def signal(design: Design, kind: str, voxels: int, rng: np.random.Generator) -> Floats32:
    """Return responses (runs, volumes, voxels) to the clips.

    Their power after the filter is 1 on average, in the mean of the repeats.
    """
    return _responses(design, kind, voxels, rng) / np.float32(np.sqrt(_signal_power(kind)))


def _responses(design: Design, kind: str, voxels: int, rng: np.random.Generator) -> Floats32:
    if kind == LEVEL:
        level = rng.standard_normal((design.n_clips, voxels), np.float32)
        return hrf_matrix(design.clip.shape[1]) @ level[design.clip]
    return hrf_matrix(design.clip.shape[1]) @ laid_features(design, voxels, rng)


def laid_features(design: Design, columns: int, rng: np.random.Generator) -> Floats32:
    """Return a smooth time course per clip and column, on the volumes of the runs.

    The result is (runs, volumes, columns), before the haemodynamic response.
    """
    length = VOLUMES_PER_CLIP
    covariance = scipy.linalg.toeplitz(CLIP_CORRELATION ** np.arange(length))
    root = np.linalg.cholesky(covariance).astype(np.float32)
    courses = root @ rng.standard_normal((design.n_clips, length, columns), np.float32)
    return courses[design.clip, np.arange(design.clip.shape[1]) % length]


@lru_cache
def _signal_power(kind: str) -> float:
    """Return the power of `_responses` after the filter, in the mean of the repeats."""
    design = simulated_design(CALIBRATION_RUNS)
    responses = _responses(design, kind, CALIBRATION_VOXELS, np.random.default_rng(1))
    return float(np.square(by_clip(design, filtered_runs(responses)).mean(0)).mean())


@lru_cache
def _noise_power(kind: str, n_volumes: int) -> float:
    """Return the power of noise after the filter."""
    root = noise_matrix(kind, n_volumes)[VOLUMES_PER_CLIP:]
    return float(np.square(filter_matrix(len(root)) @ root).sum() / len(root))


def latent_signals(
    design: Design, voxels: int, latents: int, rng: np.random.Generator
) -> tuple[Floats32, Floats32]:
    """Return two unrelated responses of an area whose voxels share ``latents`` time courses."""
    weights = rng.standard_normal((2, latents, voxels), np.float32)
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    first, second = (signal(design, COURSE, latents, rng) @ weight for weight in weights)
    return first, second


# --- Voxels ---------------------------------------------------------------------------------------


def voxels_with_noise(
    design: Design, kind: str, response: Floats32 | None, explainable: float, voxels: int,
    rng: np.random.Generator, shared: float = 0.0,
) -> Floats32:  # fmt: skip
    """Return cleaned voxels, sorted as `by_clip` does.

    Parameters
    ----------
    design : Design
        The runs.
    kind : str
        One of NOISES.
    response : ndarray, shape (runs, volumes, voxels), optional
        As `signal` returns it; None for noise alone.
    explainable : float
        Power of the response relative to that of one presentation, on average over runs, before
        each run is scaled to standard deviation 1. `truth` is about what remains afterwards.
    voxels : int
        Number of voxels.
    rng : numpy.random.Generator
        Draws noise and drift.
    shared : float
        Correlation of the noise between any two voxels.
    """
    shape = (*design.clip.shape, voxels)
    series = _scaled_noise(kind, explainable, shape, rng, shared)
    if response is not None:
        series += np.float32(np.sqrt(explainable)) * response
    return by_clip(design, standardised(filtered_runs(series)))


def _scaled_noise(
    kind: str, explainable: float, shape: tuple[int, int, int], rng: np.random.Generator,
    shared: float = 0.0,
) -> Floats32:  # fmt: skip
    series = noise(kind, shape, rng)
    if shared:
        common = noise(kind, (*shape[:2], 1), rng)
        series = np.float32(np.sqrt(1 - shared)) * series + np.float32(np.sqrt(shared)) * common
    series *= np.float32(np.sqrt((1 - explainable) / _noise_power(kind, shape[1])))
    return series + drift(shape, rng)


class Truth(NamedTuple):
    """What the estimates would be with endless test runs.

    The response is what endless measurements of a run would have in common, after each run is
    scaled to standard deviation 1. This shrinks runs whose response is strong, or happens to agree
    with the noise: at .3 the share is 3 to 7 % lower than without scaling, at .05 up to 3 %.
    """

    explainable: float
    r: float
    ceiling: float
    score: float


@lru_cache
def truth(kind: str, response: str, explainable: float, score: float = 1.0) -> Truth:
    """Return the truth about voxels in noise of ``kind`` with a response of the other kind.

    ``score`` is the correlation of the prediction with the response, before runs are scaled.
    """
    design, rng = simulated_design(CALIBRATION_RUNS), np.random.default_rng(2)
    shape = (*design.clip.shape, CALIBRATION_VOXELS)
    predicted, rest = (signal(design, response, CALIBRATION_VOXELS, rng) for _ in range(2))
    raw = np.sqrt(explainable) * (score * predicted + np.sqrt(1 - score**2) * rest)
    own = filtered_runs(raw.astype(np.float32))
    noises = [filtered_runs(_scaled_noise(kind, explainable, shape, rng)) for _ in range(2)]
    scales = [1 / (own + noise).std(1, ddof=1, keepdims=True) for noise in noises]
    both = scales[0] * scales[1]
    # Products of response and noise are 0 on average unless they are scaled; the difference from
    # a fixed scale has a much smaller variance.
    common = _in_common(design, own * both, own)
    common += sum(_in_common(design, own * (both - both.mean()), noise) for noise in noises)
    measured = (own + noises[0]) * scales[0]
    mean, mean_predicted, mean_own, mean_noise = (
        by_clip(design, each).mean(0)
        for each in (
            measured, filtered_runs(predicted), own * scales[0],
            noises[0] * (scales[0] - scales[0].mean()),
        )
    )  # fmt: skip
    product = float((mean_predicted * (mean_own + mean_noise)).mean())
    power = float(np.square(mean).mean())
    r = product / np.sqrt(float(np.square(mean_predicted).mean()) * power)
    ceiling = np.sqrt(common / power)
    return Truth(common / float(np.square(measured).mean()), r, ceiling, r / ceiling)


def _in_common(design: Design, first: Floats32, second: Floats32) -> float:
    """Return the power that the repeats of two series have in common (Sahani & Linden, eq. 1)."""
    x, y = by_clip(design, first), by_clip(design, second)
    n = design.repeats
    return float((n * (x.mean(0) * y.mean(0)).mean() - (x * y).mean()) / (n - 1))
