"""Convolutional networks of the predecessors that take log-mel.

Music_Genre_Classification_Pytorch, its fMRI adaptation, and SENet (Xu and Zhou 2020).
"""

import itertools
import warnings
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from neuromusic.models.network import Chain, InputSpec, MaxAndMeanOverTime, Network, dense
from neuromusic.models.receptive_field import Geometry, SeesAll
from neuromusic.models.registry import register_model

# Kernels of an even length are padded by one more frame at the end, as intended.
warnings.filterwarnings("ignore", message="Using padding='same' with even kernel lengths")

WIDTHS = (64, 128, 256, 512)
Pools = list[tuple[int, int]]  # bands, frames


def _block(n_in: int, n_out: int, pool: tuple[int, int]) -> nn.Sequential:
    # ReLU after the pool, here and below: the same values and gradients as before it, for a quarter
    # of the work or less.
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.MaxPool2d(pool), nn.ReLU()
    )


def _blocks(spec: InputSpec, pools: Pools) -> dict[str, nn.Module]:
    widths = [spec.n_channels, *WIDTHS]
    return {f"conv{i + 1}": _block(widths[i], widths[i + 1], pool) for i, pool in enumerate(pools)}


def _flat(
    sizes: list[int], n_classes: int, dropout: float = 0.0
) -> Callable[[Geometry], nn.Module]:
    """Return a head: dense layers on the whole last map, which has sizes[0] channels."""

    def head(last: Geometry) -> nn.Module:
        units = sizes[0] * last.size[0] * last.size[1]
        return nn.Sequential(nn.Flatten(), dense([units, *sizes[1:], n_classes], dropout))

    return head


class CnnGru(Network):
    """3x3 convolutions, a bidirectional GRU over time, and dense layers on its mean."""

    least_frames = 2  # the GRU needs a sequence

    def __init__(self, spec: InputSpec, pools: Pools, gru: int, hidden: list[int]) -> None:
        super().__init__(spec)
        self.blocks = nn.ModuleDict(_blocks(spec, pools))
        last = self.geometry(f"conv{len(pools)}")
        width = WIDTHS[len(pools) - 1] * max(1, last.size[0])  # set_stages raises if it is 0
        self.gru = nn.GRU(width, gru, batch_first=True, bidirectional=True)
        self.set_stages([*self.blocks, "GRU"], {})
        self.dense = dense([2 * gru, *hidden, spec.n_classes])

    def path(self, stage: str) -> Sequence[nn.Module]:
        """See `Network.path`."""
        names = list(self.blocks)
        if stage == "GRU":
            return [*self.blocks.values(), self.gru]
        return [self.blocks[name] for name in names[: names.index(stage) + 1]]

    def part(self, stage: str) -> Sequence[nn.Module]:
        """See `Network.part`."""
        return [self.gru if stage == "GRU" else self.blocks[stage]]

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        """See `Network.activations`."""
        out = {}
        x = self.standardise(x)
        for name, block in self.blocks.items():
            x = out[name] = block(x)  # (B, channels, bands, time)
        sequence, _ = self.gru(x.flatten(1, 2).transpose(1, 2))  # (B, time, 2 x gru)
        out["GRU"] = sequence.transpose(1, 2)
        return out

    def readout(self, active: dict[str, Tensor]) -> Tensor:
        """Apply dense layers to the mean of the GRU over time."""
        logits: Tensor = self.dense(active["GRU"].mean(-1))
        return logits


@register_model("cnn4")
def cnn4(spec: InputSpec) -> Chain:
    """4-layer 2-D CNN of Music_Genre_Classification_Pytorch: pools 2, 2, 4, 4; dense 1024, 256."""
    blocks = _blocks(spec, [(2, 2), (2, 2), (4, 4), (4, 4)])
    return Chain(spec, blocks, _flat([512, 1024, 256], spec.n_classes))


@register_model("cnn4-gru")
def cnn4_gru(spec: InputSpec) -> CnnGru:
    """The convolutions of cnn4 and a bidirectional GRU of 512 units that runs over time.

    The original pooled time by 128, so its GRU had a sequence of length one. Here frequency is
    pooled as in the original (2, 2, 4, 8) and time by 8 in total.
    """
    return CnnGru(spec, [(2, 2), (2, 2), (4, 2), (8, 1)], gru=512, hidden=[512, 256])


@register_model("cnn4-gru-dense2")
def cnn4_gru_dense2(spec: InputSpec) -> CnnGru:
    """cnn4-gru with one dense layer fewer, as in the fMRI adaptation's table."""
    return CnnGru(spec, [(2, 2), (2, 2), (4, 2), (8, 1)], gru=512, hidden=[256])


@register_model("cnn3-gru")
def cnn3_gru(spec: InputSpec) -> CnnGru:
    """cnn4-gru with one convolution fewer, as in the fMRI adaptation's table."""
    return CnnGru(spec, [(2, 2), (2, 2), (4, 2)], gru=512, hidden=[512, 256])


