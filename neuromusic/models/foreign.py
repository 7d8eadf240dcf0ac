"""Networks of others, and features computed elsewhere, in the form that commands take."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import nn

from neuromusic.core.errors import InputError
from neuromusic.core.files import sha256
from neuromusic.features.feature_folder import FeatureFolder
from neuromusic.features.meta import SetMeta
from neuromusic.features.timed import Timed
from neuromusic.models import controls, hearing
from neuromusic.models.applied import AppliedNetwork, Array
from neuromusic.models.external import External
from neuromusic.models.network import InputSpec, Network, Stage
from neuromusic.stimuli import audio
from neuromusic.stimuli.channels import Channel, channel_setting

CONTROLS = {"random": controls.reinitialised, "permuted": controls.permuted}
WINDOW_S = 10.0  # of networks that hear the whole sound; only estimates of time use it


class _Named(Network):
    """A module as a network with named stages; it is run by `hearing`, not in windows."""

    def __init__(self, module: nn.Module | None, stages: Iterable[str], spec: InputSpec) -> None:
        super().__init__(spec)
        self.module = module
        self.stages = tuple(Stage(name, "", (), np.nan, np.nan) for name in stages)


@dataclass(frozen=True)
class ForeignNetwork(AppliedNetwork):
    """A network of others.

    Attributes
    ----------
    external : External
        The network, and how it hears sound.
    """

    external: External

    @property
    def name(self) -> str:
        """See `AppliedNetwork.name`."""
        return self.external.name

    @property
    def reference(self) -> Path | str:
        """See `AppliedNetwork.reference`."""
        return self.directory if self.directory.is_file() else str(self.directory)

    def settings(self) -> dict[str, Any]:
        """See `AppliedNetwork.settings`."""
        return {"external": self.external.settings(), **channel_setting(self.meta.channel)}

    def weights_hash(self) -> str:
        """See `AppliedNetwork.weights_hash`; of a network file, its code counts as well."""
        state = hashlib.sha256()
        for key, tensor in sorted(self.external.module.state_dict().items()):
            state.update(key.encode())
            state.update(np.ascontiguousarray(tensor.detach().cpu().float().numpy()).tobytes())
        if self.directory.is_file():
            state.update(sha256(self.directory).encode())
        return state.hexdigest()

    def key_settings(self) -> dict[str, Any]:
        """See `AppliedNetwork.key_settings`."""
        settings, front_end = self.external.settings(), self.external.front_end
        return {"meta": self.meta.to_json(), "external": settings, "front_end": front_end}

    @property
    def hop_frames(self) -> int:
        """See `AppliedNetwork.hop_frames`."""
        return self.network.spec.n_frames

    @property
    def controls(self) -> tuple[str, ...]:
        """See `AppliedNetwork.controls`; a module without weights has none."""
        has_weights = next(self.external.module.parameters(), None) is not None
        return tuple(CONTROLS) if has_weights else ()

    def control(self, kind: str, number: int = 1) -> Self:
        """See `AppliedNetwork.control`."""
        copied = CONTROLS[kind](self.external, number)
        return replace(self, external=copied, network=_named(copied))

    @property
    def rate_hz(self) -> int:
        """See `AppliedNetwork.rate_hz`."""
        spec = self.external.spec
        if spec is None:
            assert self.external.rate_hz is not None
            return int(self.external.rate_hz)
        return int(getattr(spec, "rate_hz", audio.RATE_HZ))

    def features_of(self, wave: Array | Iterable[Array]) -> tuple[Any, NDArray[np.bool_]]:
        """See `AppliedNetwork.features_of`."""
        blocks = [wave] if isinstance(wave, np.ndarray) else wave
        whole = np.concatenate([np.zeros(0, np.float32), *blocks])
        x = hearing.input_of(self.external, whole, self.rate_hz)
        return x, np.ones(x.shape[-1], np.bool_)

    @property
    def has_windows(self) -> bool:
        """See `AppliedNetwork.has_windows`."""
        return False

    def frames_of(self, x: Any) -> dict[str, Timed]:
        """See `AppliedNetwork.frames_of`."""
        return hearing.frames_of(self.external, x)

    def unit_counts(self) -> dict[str, int]:
        """See `AppliedNetwork.unit_counts`: those of a second of silence, or of one window."""
        length_s = max(1.0, self.external.context_s or 0.0)
        silence = np.zeros(round(length_s * self.rate_hz), np.float32)
        frames = self.frames_of(self.features_of(silence)[0])
        return {stage: each.values.shape[1] for stage, each in frames.items()}


def foreign_network(
    external: External, source: Path | str = "", channel: Channel = "mix"
) -> ForeignNetwork:
    """Return a network of others for the commands that take a trained network.

    ``source`` is the file or name that it was loaded from. Raises InputError without stages.
    """
    if not external.stages:
        raise InputError(
            f"{external.name}: has no stages; name some with stages={{'conv1': 'MODULE'}} "
            "('neuromusic models FILE' lists the modules)"
        )
    network = _named(external)
    spec = network.spec
    front_end = external.settings()["front_end"] or {"name": "wave"}
    meta = SetMeta("audio", front_end, spec.frame_s, 1, spec.n_bands, [], channel)
    return ForeignNetwork(Path(source or external.name), network, [], meta, external)


def _named(external: External) -> Network:
    rate_hz, front_end = external.input_rate_hz, external.spec
    n_rows = 1 if front_end is None else front_end.n_channels * front_end.n_bands
    n_frames = max(1, round((external.context_s or WINDOW_S) * rate_hz))
    spec = InputSpec(n_bands=n_rows, n_frames=n_frames, frame_s=1 / rate_hz, n_classes=1)
    return _Named(external.module, external.stages, spec).eval()


# --- Features -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FeatureNetwork(AppliedNetwork):
    """Features of sounds that were computed elsewhere, in place of a network.

    Attributes
    ----------
    folder : FeatureFolder
        The features.
    """

    folder: FeatureFolder

    @property
    def name(self) -> str:
        """See `AppliedNetwork.name`."""
        return self.directory.name

    @property
    def reference(self) -> Path:
        """See `AppliedNetwork.reference`."""
        return self.directory

    def settings(self) -> dict[str, Any]:
        """See `AppliedNetwork.settings`."""
        return {}

    def weights_hash(self) -> str:
        """Return the SHA-256 of all files with features."""
        paths = sorted(self.folder.paths)
        return hashlib.sha256("".join(map(sha256, paths)).encode()).hexdigest()

    def key_settings(self) -> None:
        """See `AppliedNetwork.key_settings`: reading features again takes no longer."""
        return None

    @property
    def hop_frames(self) -> int:
        """See `AppliedNetwork.hop_frames`."""
        return self.network.spec.n_frames

    @property
    def controls(self) -> tuple[str, ...]:
        """See `AppliedNetwork.controls`: there are no weights."""
        return ()

    def control(self, kind: str, number: int = 1) -> Self:
        """Raise InputError: there are no weights."""
        raise InputError(f"{self.directory}: contains features, so there is no {kind} network")

    def features_of(self, wave: Array | Iterable[Array]) -> tuple[Any, NDArray[np.bool_]]:
        """Raise InputError: features of other sounds are not known."""
        raise InputError(
            f"{self.directory}: contains features of some sounds; those of others cannot be "
            "computed from it"
        )

    def input_of(self, path: Path, played_s: float | None = None) -> dict[str, Timed]:
        """Return the features of a sound, by the name of its file."""
        return self.folder.read(path.name)

    @property
    def has_windows(self) -> bool:
        """See `AppliedNetwork.has_windows`."""
        return False

    def frames_of(self, x: dict[str, Timed]) -> dict[str, Timed]:
        """See `AppliedNetwork.frames_of`."""
        return x

    def unit_counts(self) -> dict[str, int]:
        """See `AppliedNetwork.unit_counts`: those of the first sound."""
        first = self.folder.read(next(iter(self.folder.files)))
        return {stage: each.values.shape[1] for stage, each in first.items()}


def feature_network(folder: FeatureFolder) -> FeatureNetwork:
    """Return features that were computed elsewhere for the commands that take a network."""
    spec = InputSpec(n_bands=1, n_frames=round(WINDOW_S * 100), frame_s=0.01, n_classes=1)
    meta = SetMeta("audio", {"name": "features"}, spec.frame_s, 1, 1, [])
    network = _Named(None, folder.stages, spec).eval()
    return FeatureNetwork(folder.directory, network, [], meta, folder)
