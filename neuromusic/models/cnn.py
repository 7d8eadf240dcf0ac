"""The predecessors' two-dimensional networks, which the cortical family is measured against."""

import torch
from torch import Tensor, nn

from neuromusic.errors import InputError
from neuromusic.models.base import InputSpec, Network, Stage, register

WIDTHS = (64, 128, 256, 512)


def _block(n_in: int, n_out: int, pool: tuple[int, int]) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.ReLU(), nn.MaxPool2d(pool)
    )


class Cnn4(Network):
    """Four 3x3 convolutions and three dense layers, with or without a GRU in between."""

    def __init__(self, spec: InputSpec, pools: list[tuple[int, int]], gru: int, dense: int) -> None:
        super().__init__(spec)
        self.blocks = nn.ModuleList(
            _block(n_in, n_out, pool)
            for n_in, n_out, pool in zip((1, *WIDTHS), WIDTHS, pools, strict=False)
        )
        stages, bands, frames, pooled, centre = [], spec.n_mels, spec.n_frames, 1, 0.0
        for index, (band_pool, time_pool) in enumerate(pools, start=1):
            centre += pooled * (time_pool - 1) / 2
            bands, frames, pooled = bands // band_pool, frames // time_pool, pooled * time_pool
            stages.append(Stage(f"conv{index}", "", (), pooled, centre))
        if bands < 1 or frames < 1:
            raise InputError(
                f"a window of {spec.n_frames} frames and {spec.n_mels} bands is too small for this "
                f"network, which pools {pooled} frames into one; set data.window_s to at least "
                f"{pooled * spec.frame_s:.2f}"
            )
        width = WIDTHS[-1] * bands
        self.gru = nn.GRU(width, gru, batch_first=True, bidirectional=True) if gru else None
        if gru:
            stages.append(Stage("GRU", "", (), pooled, centre))
        self.stages = tuple(stages)
        self.dense = nn.Sequential(
            nn.Linear(2 * gru if gru else width * frames, dense),
            nn.ReLU(),
            nn.Linear(dense, 256),
            nn.ReLU(),
            nn.Linear(256, spec.n_classes),
        )

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        """See `Network.activations`."""
        out = {}
        x = self.standardise(x)  # (B, 1, mels, frames)
        for stage, block in zip(self.stages, self.blocks, strict=False):
            x = out[stage.name] = block(x)  # (B, channels, bands, time)
        if self.gru is not None:
            sequence, _ = self.gru(x.flatten(1, 2).transpose(1, 2))  # (B, time, 2 * gru)
            out["GRU"] = sequence.transpose(1, 2)
        return out

    def readout(self, active: dict[str, Tensor]) -> Tensor:
        """Dense layers on the whole last map, or on the mean of the GRU over time."""
        if self.gru is not None:
            return self.dense(active["GRU"].mean(-1))
        return self.dense(torch.flatten(active["conv4"], 1))


@register("cnn4")
def cnn4(spec: InputSpec) -> Cnn4:
    """4-layer 2-D CNN of Music_Genre_Classification_Pytorch: pools 2, 2, 4, 4; dense 1024, 256."""
    return Cnn4(spec, [(2, 2), (2, 2), (4, 4), (4, 4)], gru=0, dense=1024)


@register("cnn4-gru")
def cnn4_gru(spec: InputSpec) -> Cnn4:
    """The same convolutions and a bidirectional GRU of 512 units that runs over time.

    The original pooled time by 128 and so gave its GRU a sequence of length one. Here frequency is
    pooled as there (2, 2, 4, 8) and time by 8 in all.
    """
    return Cnn4(spec, [(2, 2), (2, 2), (4, 2), (8, 1)], gru=512, dense=512)
