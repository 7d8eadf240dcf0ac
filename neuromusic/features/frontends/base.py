"""Log-mel spectrograms and the other front ends: sound to rows x frames.

Each front end is a frozen set of parameters with a method ``rows_of``; `front_end` finds it by
name. Its rows are channels x bands; frame k is centred on k * frame_s.
"""

from dataclasses import asdict
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, did_you_mean
from neuromusic.features.frontends.mel import MelSpec, log_mel_tensor

if TYPE_CHECKING:  # only what makes rows needs torch
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


def rows_of_tensor(spec: FrontEnd, wave: "Tensor") -> "Tensor":
    """Return what a front end makes of a wave (n_samples,): (channels x bands, frames) float32.

    On the wave's device, which for any but log-mel is left on the way.
    """
    if isinstance(spec, MelSpec):
        return log_mel_tensor(wave, spec)
    import torch

    return torch.from_numpy(spec.rows_of(wave.cpu().numpy())).to(wave.device)


def frames_with_sound(rows: NDArray[Any], floor: float | None) -> NDArray[np.bool_]:
    """Return which frames (rows, n_frames) hold sound, (n_frames,).

    A silent frame lies at the floor in every row, in float16, as digital zeros do. Without a floor
    (ready-made features) no frame is known to be silent.
    """
    if floor is None:
        return np.ones(rows.shape[1], dtype=np.bool_)
    if rows.dtype != np.int16:
        rows = rows.astype(np.float16, copy=False)
    return np.any(rows != floor, axis=0)


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
    "logmel": ("mel", "MelSpec"),
    "cochleagram": ("cochleagram", "CochleaSpec"),
    "modulation": ("modulation", "ModulationSpec"),
    "scattering": ("scattering", "ScatteringSpec"),
}


def _kind(name: str) -> Any:
    if name not in KINDS:
        raise InputError(
            f"unknown front end {name!r}; known: {', '.join(KINDS)}{did_you_mean(name, KINDS)}"
        )
    module, kind = KINDS[name]
    return getattr(import_module(f"neuromusic.features.frontends.{module}"), kind)


def describe(spec: FrontEnd) -> dict[str, Any]:
    """Return name and parameters, from which `front_end` makes it again."""
    return {"name": spec.name, **asdict(spec)}  # type: ignore[call-overload]  # a dataclass
