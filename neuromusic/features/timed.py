"""Features of one sound with their times: the form in which any network's stages are passed on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TINY = 1e-6  # of a frame; rounding of times


@dataclass(frozen=True)
class Timed:
    """Features of one sound, one row per frame; frame k is at first_frame_s + k * frame_s.

    Parameters
    ----------
    values : float32 array (frames, units)
        The features.
    frame_s : float
        Seconds from one frame to the next.
    first_frame_s : float
        Time of frame 0 in seconds after the onset of the sound; it may be negative.

    Raises
    ------
    ValueError
        If ``values`` does not have two axes, or ``frame_s`` is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from neuromusic.features.timed import Timed
    >>> Timed(np.zeros((3, 8), np.float32), frame_s=0.5, first_frame_s=0.25).times_s
    array([0.25, 0.75, 1.25])
    """

    values: NDArray[np.float32]
    frame_s: float
    first_frame_s: float

    def __post_init__(self) -> None:
        if self.values.ndim != 2:
            raise ValueError(f"values: expected (frames, units), got shape {self.values.shape}")
        if not self.frame_s > 0:
            raise ValueError(f"frame_s: expected a positive number of seconds, got {self.frame_s}")

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.values)

    @property
    def times_s(self) -> NDArray[np.float64]:
        """Time of each frame in seconds after the onset of the sound, (frames,)."""
        return self.first_frame_s + self.frame_s * np.arange(self.n_frames, dtype=np.float64)


def resampled(timed: Timed, times_s: NDArray[np.float64], rate_hz: float) -> NDArray[np.float32]:
    """Return features at the times of samples.

    Parameters
    ----------
    timed : Timed
        Features of one sound.
    times_s : array (samples,)
        Times of the samples after the onset of the sound, evenly spaced.
    rate_hz : float
        Samples per second.

    Returns
    -------
    array (samples, units) float32
        The mean of the frames from half a sample before each time to half a sample after; if frames
        are further apart than samples, linear interpolation. NaN where there are no frames.
    """
    values, step, first = timed.values, timed.frame_s, timed.first_frame_s
    n = len(values)
    if step > (1 + TINY) / rate_hz:
        place = (times_s - first) / step
        inside = (place >= -0.5 - TINY) & (place <= n - 0.5 + TINY)
        place = place.clip(0, n - 1)
        low = np.minimum(place.astype(np.int64), max(n - 2, 0))
        share = (place - low).astype(np.float32)[:, None]
        out = values[low] * (1 - share) + values[np.minimum(low + 1, n - 1)] * share
    else:
        edges = (np.stack([times_s - 0.5 / rate_hz, times_s + 0.5 / rate_hz]) - first) / step
        start, stop = np.ceil(edges - TINY).astype(np.int64).clip(0, n)
        inside = stop > start
        sums = np.vstack([np.zeros(values.shape[1]), values.cumsum(0, dtype=np.float64)])
        out = (sums[stop] - sums[start]) / np.maximum(stop - start, 1)[:, None]
    out = out.astype(np.float32)
    out[~inside] = np.nan
    return np.asarray(out)
