"""A network without convolutions: statistics over time of each band, and dense layers on them.

It takes in something else than the other networks, the order of events at most within a second, so
it makes other mistakes: useful as a member of an ensemble, and as a baseline.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from neuromusic.models.network import InputSpec, Network, dense
from neuromusic.models.readout import MeanAndDeviation
from neuromusic.models.registry import register_model

LAGS_S = (0.08, 0.16, 0.31, 0.62)  # from 80 ms, a frame of coarse log-mel, by factors of two


class Bands(Network):
    """Mean, deviation and mean absolute steps of each band over the window, and dense layers.

    Stages: ``level``, the bands themselves, and ``step1`` and so on, how much each band changes
    within each lag. Their means over time are what the readout takes, with the deviation of the
    levels.
    """

    def __init__(
        self, spec: InputSpec, lags_s: Sequence[float], hidden: list[int], dropout: float
    ) -> None:
        super().__init__(spec)
        frames = sorted({max(1, round(lag / spec.frame_s)) for lag in lags_s})
        self.lags = {f"step{number}": lag for number, lag in enumerate(frames, start=1)}
        self.level = nn.Flatten(1, 2)  # channels and bands
        # Between which frames a step lies; it is not averaged.
        self.between = nn.ModuleDict({k: nn.AvgPool1d(lag + 1, 1) for k, lag in self.lags.items()})
        self.set_stages(["level", *self.lags], {})
        n = (2 + len(self.lags)) * spec.n_rows
        self.statistics = MeanAndDeviation()
        self.norm = nn.Sequential(nn.BatchNorm1d(n), nn.Dropout(dropout))
        self.dense = dense([n, *hidden, spec.n_classes], dropout)

    def path(self, stage: str) -> Sequence[nn.Module]:
        """See `Network.path`."""
        return [self.level] if stage == "level" else [self.level, self.between[stage]]

    def part(self, stage: str) -> Sequence[nn.Module]:
        """See `Network.part`."""
        return self.path(stage)[-1:]

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        """See `Network.activations`."""
        level = self.level(self.standardise(x))
        steps = {k: (level[..., lag:] - level[..., :-lag]).abs() for k, lag in self.lags.items()}
        return {"level": level, **steps}

    def readout(self, active: dict[str, Tensor]) -> Tensor:
        """Apply dense layers to the statistics of all bands."""
        steps = [active[name].mean(-1) for name in self.lags]
        logits: Tensor = self.dense(
            self.norm(torch.cat([self.statistics(active["level"]), *steps], dim=1))
        )
        return logits


@register_model("bands")
def bands(
    spec: InputSpec,
    lags_s: Sequence[float] = LAGS_S,
    hidden: Sequence[int] = (),
    dropout: float = 0.5,
) -> Bands:
    """Statistics of bands: mean, deviation and mean absolute steps, standardised, and linear."""
    return Bands(spec, lags_s, list(hidden), dropout)