def _block_1d(
    n_in: int, n_out: int, kernel: int, pool: int, norm: bool = True, rows: bool = False
) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten(1, 2)] if rows else []
    layers.append(nn.Conv1d(n_in, n_out, kernel, padding="same"))
    if norm:
        layers.append(nn.BatchNorm1d(n_out))
    if pool > 1:
        layers.append(nn.MaxPool1d(pool))
    layers.append(nn.ReLU())
    return nn.Sequential(*layers)


@register_model("cnn5-1d")
def cnn5_1d(spec: InputSpec, dropout: float = 0.5) -> Chain:
    """5-layer 1-D CNN over time with the mel bands as channels; dense 2048, 1024."""
    blocks = {
        "conv1": _block_1d(spec.n_rows, 64, 7, 3, rows=True),
        "conv2": _block_1d(64, 64, 7, 3),
        "conv3": _block_1d(64, 64, 3, 1),
        "conv4": _block_1d(64, 64, 3, 1, norm=False),
        "conv5": _block_1d(64, 64, 3, 3),
    }
    return Chain(spec, blocks, _flat([64, 2048, 1024], spec.n_classes, dropout))


@register_model("baseline-1d")
def baseline_1d(spec: InputSpec) -> Chain:
    """Baseline 1-D CNN over time with the mel bands as channels: kernels 8, 8, 4; dense 64.

    The original pooled by 8, 8 and 4; in windows of 128 frames only two frames are left for the
    last pool, which is then smaller.
    """
    blocks = {
        "conv1": _block_1d(spec.n_rows, 32, 8, 8, rows=True),
        "conv2": _block_1d(32, 32, 8, 8),
        "conv3": _block_1d(32, 64, 4, min(4, max(1, spec.n_frames // 64))),
    }
    return Chain(spec, blocks, _flat([64, 64], spec.n_classes))


class SqueezeExcite(SeesAll):
    """Weight the channels by the content of the whole window (Hu et al. 2018, eq. 2 to 4)."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        narrow = max(4, channels // reduction)
        self.gate = nn.Sequential(
            nn.Linear(channels, narrow), nn.ReLU(), nn.Linear(narrow, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, bands, time) with weighted channels."""
        weight: Tensor = self.gate(x.mean((2, 3)))
        return x * weight[:, :, None, None]


@register_model("senet")
def senet(spec: InputSpec, dropout: float = 0.25) -> Chain:
    """SENet for GTZAN (Xu and Zhou 2020): five blocks, conv 3x3, pool, dropout, squeeze-excite."""
    widths = [spec.n_channels, 32, 64, 128, 256, 128]
    blocks: dict[str, nn.Module] = {
        f"block{i + 1}": nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, padding=1),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Dropout(dropout),
            SqueezeExcite(n_out),
        )
        for i, (n_in, n_out) in enumerate(itertools.pairwise(widths))
    }
    return Chain(spec, blocks, _flat([128], spec.n_classes))


class Cnn2dBlocks(nn.Module):
    """The convolutions of CNN2D (FMA): first over all mel bands, then over time, with a skip."""

    def __init__(self, n_rows: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Flatten(1, 2), nn.Conv1d(n_rows, 256, 4, padding="same"), nn.BatchNorm1d(256),
            nn.ReLU(),
        )  # fmt: skip
        self.second = nn.Sequential(
            nn.Conv1d(256, 256, 4, padding="same"), nn.BatchNorm1d(256), nn.ReLU()
        )
        self.third = nn.Sequential(nn.Conv1d(256, 256, 4, padding="same"), nn.BatchNorm1d(256))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return conv1, conv2, conv3 -> (B, 256, time) for (B, 1, mels, frames)."""
        first = self.first(x)
        second = self.second(first)
        return {"conv1": first, "conv2": second, "conv3": self.relu(self.third(second) + first)}

    def path(self, stage: str) -> Sequence[nn.Module]:
        """See `Network.path`."""
        blocks = [self.first, self.second, self.third]
        return blocks[: int(stage[-1])]


class Cnn2d(Network):
    """CNN2D of the FMA study; kernels over all mel bands are 1-D kernels with bands as channels."""

    def __init__(self, spec: InputSpec, dropout: float) -> None:
        super().__init__(spec)
        self.blocks = Cnn2dBlocks(spec.n_rows)
        self.set_stages(["conv1", "conv2", "conv3"], {})
        self.pool = MaxAndMeanOverTime()
        self.dense = dense([512, 1024, 256, 64, spec.n_classes], dropout)

    def path(self, stage: str) -> Sequence[nn.Module]:
        """See `Network.path`."""
        return self.blocks.path(stage)

    def part(self, stage: str) -> Sequence[nn.Module]:
        """See `Network.part`."""
        return self.blocks.path(stage)[-1:]

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        """See `Network.activations`."""
        active: dict[str, Tensor] = self.blocks(self.standardise(x))
        return active

    def readout(self, active: dict[str, Tensor]) -> Tensor:
        """Apply dense layers to the maximum and the mean over time."""
        logits: Tensor = self.dense(self.pool(active["conv3"]))
        return logits


@register_model("cnn2d")
def cnn2d(spec: InputSpec, dropout: float = 0.1) -> Cnn2d:
    """CNN2D of the FMA study: three convolutions of 256 over all mel bands, a skip, four dense."""
    return Cnn2d(spec, dropout)
