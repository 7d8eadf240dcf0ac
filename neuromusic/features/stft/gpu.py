"""Passes over spectra on a GPU: the functions of `compiled`, on all frames at once.

Spectra are (frames, bins) complex64.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuromusic.features.stft.median import moving_median

TINY = 1e-30  # a power that is none


def spectra(wave: Tensor, window: Tensor, hop: int) -> Tensor:
    """Return the spectra of a wave (n_samples,); see `stft.spectra`."""
    return torch.stft(
        wave, len(window), hop, window=window, pad_mode="constant", return_complex=True
    ).T


def filtered(bins: Tensor, gains: Tensor) -> Iterator[Tensor]:
    """Multiply each bin by its gain; as many bins as there are gains, silent where none is."""
    yield _filtered(bins, gains)


def vocoded(bins: Tensor, steps: NDArray[np.float64], gains: Tensor) -> Iterator[Tensor]:
    """Yield a phase vocoder's frames, with gains as in `filtered`; see `stft.Spectrum.at_tempo`.

    ``steps`` are their places in ``bins``, behind whose last frame silence follows.
    """
    bins = torch.nn.functional.pad(bins, (0, 0, 0, 1))
    size = bins.abs()
    silent = size**2 < TINY
    phase = torch.where(silent, torch.ones_like(bins), bins / size.masked_fill(silent, 1))
    turns = phase[1:] * phase[:-1].conj()
    at = torch.from_numpy(steps.astype(np.int64)).to(bins.device)
    share = torch.from_numpy(np.mod(steps, 1).astype(np.float32)).to(bins.device)[:, None]
    made = torch.cat([phase[:1], turns[at[:-1]]]).cumprod(0)
    yield _filtered(made * torch.lerp(size[at], size[at + 1], share), gains)


def medians(bins: Tensor) -> tuple[Tensor, Tensor]:
    """Return moving medians of the magnitude along time and along frequency, (frames, bins)."""
    size = bins.abs()
    return moving_median(size), moving_median(size.T).T


def masked(bins: Tensor, wanted: Tensor, other: Tensor, margin: float) -> Iterator[Tensor]:
    """Multiply bins by wanted ** 2 / (wanted ** 2 + margin ** 2 * other ** 2)."""
    power = wanted**2
    yield bins * (power / (power + margin**2 * other**2).clamp_min(TINY))


def overlap_add(spectra: Iterable[Tensor], window: Tensor, hop: int, n_frames: int) -> Tensor:
    """Return the sum (samples,) of the inverse transforms of frames, weighted, ``hop`` apart.

    What is behind ``n_frames`` is left out; ``hop`` divides the frames.
    """
    frames = torch.fft.irfft(torch.cat(list(spectra))[:n_frames], len(window)) * window
    parts = len(window) // hop
    wave = frames.new_zeros(n_frames - 1 + parts, hop)
    for part, piece in enumerate(frames.view(-1, parts, hop).unbind(1)):
        wave[part : part + len(piece)] += piece
    return wave.flatten()


def _filtered(bins: Tensor, gains: Tensor) -> Tensor:
    n = min(bins.shape[1], len(gains))
    return torch.nn.functional.pad(bins[:, :n] * gains[:n], (0, len(gains) - n))
