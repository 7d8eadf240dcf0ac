"""Trained networks: the files in a network's directory, and loading one.

The directory of a trained network contains its settings (``config.toml``, ``config.json``), the
weights of the best epoch (``model.safetensors``), the checkpoint of the last epoch (``last.ckpt``),
losses and durations per epoch (``metrics.csv``, ``seconds.csv``), and the record.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuromusic.core.errors import InputError
from neuromusic.core.files import check_file_name, check_links, readable, sha256, write_text
from neuromusic.core.records import (
    NETWORK_COMMANDS,
    places_of,
    read_record,
    record_hash,
    write_record,
)
from neuromusic.features.blocks import compute_in_blocks
from neuromusic.features.frontends.base import STAGES, frames_with_sound, front_end
from neuromusic.features.meta import SetMeta
from neuromusic.features.prepared import PreparedSet, normalise_clip
from neuromusic.models.applied import AppliedNetwork
from neuromusic.models.inference import best_device as best_device
from neuromusic.models.inference import use_full_precision as use_full_precision
from neuromusic.models.network import InputSpec, Network
from neuromusic.models.registry import create_model, model_entry
from neuromusic.stimuli.channels import Channel, channel_setting, check_channel
from neuromusic.training.config import Config, load_config
from neuromusic.training.control_copies import CONTROLS, for_inference
from neuromusic.training.stages_front_end import restored

CONFIG = "config.toml"
CONFIG_JSON = "config.json"
WEIGHTS = "model.safetensors"
BEST = ".best.safetensors"  # weights of the best epoch so far, while training
LAST = "last.ckpt"
METRICS = "metrics.csv"
SECONDS = "seconds.csv"
TRACKER_FOLDERS = ("tensorboard", "wandb")
SCORES = ("evaluation.json", "predictions.tsv")
SCORES_RECORD = "evaluation.provenance.json"

SETTINGS_FILES = (CONFIG, CONFIG_JSON)
RESULT_FILES = (WEIGHTS, LAST, METRICS, SECONDS)  # never change after the training has finished
REMEDY = "train again"


@dataclass(frozen=True, repr=False)
class TrainedNetwork(AppliedNetwork):
    """A network that has been trained, in evaluation mode, with what it was trained on.

    Attributes
    ----------
    directory : Path
        The network's directory.
    network : Network
        The network with the weights of the best epoch; a `torch.nn.Module`.
    classes : list of str
        Class names in the order of the outputs.
    meta : SetMeta
        How the features of the prepared set were computed.
    config : Config
        Settings of the training.
    prepared : Path
        Directory of the prepared set. If it was moved together with the network, its new path.
    prepared_hash : str
        Hash of the prepared set's record; it identifies the set wherever it is stored.

    Raises
    ------
    InputError
        By `load_network`, which makes it, if the directory is not a trained network, or if its
        weights do not fit its settings.

    Examples
    --------
    >>> import neuromusic as nm
    >>> network = nm.load_network("network")
    >>> network.input_kind, network.hop_frames
    ('bands', 16)
    """

    config: Config
    prepared: Path
    prepared_hash: str

    def __repr__(self) -> str:
        n_parameters = sum(p.numel() for p in self.network.parameters())
        stages = ", ".join(stage.name for stage in self.network.stages)
        return (
            f"TrainedNetwork({str(self.directory)!r}: {self.config.model.name}, "
            f"{n_parameters:,} parameters, {len(self.classes)} classes, stages {stages})"
        )

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the short form of a page that `report` makes."""
        from neuromusic.training.notebook import network_html

        return network_html(self)

    def is_trained_on(self, prepared: PreparedSet) -> bool:
        """Return whether a prepared set is the one that the network was trained on.

        Its path does not matter.
        """
        return record_hash(prepared.directory) == self.prepared_hash

    @property
    def name(self) -> str:
        """Name of the kind of network."""
        return self.config.model.name

    @property
    def reference(self) -> Path:
        """The network's directory."""
        return self.directory

    def settings(self) -> dict[str, Any]:
        """Return the channel that the network hears, if it is not the mix."""
        return channel_setting(self.meta.channel)

    def weights_hash(self) -> str:
        """Return the SHA-256 of the file of weights."""
        return sha256(self.directory / WEIGHTS)

    def key_settings(self) -> dict[str, Any]:
        """See `AppliedNetwork.key_settings`."""
        normalises = {"input": self.input_kind, "normalise_clips": self.normalise_clips}
        return {"meta": self.meta.to_json(), "hop_frames": self.hop_frames, **normalises}

    @property
    def controls(self) -> tuple[str, ...]:
        """See `AppliedNetwork.controls`."""
        return tuple(CONTROLS)

    def control(self, kind: str, number: int = 1) -> Self:
        """See `AppliedNetwork.control` and `control_copies`."""
        return replace(self, network=CONTROLS[kind](self, number))

    @property
    def training_level(self) -> float | None:
        """See `AppliedNetwork.training_level`: mean in dB, or of samples the deviation."""
        if self.normalise_clips or self.meta.front_end_name == STAGES:
            return None
        level = self.network.band_std if self.input_kind == "wave" else self.network.band_mean
        return float(level.mean())

    @property
    def hop_frames(self) -> int:
        """Number of frames from one window of a scored clip to the next."""
        return max(1, round(self.config.data.hop_s / self.network.spec.frame_s))

    @property
    def input_kind(self) -> str:
        """What the network takes: "bands" (features of a front end) or "wave" (samples)."""
        return model_entry(self.config.model.name).input

    @property
    def normalise_clips(self) -> bool:
        """Whether each clip is normalised to mean 0 and standard deviation 1."""
        return self.config.data.normalisation == "clip"

    def features_of(
        self, wave: NDArray[np.float32] | Iterable[NDArray[np.float32]]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Compute the network's input from a sound.

        Parameters
        ----------
        wave : float32 array (samples,), or an iterable of its blocks
            A mono sound at 22 050 Hz (`stimuli.audio.RATE_HZ`). If the network normalises clips
            and a long sound is given in pieces, each piece is normalised separately.

        Returns
        -------
        features : float32 array (channels x bands, frames)
            The input; for a network that takes samples, (1, samples).
        has_sound : bool array (frames,)
            Which frames contain sound.

        Raises
        ------
        InputError
            If the network was trained on precomputed features.
        """
        self.check_takes_sound()
        blocks = [wave] if isinstance(wave, np.ndarray) else wave
        if self.input_kind == "wave":
            features, floor = np.concatenate(list(blocks))[None], 0.0
        else:
            is_stages = self.meta.front_end_name == STAGES
            described = self.meta.front_end
            spec = restored(described) if is_stages else front_end(**described)
            features, floor = compute_in_blocks(spec, blocks), spec.floor
        has_sound = frames_with_sound(features, floor)
        return (normalise_clip(features) if self.normalise_clips else features), has_sound


# --- Writing --------------------------------------------------------------------------------------


def save_weights(path: Path, network: Network, config: Config, prepared: PreparedSet) -> None:
    """Write the weights; the header contains everything needed to build the network again."""
    write_weights(
        path,
        network.state_dict(),
        {
            **description(network, config),
            "classes": prepared.classes,
            "meta": prepared.meta.to_json(),
            "prepared": str(prepared.directory.resolve()),
        },
    )


def description(network: Network, config: Config) -> dict[str, Any]:
    """Return what is needed, besides the weights, to build a network again."""
    return {
        "model": config.model.name,
        "activation": config.model.activation,
        "options": config.model.options,
        "spec": asdict(network.spec),
    }


def write_weights(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors as a safetensors file with our part of the header, completely or not at all."""
    part = path.with_name(f".{path.name}.partial")
    plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    # save_file would make a file that only its owner can read, whatever the umask.
    part.write_bytes(safetensors.torch.save(plain, metadata={"neuromusic": json.dumps(header)}))
    part.replace(path)


def write_settings(directory: Path, config: Config) -> None:
    """Write config.toml and config.json."""
    write_text(directory / CONFIG, config.to_toml())
    write_text(directory / CONFIG_JSON, config.model_dump_json(indent=2) + "\n")


def update_settings(directory: Path, config: Config) -> None:
    """Write new settings of a finished training, and their hashes into its record."""
    write_settings(directory, config)
    record = read_record(directory)
    if record is not None and "outputs" in record:
        record["outputs"] |= {name: sha256(directory / name) for name in SETTINGS_FILES}
        write_record(directory, record)


# --- Reading --------------------------------------------------------------------------------------


def kept_epoch(metrics: pd.DataFrame) -> dict[str, float]:
    """Return the row of metrics.csv of the epoch whose weights were kept.

    It is the epoch with the lowest validation loss, or the last one without validation clips.
    """
    index = metrics["valid_loss"].idxmin() if "valid_loss" in metrics else metrics.index[-1]
    return {str(key): float(value) for key, value in metrics.loc[index].items()}


def as_network(
    network: TrainedNetwork | Path | str, channel: Channel | None = None
) -> TrainedNetwork:
    """Return a trained network that is given as one or as its directory.

    With ``channel``, it hears that channel of sounds; see `load_network`.
    """
    trained = network if isinstance(network, TrainedNetwork) else load_network(network)
    if channel is None:
        return trained
    check_channel(channel)
    trained.check_takes_sound()
    return replace(trained, meta=replace(trained.meta, channel=channel))


def load_network(directory: Path | str, *, channel: Channel | None = None) -> TrainedNetwork:
    """Load a trained network.

    Parameters
    ----------
    directory : Path or str
        A directory that `neuromusic.train` or `neuromusic.ensemble` made.
    channel : {"mix", "left", "right"}, optional
        Which channel of sound files the network hears, in all functions that take a network: their
        mean, or the first or second one. By default the one that its prepared set was made from.

    Returns
    -------
    TrainedNetwork
        The network on the CPU, in evaluation mode, with the weights of the best epoch. An ensemble
        is one as well; its attribute ``members`` has the networks.

    Raises
    ------
    InputError
        If the directory is not a trained network, its training is not finished, or its files are
        damaged; or if there is a ``channel``, but the network was not trained on sound.

    Examples
    --------
    >>> import neuromusic as nm
    >>> network = nm.load_network("network")
    >>> network.classes[:3], [stage.name for stage in network.network.stages]
    (['blues', 'classical', 'country'], ['A1', 'belt', 'PB', 'T2T3', 'GRU'])
    """
    # It defines a subclass of TrainedNetwork.
    from neuromusic.training.ensemble import as_ensemble, stored_members

    directory = Path(directory)
    record = read_record(directory)
    if record is None or record.get("command") not in NETWORK_COMMANDS:
        raise InputError(_why_not_trained(directory))
    check_links(directory)
    config = load_config(directory / CONFIG)
    path = directory / WEIGHTS
    try:
        with readable(path, "file of weights", REMEDY):
            header, tensors = _read_weights(path)
            members = stored_members(header, tensors, config, str(directory / CONFIG))
            networks = [for_inference(_build(*member)) for member in members]
            temperature = float(header.get("temperature", 1.0))
            classes = [check_file_name(name, f"{path}, classes") for name in header["classes"]]
            meta = SetMeta.from_json(header["meta"], str(path), REMEDY)
            recorded = Path(header["prepared"])
            prepared_hash = str(record["inputs"]["prepared"])
    except FileNotFoundError:
        raise InputError(f"{path}: is missing; {REMEDY}") from None
    prepared = _find_prepared(recorded, directory, prepared_hash)
    loaded = [
        TrainedNetwork(directory, network, classes, meta, own, prepared, prepared_hash)
        for network, (_, _, own) in zip(networks, members, strict=True)
    ]
    if "members" not in header:
        return as_network(loaded[0], channel)
    return as_network(as_ensemble(directory, loaded, config, temperature), channel)


def _why_not_trained(directory: Path) -> str:
    if (directory / LAST).is_file():
        return (
            f"{directory}: its training is not finished; continue it with resume=True (neuromusic "
            "train --resume)"
        )
    return (
        f"{directory}: is not a trained network; make one with 'neuromusic train' (encode, export, "
        "similar and benchmark also take networks of others, which have none of our classes)"
    )


def _read_weights(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return our part of the header of a safetensors file, and its tensors.

    The file is read instead of mapped into memory: if a disk fails, reading raises an error, but a
    mapped page kills the process with SIGBUS. `safetensors.safe_open`, which returns the metadata,
    always maps the file, so the header is parsed here: its length in 8 bytes, little-endian, and
    JSON. `safetensors.torch.load` has checked it before.
    """
    content = path.read_bytes()
    tensors = safetensors.torch.load(content)
    n_bytes = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + n_bytes])["__metadata__"]
    return json.loads(metadata["neuromusic"]), tensors


def _build(header: dict[str, Any], tensors: dict[str, Tensor], config: Config) -> Network:
    """Return the network that a header describes, with its weights.

    Raises ValueError if the weights do not fit the description.
    """
    spec = InputSpec(**header["spec"])

    def build() -> Network:
        model, activation, options = header["model"], header["activation"], header["options"]
        return create_model(model, spec, config.train.seed, activation, **options)

    with torch.device("meta"):  # allocates nothing: a damaged header could ask for any size
        expected = {key: value.shape for key, value in build().state_dict().items()}
    if expected != {key: value.shape for key, value in tensors.items()}:
        raise ValueError(f"the weights are not those of a {header['model']!r}, as it claims")
    network = build()
    network.load_state_dict(tensors)
    return network


def _find_prepared(recorded: Path, directory: Path, prepared_hash: str) -> Path:
    """Return where the prepared set is now, or the recorded path if it cannot be found."""
    for path in places_of(recorded, directory):
        if path.is_dir() and record_hash(path) == prepared_hash:
            return path
    return recorded
