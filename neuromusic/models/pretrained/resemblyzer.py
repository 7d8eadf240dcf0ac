"""Resemblyzer: a recurrent network that tells speakers apart (Wan et al. 2018, ICASSP, GE2E loss).

Three LSTM layers on 40 mel bands, one frame every 10 ms. The stage ``voice`` is the embedding of a
window of 1.6 s. The package raises quiet sounds to -30 dB re full scale and cuts pauses out before;
here the sound stays as it is.
"""

from zipfile import ZipFile

import torch.nn.functional as F
from torch import Tensor, nn

from neuromusic.models.pretrained.entry import Entry, Wheel, read_torch
from neuromusic.models.pretrained.mel import MelPower

RATE_HZ = 16_000
N_FFT, HOP, N_MELS = 400, 160, 40
N_UNITS = 256
CONTEXT_S = 159 * HOP / RATE_HZ  # from the first to the last of 160 frames
STAGES = ("lstm1", "lstm2", "lstm3", "voice")


class Voice(nn.Module):
    """Embedding of length 1 from the state of the last frame."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(N_UNITS, N_UNITS)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, 256) of (batch, frames, 256)."""
        return F.normalize(F.relu(self.linear(x[:, -1])))


class VoiceEncoder(nn.Module):
    """The network, 1 423 616 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.mel = MelPower(RATE_HZ, N_FFT, HOP, N_MELS)
        self.lstm1 = nn.LSTM(N_MELS, N_UNITS, batch_first=True)
        self.lstm2 = nn.LSTM(N_UNITS, N_UNITS, batch_first=True)
        self.lstm3 = nn.LSTM(N_UNITS, N_UNITS, batch_first=True)
        self.voice = Voice()

    def forward(self, wave: Tensor) -> Tensor:
        """Return the embedding (batch, 256) of waves (batch, samples)."""
        x = self.mel(wave).transpose(1, 2)  # (B, T, 40)
        for lstm in (self.lstm1, self.lstm2, self.lstm3):
            x = lstm(x)[0]
        voice: Tensor = self.voice(x)
        return voice


def convert(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of `VoiceEncoder` from that of the package, which has one LSTM of three."""
    state = {}
    for name, values in published.items():
        layer, _, parameter = name.partition(".")
        if layer == "lstm":
            stem, number = parameter[:-1], int(parameter[-1])
            state[f"lstm{number + 1}.{stem}0"] = values
        elif layer == "linear":
            state[f"voice.linear.{parameter}"] = values
    return state  # the rest belongs to the loss of its training


# --- Entry of the catalogue -----------------------------------------------------------------------

WHEEL = Wheel(
    package="Resemblyzer",
    version="0.1.4",
    sha256="8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f",
    n_bytes=15_747_704,
    licence="Apache 2.0",
    citation="L. Wan, Q. Wang, A. Papir and I. Lopez Moreno (2018). Generalized end-to-end loss "
    "for speaker verification. ICASSP. arXiv:1710.10467; port to torch: C. Jemine",
)


def _read(wheel: ZipFile) -> dict[str, Tensor]:
    return convert(read_torch(wheel, "resemblyzer/pretrained.pt")["model_state"])


NETWORKS = (
    Entry(
        "resemblyzer",
        "identity of speakers",
        WHEEL,
        VoiceEncoder,
        _read,
        {stage: stage for stage in STAGES},
        {
            "rate_hz": RATE_HZ,
            "time_axis": {"lstm1": 1, "lstm2": 1, "lstm3": 1, "voice": None},
            "context_s": CONTEXT_S,
        },
    ),
)
