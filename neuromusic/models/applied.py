"""A network and how it is given sound: what commands need to know of one, whoever trained it."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.features.meta import SetMeta
from neuromusic.features.timed import Timed
from neuromusic.models.network import Network
from neuromusic.stimuli import audio

Array = NDArray[np.float32]


@dataclass(frozen=True)
class AppliedNetwork(ABC):
    """A network in evaluation mode, and how it is given sound.

    Attributes
    ----------
    directory : Path
        The network's directory, or the file or name that it was loaded from.
    network : Network
        The network; a `torch.nn.Module` with named stages.
    classes : list of str
        Class names in the order of the outputs; none if it is no classifier of ours.
    meta : SetMeta
        How its input is computed from sound.
    """

    directory: Path
    network: Network
    classes: list[str]
    meta: SetMeta

    @property
    @abstractmethod
    def name(self) -> str:
        """Name in tables and figures."""

    @property
    @abstractmethod
    def reference(self) -> Path | str:
        """What a user types to load this network again."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return what, besides its weights, the responses depend on, for records."""

    @abstractmethod
    def weights_hash(self) -> str:
        """Return the SHA-256 of the weights."""

    @abstractmethod
    def key_settings(self) -> dict[str, Any] | None:
        """Return what responses depend on besides the modules, for a cache; None if not stored."""

    @property
    @abstractmethod
    def hop_frames(self) -> int:
        """Number of input frames from one window of a sound to the next."""

    @property
    @abstractmethod
    def controls(self) -> tuple[str, ...]:
        """Which controls there are: "random" and "permuted", or none."""

    @abstractmethod
    def control(self, kind: str, number: int = 1) -> Self:
        """Return a copy with random or permuted weights; further copies have other numbers."""

    @abstractmethod
    def features_of(self, wave: Array | Iterable[Array]) -> tuple[Any, NDArray[np.bool_]]:
        """Return the input for a mono sound at `rate_hz`, and which frames contain sound."""

    def input_of(self, path: Path, played_s: float | None = None) -> Any:
        """Return the input for a sound file, of which at most ``played_s`` were played."""
        rate_hz, channel = self.rate_hz, self.meta.channel
        if played_s is None:
            return self.features_of(audio.read(path, channel=channel, to_hz=rate_hz))[0]
        return self.features_of(audio.played_blocks(path, played_s, channel, to_hz=rate_hz))[0]

    @property
    def rate_hz(self) -> int:
        """Sample rate at which the network is given sounds."""
        return audio.RATE_HZ

    @property
    def parts(self) -> "Mapping[str, AppliedNetwork]":
        """Prefix of stages -> network: the members of an ensemble, otherwise the network itself.

        All take the same input. The stages are those of all parts, each with its prefix.
        """
        return {"": self}

    def combined(self, log_p: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return the log-probabilities (..., classes) from those of all parts."""
        return log_p[0]

    @property
    def has_windows(self) -> bool:
        """Whether the network is applied to windows of a fixed length.

        `fmri.volumes.clip_volumes` and `encoding.sound_features.stage_features` do that; all others
        have `frames_of` and `unit_counts`.
        """
        return True

    def frames_of(self, x: Any) -> dict[str, Timed]:
        """Return stage -> frames with their times for an input, without windows."""
        raise TypeError(f"{self.name} is applied to windows")

    def unit_counts(self) -> dict[str, int]:
        """Return stage -> number of units, without windows."""
        raise TypeError(f"{self.name} is applied to windows")

    @property
    def training_level(self) -> float | None:
        """Mean of the input over the training sounds, or of samples the standard deviation.

        None if it is not known, or if level does not matter.
        """
        return None

    def check_takes_sound(self) -> None:
        """Raise InputError if the network cannot be given sound files."""
        if self.meta.source != "audio":
            raise InputError(
                f"{self.directory}: was trained on precomputed features, so it cannot take sound "
                "files; train on a set prepared from audio"
            )
