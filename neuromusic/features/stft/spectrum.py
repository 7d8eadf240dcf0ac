"""The short-time spectrum of a wave, and the variants that are made through it.

Spectra are (frames, bins), so that a frame lies in one piece of memory.
"""

import math
from collections.abc import Iterable
from functools import cached_property, lru_cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Of the phase vocoder and of the median filters; librosa's defaults.
N_FFT, HOP = 2048, 512
PARTS = N_FFT // HOP
TINY = 1e-30  # a weight that is none

# A wave is played faster (or slower) where the spectrum of its frames makes shorter (or longer)
# ones. Of so many samples: a multiple of the hops, and quick to transform.
LENGTHS = tuple(n for n in range(N_FFT // 2, 2 * N_FFT + 1, PARTS) if 30030**11 % n == 0)

# Where soxr's HQ falls to a half, and how fast, as shares of what a rate can hold; measured.
EDGE, EDGE_WIDTH = 0.9568, 0.0115


def nearest_length(ratio: float) -> int:
    """Return which of LENGTHS is nearest to ``ratio`` times N_FFT."""
    return min(LENGTHS, key=lambda n: abs(n - ratio * N_FFT))


def spectra(wave: Tensor, n_fft: int, hop: int, centred: bool = True) -> Tensor:
    """Return the spectra (..., frames, n_fft // 2 + 1) complex64 of waves (..., n_samples).

    Under a Hann window; frame k is centred on sample k * hop, with silence before and behind the
    wave, as librosa has it since 0.10; or not ``centred``, it begins there and nothing is padded.
    """
    return torch.stft(
        wave, n_fft, hop, window=hann(n_fft, wave.device), center=centred, pad_mode="constant",
        return_complex=True,
    ).transpose(-1, -2)  # fmt: skip


@lru_cache
def hann(n: int, device: torch.device) -> Tensor:
    """Return a Hann window (n,)."""
    return torch.hann_window(n, device=device)


def passes(device: torch.device) -> ModuleType:
    """Return the passes over spectra for a device: `compiled`, or `tensors` on a GPU."""
    if device.type == "cpu":
        from neuromusic.features.stft import cpu  # few commands need Numba

        return cpu
    from neuromusic.features.stft import gpu

    return gpu


class Spectrum:
    """The spectrum of a wave (n_samples,) float32, and the variants that are made of it."""

    def __init__(self, wave: Tensor) -> None:
        self.n_samples = len(wave)
        self.device = wave.device
        self.passes = passes(wave.device)
        # (frames, bins) complex64
        self.bins: Tensor = self.passes.spectra(wave, hann(N_FFT, wave.device), HOP)

    @cached_property
    def medians(self) -> tuple[Any, Any]:
        """Moving medians of the bins along time and along frequency, (frames, bins) each."""
        along, across = self.passes.medians(self.bins)
        return along, across

    def at_tempo(self, rate: float, length: int = N_FFT) -> Tensor:
        """Return the wave at another tempo (> 1 is faster), its pitch kept, by a phase vocoder.

        As librosa.effects.time_stretch (Flanagan and Golden 1966; Ellis 2002): magnitudes are
        interpolated between frames, and phases turn from frame to frame as the original's do.
        There a turn is an angle, wrapped and added; here it is a complex number that is multiplied,
        which forgets whole turns by itself. What comes of it is played at the speed of frames of
        ``length`` samples; see `played`.
        """
        steps = np.arange(0, len(self.bins), rate)
        made = self.passes.vocoded(self.bins, steps, self._gains(length))
        return self._inverse(made, len(steps), self.n_samples / rate, length)

    def played(self, length: int) -> Tensor:
        """Return the wave played N_FFT / ``length`` times as fast; tempo and pitch go together.

        Each frame is resampled by its Fourier transform, to ``length`` samples (of LENGTHS), and
        the frames are added that much further apart; with soxr's edge at the highest frequencies.
        """
        made = self.passes.filtered(self.bins, self._gains(length))
        return self._inverse(made, len(self.bins), self.n_samples, length)

    def without_treble(self, share: float) -> Tensor:
        """Return the wave after resampling down to ``share`` of its rate and back."""
        gains = _edge(share * N_FFT / 2, N_FFT // 2 + 1, self.device) ** 2  # down, and up again
        made = self.passes.filtered(self.bins, gains)
        return self._inverse(made, len(self.bins), self.n_samples)

    def part(self, harmonic: bool, margin: float) -> Tensor:
        """Return the harmonic or the percussive part of the wave.

        Medians of the magnitude along time keep what is harmonic, those along frequency what is
        percussive; soft masks of power 2 (Fitzgerald 2010; margin after Driedger, Mueller and Disch
        2014), as librosa.effects.hpss.
        """
        along, across = self.medians
        wanted, other = (along, across) if harmonic else (across, along)
        made = self.passes.masked(self.bins, wanted, other, margin)
        return self._inverse(made, len(self.bins), self.n_samples)

    def _gains(self, length: int) -> Tensor:
        """Return by how much bins are multiplied for frames of ``length`` samples."""
        if length == N_FFT:
            return torch.ones(N_FFT // 2 + 1, device=self.device)
        gains = _edge(min(length, N_FFT) / 2, length // 2 + 1, self.device)
        return gains * (length / N_FFT)  # an inverse transform divides by it

    def _inverse(
        self, made: Iterable[Tensor], n_frames: int, n_samples: float, length: int = N_FFT
    ) -> Tensor:
        """Return the wave of spectra, of which frames of N_FFT would make ``n_samples`` samples.

        The frames are weighted, overlapped and added (Griffin and Lim 1984, equation 6), as
        librosa.istft has it.
        """
        n = round(n_samples * length / N_FFT)
        hop = length // PARTS
        n_frames = min(n_frames, -(-(n + length // 2) // hop))  # as many as reach into the wave
        window, ends = _synthesis(length, min(n_frames, PARTS), self.device)
        wave = self.passes.overlap_add(made, window, hop, n_frames)
        missed = (PARTS - 1) * hop
        wave[:missed] *= ends[:missed]
        wave[max(missed, len(wave) - missed) :] *= ends[missed:][-missed:]
        return wave[length // 2 :][:n]


@lru_cache
def _synthesis(length: int, n_frames: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the window (length,) under which frames are added, where PARTS of them meet.

    And by how much more the sum of ``n_frames`` counts where fewer do.
    """
    window = hann(length, device)
    weights = (window**2).view(PARTS, -1)
    whole = weights.sum(0)
    met = weights.new_zeros(n_frames + PARTS - 1, length // PARTS)
    for part in range(PARTS):
        met[part : part + n_frames] += weights[part]
    return window / whole.repeat(PARTS), (whole / met.clamp_min(TINY)).flatten()


@lru_cache
def _edge(limit: float, n: int, device: torch.device) -> Tensor:
    """Return how much of n bins passes where soxr resamples to what holds ``limit`` bins."""
    place = torch.arange(n, device=device) / limit
    return 0.5 * torch.erfc((place - EDGE) / (EDGE_WIDTH * math.sqrt(2)))
