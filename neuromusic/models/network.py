"""What all networks share: stages that keep a time axis, a readout, and a standardised input."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from neuromusic.core.errors import InputError
from neuromusic.models.receptive_field import Geometry, trace

Input = Literal["bands", "wave"]


@dataclass(frozen=True)
class InputSpec:
    """The input and output sizes that a network is built for.

    Parameters
    ----------
    n_bands : int
        Bands of the front end; 1 for a wave.
    n_frames : int
        Frames of one window; for a wave, samples.
    frame_s : float
        Frame period in seconds; for a wave, the sample period.
    n_classes : int
        Classes of the readout.
    n_channels : int
        Channels of the front end; the input has n_channels x n_bands rows.

    Raises
    ------
    InputError
        By `create_model`, if the window is too short, or has too few bands, for the network.

    Examples
    --------
    >>> import neuromusic as nm
    >>> nm.InputSpec(n_bands=128, n_frames=129, frame_s=0.0775, n_classes=10).n_rows
    128
    """

    n_bands: int
    n_frames: int
    frame_s: float
    n_classes: int
    n_channels: int = 1

    @property
    def n_rows(self) -> int:
        """Rows of the input: channels x bands."""
        return self.n_channels * self.n_bands


@dataclass(frozen=True)
class Stage:
    """A named part of a network whose activations are exported."""

    name: str
    area: str  # title of the area of auditory cortex, or "" for none
    brodmann: tuple[int, ...]
    pool: float  # input frames from one frame of the stage to the next
    centre: float  # input frame on which the stage's frame 0 is centred


class Network(nn.Module):
    """A network of stages and a readout.

    A subclass calls `set_stages` and defines ``path``, ``part``, ``activations`` and ``readout``.
    The input is standardised with ``band_mean`` and ``band_std``, which training sets.
    """

    least_frames = 1  # minimum length of the last stage
    band_mean: Tensor
    band_std: Tensor

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        self.spec = spec
        self.stages: tuple[Stage, ...] = ()
        self.register_buffer("band_mean", torch.zeros(spec.n_rows))
        self.register_buffer("band_std", torch.ones(spec.n_rows))

    def path(self, stage: str) -> Sequence[nn.Module]:
        """Return the modules from the input to the end of a stage, in order."""
        raise TypeError(f"{type(self).__name__} does not define its path")

    def part(self, stage: str) -> Sequence[nn.Module]:
        """Return the modules that a stage adds to those before it; the rest is the readout."""
        raise TypeError(f"{type(self).__name__} does not define its parts")

    def geometry(self, stage: str) -> Geometry:
        """Return where the units of a stage lie on the input."""
        return trace(self.path(stage), self.spec.n_bands, self.spec.n_frames)

    def set_stages(self, names: list[str], areas: dict[str, tuple[str, tuple[int, ...]]]) -> None:
        """Set ``stages``; ``areas`` maps a stage to its area's title and Brodmann areas.

        Raises InputError if the window is too short, or has too few bands, for the last stage.
        """
        spec = self.spec
        last = self.geometry(names[-1])
        if last.size[0] < 1 or last.size[1] < self.least_frames:
            if trace(self.path(names[-1]), spec.n_bands, 2**24).size[0] < 1:
                raise InputError(f"{spec.n_bands} bands are too few for this network")
            raise InputError(
                f"a window of {spec.n_frames} frames is too short for this network; set "
                f"data.window_s to at least {self._least_window(names[-1]) * spec.frame_s:.2f}"
            )
        self.stages = tuple(
            Stage(name, *areas.get(name, ("", ())), pool=g.jump[1], centre=g.centre[1])
            for name, g in ((name, self.geometry(name)) for name in names)
        )

    def _least_window(self, stage: str) -> int:
        """Return the shortest window, in frames, by bisection."""
        low, high = self.spec.n_frames, 2**24
        while high - low > 1:
            middle = (low + high) // 2
            if trace(self.path(stage), self.spec.n_bands, middle).size[1] < self.least_frames:
                low = middle
            else:
                high = middle
        return high

    def standardise(self, x: Tensor) -> Tensor:
        """Return windows (B, rows, frames) as (B, channels, bands, frames), mean 0 and SD 1."""
        x = (x - self.band_mean[:, None]) / self.band_std[:, None]
        return x.unflatten(1, (self.spec.n_channels, self.spec.n_bands))

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        """Return stage -> (B, ..., time) for windows (B, rows, frames)."""
        raise TypeError(f"{type(self).__name__} does not define its activations")

    def readout(self, active: dict[str, Tensor]) -> Tensor:
        """Return logits (B, classes) from the activations of the stages."""
        raise TypeError(f"{type(self).__name__} does not define its readout")

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, classes) for windows (B, rows, frames)."""
        return self.readout(self.activations(x))


class Chain(Network):
    """A feed-forward network: named blocks in sequence, each a stage, and a head on the last.

    ``head`` is called with the `Geometry` of the last block and returns a module from its map
    (B, ..., time) to logits.
    """

    def __init__(
        self,
        spec: InputSpec,
        blocks: Mapping[str, nn.Module],
        head: Callable[[Geometry], nn.Module],
    ) -> None:
        super().__init__(spec)
        self.blocks = nn.ModuleDict(blocks)
        self.set_stages(list(blocks), {})
        self.head = head(self.geometry(self.stages[-1].name))

    def path(self, stage: str) -> Sequence[nn.Module]:
        """See `Network.path`."""
        names = list(self.blocks)
        return [self.blocks[name] for name in names[: names.index(stage) + 1]]

    def part(self, stage: str) -> Sequence[nn.Module]:
        """See `Network.part`."""
        return [self.blocks[stage]]

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        """See `Network.activations`."""
        out = {}
        x = self.standardise(x)
        for name, block in self.blocks.items():
            x = out[name] = block(x)
        return out

    def readout(self, active: dict[str, Tensor]) -> Tensor:
        """See `Network.readout`."""
        logits: Tensor = self.head(active[self.stages[-1].name])
        return logits


class MeanOverMap(nn.Module):
    """The mean over all axes but batch and channels; deterministic on every device."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels) for (B, channels, ...)."""
        return x.flatten(2).mean(2)


class MaxAndMeanOverTime(nn.Module):
    """The maximum and the mean over all axes but batch and channels, concatenated."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 2 x channels) for (B, channels, ...)."""
        flat = x.flatten(2)
        return torch.cat([flat.amax(2), flat.mean(2)], dim=1)


def dense(sizes: list[int], dropout: float = 0.0) -> nn.Sequential:
    """Return linear layers of these sizes, with ReLU and dropout between them."""
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(sizes[:-1]):
        layers += [nn.Linear(n_in, n_out), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


Builder = Callable[..., Network]
