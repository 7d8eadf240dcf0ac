"""silero-vad: a small recurrent network that detects speech (Silero Team 2024).

It hears blocks of 512 samples at 16 kHz, 32 ms, with the 64 samples before each, and carries a
state from block to block. It uses no block to come.

The weights are those that the package has as safetensors. They are of another release than its
TorchScript archive, which is not read because it is a program.
"""

from zipfile import ZipFile

import safetensors.torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuromusic.models.pretrained.entry import Entry, Wheel
from neuromusic.models.pretrained.frames import EachFrame, cut

RATE_HZ = 16_000
N_BLOCK, N_BEFORE, N_REFLECTED = 512, 64, 64  # samples
N_FFT, HOP = 256, 128
CONVOLUTIONS = {  # layer -> inputs, outputs, stride
    "conv1": (129, 128, 1), "conv2": (128, 64, 2), "conv3": (64, 64, 2), "conv4": (64, 128, 1),
}  # fmt: skip
STAGES = (*CONVOLUTIONS, "lstm", "speech")


class Magnitudes(nn.Module):
    """Spectrum whose sines and cosines are weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, N_FFT + 2, N_FFT, HOP, bias=False)

    def forward(self, block: Tensor) -> Tensor:
        """Return magnitudes (blocks, 129, 4) of blocks (blocks, 576)."""
        padded = F.pad(block.unsqueeze(1), (0, N_REFLECTED), "reflect")
        real, imaginary = self.conv(padded).chunk(2, 1)
        # The small number keeps the slope at silence finite.
        return (real**2 + imaginary**2 + 1e-20).sqrt()


class SileroVAD(nn.Module):
    """The network for 16 kHz, 309 633 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.spectrum = EachFrame(Magnitudes())
        for name, (n_inputs, n_outputs, stride) in CONVOLUTIONS.items():
            conv = nn.Conv1d(n_inputs, n_outputs, 3, stride, padding=1)
            self.add_module(name, EachFrame(nn.Sequential(conv, nn.ReLU())))
        self.lstm = nn.LSTM(128, 128, batch_first=True)
        self.speech = nn.Sequential(nn.ReLU(), nn.Linear(128, 1), nn.Sigmoid())

    def forward(self, wave: Tensor) -> Tensor:
        """Return the probability of speech (batch, blocks, 1) for waves (batch, samples)."""
        rest = -wave.shape[-1] % N_BLOCK  # the last block is filled with zeros
        x = self.spectrum(cut(wave, N_BEFORE + N_BLOCK, N_BLOCK, (N_BEFORE, rest)))
        for name in CONVOLUTIONS:
            x = self.get_submodule(name)(x)  # (B, blocks, filters, positions)
        speech: Tensor = self.speech(self.lstm(x.squeeze(-1))[0])
        return speech


def convert(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of `SileroVAD` from that of the package."""
    state = {"spectrum.layer.conv.weight": published["stft_conv.weight"]}
    for name in CONVOLUTIONS:
        for parameter in ("weight", "bias"):
            state[f"{name}.layer.0.{parameter}"] = published[f"{name}.{parameter}"]
    for parameter in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        state[f"lstm.{parameter}_l0"] = published[f"lstm_cell.{parameter}"]
    state["speech.1.weight"] = published["final_conv.weight"].squeeze(-1)
    state["speech.1.bias"] = published["final_conv.bias"]
    return state


# --- Entry of the catalogue -----------------------------------------------------------------------

WHEEL = Wheel(
    package="silero-vad",
    version="6.2.3",
    sha256="7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
    n_bytes=11_317_527,
    licence="MIT",
    citation="Silero Team (2024). Silero VAD: pre-trained enterprise-grade voice activity "
    "detector. https://github.com/snakers4/silero-vad",
)


def _read(wheel: ZipFile) -> dict[str, Tensor]:
    content = wheel.read("silero_vad/data/silero_vad_16k.safetensors")
    return convert(safetensors.torch.load(content))


NETWORKS = (
    Entry(
        "silero-vad",
        "presence of speech",
        WHEEL,
        SileroVAD,
        _read,
        {stage: stage for stage in STAGES},
        {"rate_hz": RATE_HZ, "time_axis": dict.fromkeys(STAGES, 1), "classes": ("speech",)},
    ),
)
