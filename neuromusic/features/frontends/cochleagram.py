"""Front ends after the ear and auditory cortex: cochleagram and spectro-temporal modulation."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import next_fast_len

from neuromusic.stimuli.audio import RATE_HZ

# --- Cochleagram --------------------------------------------------------------------------------

ORDER = 4  # of a gammatone filter
TAIL_S = 0.25  # of silence, so that the end of the sound does not leak into its beginning
REACH = 12.0  # bandwidths on either side of a filter's centre; beyond it is 86 dB down


def erb_hz(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the equivalent rectangular bandwidth (Glasberg and Moore 1990, eq. 3)."""
    return 24.7 * (4.37 * hz / 1000 + 1)


def erb_spaced_hz(low_hz: float, high_hz: float, n: int) -> NDArray[np.float64]:
    """Return n frequencies evenly spaced on the ERB-rate scale (Glasberg and Moore 1990, eq. 4)."""
    first, last = (21.4 * math.log10(4.37 * hz / 1000 + 1) for hz in (low_hz, high_hz))
    rates: NDArray[np.float64] = np.linspace(first, last, n)
    return (10 ** (rates / 21.4) - 1) * 1000 / 4.37


@dataclass(frozen=True)
class CochleaSpec:
    """Energies of ERB-spaced gammatone filters, in dB re full scale (mean square 1).

    Fourth-order gammatone filters (Patterson et al. 1987; bandwidth 1.019 ERB, Slaney 1993) without
    their delay, and the mean square of the output between the middles of neighbouring frames.
    """

    n_bands: int = 64
    low_hz: float = 50.0
    high_hz: float = 10_000.0
    hop: int = 512
    floor_db: float = -100.0

    name: ClassVar[str] = "cochleagram"
    has_bands_db: ClassVar[bool] = True
    n_channels: ClassVar[int] = 1

    @property
    def frame_s(self) -> float:
        """Seconds from one frame to the next."""
        return self.hop / RATE_HZ

    @property
    def floor(self) -> float:
        """Value of silence, in dB."""
        return self.floor_db

    @property
    def centre_hz(self) -> NDArray[np.float64]:
        """Centre frequencies of the filters, (n_bands,)."""
        return erb_spaced_hz(self.low_hz, self.high_hz, self.n_bands)

    def n_frames(self, n_samples: int) -> int:
        """Return the frames of so many samples."""
        return 1 + n_samples // self.hop

    def rows_of(self, wave: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n_bands, n_frames) in dB."""
        n = len(wave)
        n_frames = self.n_frames(n)
        padded = next_fast_len(n + round(TAIL_S * RATE_HZ))
        spectrum = torch.fft.rfft(torch.from_numpy(np.asarray(wave, np.float32)), padded)
        step_hz = RATE_HZ / padded
        # Frame k holds the energy from half a hop before its centre to half a hop after.
        edges = ((np.arange(n_frames + 1) - 0.5) * self.hop).clip(0, n)
        span = np.diff(edges)
        out = np.empty((self.n_bands, n_frames), np.float32)
        for band, centre_hz in enumerate(self.centre_hz):
            width_hz = 1.019 * float(erb_hz(centre_hz))
            first = max(1, math.ceil((centre_hz - REACH * width_hz) / step_hz))
            last = min(len(spectrum) - 1, math.floor((centre_hz + REACH * width_hz) / step_hz))
            hz = torch.arange(first, last + 1) * step_hz
            gain = (1 + ((hz - centre_hz) / width_hz) ** 2) ** (-ORDER / 2)
            # The analytic output at a lower rate: half its squared modulus is the mean square.
            few = next_fast_len(last - first + 1)
            analytic = torch.fft.ifft(spectrum[first : last + 1] * gain, few) * (2 * few / padded)
            energy = (analytic.abs().square() / 2).double().numpy()
            total = np.concatenate([[0.0], np.cumsum(energy)]) * (padded / few)
            at_edges = np.interp(edges, (np.arange(few + 1) - 0.5) * (padded / few), total)
            out[band] = np.diff(at_edges) / span
        return 10 * np.log10(np.maximum(out, 10 ** (self.floor_db / 10)))


# --- Spectro-temporal modulation ----------------------------------------------------------------

LOW_HZ, OCTAVES, PER_OCTAVE = 90.0, 6.5, 12  # the logarithmic axis on which scales are measured
