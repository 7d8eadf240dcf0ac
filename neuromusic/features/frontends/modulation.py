"""Front end: spectro-temporal modulation of a log-mel spectrogram, as in auditory cortex."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from torch import Tensor

from neuromusic.features.frontends.mel import MelSpec, log_mel, mel_hz

# The logarithmic frequency axis on which scales are measured.
LOW_HZ, OCTAVES, PER_OCTAVE = 90.0, 6.5, 12
POOLED_BANDS = 4  # bands of that axis that are averaged into one band of the output


@dataclass(frozen=True)
class ModulationSpec:
    """Modulation amplitudes of a log-mel spectrogram, in dB of the spectrogram.

    Channels are (direction, rate, scale): quadrature filters on the rate (Hz, along time; rising
    and falling) and the scale (cycles/octave, along frequency), each a Gaussian one octave wide on
    a logarithmic axis (after Chi, Ru and Shamma 2005, section II C, who use other filter shapes).
    Rates above a third of the spectrogram's frame rate are left out.
    """

    mel_frame_s: float = MelSpec().frame_s
    n_mels: int = 128
    rates_hz: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0)
    scales: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)
    hop_s: float = 0.1  # approximately: rounded to whole frames of the spectrogram

    name: ClassVar[str] = "modulation"
    has_bands_db: ClassVar[bool] = False
    floor: ClassVar[float] = 0.0

    @property
    def pooled_frames(self) -> int:
        """Number of frames of the spectrogram in one frame of the output."""
        return max(1, round(self.hop_s / self.mel_frame_s))

    @property
    def frame_s(self) -> float:
        """Seconds from one frame to the next."""
        return self.pooled_frames * self.mel_frame_s

    @property
    def usable_rates_hz(self) -> tuple[float, ...]:
        """The rates that the spectrogram's frame rate can represent."""
        return tuple(rate for rate in self.rates_hz if rate <= 1 / (3 * self.mel_frame_s))

    @property
    def n_channels(self) -> int:
        """Number of channels: directions x rates x scales."""
        return 2 * len(self.usable_rates_hz) * len(self.scales)

    @property
    def n_bands(self) -> int:
        """Number of bands per channel, three per octave."""
        return round(OCTAVES * PER_OCTAVE) // POOLED_BANDS

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames of a wave with ``n_samples`` samples."""
        return self.n_frames_of_mel(MelSpec().n_frames(n_samples))

    def n_frames_of_mel(self, n_mel_frames: int) -> int:
        """Return the number of frames of a spectrogram with ``n_mel_frames`` frames."""
        return 1 + (n_mel_frames - 1) // self.pooled_frames

    def compute(self, wave: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (channels x bands, frames) for a mono wave at RATE_HZ."""
        return self.compute_from_mel(log_mel(wave, MelSpec(n_mels=self.n_mels)))

    def compute_from_mel(self, mel: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (channels x bands, frames) for a log-mel spectrogram (n_mels, n_frames) in dB."""
        x = torch.from_numpy(_log_axis(self.n_mels) @ mel.astype(np.float32))
        x = x - x.mean()  # so that padding with zeros is padding with the mean
        bands, n = x.shape
        size = (2 * bands, next_fast_len(n + round(2 / (min(self.rates_hz) * self.mel_frame_s))))
        spectrum = torch.fft.fft2(x, size)
        n_frames = self.n_frames_of_mel(n)
        edges = (np.arange(n_frames + 1) - 0.5) * self.pooled_frames
        out = []
        for gain in _modulation_filters(self, size):
            amplitude = torch.fft.ifft2(spectrum * gain)[:bands, :n].abs()
            pooled = amplitude[: self.n_bands * POOLED_BANDS].unflatten(0, (self.n_bands, -1))
            out.append(_mean_between(pooled.mean(1).numpy(), edges))
        return np.concatenate(out).astype(np.float32)


@lru_cache
def _log_axis(n_mels: int) -> NDArray[np.float32]:
    """Return the matrix (bands, n_mels) that interpolates mel bands on a logarithmic axis."""
    hz = LOW_HZ * 2 ** (np.arange(round(OCTAVES * PER_OCTAVE)) / PER_OCTAVE)
    mel = mel_hz(n_mels)
    return np.stack([np.interp(hz, mel, unit) for unit in np.eye(n_mels)], axis=1).astype(
        np.float32
    )


@lru_cache(maxsize=4)
def _modulation_filters(spec: ModulationSpec, size: tuple[int, int]) -> list[Tensor]:
    """Return each channel's gains for a two-dimensional Fourier transform of shape ``size``."""
    scale = np.fft.fftfreq(size[0], 1 / PER_OCTAVE)[:, None]  # cycles/octave
    rate = np.fft.fftfreq(size[1], spec.mel_frame_s)[None, :]  # Hz
    gains = []
    for direction in (1, -1):
        for centre_hz in spec.usable_rates_hz:
            for centre in spec.scales:
                gain = 2 * _octave(direction * rate, centre_hz) * _octave(scale, centre)
                gains.append(torch.from_numpy(gain.astype(np.float32)))
    return gains


def _octave(x: NDArray[np.floating], centre: float) -> NDArray[np.floating]:
    """Return a Gaussian on log2(x / centre), half its height at half an octave; 0 for x <= 0."""
    octaves = np.log2(np.maximum(x, 1e-12) / centre)
    return np.where(x > 0, 0.5 ** ((2 * octaves) ** 2), 0.0)


def _mean_between(x: NDArray[np.float32], edges: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the mean of (bands, n) between successive edges, limited to the extent of x."""
    n = x.shape[1]
    limited = edges.clip(-0.5, n - 0.5)
    total = np.concatenate([np.zeros((len(x), 1)), np.cumsum(x, axis=1, dtype=np.float64)], axis=1)
    at = np.stack([np.interp(limited, np.arange(n + 1) - 0.5, row) for row in total])
    return np.diff(at, axis=1) / np.diff(limited)
