"""Log-mel spectrograms and the other front ends: sound to rows x frames.

Each front end is a frozen set of parameters with a method ``rows_of``; `front_end` finds it by
name. Its rows are channels x bands; frame k is centred on k * frame_s.
"""

from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from neuromusic.audio import RATE_HZ
from neuromusic.errors import InputError, did_you_mean

if TYPE_CHECKING:  # only what makes rows needs torch
    import torch
    from torch import Tensor


class FrontEnd(Protocol):
    """What every front end offers."""

    name: ClassVar[str]
    has_bands_db: ClassVar[bool]  # one channel of neighbouring bands in dB

    @property
    def frame_s(self) -> float:
        """Seconds from one frame to the next."""

    @property
    def n_channels(self) -> int:
        """Channels; 1 for a spectrogram."""

    @property
    def n_bands(self) -> int:
        """Bands of a channel, from low to high frequencies."""

    @property
    def floor(self) -> float:
        """Value of every row where the sound is silent."""

    def n_frames(self, n_samples: int) -> int:
        """Return the frames of so many samples."""

    def rows_of(self, wave: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (channels x bands, frames) for a mono wave at RATE_HZ."""


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

    name: ClassVar[str] = "logmel"
    has_bands_db: ClassVar[bool] = True
    n_channels: ClassVar[int] = 1

    @property
    def frame_s(self) -> float:
        """Seconds from one frame to the next; frame k is centred on k * frame_s."""
        return self.hop / self.rate_hz

    @property
    def n_bands(self) -> int:
        """Mel bands."""
        return self.n_mels

    @property
    def floor(self) -> float:
        """Value of silence, in dB."""
        return self.floor_db

    def n_frames(self, n_samples: int) -> int:
        """Return the frames of so many samples."""
        return 1 + n_samples // self.hop

    def rows_of(self, wave: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `log_mel`."""
        return log_mel(wave, self)


@lru_cache
def _filters(spec: MelSpec, device: "torch.device") -> "Tensor":
    """Return the mel filters (bins, n_mels)."""
    import torchaudio.functional as taf

    return taf.melscale_fbanks(
        spec.n_fft // 2 + 1, 0.0, spec.rate_hz / 2, spec.n_mels, spec.rate_hz,
        norm="slaney", mel_scale="slaney",
    ).to(device)  # fmt: skip


def log_mel_tensor(wave: "Tensor", spec: MelSpec, centred: bool = True) -> "Tensor":
    """Return the log-mel of waves (..., samples) as (..., n_mels, n_frames) in dB, on their device.

    Not ``centred``, frame k begins at sample k * hop and nothing is padded.
    """
    import torch

    from neuromusic.stft import hann, spectra

    filters = _filters(spec, wave.device)
    alone = wave.ndim == 1 and centred and not wave.requires_grad
    if alone and wave.device.type == "cpu" and wave.dtype == torch.float32:
        from neuromusic import compiled  # few commands need Numba

        mel = compiled.band_powers(wave, hann(spec.n_fft, wave.device), spec.hop, filters)
    else:
        bins = spectra(wave, spec.n_fft, spec.hop, centred)  # (..., frames, bins)
        power = bins.real**2 + bins.imag**2
        mel = (power @ filters.to(power.dtype)).transpose(-1, -2)
    return mel.clamp_min_(10 ** (spec.floor_db / 10)).log10_().mul_(10.0)


def log_mel(wave: NDArray[np.float32], spec: MelSpec = MelSpec()) -> NDArray[np.float32]:
    """Return the log-mel spectrogram of a mono wave at spec.rate_hz: (n_mels, n_frames), in dB.

    Equals ``librosa.power_to_db(librosa.feature.melspectrogram(...), top_db=None)`` with
    ``amin=10 ** (floor_db / 10)``.
    """
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32))
    return log_mel_tensor(tensor, spec).numpy()


def rows_of_tensor(spec: FrontEnd, wave: "Tensor") -> "Tensor":
    """Return what a front end makes of a wave (n_samples,): (channels x bands, frames) float32.

    On the wave's device, which for any but log-mel is left on the way.
    """
    if isinstance(spec, MelSpec):
        return log_mel_tensor(wave, spec)
    import torch

    return torch.from_numpy(spec.rows_of(wave.cpu().numpy())).to(wave.device)


def sounding(rows: NDArray[Any], floor: float | None) -> NDArray[np.bool_]:
    """Return which frames (rows, n_frames) hold sound, (n_frames,).

    A silent frame lies at the floor in every row, in float16, as digital zeros do. Without a floor
    (ready-made features) no frame is known to be silent.
    """
    if floor is None:
        return np.ones(rows.shape[1], dtype=np.bool_)
    if rows.dtype != np.int16:
        rows = rows.astype(np.float16, copy=False)
    return np.any(rows != floor, axis=0)


def mel_hz(n_mels: int, rate_hz: int = RATE_HZ) -> NDArray[np.float64]:
    """Return the centre frequencies of the mel bands, (n_mels,).

    Slaney's scale (1998, Auditory Toolbox): three mels in 200 Hz up to 1 kHz, above it 27 in every
    factor of 6.4. Written out because librosa, which has it, takes seconds to import.
    """
    top = 15 + 27 * np.log(rate_hz / 2 / 1000) / np.log(6.4)
    mel = np.linspace(0, top, n_mels + 2)[1:-1]
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))


def front_end(name: str, **parameters: Any) -> FrontEnd:
    """Return a front end by name; raise InputError for an unknown one."""
    # From JSON a tuple comes back as a list.
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in parameters.items()}
    made: FrontEnd = _kind(name)(**fields)
    return made


def front_end_has_bands(name: str) -> bool:
    """Say whether a front end makes one channel of neighbouring bands in dB."""
    has: bool = _kind(name).has_bands_db
    return has


def front_end_names() -> list[str]:
    """Return the names of the front ends."""
    return list(KINDS)


KINDS = {
    "logmel": ("features", "MelSpec"),
    "cochleagram": ("auditory", "CochleaSpec"),
    "modulation": ("auditory", "ModulationSpec"),
    "scattering": ("scattering", "ScatteringSpec"),
}


def _kind(name: str) -> Any:
    if name not in KINDS:
        raise InputError(
            f"unknown front end {name!r}; known: {', '.join(KINDS)}{did_you_mean(name, KINDS)}"
        )
    module, kind = KINDS[name]
    return getattr(import_module(f"neuromusic.{module}"), kind)


def describe(spec: FrontEnd) -> dict[str, Any]:
    """Return name and parameters, from which `front_end` makes it again."""
    return {"name": spec.name, **asdict(spec)}  # type: ignore[call-overload]  # a dataclass
