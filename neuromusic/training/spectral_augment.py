"""Random changes of the log-mel windows of a training batch: mixup, masks, gain, tilt, warp.

All are computed on the batch's device, with the generator that is passed in. Windows are (batch,
mels, frames) in dB.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from neuromusic.training.config import Augment


def augment_batch(
    x: Tensor,
    labels: Tensor,
    settings: Augment,
    window: int,
    frame_s: float,
    rng: torch.Generator,
    is_wave: bool = False,
) -> tuple[Tensor, Tensor]:
    """Apply all changes that the settings turn on.

    Parameters
    ----------
    x : tensor (batch, mels, frames) in dB, or (batch, 1, samples) if ``is_wave``
        At least ``window`` frames: a faster tempo needs more sound to fill the window.
    labels : tensor (batch, classes)
        Probabilities.
    settings : Augment
    window : int
        Number of frames to return.
    frame_s : float
        Seconds per frame.
    rng : torch.Generator
        On the device of ``x``.
    is_wave : bool
        Whether ``x`` is samples.

    Returns
    -------
    x : tensor (batch, mels, window)
    labels : tensor (batch, classes)
        Mixed like the windows.
    """
    if settings.time_scale or settings.mel_shift:
        x = warp(x, window, settings.time_scale, settings.mel_shift, rng)
    if settings.gain_db:
        gain_db = settings.gain_db * (2 * _rand(x, len(x), 1, 1, rng=rng) - 1)
        x = x * 10 ** (gain_db / 20) if is_wave else x + gain_db
    if settings.tilt_db:
        x = x + tilt(x.shape[0], x.shape[1], settings.tilt_db, x, rng)
    if settings.mixup:
        x, labels = mixup(x, labels, settings.mixup, rng)
    for _ in range(settings.time_masks):
        x = mask(x, 2, settings.time_mask_s / frame_s, rng)
    for _ in range(settings.mel_masks):
        x = mask(x, 1, settings.mel_mask_share * x.shape[1], rng)
    return x, labels


def _rand(like: Tensor, *shape: int, rng: torch.Generator) -> Tensor:
    return torch.rand(*shape, generator=rng, device=like.device)


def mixup(x: Tensor, labels: Tensor, alpha: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mix each window with another of the batch, and their labels in the same proportions.

    The proportion of a window is drawn from Beta(alpha, alpha) and is at least one half. Log-mel
    values are mixed, not sounds (Zhang et al. 2018, eq. 1).
    """
    other = torch.randperm(len(x), generator=rng, device=x.device)
    # Two gamma variates make a beta variate; torch's own Beta distribution takes no generator.
    concentration = torch.full((2, len(x)), alpha, device=x.device)
    gamma = torch._standard_gamma(concentration, generator=rng)
    weight = gamma[0] / gamma.sum(0).clamp_min(1e-12)
    weight = torch.maximum(weight, 1 - weight)
    mixed = weight[:, None, None] * x + (1 - weight[:, None, None]) * x[other]
    return mixed, weight[:, None] * labels + (1 - weight)[:, None] * labels[other]


def mask(x: Tensor, dim: int, longest: float, rng: torch.Generator) -> Tensor:
    """Replace one stretch of each window, up to ``longest`` frames or bands, by the batch's mean.

    The mean is that of each band. ``dim`` is 2 for frames and 1 for bands. This is SpecAugment
    (Park et al. 2019, section 2) without its time warp.
    """
    size = x.shape[dim]
    length = _rand(x, len(x), 1, rng=rng) * min(longest, size)
    first = _rand(x, len(x), 1, rng=rng) * (size - length)
    index = torch.arange(size, device=x.device)
    masked = (index >= first) & (index < first + length)  # (batch, size)
    masked = masked[:, None, :] if dim == 2 else masked[:, :, None]
    return torch.where(masked, x.mean((0, 2), keepdim=True), x)


def tilt(n: int, n_mels: int, deviation_db: float, like: Tensor, rng: torch.Generator) -> Tensor:
    """Return smooth random equalisers (n, n_mels, 1) in dB: four cosines over the mel axis."""
    weights = torch.randn(n, 4, generator=rng, device=like.device) * deviation_db / 2
    position = (torch.arange(n_mels, device=like.device) + 0.5) * (math.pi / n_mels)
    cosines = torch.cos(position * torch.arange(1, 5, device=like.device)[:, None])  # (4, n_mels)
    return (weights @ cosines)[:, :, None]


def warp(x: Tensor, window: int, time_scale: float, mel_shift: int, rng: torch.Generator) -> Tensor:
    """Change the tempo and shift the bands by bilinear interpolation; return (batch, mels, window).

    The tempo changes by up to a factor 1 + ``time_scale``, as far as the frames of ``x`` suffice.
    Bands that a shift of up to ``mel_shift`` bands uncovers repeat the outermost band.
    """
    n, mels, frames = x.shape
    scale = torch.exp(math.log1p(time_scale) * (2 * _rand(x, n, rng=rng) - 1))
    matrix = torch.zeros(n, 2, 3, device=x.device)
    matrix[:, 0, 0] = (scale * window / frames).clamp(max=1.0)  # proportion of x that is used
    matrix[:, 1, 1] = 1
    matrix[:, 1, 2] = mel_shift * (2 * _rand(x, n, rng=rng) - 1) * 2 / mels
    grid = F.affine_grid(matrix, [n, 1, mels, window], align_corners=False)
    return F.grid_sample(x[:, None], grid, padding_mode="border", align_corners=False)[:, 0]
