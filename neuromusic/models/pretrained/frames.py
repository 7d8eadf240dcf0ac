"""Networks that hear a sound as a row of short frames: cut it, and apply layers to each frame."""

import torch.nn.functional as F
from torch import Tensor, nn


def cut(wave: Tensor, n_samples: int, hop: int, padding: tuple[int, int]) -> Tensor:
    """Return frames (batch, frames, n_samples) of waves (batch, samples), padded with zeros."""
    return F.pad(wave, padding).unfold(-1, n_samples, hop)


class EachFrame(nn.Module):
    """Apply a module to every frame of (batch, frames, ...)."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, frames, ...)."""
        y: Tensor = self.layer(x.flatten(0, 1))
        return y.unflatten(0, x.shape[:2])
