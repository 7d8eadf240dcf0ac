"""Passes over the spectra of a batch of waves, for a GPU; `stft.spectrum` has those for a CPU.

A GPU needs little time for a pass, but each pass costs the time to start its kernels. Spectra are
therefore those of several waves of one length: (waves, frames, bins) complex64. The results equal
those of `Spectrum` within rounding.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from neuromusic.features.stft.median import moving_median
from neuromusic.features.stft.spectrum import PARTS, TINY, hann


def phase_vocode(bins: Tensor, steps: Sequence[NDArray[np.float64]]) -> Tensor:
    """Compute the frames of a phase vocoder, (waves, most steps, bins).

    Output frame t of wave w lies at ``steps[w][t]`` among the frames of ``bins[w]``, whose last
    frame is followed by silence. Waves with fewer steps than others end with silent frames. See
    `Spectrum.at_tempo` for the method.
    """
    n_waves, n_frames = bins.shape[:2]
    position = np.full((n_waves, max(map(len, steps))), float(n_frames))
    for row, at in zip(position, steps, strict=True):
        row[: len(at)] = at
    bins = F.pad(bins, (0, 0, 0, 2))
    size = bins.abs()
    silent = size**2 < TINY
    phase = torch.where(silent, torch.ones_like(bins), bins / size.masked_fill(silent, 1))
    turns = phase[:, 1:] * phase[:, :-1].conj()
    frame = torch.from_numpy(position.astype(np.int64)).to(bins.device)
    fraction = torch.from_numpy(np.mod(position, 1).astype(np.float32)).to(bins.device)[..., None]
    wave = torch.arange(n_waves, device=bins.device)[:, None]
    phases = torch.cat([phase[:, :1], turns[wave, frame[:, :-1]]], 1).cumprod(1)
    return phases * torch.lerp(size[wave, frame], size[wave, frame + 1], fraction)


def moving_medians(bins: Tensor) -> tuple[Tensor, Tensor]:
    """Return moving medians of the magnitude along time and along frequency, shaped as ``bins``."""
    size = bins.abs()
    return _medians_along(size, 1), _medians_along(size, 2)


def _medians_along(size: Tensor, axis: int) -> Tensor:
    moved = size.movedim(axis, 0)
    return moving_median(moved.flatten(1)).view(moved.shape).movedim(0, axis)


def apply_mask(bins: Tensor, target: Tensor, other: Tensor, margin: Tensor) -> Tensor:
    """Multiply spectra by target ** 2 / (target ** 2 + margin ** 2 * other ** 2).

    ``target`` and ``other`` are magnitudes from `moving_medians`; ``margin`` (waves, 1, 1).
    """
    power = target**2
    return bins * (power / (power + margin**2 * other**2).clamp_min(TINY))


def apply_gains(bins: Tensor, gains: Tensor) -> Tensor:
    """Apply gains (..., n_bins) to spectra; bins beyond the input are zero."""
    n_out = gains.shape[-1]
    n_both = min(bins.shape[-1], n_out)
    return F.pad(bins[..., :n_both] * gains[..., :n_both], (0, n_out - n_both))


def overlap_add(
    bins: Tensor, n_frames: Sequence[int], n_samples: Sequence[int], length: int
) -> Tensor:
    """Return the waves (waves, most samples) of spectra, from frames of ``length`` samples.

    Wave w has ``n_samples[w]`` samples, made from its first ``n_frames[w]`` frames, and zeros after
    them. Windowed frames are overlapped and added, and divided by the sum of the squared windows
    (Griffin and Lim 1984, equation 6), as in librosa.istft.
    """
    device, hop = bins.device, length // PARTS
    window = hann(length, device)
    frame = torch.arange(bins.shape[1], device=device)
    inside = frame < torch.tensor(n_frames, device=device)[:, None]  # (waves, frames)
    frames = torch.fft.irfft(bins, length) * (window * inside[..., None])
    n_hops = bins.shape[1] - 1 + PARTS
    waves = frames.new_zeros(len(bins), n_hops, hop)
    weights = torch.zeros_like(waves)
    for part, (piece, weight) in enumerate(
        zip(frames.unflatten(-1, (PARTS, hop)).unbind(2), (window**2).view(PARTS, hop), strict=True)
    ):
        waves[:, part : part + bins.shape[1]] += piece
        weights[:, part : part + bins.shape[1]] += weight * inside[..., None]
    waves = (waves / weights.clamp_min(TINY)).flatten(1)[:, length // 2 :][:, : max(n_samples)]
    sample = torch.arange(waves.shape[1], device=device)
    return waves * (sample < torch.tensor(n_samples, device=device)[:, None])
