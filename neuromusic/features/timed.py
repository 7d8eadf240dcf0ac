"""Features of one sound with their times: the form in which any network's stages are passed on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
