"""The run directory: its settings, its weights, and what both say about the input they need."""

import json
import shutil
import zipfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
import torch
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.files import (
    check_file_name,
    check_links,
    check_reachable,
    reading,
    sha256,
    write_text,
)
from neuromusic.core.records import places_of, read_record, record_hash, write_record
from neuromusic.features.frontends.base import frames_with_sound, front_end
from neuromusic.features.prepared import PreparedSet, normalise_clip
from neuromusic.models.network import InputSpec, Network
from neuromusic.models.registry import create_model, model_entry
from neuromusic.training.config import Config, load_config

WEIGHTS = "model.safetensors"
CONFIG = "config.toml"
LAST = "last.ckpt"
METRICS = "metrics.csv"
SECONDS = "seconds.csv"
CONFIG_JSON = "config.json"
BEST = ".best.safetensors"  # before the training is finished
EARLY = (METRICS, SECONDS)  # what the first epoch writes before its checkpoint
SETTINGS = (CONFIG, CONFIG_JSON)
MADE = (WEIGHTS, LAST, *EARLY)  # what a finished training never changes any more
SCORES = ("evaluation.json", "predictions.tsv")
SCORES_RECORD = "evaluation.provenance.json"
TRACKS = ("tensorboard", "wandb")


@dataclass(frozen=True)
class TrainedNetwork:
    """A finished training: the network in eval mode and what it was trained on."""

    directory: Path
    config: Config
    network: Network
    classes: list[str]
    meta: dict[str, Any]  # of the prepared set, see store.PreparedSet
    prepared: Path  # where it is now, if it was moved with the run
    prepared_hash: str  # provenance.record_hash of it

    def knows(self, data: PreparedSet) -> bool:
        """Say whether a prepared set is the one that the run was trained on, wherever it lies."""
        return record_hash(data.directory) == self.prepared_hash

    @property
    def hop_frames(self) -> int:
        """Frames between two windows of a clip that is scored."""
        return max(1, round(self.config.data.hop_s / self.network.spec.frame_s))

    @property
    def kind(self) -> str:
        """What the network hears: "bands" or "wave"."""
        return model_entry(self.config.model.name).input

    @property
    def per_clip(self) -> bool:
        """Whether every clip is normalised by itself."""
        return self.config.data.normalisation == "clip"

    def hear(self, wave: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return a mono wave at audio.RATE_HZ as the network's input, and which frames sound.

        (rows, frames) and (frames,). Of a long sound in pieces, each piece is normalised by itself.

        Raises InputError if the network never heard sound.
        """
        self.check_hears_sound()
        if self.kind == "wave":
            x, floor = wave[None], 0.0
        else:
            spec = front_end(**self.meta["front_end"])
            x, floor = spec.rows_of(wave), spec.floor
        sounds = frames_with_sound(x, floor)
        return (normalise_clip(x) if self.per_clip else x), sounds

    def check_hears_sound(self) -> None:
        """Raise InputError if the network was trained on ready-made features."""
        if self.meta["source"] != "audio":
            raise InputError(
                f"{self.directory}: was trained on ready-made features, so it cannot listen to "
                "sound files; train on a set prepared from audio"
            )


def save_weights(path: Path, network: Network, config: Config, data: PreparedSet) -> None:
    """Write the weights with all that is needed to build the network again in the header."""
    header = {
        "model": config.model.name,
        "activation": config.model.activation,
        "options": config.model.options,
        "spec": asdict(network.spec),
        "classes": data.classes,
        "meta": data.meta,
        "prepared": str(data.directory.resolve()),
    }
    part = path.with_name(f".{path.name}.partial")
    tensors = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    safetensors.torch.save_file(tensors, part, metadata={"neuromusic": json.dumps(header)})
    part.replace(path)


def write_settings(out: Path, config: Config) -> None:
    """Write config.toml and config.json."""
    write_text(out / CONFIG, config.to_toml())
    write_text(out / CONFIG_JSON, config.model_dump_json(indent=2) + "\n")


def update_record(out: Path) -> None:
    """Take the settings of a finished run, written anew, into its record."""
    made = read_record(out)
    if made is not None and "outputs" in made:
        made["outputs"] |= {name: sha256(out / name) for name in SETTINGS}
        write_record(out, made)


def resume_point(
    out: Path, config: Config, made: dict[str, Any], resume: bool, alone: bool = True
) -> str | None:
    """Say whether to start ("start"), go on ("resume"), or that all is done (None).

    Removes an older finished run; several processes (not ``alone``), which look here at the same
    time, do not. Raises InputError as `training.fit` says.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; --out must name a directory")
    check_links(out)
    old = read_record(out)
    keys = ("command", "settings", "inputs", "code_version")
    if old is not None and old.get("command") == "train":
        if all(old.get(key) == made[key] for key in keys):
            return None
        if not alone:
            raise InputError(f"{out}: holds another run; remove it, or choose another --out")
        # The scores too: they would pass for those of the new weights.
        for name in (WEIGHTS, LAST, *EARLY, CONFIG_JSON, *SCORES, SCORES_RECORD):
            (out / name).unlink(missing_ok=True)
        for folder in TRACKS:
            shutil.rmtree(out / folder, ignore_errors=True)
        (out / "provenance.json").unlink()
        return "start"
    if old is None and (out / LAST).is_file():
        if not resume:
            raise InputError(f"{out}: holds an unfinished training; add --resume to go on with it")
        if load_config(out / CONFIG).of_training() != config.of_training():
            raise InputError(
                f"{out / CONFIG}: was begun with other settings; resume with the same, or remove "
                f"{out}"
            )
        return "resume"
    begun = {CONFIG, BEST, LAST, *EARLY}
    begun |= {f".{name}.partial" for name in begun}
    if out.is_dir() and {path.name for path in out.iterdir()} - begun:
        raise InputError(f"{out}: holds something else; choose another --out")
    return "start"


def check_whole(checkpoint: Path) -> None:
    """Raise InputError for a checkpoint in which a bit has changed: torch reads such a one.

    It is a zip archive with a CRC-32 of each of its files.
    """
    try:
        with reading(checkpoint), zipfile.ZipFile(checkpoint) as file:
            broken = file.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        broken = str(error)
    if broken:
        check_reachable(checkpoint)
        raise InputError(f"{checkpoint}: is damaged ({broken}); remove it to train anew")


def kept_row(metrics: pd.DataFrame) -> dict[str, float]:
    """Return the row of metrics.csv whose weights are kept: the best epoch, else the last."""
    best = metrics["valid_loss"].idxmin() if "valid_loss" in metrics else metrics.index[-1]
    return {str(key): float(value) for key, value in metrics.loc[best].items()}


def load_network(directory: Path) -> TrainedNetwork:
    """Open a finished training; raise InputError where there is none or it is damaged."""
    directory = Path(directory)
    made = read_record(directory)
    if made is None or made.get("command") != "train":
        unfinished = (directory / LAST).is_file()
        raise InputError(
            f"{directory}: its training is not finished; go on with 'neuromusic train --resume'"
            if unfinished
            else f"{directory}: is no run; make one with 'neuromusic train'"
        )
    check_links(directory)
    config = load_config(directory / CONFIG)
    try:
        # Not mapped into memory, where a disk that fails is no error but a signal (SIGBUS).
        content = (directory / WEIGHTS).read_bytes()
        tensors = safetensors.torch.load(content)  # which checks the head
        head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        del content
        header = json.loads(head["__metadata__"]["neuromusic"])
        spec = InputSpec(**header["spec"])
        classes = [check_file_name(name, "classes") for name in header["classes"]]
        build = partial(
            create_model, header["model"], spec, config.train.seed, header["activation"],
            **header["options"],
        )  # fmt: skip
        with torch.device("meta"):  # nothing is allocated: a header could ask for any size
            wanted = {key: value.shape for key, value in build().state_dict().items()}
        if wanted != {key: value.shape for key, value in tensors.items()}:
            raise ValueError("its weights are not those of the network that it names")
        network = build()
        network.load_state_dict(tensors)
        meta, recorded = dict(header["meta"]), Path(header["prepared"])
        known = str(made["inputs"]["prepared"])
    except InputError:
        raise
    except Exception as error:  # safetensors, json and torch each have their own
        check_reachable(directory / WEIGHTS)
        raise InputError(f"{directory / WEIGHTS}: is damaged ({error}); train again") from None
    places = places_of(recorded, directory)
    found = (path for path in places if path.is_dir() and record_hash(path) == known)
    return TrainedNetwork(
        directory,
        config,
        _for_listening(network),
        classes,
        meta,
        next(found, recorded),
        known,
    )


def random_twin(run: TrainedNetwork) -> Network:
    """Return the same network with the weights that it had before training: the control."""
    model = run.config.model
    twin = create_model(
        model.name, run.network.spec, run.config.train.seed, model.activation, **model.options
    )
    twin.band_mean.copy_(run.network.band_mean)
    twin.band_std.copy_(run.network.band_std)
    return _for_listening(twin)


def _for_listening(network: Network) -> Network:
    # With the channels last a CPU pools and convolves with all of its vector units: the cortical
    # networks and most others take two thirds of the time or less.
    return network.eval().to(memory_format=torch.channels_last)


def best_device() -> torch.device:
    """Return the GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
