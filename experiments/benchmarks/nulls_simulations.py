"""Simulated voxels for nulls.py: the test runs of ds003720, and voxels whose truth is known.

A voxel is a response to the clips plus noise and drift, cleaned by the package's own filter.
Scales are set so that the explainable variance after cleaning is the stated one on average over
clips and noise.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from neuromusic.design import grid
from neuromusic.design.orders import presentations, read_order
from neuromusic.encoding.options import HIGH_PASS_HZ
from neuromusic.fmri.bold import clean_run, filtered
from neuromusic.fmri.hrf import hrf
from neuromusic.fmri.volumes import convolved

ORDERS = Path(__file__).resolve().parents[2] / "orders"
NOISES = ("white", "AR(1) .3", "AR(1) .6", "1/f")
LEVEL = "one level per clip"  # responses that no feature explains
COURSE = "a time course per clip"
RESPONSES = (LEVEL, COURSE)
UNRELATED_EXPLAINABLE = 0.3  # explainable variance of voxels that respond unlike the features
DRIFT_SD = 2.0  # of the drift, in standard deviations of the noise
CLIP_CORRELATION = 0.7  # from volume to volume of a time course
CALIBRATION_VOXELS = 2000

Array = NDArray[np.float64]


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


@lru_cache
def test_design(n_runs: int) -> Design:
    """Return the first test runs of ds003720, from its events."""
    table = presentations(read_order(ORDERS / "ExpValOrder.mat", "test"))
    table = table[table["run"] <= n_runs]
    played = table[table["trial"] > 0]
    number = {clip: index for index, clip in enumerate(played["clip"].unique())}
    volumes = [
        np.repeat(run["clip"].map(number).to_numpy(), grid.VOLUMES_PER_CLIP)
        for _, run in table.groupby("run")
    ]
    design = Design(f"{n_runs} runs", np.array(volumes), len(number), int(played["repeat"].max()))
    in_order = np.tile(np.arange(design.n_clips).reshape(n_runs, -1), design.repeats)
    assert (design.clip[:, grid.VOLUMES_PER_CLIP :: grid.VOLUMES_PER_CLIP] == in_order).all()
    return design


# --- Noise ----------------------------------------------------------------------------------------


def noise(kind: str, n_volumes: int, voxels: int, rng: np.random.Generator) -> Array:
    """Return stationary noise with standard deviation 1, (n_volumes, voxels)."""
    white = rng.standard_normal((n_volumes, voxels))
    if kind == "white":
        return white
    if kind == "1/f":  # half of the variance pink, half white
        return (_pink(n_volumes, voxels, rng) + white) / np.sqrt(2)
    rho = float(kind.removeprefix("AR(1) "))
    white[1:] *= np.sqrt(1 - rho**2)  # the first volume has the stationary variance
    return np.asarray(scipy.signal.lfilter([1], [1, -rho], white, axis=0))


def _pink(n_volumes: int, voxels: int, rng: np.random.Generator) -> Array:
    """Return noise whose power falls with 1 / frequency: a cut from a longer periodic series."""
    length = 4 * n_volumes
    amplitude = np.zeros(length // 2 + 1)
    amplitude[1:] = np.arange(1, length // 2 + 1) ** -0.5
    variance = 2 * (amplitude[:-1] ** 2).sum() + amplitude[-1] ** 2 * (1 + length % 2)
    parts = rng.standard_normal((2, len(amplitude), voxels), np.float32)
    spectrum = (parts[0] + 1j * parts[1]) * (amplitude / np.sqrt(2))[:, None]
    series = np.fft.irfft(spectrum, length, axis=0)[:n_volumes]
    return np.asarray(series * length / np.sqrt(variance))


def drift(n_volumes: int, voxels: int, rng: np.random.Generator) -> Array:
    """Return a line and a slow wave of random size and phase, (n_volumes, voxels)."""
    time = np.linspace(-1, 1, n_volumes)[:, None]
    wave = np.sin(np.pi * (rng.uniform(0.2, 0.8, voxels) * time + rng.uniform(0, 2, voxels)))
    sizes = DRIFT_SD * rng.standard_normal((2, voxels))
    return np.asarray(sizes[0] * time + sizes[1] * wave)


# --- Responses ------------------------------------------------------------------------------------


def clip_responses(kind: str, n_clips: int, voxels: int, rng: np.random.Generator) -> Array:
    """Return responses to clips before the haemodynamic response, (clips, volumes, voxels)."""
    length = grid.VOLUMES_PER_CLIP
    if kind == LEVEL:
        return np.repeat(rng.standard_normal((n_clips, 1, voxels)), length, axis=1)
    white = rng.standard_normal((n_clips, length, voxels))
    white[:, 1:] *= np.sqrt(1 - CLIP_CORRELATION**2)
    return np.asarray(scipy.signal.lfilter([1], [1, -CLIP_CORRELATION], white, axis=1))


def in_runs(design: Design, responses: Array) -> Array:
    """Lay responses to clips on the volumes of the runs and convolve them with the HRF.

    ``responses`` (clips, volumes of a clip, voxels) become (runs, volumes, voxels).
    """
    within = np.arange(design.clip.shape[1]) % grid.VOLUMES_PER_CLIP
    kernel = hrf("spm")
    return np.stack([convolved(responses[clips, within], kernel) for clips in design.clip])


def signal(design: Design, kind: str, voxels: int, rng: np.random.Generator) -> Array:
    """Return responses with power 1, on average, in the mean of the cleaned presentations."""
    responses = in_runs(design, clip_responses(kind, design.n_clips, voxels, rng))
    return responses / np.sqrt(_power(kind, design.clip.shape[1]))


# --- Cleaning -------------------------------------------------------------------------------------


def by_clip(design: Design, series: NDArray[np.floating]) -> NDArray[np.float32]:
    """Sort cleaned runs (runs, volumes without the dummy, voxels) by what was played.

    Returns (repeats, clips, volumes of a clip, voxels).
    """
    shape = (len(series), design.repeats, -1, grid.VOLUMES_PER_CLIP, series.shape[2])
    sorted_runs = np.moveaxis(series.reshape(shape), 1, 0)
    return sorted_runs.reshape(design.repeats, design.n_clips, *sorted_runs.shape[3:])


def without_dummy(series: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return (runs, volumes, voxels) without the volumes of the dummy."""
    return series[:, grid.VOLUMES_PER_CLIP :]


