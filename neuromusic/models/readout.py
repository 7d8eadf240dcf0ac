"""Readouts: small networks for the stages of another network, which come as bands.

They have no receptive field of their own beyond what `receptive_field` says: that of the network
below is part of the front end.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from neuromusic.models.network import InputSpec, Network
from neuromusic.models.registry import register_model


class MeanAndDeviation(nn.Module):
    """The mean and the standard deviation over time, concatenated."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 2 x units) for (B, units, time)."""
        variance, mean = torch.var_mean(x, dim=-1, correction=0)
        # The root has no gradient at 0, where a unit is constant.
        return torch.cat([mean, variance.clamp_min(1e-8).sqrt()], dim=1)


class LinearReadout(Network):
    """Logistic regression on the mean and the deviation of each unit over the window."""

    def __init__(self, spec: InputSpec, dropout: float) -> None:
        super().__init__(spec)
        self.units = nn.Flatten(1, 2)  # channels and bands
        self.set_stages(["units"], {})
        n = 2 * spec.n_rows
        self.pool = nn.Sequential(MeanAndDeviation(), nn.BatchNorm1d(n), nn.Dropout(dropout))
        self.linear = nn.Linear(n, spec.n_classes)

    def path(self, stage: str) -> Sequence[nn.Module]:
        """See `Network.path`."""
        return [self.units]

    def part(self, stage: str) -> Sequence[nn.Module]:
        """See `Network.part`."""
        return [self.units]

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        """See `Network.activations`."""
        return {"units": self.units(self.standardise(x))}

    def readout(self, active: dict[str, Tensor]) -> Tensor:
        """See `Network.readout`."""
        logits: Tensor = self.linear(self.pool(active["units"]))
        return logits


class GruReadout(Network):
    """A projection of the units of each frame, a bidirectional GRU over time, and its mean."""

    least_frames = 2  # the GRU needs a sequence

    def __init__(self, spec: InputSpec, width: int, gru: int, dropout: float) -> None:
        super().__init__(spec)
        self.projection = nn.Sequential(
            nn.Flatten(1, 2),
            nn.Dropout1d(dropout),
            nn.Conv1d(spec.n_rows, width, 1),
            nn.BatchNorm1d(width),
            nn.ReLU(),
        )
        self.gru = nn.GRU(width, gru, batch_first=True, bidirectional=True)
        self.set_stages(["projection", "GRU"], {})
        self.dense = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * gru, spec.n_classes))

    def path(self, stage: str) -> Sequence[nn.Module]:
        """See `Network.path`."""
        return [self.projection, self.gru] if stage == "GRU" else [self.projection]

    def part(self, stage: str) -> Sequence[nn.Module]:
        """See `Network.part`."""
        return [self.gru if stage == "GRU" else self.projection]

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        """See `Network.activations`."""
        projected = self.projection(self.standardise(x))
        sequence, _ = self.gru(projected.transpose(1, 2))  # (B, time, 2 x gru)
        return {"projection": projected, "GRU": sequence.transpose(1, 2)}

    def readout(self, active: dict[str, Tensor]) -> Tensor:
        """Apply a dense layer to the mean of the GRU over time."""
        logits: Tensor = self.dense(active["GRU"].mean(-1))
        return logits


@register_model("linear")
def linear(spec: InputSpec, dropout: float = 0.5) -> LinearReadout:
    """Linear readout of any features: mean and deviation of each unit, standardised."""
    return LinearReadout(spec, dropout)


@register_model("gru")
def gru(spec: InputSpec, width: int = 128, gru: int = 64, dropout: float = 0.3) -> GruReadout:
    """Readout with a memory: a projection of each frame and a bidirectional GRU."""
    return GruReadout(spec, width, gru, dropout)
