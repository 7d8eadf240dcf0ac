"""musicnn: convolutional networks for music tagging (Pons and Serra 2019, arXiv:1909.06654).

Each takes sound at 16 kHz and computes its own log-mel. As published, it hears windows of 187
frames, 3 s, padded with zeros. Convolutional stages keep their time axis, one frame every 16 ms
(``pool1`` to ``pool5`` one every 32, 64, 128, 256 and 1024 ms); stages behind the pooling over time
hold for a window.

The published code rounds the mel power to float16, where loud sounds overflow; here it stays
float32. At the ends of a sound librosa now pads with zeros; in 2019 it reflected the sound.
"""

from collections.abc import Callable, Mapping
from functools import partial
from zipfile import ZipFile

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from neuromusic.models.pretrained import tags
from neuromusic.models.pretrained.entry import Entry, Wheel
from neuromusic.models.pretrained.mel import MelPower
from neuromusic.models.pretrained.tf_checkpoint import read_checkpoint

RATE_HZ = 16_000
N_FFT, HOP, N_MELS = 512, 256, 96
CONTEXT_S = 186 * HOP / RATE_HZ  # from the first to the last of 187 frames
EPSILON = 1e-3  # of batch normalisation in TensorFlow
N_TIMBRAL, N_TEMPORAL, N_MIDDLE = 204, 51, 64  # filters per kernel
TIMBRAL = ((38, 7), (67, 7))  # kernels (mel bands, frames)
TEMPORAL = ((1, 128), (1, 64), (1, 32))
N_FRONT = N_TIMBRAL * len(TIMBRAL) + N_TEMPORAL * len(TEMPORAL)
N_ALL = N_FRONT + 3 * N_MIDDLE
N_VGG = 128
# Size and stride of the pools of the VGG network, (mel bands, frames).
POOLS = (((1, 4), (2, 2)), *[((2, 2), (2, 2))] * 3, ((4, 4), (4, 4)))
IN_TIME = ("timbral", "temporal", "cnn1", "cnn2", "cnn3")
POOLED = ("mean_pool", "max_pool", "penultimate", "taggram")  # stages without a time axis
VGG_STAGES = ("pool1", "pool2", "pool3", "pool4", "pool5", "taggram")
Arrays = Mapping[str, NDArray[np.generic]]


class LogMel(MelPower):
    """Log-mel of 96 bands: log10(10000 x + 1) of the power x."""

    def __init__(self) -> None:
        super().__init__(RATE_HZ, N_FFT, HOP, N_MELS)

    def forward(self, wave: Tensor) -> Tensor:
        """Return (batch, 96, frames) of waves (batch, samples)."""
        return torch.log10(10_000 * super().forward(wave) + 1)


class Filters(nn.Module):
    """Filters of one size: convolution, ReLU, batch norm, maximum over the mel bands."""

    def __init__(self, n: int, kernel: tuple[int, int]):
        super().__init__()
        self.padding = ((kernel[1] - 1) // 2, kernel[1] // 2)  # as TensorFlow's "same", in time
        self.conv = nn.Conv2d(1, n, kernel)
        self.norm = nn.BatchNorm2d(n, EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, n, frames) of a spectrogram (batch, 1, mel bands, frames)."""
        return self.norm(F.relu(self.conv(F.pad(x, self.padding)))).amax(-2)


class FrontEnd(nn.ModuleList):
    """Filters of several sizes side by side."""

    def __init__(self, n: int, kernels: tuple[tuple[int, int], ...]):
        super().__init__([Filters(n, kernel) for kernel in kernels])

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, n x kernels, frames)."""
        return torch.cat([filters(x) for filters in self], 1)


class Middle(nn.Module):
    """Convolution over seven frames, ReLU, batch norm; from the second on with a shortcut."""

    def __init__(self, n_inputs: int, shortcut: bool):
        super().__init__()
        self.conv = nn.Conv1d(n_inputs, N_MIDDLE, 7, padding=3)
        self.norm = nn.BatchNorm1d(N_MIDDLE, EPSILON)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, 64, frames)."""
        y = self.norm(F.relu(self.conv(x)))
        return x + y if self.shortcut else y


class MeanOverTime(nn.Module):
    """Mean over the last axis."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, units)."""
        return x.mean(-1)


class MaxOverTime(nn.Module):
    """Maximum over the last axis."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, units)."""
        return x.amax(-1)


