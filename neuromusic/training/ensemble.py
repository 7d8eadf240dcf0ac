"""Ensembles: trained networks that answer together, as one trained network.

Each member is given the same input and cuts its own windows. The probabilities of a clip (or of a
volume) are the mean of the members' probabilities, raised to the power 1 / temperature and
normalised (Guo et al. 2017, ICML). The stages are those of all members, with the member's name as
their prefix.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import tomli_w
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from neuromusic.core.files import write_text
from neuromusic.design.splits import HeldOutRuns
from neuromusic.models.network import Network
from neuromusic.training.config import Config, Data, Model, make_config
from neuromusic.training.trained import (
    CONFIG,
    WEIGHTS,
    TrainedNetwork,
    description,
    write_weights,
)

MODEL = "ensemble"  # in place of a name in the registry


@dataclass(frozen=True, repr=False)
class Ensemble(TrainedNetwork):
    """Trained networks that answer together.

    Attributes
    ----------
    members : tuple of TrainedNetwork
        The networks, without directories of their own.
    temperature : float
        Log-probabilities are divided by it; 1 leaves them as they are.
    """

    members: tuple[TrainedNetwork, ...]
    temperature: float

    @property
    def parts(self) -> Mapping[str, TrainedNetwork]:
        """See `AppliedNetwork.parts`."""
        return dict(zip(member_names(self.members), self.members, strict=True))

    def combined(self, log_p: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """See `AppliedNetwork.combined`."""
        return tempered(mean_probability(log_p), self.temperature)

    def control(self, kind: str, number: int = 1) -> Self:
        """See `AppliedNetwork.control`; the temperature was learned, so it is 1."""
        members = tuple(member.control(kind, number) for member in self.members)
        return replace(self, network=joined(members), members=members, temperature=1.0)

    @property
    def hop_frames(self) -> int:
        """The shortest distance of the windows of a member."""
        return min(member.hop_frames for member in self.members)

    def key_settings(self) -> dict[str, Any]:
        """See `AppliedNetwork.key_settings`."""
        return {"members": [member.key_settings() for member in self.members]}

    @property
    def input_kind(self) -> str:
        """What all members take; see `TrainedNetwork.input_kind`."""
        return self.members[0].input_kind


class _Joined(Network):
    """The networks of an ensemble with the stages of all; each is applied by itself."""

    def __init__(self, networks: Mapping[str, Network]) -> None:
        specs = [network.spec for network in networks.values()]
        super().__init__(max(specs, key=lambda spec: spec.n_frames))
        self.members = nn.ModuleList(networks.values())
        self.stages = tuple(
            replace(stage, name=f"{prefix}{stage.name}")
            for prefix, network in networks.items()
            for stage in network.stages
        )
        with torch.no_grad():  # for the level of the training sounds
            for name in ("band_mean", "band_std"):
                values = [getattr(each, name) for each in networks.values()]
                getattr(self, name).copy_(torch.stack(values).mean(0))


def joined(members: Sequence[TrainedNetwork]) -> Network:
    """Return one module that contains the networks of all members."""
    names = member_names(members)
    return _Joined(
        {name: member.network for name, member in zip(names, members, strict=True)}
    ).eval()


def member_names(members: Sequence[TrainedNetwork]) -> list[str]:
    """Return the prefix of each member's stages: its network, numbered if several are alike.

    Only letters and digits: it becomes part of file names of BIDS and of fields in MATLAB.
    """
    plain = ["".join(filter(str.isalnum, member.name)) for member in members]
    counts, seen = Counter(plain), Counter[str]()
    names = []
    for name in plain:
        seen[name] += 1
        names.append(f"{name}{seen[name]}" if counts[name] > 1 else name)
    return names


def as_ensemble(
    directory: Path, members: Sequence[TrainedNetwork], config: Config, temperature: float
) -> Ensemble:
    """Return an ensemble of members that `why_apart` accepts; ``config`` is `config_of` them."""
    first = members[0]
    return Ensemble(
        directory, joined(members), first.classes, first.meta, config, first.prepared,
        first.prepared_hash, tuple(members), temperature,
    )  # fmt: skip


# --- Probabilities --------------------------------------------------------------------------------


def mean_probability(log_p: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the logarithm of the mean of the members' probabilities, (..., classes)."""
    return np.logaddexp.reduce(np.stack(log_p)) - np.log(len(log_p))