def cleaned(design: Design, series: NDArray[np.floating]) -> NDArray[np.float32]:
    """Clean raw runs (runs, volumes, voxels) as `encode` does; sort as `by_clip` does."""
    runs = [clean_run(run.astype(np.float32), HIGH_PASS_HZ)[0] for run in without_dummy(series)]
    return by_clip(design, np.stack(runs))


def filtered_runs(design: Design, series: NDArray[np.floating]) -> NDArray[np.float32]:
    """Filter predictions (runs, volumes, columns) as `encode` does; sort as `by_clip` does."""
    runs = [filtered(run, HIGH_PASS_HZ, standardise=False) for run in without_dummy(series)]
    return by_clip(design, np.stack(runs))


@lru_cache
def _power(kind: str, n_volumes: int) -> float:
    """Return the variance that cleaning leaves of noise, or of a response to every repeat."""
    design, rng = test_design(6), np.random.default_rng(1)
    if kind in NOISES:
        series = np.stack([noise(kind, n_volumes, CALIBRATION_VOXELS, rng)])
    else:
        responses = clip_responses(kind, design.n_clips, CALIBRATION_VOXELS, rng)
        series = in_runs(design, responses)
    kept = [filtered(run, HIGH_PASS_HZ, standardise=False) for run in without_dummy(series)]
    if kind in RESPONSES:  # what all presentations have in common
        kept = by_clip(design, np.stack(kept)).mean(0)
    return float(np.mean(np.square(kept)))


@lru_cache
def noise_in_mean(kind: str, design: Design) -> float:
    """Return the variance of the mean of the repeats of cleaned noise whose variance is 1."""
    rng = np.random.default_rng(2)
    raw = np.stack(
        [noise(kind, n, CALIBRATION_VOXELS, rng) for n in [design.clip.shape[1]] * len(design.clip)]
    )
    series = filtered_runs(design, raw)
    return float(np.square(series.mean(0)).mean() / np.square(series).mean())


def voxels_with_noise(
    design: Design, kind: str, response: Array | None, explainable: float, voxels: int,
    rng: np.random.Generator, shared: float = 0.0,
) -> NDArray[np.float32]:  # fmt: skip
    """Return cleaned voxels, sorted as `by_clip` does.

    Parameters
    ----------
    design : Design
        The runs.
    kind : str
        One of NOISES.
    response : ndarray, shape (runs, volumes, voxels), optional
        Response with power 1 after cleaning, as `signal` returns it; None for noise alone.
    explainable : float
        Share of the variance of one presentation that the response has, on average.
    voxels : int
        Number of voxels.
    rng : numpy.random.Generator
        Draws noise and drift.
    shared : float
        Correlation of the noise between any two voxels.
    """
    n_runs, n_volumes = design.clip.shape
    series = np.empty((n_runs, n_volumes, voxels))
    for run in series:
        run[:] = noise(kind, n_volumes, voxels, rng)
        if shared:
            common = noise(kind, n_volumes, 1, rng)
            run[:] = np.sqrt(1 - shared) * run + np.sqrt(shared) * common
    series *= np.sqrt((1 - explainable) / _power(kind, n_volumes))
    if response is not None:
        series += np.sqrt(explainable) * response
    for run in series:
        run += drift(n_volumes, voxels, rng)
    return cleaned(design, series)


def latent_signals(
    design: Design, voxels: int, latents: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Return two unrelated responses of an area whose voxels share ``latents`` time courses.

    Both are (runs, volumes, voxels) with power 1 after cleaning, on average over clips.
    """
    weights = rng.standard_normal((2, latents, voxels))
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    first, second = (signal(design, COURSE, latents, rng) @ weight for weight in weights)
    return first, second