class Penultimate(nn.Module):
    """Batch norm, dense layer of 200 units, ReLU, batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_in = nn.BatchNorm1d(2 * N_ALL, EPSILON)
        self.dense = nn.Linear(2 * N_ALL, 200)
        self.norm = nn.BatchNorm1d(200, EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, 200)."""
        return self.norm(F.relu(self.dense(self.norm_in(x))))


class MusiCNN(nn.Module):
    """The network with filters shaped like timbres and rhythms, 787 159 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.logmel = LogMel()
        self.norm = nn.BatchNorm2d(1, EPSILON)
        self.timbral = FrontEnd(N_TIMBRAL, TIMBRAL)
        self.temporal = FrontEnd(N_TEMPORAL, TEMPORAL)
        self.cnn1 = Middle(N_FRONT, shortcut=False)
        self.cnn2 = Middle(N_MIDDLE, shortcut=True)
        self.cnn3 = Middle(N_MIDDLE, shortcut=True)
        self.max_pool, self.mean_pool = MaxOverTime(), MeanOverTime()
        self.penultimate = Penultimate()
        self.taggram = nn.Sequential(nn.Linear(200, 50), nn.Sigmoid())

    def forward(self, wave: Tensor) -> Tensor:
        """Return the likelihood of each tag (batch, 50) for waves (batch, samples)."""
        x = self.norm(self.logmel(wave)[:, None])  # (B, 1, 96, T)
        front = torch.cat([self.timbral(x), self.temporal(x)], 1)  # (B, 561, T)
        cnn1 = self.cnn1(front)  # (B, 64, T)
        cnn2 = self.cnn2(cnn1)
        features = torch.cat([front, cnn1, cnn2, self.cnn3(cnn2)], 1)  # (B, 753, T)
        # Maximum and mean of each unit lie side by side, as in the published weights.
        pools = torch.stack([self.max_pool(features), self.mean_pool(features)], -1)
        tags: Tensor = self.taggram(self.penultimate(pools.flatten(1)))
        return tags


class Pool(nn.Module):
    """Convolution of 3 x 3, ReLU, batch norm, maximum."""

    def __init__(self, n_inputs: int, size: tuple[int, int], stride: tuple[int, int]):
        super().__init__()
        self.conv = nn.Conv2d(n_inputs, N_VGG, 3, padding=1)
        self.norm = nn.BatchNorm2d(N_VGG, EPSILON)
        self.pool = nn.MaxPool2d(size, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, 128, fewer bands, fewer frames)."""
        pooled: Tensor = self.pool(self.norm(F.relu(self.conv(x))))
        return pooled


class Tags(nn.Module):
    """The dense layer of the VGG network, which needs the two frames of one window.

    A longer sound gives the mean over its windows; a shorter one is followed by zeros.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Conv1d(N_VGG, 50, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return the likelihood of each tag (batch, 50) for (batch, 128, 1, frames)."""
        x = x.squeeze(-2)
        x = F.pad(x, (0, max(0, 2 - x.shape[-1])))
        return torch.sigmoid(self.dense(x)).mean(-1)


