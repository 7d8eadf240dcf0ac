"""Sounds small enough for a page."""

import io

import numpy as np
from numpy.typing import NDArray

from neuromusic.stimuli.audio import RATE_HZ


def as_ogg(wave: NDArray[np.float32]) -> bytes:
    """Return a sound (samples,) at 22 050 Hz as an Ogg Vorbis file; louder than 1 is scaled."""
    import soundfile

    buffer = io.BytesIO()
    loudest = max(1.0, float(np.abs(wave).max()))
    with soundfile.SoundFile(
        buffer, "w", RATE_HZ, 1, format="OGG", subtype="VORBIS", compression_level=0.9
    ) as file:
        # libsndfile's encoder needs much stack for one long write.
        for first in range(0, len(wave), RATE_HZ):
            file.write(wave[first : first + RATE_HZ] / loudest)
    return buffer.getvalue()
