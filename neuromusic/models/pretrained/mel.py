"""Mel spectrograms of pretrained networks, as torch modules."""

import torch
from torch import Tensor, nn


class MelPower(nn.Module):
    """Power in Slaney's mel bands, equal to ``librosa.feature.melspectrogram``.

    Frame k is centred on sample k * hop; beyond the ends of the sound lie zeros.

    Parameters
    ----------
    rate_hz : int
        Sampling rate of the input.
    n_fft, hop : int
        Samples per frame, and from one frame to the next.
    n_mels : int
        Number of bands, from 0 Hz to half the sampling rate.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, rate_hz: int, n_fft: int, hop: int, n_mels: int):
        super().__init__()
        import torchaudio.functional as taf

        filters = taf.melscale_fbanks(
            n_fft // 2 + 1, 0.0, rate_hz / 2, n_mels, rate_hz, norm="slaney", mel_scale="slaney"
        )
        self.n_fft, self.hop = n_fft, hop
        # Not weights: they are neither stored nor replaced by a control with random weights.
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.register_buffer("filters", filters.T.contiguous(), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        """Return the power (batch, n_mels, frames) of waves (batch, samples)."""
        bins = torch.stft(
            wave, self.n_fft, self.hop, window=self.window, pad_mode="constant", return_complex=True
        )
        return self.filters @ (bins.real**2 + bins.imag**2)
