"""Front end: log-mel spectrogram, equal to librosa's."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from neuromusic.stimuli.audio import RATE_HZ

if TYPE_CHECKING:  # torch is imported only when features are computed
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class MelSpec:
    """Parameters of a log-mel spectrogram, as in librosa.feature.melspectrogram.

    The power is in dB re 1 and limited to an absolute floor, not to one relative to the clip's own
    maximum, so a quieter clip remains quieter. The floor of -80 dB is about the noise level of
    16-bit sound.
    """

    rate_hz: int = RATE_HZ
    n_fft: int = 1024  # samples per frame
    hop: int = 512  # samples from one frame to the next
    n_mels: int = 128
    floor_db: float = -80.0

    name: ClassVar[str] = "logmel"
    has_bands_db: ClassVar[bool] = True
    n_channels: ClassVar[int] = 1

    @property
    def frame_s(self) -> float:
        """Seconds from one frame to the next; frame k is centred on k * frame_s."""
        return self.hop / self.rate_hz

    @property
    def n_bands(self) -> int:
        """Number of mel bands."""
        return self.n_mels

    @property
    def floor(self) -> float:
        """Value of silence, in dB."""
        return self.floor_db

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames of a wave with ``n_samples`` samples."""
        return 1 + n_samples // self.hop

    def compute(self, wave: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n_mels, n_frames) in dB; see `log_mel`."""
        return log_mel(wave, self)


def log_mel(wave: NDArray[np.float32], spec: MelSpec = MelSpec()) -> NDArray[np.float32]:
    """Return the log-mel spectrogram of a mono wave.

    Equals ``librosa.power_to_db(librosa.feature.melspectrogram(...), top_db=None)`` with
    ``amin=10 ** (floor_db / 10)`` and ``pad_mode="constant"``.

    Parameters
    ----------
    wave : float32 array (n_samples,)
        Samples at ``spec.rate_hz``, 22 050 Hz by default.
    spec : MelSpec
        Frame length, hop, number of bands and floor.

    Returns
    -------
    float32 array (n_mels, n_frames)
        Power in dB re 1; frame k is centred on sample ``k * spec.hop``.

    Raises
    ------
    ValueError
        If ``wave`` cannot be converted to float32.

    Examples
    --------
    >>> import numpy as np
    >>> import neuromusic as nm
    >>> wave = np.sin(2 * np.pi * 440 * np.arange(22_050) / 22_050).astype(np.float32)
    >>> nm.log_mel(wave).shape
    (128, 44)
    """
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32))
    return log_mel_tensor(tensor, spec).numpy()


def log_mel_tensor(wave: "Tensor", spec: MelSpec, centred: bool = True) -> "Tensor":
    """Return the log-mel of waves (..., samples) as (..., n_mels, n_frames) in dB, on their device.

    If not ``centred``, frame k begins at sample k * hop and nothing is padded.
    """
    import torch

    from neuromusic.features.stft.spectrum import hann, spectra

    filters = _filters(spec, wave.device)
    is_single = wave.ndim == 1 and centred and not wave.requires_grad
    if is_single and wave.device.type == "cpu" and wave.dtype == torch.float32:
        from neuromusic.features.stft import cpu  # imports Numba, which takes time

        mel = cpu.band_powers(wave, hann(spec.n_fft, wave.device), spec.hop, filters)
    else:
        bins = spectra(wave, spec.n_fft, spec.hop, centred)  # (..., frames, bins)
        power = bins.real**2 + bins.imag**2
        mel = (power @ filters.to(power.dtype)).transpose(-1, -2)
    return mel.clamp_min_(10 ** (spec.floor_db / 10)).log10_().mul_(10.0)


@lru_cache
def _filters(spec: MelSpec, device: "torch.device") -> "Tensor":
    """Return the mel filters (bins, n_mels)."""
    import torchaudio.functional as taf

    filters: Tensor = taf.melscale_fbanks(
        spec.n_fft // 2 + 1, 0.0, spec.rate_hz / 2, spec.n_mels, spec.rate_hz,
        norm="slaney", mel_scale="slaney",
    ).to(device)  # fmt: skip
    return filters


def mel_hz(n_mels: int, rate_hz: int = RATE_HZ) -> NDArray[np.float64]:
    """Return the centre frequencies of the mel bands, (n_mels,).

    Slaney's scale (1998, Auditory Toolbox) is linear up to 1 kHz, with three mels per 200 Hz, and
    logarithmic above, with 27 mels per factor of 6.4. librosa has the same function but takes
    seconds to import.
    """
    top = 15 + 27 * np.log(rate_hz / 2 / 1000) / np.log(6.4)
    mel = np.linspace(0, top, n_mels + 2)[1:-1]
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))
