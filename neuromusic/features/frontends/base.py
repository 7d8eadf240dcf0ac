"""What all front ends have in common: the FrontEnd protocol, look-up by name, silent frames.

A front end is a frozen set of parameters with a method ``compute`` from a wave to features, one row
per channel and band and one column per frame; frame k is centred on k * frame_s.
"""

from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, did_you_mean
from neuromusic.features.frontends.mel import MelSpec, log_mel_tensor

if TYPE_CHECKING:  # torch is imported only when features are computed
    from torch import Tensor

KINDS = {
    "logmel": ("mel", "MelSpec"),
    "cochleagram": ("cochleagram", "CochleaSpec"),
    "modulation": ("modulation", "ModulationSpec"),
    "scattering": ("scattering", "ScatteringSpec"),
}


# Stages of a network. It is in `training.stages_front_end`, because it needs networks.
STAGES = "stages"
STAGES_FLOOR = -65504.0  # the lowest float16, which no activation has


class FrontEnd(Protocol):
    """What every front end offers."""

    name: ClassVar[str]
    has_bands_db: ClassVar[bool]  # whether the features are one channel of adjacent bands in dB

    @property
    def frame_s(self) -> float:
        """Seconds from one frame to the next."""

    @property
    def n_channels(self) -> int:
        """Number of channels; 1 for a spectrogram."""

    @property
    def n_bands(self) -> int:
        """Number of bands per channel, from low to high frequencies."""

    @property
    def floor(self) -> float:
        """Value of every feature of silence."""

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames of a wave with ``n_samples`` samples."""

    def compute(self, wave: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return features (channels x bands, frames) of a mono wave at RATE_HZ."""


def front_end_names() -> list[str]:
    """Return the names of all front ends."""
    return list(KINDS)


def front_end(name: str, **parameters: Any) -> FrontEnd:
    """Return a front end by name; raise InputError if the name is unknown."""
    if name == STAGES:
        raise InputError(
            f"front_end: {STAGES!r} needs a network; use stages_front_end (neuromusic prepare "
            "--network)"
        )
    # JSON turns tuples into lists.
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in parameters.items()}
    return cast(FrontEnd, _class(name)(**fields))


def front_end_has_bands(name: str) -> bool:
    """Return whether a front end computes one channel of adjacent bands in dB."""
    return name != STAGES and cast(bool, _class(name).has_bands_db)


def describe(spec: FrontEnd) -> dict[str, Any]:
    """Return a front end's name and parameters; ``front_end(**description)`` restores it."""
    return {"name": spec.name, **asdict(spec)}  # type: ignore[call-overload]  # a dataclass


def _class(name: str) -> Any:
    if name not in KINDS:
        raise InputError(
            f"front_end: unknown front end {name!r}; expected one of {', '.join(KINDS)}"
            f"{did_you_mean(name, KINDS)}"
        )
    module, kind = KINDS[name]
    return getattr(import_module(f"neuromusic.features.frontends.{module}"), kind)


def compute_batch(spec: FrontEnd, waves: "Tensor", lengths: Sequence[int]) -> "Tensor":
    """Return features (waves, channels x bands, frames) float32 of a batch, on its device.

    Wave w of ``waves`` (waves, n_samples) has ``lengths[w]`` samples, followed by zeros; its frames
    beyond them mean nothing. Log-mel is computed on the device; all other front ends compute on the
    CPU, one wave at a time.
    """
    if isinstance(spec, MelSpec):
        return log_mel_tensor(waves, spec)
    import torch

    sounds = zip(waves.cpu().numpy(), lengths, strict=True)
    computed = [torch.from_numpy(spec.compute(wave[:n])) for wave, n in sounds]
    n_most = max(features.shape[1] for features in computed)
    padded = [torch.nn.functional.pad(x, (0, n_most - x.shape[1])) for x in computed]
    return torch.stack(padded).to(waves.device)


def frames_with_sound(features: NDArray[Any], floor: float | None) -> NDArray[np.bool_]:
    """Return which frames of features (bands, n_frames) contain sound, (n_frames,).

    A frame is silent if all its features, in float16, equal ``floor``, as those of digital zeros
    do. Without a floor (features precomputed elsewhere) no frame counts as silent.
    """
    if floor is None:
        return np.ones(features.shape[1], dtype=np.bool_)
    if features.dtype != np.int16:
        features = features.astype(np.float16, copy=False)
    return np.any(features != floor, axis=0)
