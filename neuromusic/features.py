"""Log-mel spectrograms."""

from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
import torch
import torchaudio.functional as taf
from numpy.typing import NDArray

from neuromusic.audio import RATE_HZ


@dataclass(frozen=True)
class MelSpec:
    """How a log-mel spectrogram is made; librosa's melspectrogram with these arguments.

    The power is in dB re 1 with a floor, not below the clip's own maximum: a softer clip must stay
    a softer clip. The floor of -80 dB is about the noise of 16-bit sound.
    """

    rate_hz: int = RATE_HZ
    n_fft: int = 1024
    hop: int = 512
    n_mels: int = 128
    floor_db: float = -80.0

    @property
    def frame_s(self) -> float:
        """Seconds from one frame to the next; frame k is centred on k * frame_s."""
        return self.hop / self.rate_hz

    def as_dict(self) -> dict[str, float]:
        """Return the fields as plain numbers."""
        return asdict(self)


@lru_cache
def _filters(spec: MelSpec) -> torch.Tensor:
    return taf.melscale_fbanks(
        spec.n_fft // 2 + 1, 0.0, spec.rate_hz / 2, spec.n_mels, spec.rate_hz,
        norm="slaney", mel_scale="slaney",
    )  # fmt: skip


def log_mel(wave: NDArray[np.float32], spec: MelSpec = MelSpec()) -> NDArray[np.float32]:
    """Return the log-mel spectrogram of a mono wave at spec.rate_hz: (n_mels, n_frames), in dB.

    Equals ``librosa.power_to_db(librosa.feature.melspectrogram(...), top_db=None)`` with
    ``amin=10 ** (floor_db / 10)``.
    """
    spectrum = torch.stft(
        torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32)),
        spec.n_fft, spec.hop, window=torch.hann_window(spec.n_fft),
        pad_mode="constant", return_complex=True,
    )  # fmt: skip
    power = spectrum.real.square() + spectrum.imag.square()
    mel = _filters(spec).T @ power
    return (10.0 * torch.log10(mel.clamp_min(10 ** (spec.floor_db / 10)))).numpy()


def sounding(mel: NDArray[np.floating], floor_db: float | None) -> NDArray[np.bool_]:
    """Return which frames of a log-mel spectrogram (n_mels, n_frames) hold sound, (n_frames,).

    A silent frame lies at the floor in every band, in float16, as digital zeros do. Without a floor
    (ready-made features) no frame is known to be silent.
    """
    if floor_db is None:
        return np.ones(mel.shape[1], dtype=np.bool_)
    return np.any(mel.astype(np.float16, copy=False) > floor_db, axis=0)


def mel_hz(n_mels: int, rate_hz: int = RATE_HZ) -> NDArray[np.float64]:
    """Return the centre frequencies of the mel bands (Slaney's scale), (n_mels,)."""
    import librosa

    return librosa.mel_frequencies(n_mels + 2, fmin=0.0, fmax=rate_hz / 2)[1:-1]
