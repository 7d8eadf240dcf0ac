"""Networks that take samples: SampleCNN, CNN1D and MixNet."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from neuromusic.features.frontends.mel import MelSpec, log_mel_tensor
from neuromusic.models.cnn import Cnn2dBlocks
from neuromusic.models.network import (
    Chain,
    InputSpec,
    MaxAndMeanOverTime,
    MeanOverMap,
    Network,
    dense,
)
from neuromusic.models.receptive_field import Geometry
from neuromusic.models.registry import register_model
from neuromusic.stimuli.audio import RATE_HZ


def _block(
    n_in: int, n_out: int, kernel: int, stride: int, pool: int, padding: int = 0,
    dropout: float = 0.0,
) -> nn.Sequential:  # fmt: skip
    layers: list[nn.Module] = [
        nn.Conv1d(n_in, n_out, kernel, stride, padding),
        nn.BatchNorm1d(n_out),
    ]
    if pool > 1:
        layers.append(nn.MaxPool1d(pool))
    layers.append(nn.ReLU())
    if dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


def _first(block: nn.Sequential) -> nn.Sequential:
    """Return a block that takes the input (B, 1, 1, samples)."""
    return nn.Sequential(nn.Flatten(1, 2), *block)


@register_model("samplecnn", input="wave")
def samplecnn(spec: InputSpec, dropout: float = 0.5) -> Chain:
    """SampleCNN with basic blocks (Lee et al. 2017, arXiv 1710.10451): 3^10 samples to one frame.

    2.68 s at 22 050 Hz give one frame of the last block; the frames of a longer window are
    averaged.
    """
    widths = [128, 128, 128, 256, 256, 256, 256, 256, 256, 512, 512]
    blocks: dict[str, nn.Module] = {"conv1": _first(_block(1, widths[0], 3, 3, 1))}
    for i in range(1, 11):
        pool = 3 if i < 10 else 1
        share = dropout if i in (6, 10) else 0.0
        blocks[f"block{i}"] = _block(widths[i - 1], widths[i], 3, 1, pool, padding=1, dropout=share)

    def head(_: Geometry) -> nn.Module:
        return nn.Sequential(MeanOverMap(), nn.Linear(512, spec.n_classes))

    return Chain(spec, blocks, head)


def _cnn1d_blocks() -> dict[str, nn.Module]:
    return {
        "conv1": _first(_block(1, 64, 128, 32, 4)),
        "conv2": _block(64, 128, 32, 2, 2),
        "conv3": _block(128, 256, 16, 2, 2),
        "conv4": _block(256, 512, 8, 2, 1),
    }


@register_model("cnn1d", input="wave")
def cnn1d(spec: InputSpec, dropout: float = 0.0) -> Chain:
    """CNN1D of the FMA study: four strided convolutions; dense 512, 128, 128, 64."""

    def head(_: Geometry) -> nn.Module:
        return nn.Sequential(
            MaxAndMeanOverTime(), dense([1024, 512, 128, 128, 64, spec.n_classes], dropout)
        )

    return Chain(spec, _cnn1d_blocks(), head)


class MixNet(Network):
    """CNN1D on the wave and CNN2D on its log-mel, joined before the dense layers.

    The log-mel is computed here from the same samples, so both take the same window.
    """

    def __init__(self, spec: InputSpec, dropout: float) -> None:
        super().__init__(spec)
        self.mel = MelSpec(rate_hz=RATE_HZ, n_fft=2048, hop=1024)
        self.wave = nn.ModuleDict(_cnn1d_blocks())
        self.bands = Cnn2dBlocks(self.mel.n_mels)
        self.norm = nn.BatchNorm2d(1)  # the log-mel in units of its own standard deviation
        self.pool = MaxAndMeanOverTime()
        self.widen = nn.Sequential(nn.Linear(512, 1024), nn.ReLU())  # CNN2D's first dense layer
        self.frame = nn.AvgPool1d(self.mel.n_fft, self.mel.hop)  # positioned as a frame of the STFT
        self.set_stages([f"wave{i}" for i in (1, 2, 3, 4)], {})
        waves = self.stages
        self.set_stages([f"mel{i}" for i in (1, 2, 3)], {})
        self.stages = waves + self.stages
        self.dense = dense([2048, 512, 256, 128, spec.n_classes], dropout)

    def path(self, stage: str) -> Sequence[nn.Module]:
        """See `Network.path`."""
        number = int(stage[-1])
        if stage.startswith("mel"):
            return [nn.Flatten(1, 2), self.frame, *self.bands.path(f"conv{number}")]
        return list(self.wave.values())[:number]

    def part(self, stage: str) -> Sequence[nn.Module]:
        """See `Network.part`."""
        return self.path(stage)[-1:]

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        """See `Network.activations`."""
        out = {}
        wave = self.standardise(x)
        for number, block in enumerate(self.wave.values(), start=1):
            wave = out[f"wave{number}"] = block(wave)
        mel = self.norm(log_mel_tensor(x[:, 0], self.mel, centred=False)[:, None])
        for number, active in enumerate(self.bands(mel).values(), start=1):
            out[f"mel{number}"] = active
        return out

    def readout(self, active: dict[str, Tensor]) -> Tensor:
        """Apply dense layers to the maxima and means over time of both."""
        both = torch.cat([self.pool(active["wave4"]), self.widen(self.pool(active["mel3"]))], dim=1)
        logits: Tensor = self.dense(both)
        return logits


@register_model("mixnet", input="wave")
def mixnet(spec: InputSpec, dropout: float = 0.0) -> MixNet:
    """MixNet of the FMA study: the wave and its log-mel; dense 512, 256, 128."""
    return MixNet(spec, dropout)
