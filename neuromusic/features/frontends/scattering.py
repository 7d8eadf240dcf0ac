"""Front end: time scattering, first and second order, with Morlet wavelets.

Anden and Mallat 2014 (IEEE TSP 62, sections II to IV). Written here because kymatio, the reference
implementation, cannot be imported with SciPy 1.17. Every filter is a Gaussian in frequency, so each
output is computed at the lowest rate that represents it.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from torch import Tensor

from neuromusic.stimuli.audio import RATE_HZ

TAIL_S = 1.0  # silence appended, so the end of the sound does not wrap around to its beginning
REACH = 4.0  # standard deviations of a filter that are kept
LOW_PASS = 0.1  # deviation of the low-pass for an average over one sample, cycles/sample


@dataclass(frozen=True)
class ScatteringSpec:
    """Scattering coefficients in dB: channel 0 is the first order, the others the second.

    A band is a wavelet of the first order, from low to high; a channel above 0 is a wavelet of the
    second order (a modulation rate), also from low to high. The coefficient is the floor if the
    second wavelet is faster than the envelope of the first can be.
    """

    per_octave: int = 8
    low_hz: float = 60.0
    high_hz: float = 8_000.0
    rate_low_hz: float = 2.0
    rate_high_hz: float = 256.0
    average: int = 2048  # samples; also the distance between frames
    floor_db: float = -100.0

    name: ClassVar[str] = "scattering"
    has_bands_db: ClassVar[bool] = False

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return self.average

    @property
    def frame_s(self) -> float:
        """Seconds from one frame to the next."""
        return self.hop / RATE_HZ

    @property
    def floor(self) -> float:
        """Value of silence, in dB."""
        return self.floor_db

    @property
    def first_hz(self) -> NDArray[np.float64]:
        """Centre frequencies of the wavelets of the first order."""
        return _spaced(self.low_hz, self.high_hz, self.per_octave)

    @property
    def second_hz(self) -> NDArray[np.float64]:
        """Centre frequencies of the wavelets of the second order, one per octave."""
        return _spaced(self.rate_low_hz, self.rate_high_hz, 1)

    @property
    def n_channels(self) -> int:
        """Number of channels: one for the first order, one per rate of the second."""
        return 1 + len(self.second_hz)

    @property
    def n_bands(self) -> int:
        """Number of wavelets of the first order."""
        return len(self.first_hz)

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames of a wave with ``n_samples`` samples."""
        return 1 + n_samples // self.hop

    def compute(self, wave: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (channels x bands, frames) in dB for a mono wave at RATE_HZ."""
        n_frames = self.n_frames(len(wave))
        steps = 1 + math.ceil((len(wave) + TAIL_S * RATE_HZ) / self.hop)
        length = steps * self.hop  # so that a frame is a whole number of samples
        spectrum = torch.fft.fft(torch.from_numpy(np.asarray(wave, np.float32)), length)
        spectrum = spectrum / length
        step_hz = RATE_HZ / length
        out = np.zeros((self.n_channels, self.n_bands, n_frames), np.float32)
        for band, centre_hz in enumerate(self.first_hz):
            envelope = _modulus(spectrum, centre_hz, self.first_width_hz(centre_hz), step_hz)
            out[0, band] = self._average(envelope, steps, step_hz)[:n_frames]
            envelope_spectrum = torch.fft.fft(envelope) / len(envelope)
            for channel, rate_hz in enumerate(self.second_hz, start=1):
                if rate_hz > self.first_width_hz(centre_hz) * REACH / 2:
                    break
                width_hz = rate_hz * _relative_width(1)
                second = _modulus(envelope_spectrum, rate_hz, width_hz, step_hz)
                out[channel, band] = self._average(second, steps, step_hz)[:n_frames]
        rows = out.reshape(-1, n_frames)
        return 20 * np.log10(np.maximum(rows, 10 ** (self.floor_db / 20)))

    def first_width_hz(self, centre_hz: float) -> float:
        """Return the standard deviation of a first-order wavelet, at least that of the average."""
        return max(centre_hz * _relative_width(self.per_octave), LOW_PASS * RATE_HZ / self.average)

    def _average(self, x: Tensor, steps: int, step_hz: float) -> NDArray[np.float32]:
        """Return ``steps`` values of a signal averaged over ``average`` samples."""
        spectrum = torch.fft.fft(x) / len(x)
        deviation_hz = LOW_PASS * RATE_HZ / self.average
        half = (min(steps, len(x)) - 1) // 2
        hz = torch.arange(-half, half + 1) * step_hz
        kept = spectrum[torch.arange(-half, half + 1)] * torch.exp(-0.5 * (hz / deviation_hz) ** 2)
        full = torch.zeros(steps, dtype=kept.dtype)
        full[torch.arange(-half, half + 1)] = kept
        return (torch.fft.ifft(full) * steps).real.clamp_min(0).numpy()


def _spaced(low_hz: float, high_hz: float, per_octave: int) -> NDArray[np.float64]:
    n = 1 + math.floor(math.log2(high_hz / low_hz) * per_octave + 1e-9)
    return low_hz * 2.0 ** (np.arange(n) / per_octave)


@lru_cache
def _relative_width(per_octave: int) -> float:
    """Return deviation / centre of wavelets whose neighbours cross at half their power."""
    ratio = 2.0 ** (-1 / per_octave)
    return (1 - ratio) / (1 + ratio) / math.sqrt(math.log(2))


def _modulus(spectrum: Tensor, centre_hz: float, deviation_hz: float, step_hz: float) -> Tensor:
    """Return |x * psi| at a low rate, from the spectrum (n,) of x divided by its length.

    The wavelet psi is analytic: twice a Gaussian at positive frequencies, 0 at 0 Hz.
    """
    top = (len(spectrum) - 1) // 2
    first = max(1, math.ceil((centre_hz - REACH * deviation_hz) / step_hz))
    last = min(top, math.floor((centre_hz + REACH * deviation_hz) / step_hz))
    if last < first:
        return torch.zeros(1)
    hz = torch.arange(first, last + 1) * step_hz
    gain = 2 * torch.exp(-0.5 * ((hz - centre_hz) / deviation_hz) ** 2)
    # The modulus has up to twice the bandwidth of the signal.
    n = next_fast_len(2 * (last - first + 1))
    return (torch.fft.ifft(spectrum[first : last + 1] * gain, n) * n).abs()
