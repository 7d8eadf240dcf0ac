"""The cortical family: A1 -> belt -> parabelt -> T2/T3 -> a GRU over time -> a readout.

After CORnet (Kubilius et al. 2018, bioRxiv 408385), with the areas of auditory cortex in the place
of V1, V2, V4 and IT. Every stage keeps a time axis.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from neuromusic.errors import InputError
from neuromusic.models.base import InputSpec, Network, Stage, register


@dataclass(frozen=True)
class Area:
    """One area of the hierarchy, as the network has it."""

    name: str
    title: str
    brodmann: tuple[int, ...]
    kernel: int  # bands and, at least, frames
    band_pool: int
    frame_s: float  # longest frame of its output


AREAS = (
    Area("A1", "core (A1)", (41,), 5, 4, 0.16),
    Area("belt", "belt", (42,), 3, 2, 0.16),
    Area("PB", "parabelt", (22,), 3, 2, 0.32),
    Area("T2T3", "middle and inferior temporal gyri (T2/T3)", (21, 20), 3, 2, 0.64),
)
SUMMARY = 64  # features that the readout takes of an early area


class CortexZ(Network):
    """Feed-forward, as CORnet-Z: one convolution, pooling, normalisation and ReLU an area."""

    def __init__(
        self, spec: InputSpec, widths: list[int], joint: int, gru: int, dropout: float
    ) -> None:
        super().__init__(spec)
        self.blocks = nn.ModuleList()
        stages = []
        n_in, bands, pooled, centre = 1, spec.n_mels, 1, 0.0
        for area, width in zip(AREAS, widths, strict=True):
            # As many frames go into one as the area's time constant allows at this frame rate.
            time_pool = max(1, int(area.frame_s / (pooled * spec.frame_s) + 1e-9))
            # A1 spans about a quarter of a second at any frame rate.
            frames = max(area.kernel, int(0.26 / spec.frame_s)) if n_in == 1 else area.kernel
            kernel = (area.kernel, frames + (frames + 1) % 2)
            # The input has the most bands and frames by far: there a stride does part of the work.
            stride = next(s for s in (3, 2, 1) if time_pool % s == 0) if n_in == 1 else 1
            self.blocks.append(
                nn.Sequential(
                    nn.Conv2d(
                        n_in, width, kernel, padding=(kernel[0] // 2, kernel[1] // 2), bias=False,
                        stride=(2, stride) if n_in == 1 else 1,
                    ),
                    nn.MaxPool2d((area.band_pool // (2 if n_in == 1 else 1), time_pool // stride)),
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                )
            )  # fmt: skip
            # A strided frame is centred on its first input frame, a pooled one on their middle.
            centre += pooled * stride * (time_pool // stride - 1) / 2
            pooled, bands, n_in = pooled * time_pool, bands // area.band_pool, width
            stages.append(Stage(area.name, area.title, area.brodmann, pooled, centre))
        if spec.n_frames < 2 * pooled or bands < 1:
            raise InputError(
                f"a window of {spec.n_frames} frames and {spec.n_mels} bands is too small for this "
                f"network, which pools {pooled} frames into one; set data.window_s to at least "
                f"{2 * pooled * spec.frame_s:.2f}"
            )
        stages.append(Stage("GRU", "", (), pooled, centre))
        self.stages = tuple(stages)
        self.joint = nn.Sequential(
            nn.Linear(n_in * bands, joint), nn.LayerNorm(joint), nn.ReLU(), nn.Dropout(dropout / 2)
        )
        self.gru = nn.GRU(joint, gru, batch_first=True, bidirectional=True)
        sizes = [
            width * spec.n_mels // math.prod(area.band_pool for area in AREAS[: i + 1])
            for i, width in enumerate(widths[:-1])
        ]
        self.summaries = nn.ModuleList(
            nn.Sequential(nn.Dropout(0.1), nn.Linear(size, SUMMARY)) for size in sizes
        )
        n_out = 3 * (2 * gru + SUMMARY * len(sizes))
        self.decoder = nn.Sequential(
            nn.BatchNorm1d(n_out), nn.Dropout(dropout), nn.Linear(n_out, spec.n_classes)
        )

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        """See `Network.activations`."""
        out = {}
        x = self.standardise(x)  # (B, 1, mels, frames)
        for stage, block in zip(self.stages, self.blocks, strict=False):
            x = out[stage.name] = block(x)  # (B, channels, bands, time)
        sequence, _ = self.gru(self.joint(x.flatten(1, 2).transpose(1, 2)))  # (B, time, 2 * gru)
        out["GRU"] = sequence.transpose(1, 2)
        return out

    def readout(self, active: dict[str, Tensor]) -> Tensor:
        """One linear layer on the temporal statistics of the GRU and of a summary of each area.

        The last area reaches the readout through the GRU alone.
        """
        features = [temporal_statistics(active["GRU"].transpose(1, 2))]
        for area, summary in zip(AREAS, self.summaries, strict=False):
            frames = active[area.name].flatten(1, 2).transpose(1, 2)  # (B, time, channels x bands)
            features.append(temporal_statistics(summary(frames)))
        return self.decoder(torch.cat(features, dim=1))


def temporal_statistics(x: Tensor) -> Tensor:
    """Return mean, deviation and mean absolute step over time: (B, time, n) -> (B, 3 n)."""
    deviation = (x.var(1, unbiased=False) + 1e-4).sqrt()
    step = x.diff(dim=1).abs().mean(1)
    return torch.cat([x.mean(1), deviation, step], dim=1)


@register("cortex-z")
def cortex_z(
    spec: InputSpec,
    widths: list[int] = [16, 32, 64, 128],  # noqa: B006 - read only
    joint: int = 128,
    gru: int = 64,
    dropout: float = 0.4,
) -> CortexZ:
    """Feed-forward hierarchy A1 -> belt -> PB -> T2/T3 -> GRU -> readout."""
    return CortexZ(spec, widths, joint, gru, dropout)
