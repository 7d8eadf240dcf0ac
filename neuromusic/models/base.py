"""What every network is: stages with a time axis, a readout, and a registry of builders."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from neuromusic.errors import InputError, did_you_mean


@dataclass(frozen=True)
class InputSpec:
    """What a network is built for."""

    n_mels: int
    n_frames: int  # in one window
    frame_s: float  # seconds from one frame to the next
    n_classes: int


@dataclass(frozen=True)
class Stage:
    """A named part of a network whose activations are exported."""

    name: str
    area: str  # of auditory cortex, or "" for none
    brodmann: tuple[int, ...]
    pool: int  # input frames from one frame of the stage to the next
    centre: float  # input frame on which the stage's frame 0 is centred


class Network(nn.Module):
    """A chain of stages and a readout.

    A subclass sets ``stages`` and defines ``activations`` and ``readout``. The input is
    standardised per mel band with ``band_mean`` and ``band_std``, which training sets.
    """

    band_mean: Tensor
    band_std: Tensor

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        self.spec = spec
        self.stages: tuple[Stage, ...] = ()
        self.register_buffer("band_mean", torch.zeros(spec.n_mels))
        self.register_buffer("band_std", torch.ones(spec.n_mels))

    def standardise(self, x: Tensor) -> Tensor:
        """Return (batch, 1, mels, frames) with mean 0 and deviation 1 in every band."""
        return ((x - self.band_mean[:, None]) / self.band_std[:, None])[:, None]

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        """Return stage -> (batch, ..., time) for log-mel windows (batch, mels, frames) in dB."""
        raise TypeError(f"{type(self).__name__} does not define its activations")

    def readout(self, active: dict[str, Tensor]) -> Tensor:
        """Return logits (batch, classes) from the activations of the stages."""
        raise TypeError(f"{type(self).__name__} does not define its readout")

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, classes) for log-mel windows (batch, mels, frames) in dB."""
        return self.readout(self.activations(x))


Builder = Callable[..., Network]
_REGISTRY: dict[str, Builder] = {}


def register(name: str) -> Callable[[Builder], Builder]:
    """Enter a builder ``(spec, **options) -> Network`` into the registry under a name."""

    def enter(builder: Builder) -> Builder:
        _REGISTRY[name] = builder
        return builder

    return enter


def model_names() -> list[str]:
    """Return the names in the registry, sorted."""
    return sorted(_REGISTRY)


def builder(name: str) -> Builder:
    """Return the builder of a network; raise InputError for an unknown name."""
    if name not in _REGISTRY:
        raise InputError(
            f"unknown model {name!r}; known: {', '.join(model_names())}"
            f"{did_you_mean(name, model_names())}"
        )
    return _REGISTRY[name]


def build_model(name: str, spec: InputSpec, seed: int, **options: Any) -> Network:
    """Build a network with the weights that a seed gives; torch's global state is left as it was.

    Raises InputError for an unknown name or option, and where the window is too short for it.
    """
    build = builder(name)
    known = list(inspect.signature(build).parameters)[1:]
    for option in options:
        if option not in known:
            raise InputError(
                f"model {name}: unknown option {option!r}; known: {', '.join(known)}"
                f"{did_you_mean(option, known)}"
            )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(spec, **options)
