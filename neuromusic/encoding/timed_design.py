"""Features in time as designs: on the samples of the responses, in few components, with lags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.features.timed import Timed, resampled

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

CONSTANT = 1e-6  # share of a stage's largest deviation below which a unit counts as constant
EXTRA, PASSES = 10, 4  # of the randomised singular value decomposition
MOST_UNITS = 1024  # above which it is used


@dataclass(frozen=True)
class Lags:
    """Delays of the response after the features, in samples; ascending, negative for the future."""

    samples: NDArray[np.int64]
    rate_hz: float

    @property
    def seconds(self) -> Floats:
        """The delays in seconds."""
        return self.samples / self.rate_hz

    @property
    def before(self) -> int:
        """Number of samples before the first response that are needed."""
        return max(0, int(self.samples[-1]))

    @property
    def after(self) -> int:
        """Number of samples after the last response that are needed."""
        return max(0, -int(self.samples[0]))


def lags(first_s: float, last_s: float, step_s: float, rate_hz: float) -> Lags:
    """Return delays from the first to the last, at least one sample apart.

    Raises InputError if the last is before the first, or the step is not above 0.
    """
    if not first_s <= last_s:
        raise InputError(f"lags_s={first_s:g}, {last_s:g}: expected the shorter delay first")
    if not step_s > 0:
        raise InputError(f"lag_step_s={step_s:g}: expected seconds above 0")
    step = max(1, round(step_s * rate_hz))
    first, last = round(first_s * rate_hz), round(last_s * rate_hz)
    return Lags(np.arange(first, last + 1, step), rate_hz)


def on_samples(
    stage: str, features: Mapping[str, Timed], sounds: Sequence[str], n_samples: Sequence[int],
    first_sample_s: float, lagged: Lags,
) -> list[Singles]:  # fmt: skip
    """Return a stage's features on the samples of each response, and on those that lags need.

    Row 0 is ``lagged.before`` samples before the first response. Raises InputError, naming stage
    and sound, if a sound is missing, differs in its units, or is not finite.
    """
    missing = [sound for sound in sounds if sound not in features]
    if missing:
        raise InputError(f"stage {stage}: has no features of {missing[0]}")
    n_units = features[sounds[0]].values.shape[1]
    rate_hz, out = lagged.rate_hz, []
    for sound, n in zip(sounds, n_samples, strict=True):
        timed = features[sound]
        if timed.values.ndim != 2 or timed.values.shape[1] != n_units or not len(timed.values):
            raise InputError(
                f"stage {stage}: {sound} has the shape {timed.values.shape}; expected frames x "
                f"{n_units}"
            )
        if not np.isfinite(timed.values).all():
            raise InputError(f"stage {stage}: {sound} contains NaN or infinite values")
        times = first_sample_s + np.arange(-lagged.before, n + lagged.after) / rate_hz
        out.append(resampled(timed, times, rate_hz))
    return out


def complete_rows(grid: Singles, lagged: Lags) -> NDArray[np.bool_]:
    """Return which responses have features at all lags; ``grid`` is one sound of `on_samples`."""
    present = np.isfinite(grid[:, 0])
    return np.asarray(_shifted(present[:, None], lagged).all((1, 2)))


def _shifted(grid: NDArray[np.generic], lagged: Lags) -> NDArray[np.generic]:
    """Return (responses, lags, columns) of a grid (samples, columns)."""
    n = len(grid) - lagged.before - lagged.after
    return np.stack([grid[start : start + n] for start in lagged.before - lagged.samples], axis=1)


def with_lags(grid: Singles, lagged: Lags) -> Singles:
    """Return a design (responses, lags x columns) of a grid without NaN; the lag changes slowly."""
    return np.ascontiguousarray(_shifted(grid, lagged)).reshape(
        len(grid) - lagged.before - lagged.after, -1
    )


# --- Components -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Projection:
    """Features = (units - mean) @ matrix, with units limited to their range in training.

    A unit that is almost inactive in the training sounds could be thousands of deviations from its
    mean in a sound held out, and would dominate the prediction.
    """

    mean: Singles  # (units,)
    matrix: Singles  # (units, components)
    lowest: Singles  # (units,)
    highest: Singles  # (units,)

    def apply(self, grid: Singles) -> Singles:
        """Return (samples, components); 0, the mean, where there are no frames."""
        limited = grid.clip(self.lowest, self.highest)  # NaN stays
        return np.nan_to_num((limited - self.mean) @ self.matrix, nan=0.0)


def fit_projection(
    grids: Sequence[Singles], components: int | None, rng: np.random.Generator
) -> Projection:
    """Standardise units over some sounds, and reduce them to principal components.

    Parameters
    ----------
    grids : sequence of arrays (samples, units)
        Features of the training sounds, with NaN in samples without frames.
    components : int, optional
        Number of principal components; None, or as many as there are units: the units themselves.
    rng : Generator
        For stages of more than MOST_UNITS units, whose components are found from random directions
        (Halko, Martinsson and Tropp 2011, SIAM Review 53, 217-288, algorithms 4.4 and 5.1).

    Returns
    -------
    Projection
        Units that are constant are left out.

    Raises
    ------
    InputError
        If no unit varies.
    """
    rows = np.concatenate([grid[np.isfinite(grid[:, 0])] for grid in grids])
    mean = rows.mean(0, dtype=np.float64).astype(np.float32)
    limits = rows.min(0), rows.max(0)
    rows -= mean
    deviation = np.sqrt(np.square(rows).mean(0, dtype=np.float64))
    kept = deviation > CONSTANT * deviation.max(initial=0.0)
    if not kept.any():
        raise InputError("no feature varies in the training sounds; the stage may be inactive")
    scale = np.where(kept, 1 / np.where(kept, deviation, 1), 0).astype(np.float32)
    if components is None or components >= kept.sum():
        return Projection(mean, np.diag(scale)[:, kept], *limits)
    rows *= scale
    if rows.shape[1] <= MOST_UNITS:
        vectors = np.linalg.eigh((rows.T @ rows).astype(np.float64))[1][:, : -components - 1 : -1]
    else:
        basis = rng.standard_normal((rows.shape[1], components + EXTRA)).astype(np.float32)
        for _ in range(PASSES):
            basis = np.linalg.qr(rows.T @ (rows @ basis))[0]
        vectors = basis @ np.linalg.svd(rows @ basis, full_matrices=False)[2].T[:, :components]
    return Projection(mean, (scale[:, None] * vectors).astype(np.float32), *limits)


# --- Baseline -------------------------------------------------------------------------------------

BASELINE_BANDS, BASELINE_HZ, BASELINE_HOP = 32, (80.0, 10_000.0), 220  # about 100 frames per second


def acoustic_baseline(wave: Singles) -> Timed:
    """Return a cochleagram of a sound with two compressions: the cube root of amplitude, and dB.

    Two, because a stage that compresses in another way than the baseline would seem to add to it.

    Parameters
    ----------
    wave : array (samples,) float32
        Mono at audio.RATE_HZ.

    Returns
    -------
    Timed
        (frames, 2 x BASELINE_BANDS), the cube roots first.
    """
    from neuromusic.features.frontends.cochleagram import CochleaSpec  # imports torch

    spec = CochleaSpec(BASELINE_BANDS, *BASELINE_HZ, hop=BASELINE_HOP)
    level_db = spec.compute(wave)
    both = np.concatenate([10 ** (level_db / 60), level_db]).T
    return Timed(np.ascontiguousarray(both, dtype=np.float32), spec.frame_s, 0.0)
