"""The cortical family: A1 -> belt -> parabelt -> T2/T3 -> a GRU over time -> a readout.

After CORnet (Kubilius et al. 2018, bioRxiv 408385), with the areas of auditory cortex in the place
of V1, V2, V4 and IT. Every stage keeps a time axis.
"""

import torch
from torch import Tensor, nn

from neuromusic.errors import InputError
from neuromusic.models.base import InputSpec, Network, Stage, register

# name, area, Brodmann areas, longest frame in seconds, pool over frequency
AREAS = (
    ("A1", "core (A1)", (41,), 0.08, 2),
    ("belt", "belt", (42,), 0.16, 2),
    ("PB", "parabelt", (22,), 0.32, 2),
    ("T2T3", "middle and inferior temporal gyri (T2/T3)", (21, 20), 0.32, 2),
)


class CortexZ(Network):
    """Feed-forward, as CORnet-Z: one convolution, normalisation, ReLU and pool an area."""

    def __init__(self, spec: InputSpec, widths: list[int], gru: int, dropout: float) -> None:
        super().__init__(spec)
        stages, areas = [], []
        n_in, bands, pooled = 1, spec.n_mels, 1
        for (name, area, brodmann, longest_s, band_pool), width in zip(AREAS, widths, strict=True):
            time_pool = max(1, int(longest_s / (pooled * spec.frame_s) + 1e-9))
            pooled, bands = pooled * time_pool, bands // band_pool
            kernel = 7 if name == "A1" else 3
            areas.append(
                nn.Sequential(
                    nn.Conv2d(n_in, width, kernel, padding=kernel // 2, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                    nn.MaxPool2d((band_pool, time_pool)),
                )
            )
            stages.append(Stage(name, area, brodmann, pooled))
            n_in = width
        if spec.n_frames < pooled or bands < 1:
            raise InputError(
                f"a window of {spec.n_frames} frames and {spec.n_mels} bands is too small for this "
                f"network, which pools {pooled} frames into one; set data.window_s to at least "
                f"{pooled * spec.frame_s:.2f}"
            )
        stages.append(Stage("GRU", "", (), pooled))
        self.stages = tuple(stages)
        self.blocks = nn.ModuleList(areas)
        self.gru = nn.GRU(n_in * bands, gru, batch_first=True, bidirectional=True)
        self.decoder = nn.Sequential(nn.Dropout(dropout), nn.Linear(4 * gru, spec.n_classes))

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        """See `Network.activations`."""
        out = {}
        x = self.standardise(x)  # (B, 1, mels, frames)
        for stage, block in zip(self.stages, self.blocks, strict=False):
            x = out[stage.name] = block(x)  # (B, channels, bands, time)
        sequence, _ = self.gru(x.flatten(1, 2).transpose(1, 2))  # (B, time, 2 * gru)
        out["GRU"] = sequence.transpose(1, 2)
        return out

    def readout(self, last: Tensor) -> Tensor:
        """Mean and maximum of the GRU over time, then one linear layer."""
        return self.decoder(torch.cat([last.mean(-1), last.amax(-1)], dim=1))


@register("cortex-z")
def cortex_z(
    spec: InputSpec,
    widths: list[int] = [32, 64, 96, 128],  # noqa: B006 - read only
    gru: int = 96,
    dropout: float = 0.3,
) -> CortexZ:
    """Feed-forward hierarchy A1 -> belt -> PB -> T2/T3 -> GRU -> readout."""
    return CortexZ(spec, widths, gru, dropout)
