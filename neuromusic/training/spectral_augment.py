"""What is done to the log-mel windows of a training batch: mixup, masks, gain, tilt, shifts.

All on the batch's device, all from the generator that is passed in. The windows are (batch, mels,
frames) in dB.
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
    wave: bool = False,
) -> tuple[Tensor, Tensor]:
    """Apply everything that the settings switch on.

    ``x`` (batch, mels, frames) dB, of at least ``window`` frames: a faster tempo needs more sound
    to fill the window; with ``wave`` (batch, 1, samples). ``labels`` (batch, classes) are
    probabilities. Returns (batch, mels, window) and
    the new labels.
    """
    if settings.time_scale or settings.mel_shift:
        x = warp(x, window, settings.time_scale, settings.mel_shift, rng)
    if settings.gain_db:
        gain_db = settings.gain_db * (2 * _rand(x, len(x), 1, 1, rng=rng) - 1)
        x = x * 10 ** (gain_db / 20) if wave else x + gain_db
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
    """Mix each window with another in a share from Beta(alpha, alpha) (Zhang et al. 2018, eq. 1).

    The mixture is of the log-mel values, as the labels are of the probabilities.
    """
    other = torch.randperm(len(x), generator=rng, device=x.device)
    # Two gamma variates make a beta variate; torch's own Beta takes no generator.
    concentration = torch.full((2, len(x)), alpha, device=x.device)
    gamma = torch._standard_gamma(concentration, generator=rng)
    share = gamma[0] / gamma.sum(0).clamp_min(1e-12)
    share = torch.maximum(share, 1 - share)
    a = share[:, None, None]
    return a * x + (1 - a) * x[other], share[:, None] * labels + (1 - share)[:, None] * labels[
        other
    ]


def mask(x: Tensor, dim: int, longest: float, rng: torch.Generator) -> Tensor:
    """Set one stretch of up to ``longest`` frames or bands to the batch's mean in each band.

    SpecAugment (Park et al. 2019, section 2) without its time warp.
    """
    size = x.shape[dim]
    length = _rand(x, len(x), 1, rng=rng) * min(longest, size)
    first = _rand(x, len(x), 1, rng=rng) * (size - length)
    index = torch.arange(size, device=x.device)
    hidden = (index >= first) & (index < first + length)  # (batch, size)
    hidden = hidden[:, None, :] if dim == 2 else hidden[:, :, None]
    return torch.where(hidden, x.mean((0, 2), keepdim=True), x)


def tilt(n: int, n_mels: int, deviation_db: float, like: Tensor, rng: torch.Generator) -> Tensor:
    """Return smooth random equalisers (n, n_mels, 1) in dB: four cosines over the mel axis."""
    weights = torch.randn(n, 4, generator=rng, device=like.device) * deviation_db / 2
    position = (torch.arange(n_mels, device=like.device) + 0.5) * (math.pi / n_mels)
    waves = torch.cos(position * torch.arange(1, 5, device=like.device)[:, None])  # (4, n_mels)
    return (weights @ waves)[:, :, None]


def warp(x: Tensor, window: int, time_scale: float, mel_shift: int, rng: torch.Generator) -> Tensor:
    """Change the tempo and shift the bands, by bilinear interpolation: (batch, mels, window).

    The tempo changes by up to a factor 1 + time_scale, as far as the frames of ``x`` go; the bands
    that a shift uncovers repeat the outermost one.
    """
    n, mels, frames = x.shape
    scale = torch.exp(math.log1p(time_scale) * (2 * _rand(x, n, rng=rng) - 1))
    matrix = torch.zeros(n, 2, 3, device=x.device)
    matrix[:, 0, 0] = (scale * window / frames).clamp(max=1.0)  # share of x that is seen
    matrix[:, 1, 1] = 1
    matrix[:, 1, 2] = mel_shift * (2 * _rand(x, n, rng=rng) - 1) * 2 / mels
    grid = F.affine_grid(matrix, [n, 1, mels, window], align_corners=False)
    return F.grid_sample(x[:, None], grid, padding_mode="border", align_corners=False)[:, 0]
