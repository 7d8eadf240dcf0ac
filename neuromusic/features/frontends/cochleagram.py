"""Front end: cochleagram, the energies of gammatone filters, a model of the inner ear."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from torch import Tensor

from neuromusic.stimuli.audio import RATE_HZ

ORDER = 4  # of a gammatone filter
TAIL_S = 0.25  # silence appended, so the end of the sound does not wrap around to its beginning
REACH = 12.0  # bandwidths that are kept on either side of a filter's centre; beyond: below -86 dB


def erb_hz(hz: float) -> float:
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
    their delay. A frame holds the mean square of the output from half a hop before its centre to
    half a hop after.
    """

    n_bands: int = 64
    low_hz: float = 50.0
    high_hz: float = 10_000.0
    hop: int = 512  # samples from one frame to the next
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
        """Return the number of frames of a wave with ``n_samples`` samples."""
        return 1 + n_samples // self.hop

    def compute(self, wave: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n_bands, n_frames) in dB for a mono wave at RATE_HZ."""
        n = len(wave)
        n_frames = self.n_frames(n)
        n_fft = next_fast_len(n + round(TAIL_S * RATE_HZ))
        spectrum = torch.fft.rfft(torch.from_numpy(np.asarray(wave, np.float32)), n_fft)
        edges = ((np.arange(n_frames + 1) - 0.5) * self.hop).clip(0, n)
        span = np.diff(edges)
        out = np.empty((self.n_bands, n_frames), np.float32)
        for band, centre_hz in enumerate(self.centre_hz):
            energy = _band_energy(spectrum, centre_hz, n_fft)
            step = n_fft / len(energy)  # samples of the wave per value
            total = np.concatenate([[0.0], np.cumsum(energy)]) * step
            at_edges = np.interp(edges, (np.arange(len(energy) + 1) - 0.5) * step, total)
            out[band] = np.diff(at_edges) / span
        return 10 * np.log10(np.maximum(out, 10 ** (self.floor_db / 10)))


def _band_energy(spectrum: Tensor, centre_hz: float, n_fft: int) -> NDArray[np.float64]:
    """Return the square of one gammatone filter's output, averaged over its oscillation.

    ``spectrum`` is that of the wave, over ``n_fft`` samples; the result covers the same time at the
    lowest rate that represents the filter's band.
    """
    step_hz = RATE_HZ / n_fft
    width_hz = 1.019 * erb_hz(float(centre_hz))
    first = max(1, math.ceil((centre_hz - REACH * width_hz) / step_hz))
    last = min(len(spectrum) - 1, math.floor((centre_hz + REACH * width_hz) / step_hz))
    hz = torch.arange(first, last + 1) * step_hz
    gain = (1 + ((hz - centre_hz) / width_hz) ** 2) ** (-ORDER / 2)
    n = next_fast_len(last - first + 1)
    # Half the squared modulus of the analytic signal is the mean square of the real one.
    analytic = torch.fft.ifft(spectrum[first : last + 1] * gain, n) * (2 * n / n_fft)
    return (analytic.abs().square() / 2).double().numpy()
