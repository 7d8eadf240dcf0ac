"""Passes over spectra on a GPU: the functions of `stft.cpu`, on all frames at once.

Spectra are (frames, bins) complex64.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuromusic.features.stft.median import moving_median

TINY = 1e-30  # powers below this count as zero


def spectra(wave: Tensor, window: Tensor, hop: int) -> Tensor:
    """Return the spectra (frames, bins) of a wave (n_samples,); see `stft.spectrum.spectra`."""
    return torch.stft(
        wave, len(window), hop, window=window, pad_mode="constant", return_complex=True
    ).T


def apply_gains(bins: Tensor, gains: Tensor) -> Iterator[Tensor]:
    """Apply per-bin gains to spectra (frames, bins); yields (frames, len(gains)).

    Bins beyond the input are zero.
    """
    yield _apply_gains(bins, gains)


def phase_vocode(bins: Tensor, steps: NDArray[np.float64], gains: Tensor) -> Iterator[Tensor]:
    """Compute the frames of a phase vocoder; yields (len(steps), len(gains)).

    Output frame t lies at ``steps[t]`` among the frames of ``bins``, whose last frame is followed
    by silence. See `Spectrum.at_tempo` for the method, `apply_gains` for the gains.
    """
    bins = torch.nn.functional.pad(bins, (0, 0, 0, 1))
    size = bins.abs()
    silent = size**2 < TINY
    phase = torch.where(silent, torch.ones_like(bins), bins / size.masked_fill(silent, 1))
    turns = phase[1:] * phase[:-1].conj()
    frame = torch.from_numpy(steps.astype(np.int64)).to(bins.device)
    fraction = torch.from_numpy(np.mod(steps, 1).astype(np.float32)).to(bins.device)[:, None]
    phases = torch.cat([phase[:1], turns[frame[:-1]]]).cumprod(0)
    yield _apply_gains(phases * torch.lerp(size[frame], size[frame + 1], fraction), gains)


def moving_medians(bins: Tensor) -> tuple[Tensor, Tensor]:
    """Return moving medians of the magnitude along time and along frequency, (frames, bins)."""
    size = bins.abs()
    return moving_median(size), moving_median(size.T).T


def apply_mask(bins: Tensor, target: Tensor, other: Tensor, margin: float) -> Iterator[Tensor]:
    """Multiply spectra by target ** 2 / (target ** 2 + margin ** 2 * other ** 2).

    All are (frames, bins); ``target`` and ``other`` are magnitudes from `moving_medians`.
    """
    power = target**2
    yield bins * (power / (power + margin**2 * other**2).clamp_min(TINY))


def overlap_add(spectra: Iterable[Tensor], window: Tensor, hop: int, n_frames: int) -> Tensor:
    """Return the wave (samples,) of spectra: windowed inverse transforms, added ``hop`` apart.

    Frames after the first ``n_frames`` are left out; ``hop`` divides the length of the window.
    """
    frames = torch.fft.irfft(torch.cat(list(spectra))[:n_frames], len(window)) * window
    parts = len(window) // hop
    wave = frames.new_zeros(n_frames - 1 + parts, hop)
    for part, piece in enumerate(frames.view(-1, parts, hop).unbind(1)):
        wave[part : part + len(piece)] += piece
    return wave.flatten()


def _apply_gains(bins: Tensor, gains: Tensor) -> Tensor:
    n = min(bins.shape[1], len(gains))
    return torch.nn.functional.pad(bins[:, :n] * gains[:n], (0, len(gains) - n))