def tempered(log_p: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Return log-probabilities (..., classes) divided by a temperature, and normalised."""
    scaled = log_p / temperature
    return scaled - np.logaddexp.reduce(scaled, axis=-1, keepdims=True)


# --- Settings -------------------------------------------------------------------------------------


def config_of(members: Sequence[TrainedNetwork], runs: Sequence[int]) -> Config:
    """Return the settings of an ensemble, in which the clips it was trained on are of all members.

    A clip is for validation, or for testing, only if it is for all members. ``runs`` are the runs
    of the training order. The settings of the members are an option of the model.
    """
    settings = [member.config.data for member in members]
    tests = [set(each.test_runs) for each in settings]
    valids = [
        set(HeldOutRuns(each.validation_runs, tuple(each.test_runs)).runs(list(runs)))
        for each in settings
    ]
    tracks = set.intersection(*(set(each.test_tracks or []) for each in settings))
    data = Data(
        window_s=max(each.window_s for each in settings),
        hop_s=min(each.hop_s for each in settings),
        variants=sorted({variant for each in settings for variant in each.variants}),
        validation_runs=sorted(set.intersection(*valids)),
        test_runs=sorted(set.intersection(*tests)),
        test_tracks=sorted(tracks) or None,
        front_end=settings[0].front_end,
        normalisation=settings[0].normalisation,
    )
    each_settings = [member.config.of_training() for member in members]
    return Config(data=data, model=Model(name=MODEL, options={"members": each_settings}))


# --- Files ----------------------------------------------------------------------------------------


def save_ensemble(directory: Path, ensemble: Ensemble) -> None:
    """Write the weights of all members, and the settings; `load_network` reads both."""
    config = ensemble.config.model_dump(exclude_none=True, include={"data", "model"})
    write_text(directory / CONFIG, tomli_w.dumps(config))
    tensors = {
        f"{number}.{key}": tensor
        for number, member in enumerate(ensemble.members)
        for key, tensor in member.network.state_dict().items()
    }
    header = {
        "members": [description(each.network, each.config) for each in ensemble.members],
        "temperature": ensemble.temperature,
        "classes": ensemble.classes,
        "meta": ensemble.meta.to_json(),
        "prepared": str(ensemble.prepared.resolve()),
    }
    write_weights(directory / WEIGHTS, tensors, header)


Member = tuple[dict[str, Any], dict[str, Tensor], Config]  # header, weights, settings


def stored_members(
    header: dict[str, Any], tensors: dict[str, Tensor], config: Config, where: str
) -> list[Member]:
    """Return the members of an ensemble, or the network itself as the only one.

    Raises ValueError, KeyError or IndexError for a damaged header.
    """
    if "members" not in header:
        return [(header, tensors, config)]
    if not 0 < header["temperature"] < np.inf:
        raise ValueError(f"the temperature is {header['temperature']}")
    settings = config.model.options["members"]
    parts: list[dict[str, Tensor]] = [{} for _ in header["members"]]
    for key, tensor in tensors.items():
        number, _, name = key.partition(".")
        parts[int(number)][name] = tensor
    configs = [make_config(each, where) for each in settings]
    return list(zip(header["members"], parts, configs, strict=True))


# --- Members that belong together -----------------------------------------------------------------


def why_apart(first: TrainedNetwork, other: TrainedNetwork) -> str:
    """Return why two networks cannot be members of one ensemble; "" if they can."""
    if other.classes != first.classes:
        return _other_classes(first.classes, other.classes)
    kinds = {"bands": "features", "wave": "samples"}
    if other.input_kind != first.input_kind:
        return f"takes {kinds[other.input_kind]}, not {kinds[first.input_kind]}"
    front_ends = other.meta.front_end_name, first.meta.front_end_name
    if front_ends[0] != front_ends[1]:
        return "has the front end {}, not {}".format(*front_ends)
    key = other.meta.first_difference(first.meta)
    if key is not None:
        return f"{key} is {getattr(other.meta, key)}, not {getattr(first.meta, key)}"
    if other.normalise_clips != first.normalise_clips:
        settings = f"data.normalisation is {other.config.data.normalisation}"
        return f"{settings}, not {first.config.data.normalisation}"
    if other.prepared_hash != first.prepared_hash:
        return f"was trained on {other.prepared}, not on {first.prepared}"
    if other.weights_hash() == first.weights_hash():
        return "is the same network"
    return ""


def _other_classes(first: Sequence[str], other: Sequence[str]) -> str:
    if set(first) == set(other):
        return "has its classes in another order"
    lacks = ", ".join(sorted(set(first) - set(other)))
    more = ", ".join(sorted(set(other) - set(first)))
    parts = [f"lacks the class {lacks}"] if lacks else []
    return " and ".join([*parts, *([f"has the class {more} besides"] if more else [])])