class VGG(nn.Module):
    """The comparison network of the package, 605 748 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.logmel = LogMel()
        self.norm = nn.BatchNorm2d(1, EPSILON)
        for number, (size, stride) in enumerate(POOLS, 1):
            self.add_module(f"pool{number}", Pool(1 if number == 1 else N_VGG, size, stride))
        self.taggram = Tags()

    def forward(self, wave: Tensor) -> Tensor:
        """Return the likelihood of each tag (batch, 50) for waves (batch, samples)."""
        x = self.norm(self.logmel(wave)[:, None])  # (B, 1, 96, T)
        for stage in VGG_STAGES:
            x = self.get_submodule(stage)(x)
        return x


# Module -> TensorFlow's name of its layer; TensorFlow numbers layers in the order of their making.
LAYERS = {
    "norm": "batch_normalization",
    **{f"timbral.{n}.conv": f"conv2d{end}" for n, end in enumerate(("", "_1"))},
    **{f"temporal.{n}.conv": f"conv2d_{n + 2}" for n in range(3)},
    **{f"timbral.{n}.norm": f"batch_normalization_{n + 1}" for n in range(2)},
    **{f"temporal.{n}.norm": f"batch_normalization_{n + 3}" for n in range(3)},
    **{f"cnn{n}.conv": f"conv2d_{n + 4}" for n in (1, 2, 3)},
    **{f"cnn{n}.norm": f"batch_normalization_{n + 5}" for n in (1, 2, 3)},
    "penultimate.norm_in": "batch_normalization_9",
    "penultimate.dense": "dense",
    "penultimate.norm": "batch_normalization_10",
    "taggram.0": "dense_1",
}
VGG_LAYERS = {
    "norm": "batch_normalization",
    **{f"pool{n}.conv": f"{n}CNN" for n in range(1, 6)},
    **{f"pool{n}.norm": f"batch_normalization_{n}" for n in range(1, 6)},
    "taggram.dense": "dense",
}


def convert(arrays: Arrays, network: nn.Module, layers: Mapping[str, str]) -> dict[str, Tensor]:
    """Return the state of ``network`` from the arrays of a checkpoint.

    Raises KeyError if a layer is missing.
    """
    state: dict[str, Tensor] = {}
    for name, layer in layers.items():
        module = network.get_submodule(name)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            names = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean",
                     "running_var": "moving_variance"}  # fmt: skip
            found = {ours: arrays[f"{layer}/{theirs}"] for ours, theirs in names.items()}
            state[f"{name}.num_batches_tracked"] = torch.tensor(0)
        else:
            kernel = _kernel(arrays[f"{layer}/kernel"], module)
            found = {"weight": kernel, "bias": arrays[f"{layer}/bias"]}
        for parameter, array in found.items():
            state[f"{name}.{parameter}"] = torch.from_numpy(np.ascontiguousarray(array).copy())
    return state


def _kernel(array: NDArray[np.generic], module: nn.Module) -> NDArray[np.generic]:
    """Return TensorFlow's kernel, (frames, bands, inputs, outputs), in torch's order."""
    if isinstance(module, nn.Conv2d):
        return array.transpose(3, 2, 1, 0)
    if isinstance(module, nn.Conv1d) and array.ndim == 4:  # the bands are its inputs
        return array[:, :, 0].transpose(2, 1, 0)
    if isinstance(module, nn.Conv1d):  # the dense layer of the VGG network: (2 x 128, 50)
        return array.reshape(2, N_VGG, -1).transpose(2, 1, 0)
    return array.T


# --- Entries of the catalogue ---------------------------------------------------------------------

WHEEL = Wheel(
    package="musicnn",
    version="0.1.0",
    sha256="f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa",
    n_bytes=29_292_476,
    licence="ISC",
    citation="J. Pons and X. Serra (2019). musicnn: pre-trained convolutional neural networks for "
    "music audio tagging. Late-breaking/demo, ISMIR. arXiv:1909.06654",
)


def _read(folder: str, build: Callable[[], nn.Module], wheel: ZipFile) -> dict[str, Tensor]:
    """Return the weights of one of the four networks in the wheel."""
    index = wheel.read(f"musicnn/{folder}/.index")
    data = wheel.read(f"musicnn/{folder}/.data-00000-of-00001")
    arrays = read_checkpoint(index, data, f"musicnn/{folder}")
    return convert(arrays, build(), LAYERS if build is MusiCNN else VGG_LAYERS)


def _entry(name: str, folder: str, build: Callable[[], nn.Module], summary: str) -> Entry:
    names = IN_TIME + POOLED if build is MusiCNN else VGG_STAGES
    return Entry(
        name,
        summary,
        WHEEL,
        build,
        partial(_read, folder, build),
        {stage: stage for stage in names},
        {
            "rate_hz": RATE_HZ,
            "time_axis": {stage: None for stage in POOLED if stage in names},
            "context_s": CONTEXT_S,
            "stride_s": 0.5,  # each window takes as long as 3 s of the other stages
            "classes": tags.MILLION_SONG if "MSD" in folder else tags.MAGNATAGATUNE,
        },
    )


NETWORKS = (
    _entry("musicnn", "MSD_musicnn", MusiCNN, "music tags, Million Song Dataset"),
    _entry("musicnn-mtt", "MTT_musicnn", MusiCNN, "music tags, MagnaTagATune"),
    _entry("musicnn-vgg", "MSD_vgg", VGG, "music tags, Million Song Dataset"),
    _entry("musicnn-vgg-mtt", "MTT_vgg", VGG, "music tags, MagnaTagATune"),
)
