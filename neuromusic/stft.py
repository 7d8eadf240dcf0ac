"""The short-time spectrum of a wave, and the variants that are made through it.

Everything runs on the device of the wave. Spectra are (frames, bins), so that a frame lies in one
piece of memory.
"""

from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuromusic.median import moving_median

# Of the phase vocoder and of the median filters; librosa's defaults.
N_FFT, HOP = 2048, 512
PARTS = N_FFT // HOP
TINY = 1e-30  # a power or a magnitude that is none
BLOCK = 128  # frames at a time, so that they stay near a CPU


def blocks(n: int, device: torch.device) -> Iterator[slice]:
    """Yield slices of n frames: blocks on a CPU, all of them on a GPU."""
    size = BLOCK if device.type == "cpu" else n
    return (slice(first, min(n, first + size)) for first in range(0, n, size))


def spectra(wave: Tensor, n_fft: int, hop: int, centred: bool = True) -> Tensor:
    """Return the spectra (..., frames, n_fft // 2 + 1) complex64 of waves (..., n_samples).

    Under a Hann window; frame k is centred on sample k * hop, with silence before and behind the
    wave, as librosa has it since 0.10; or not ``centred``, it begins there and nothing is padded.
    """
    return torch.stft(
        wave, n_fft, hop, window=_hann(n_fft, wave.device), center=centred, pad_mode="constant",
        return_complex=True,
    ).transpose(-1, -2)  # fmt: skip


@lru_cache
def _hann(n: int, device: torch.device) -> Tensor:
    return torch.hann_window(n, device=device)


def power(bins: Tensor) -> Tensor:
    """Return the squared magnitudes of spectra."""
    x = _array(bins)
    return torch.as_tensor(x.real**2 + x.imag**2)


class Spectrum:
    """The spectrum of a wave (n_samples,), and what is derived of it when it is first asked for."""

    def __init__(self, wave: Tensor) -> None:
        self.n_samples = len(wave)
        self.device = wave.device
        self.bins = spectra(wave, N_FFT, HOP)  # (frames, bins) complex64
        self.padded = wave.new_zeros(len(self.bins) + 1, self.bins.shape[1])  # silence follows
        self.magnitude = self.padded[:-1]  # (frames, bins)
        torch.sqrt(power(self.bins), out=self.magnitude)

    @cached_property
    def turns(self) -> tuple[Any, Any]:
        """The phase of the first frame (bins,), and how it turns to the next one (frames, bins).

        As complex numbers of magnitude 1; the phase of silence is 0. Silence follows the last
        frame.
        """
        bins, magnitude = _array(self.bins), _array(self.magnitude)
        turns = torch.empty_like(self.bins)
        turns_ = _array(turns)
        first: Any = None
        last: Any = None
        for part in blocks(len(bins), self.device):
            size = magnitude[part]
            silent = size < TINY
            phase = bins[part] * (1 / (size + silent))
            if silent.any():
                phase[silent] = 1
            if last is None:
                first = phase[0]
            else:
                turns_[part.start - 1] = phase[0] * last.conj()
            turns_[part.start : part.stop - 1] = phase[1:] * phase[:-1].conj()
            last = phase[-1]
        turns_[-1] = last.conj()
        return first, turns_

    @cached_property
    def medians(self) -> tuple[Tensor, Tensor]:
        """Moving medians of the magnitude along time and along frequency, (frames, bins) each.

        In half precision (.05 %) on a CPU, which halves the work: as integers these values sort as
        they do as floats.
        """
        if self.magnitude.is_cuda:
            return moving_median(self.magnitude), moving_median(self.magnitude.T).T
        x = self.magnitude.half().view(torch.int16).numpy()
        medians = moving_median(x), moving_median(x.T).T
        along, across = (torch.from_numpy(y).view(torch.half) for y in medians)
        return along, across

    def stretched(self, rate: float) -> Tensor:
        """Return the wave at another tempo (> 1 is faster), its pitch kept, by a phase vocoder.

        As librosa.effects.time_stretch (Flanagan and Golden 1966; Ellis 2002): magnitudes are
        interpolated between frames, and phases turn from frame to frame as the original's do.
        There a turn is an angle, wrapped and added; here it is a complex number that is multiplied,
        which forgets whole turns by itself.
        """
        steps = np.arange(0, len(self.bins), rate)
        frame = _array(torch.from_numpy(steps.astype(np.int64)).to(self.device))
        share = _array(torch.from_numpy(np.mod(steps, 1).astype(np.float32)).to(self.device))
        magnitude = _array(self.padded)
        phase, turns = self.turns
        bins = self.bins.new_empty(len(frame), self.bins.shape[1])
        out = _array(bins)
        for part in blocks(len(frame), self.device):
            at = frame[part]
            phase = _running_product(phase, turns[at], out[part])
            size = magnitude[at]
            size += share[part, None] * (magnitude[at + 1] - size)
            out[part] *= size
        return inverse(bins, round(self.n_samples / rate))

    def part(self, harmonic: bool, margin: float) -> Tensor:
        """Return the harmonic or the percussive part of the wave.

        Medians of the magnitude along time keep what is harmonic, those along frequency what is
        percussive; soft masks of power 2 (Fitzgerald 2010; margin after Driedger, Mueller and Disch
        2014), as librosa.effects.hpss.
        """
        along, across = self.medians
        wanted, other = (along, across) if harmonic else (across, along)

        bins = torch.empty_like(self.bins)
        out, original = _array(bins), _array(self.bins)
        for part in blocks(len(bins), self.device):
            share = wanted[part].float().square_()
            total = torch.add(share, other[part].float().square_(), alpha=margin**2)
            share /= total.clamp_min_(TINY)
            out[part] = original[part] * _array(share)
        return inverse(bins, self.n_samples)


def _array(x: Tensor) -> Any:
    """Return a tensor as numpy's array, which has less to do a call, where that can be."""
    return x if x.is_cuda or x.requires_grad else x.numpy()


def _running_product(first: Any, factors: Any, out: Any) -> Any:
    """Write rows first, first * factors[0], ... (n, bins); return the one that comes next."""
    if isinstance(factors, Tensor):
        products = torch.cat([first[None], factors]).cumprod(0)
        out[:] = products[:-1]
        return products[-1]
    out[0] = first
    for before, factor, after in zip(out[:-1], factors[:-1], out[1:], strict=True):
        np.multiply(before, factor, out=after)
    return out[-1] * factors[-1]


def inverse(bins: Tensor, n_samples: int) -> Tensor:
    """Return the wave (n_samples,) of a spectrum (frames, bins).

    The frames are weighted, overlapped and added (Griffin and Lim 1984, equation 6), as
    librosa.istft has it.
    """
    # As many frames as reach into the wave.
    frames = torch.fft.irfft(bins[: -(-(n_samples + N_FFT // 2) // HOP)]).view(-1, PARTS, HOP)
    window = _hann(N_FFT, bins.device).view(PARTS, HOP)
    n = len(frames)
    wave = frames.new_zeros(n + PARTS - 1, HOP)
    reached = frames.new_zeros(n + PARTS - 1, PARTS)  # by which parts of frames
    for part in range(PARTS):
        wave[part : part + n].addcmul_(frames[:, part], window[part])
        reached[part : part + n, part] = 1
    wave /= (reached @ window.square()).clamp_min_(TINY)
    return wave.view(-1)[N_FFT // 2 :][:n_samples]
