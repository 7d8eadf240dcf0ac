"""The run directory: its settings, its weights, and what both say about the input they need."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors.torch
import torch

from neuromusic.config import Config, load_config
from neuromusic.errors import InputError
from neuromusic.features import MelSpec
from neuromusic.models import InputSpec, Network, build_model
from neuromusic.provenance import read_record, write_text
from neuromusic.store import PreparedSet

WEIGHTS = "model.safetensors"
CONFIG = "config.toml"
LAST = "last.ckpt"
METRICS = "metrics.csv"
SECONDS = "seconds.csv"
CONFIG_JSON = "config.json"
BEST = ".best.safetensors"  # before the training is finished
EARLY = (METRICS, SECONDS)  # what the first epoch writes before its checkpoint
SCORES = ("evaluation.json", "predictions.tsv")
TRACKS = ("tensorboard", "wandb")


@dataclass(frozen=True)
class Run:
    """A finished training: the network in eval mode and what it was trained on."""

    directory: Path
    config: Config
    network: Network
    classes: list[str]
    meta: dict[str, Any]  # of the prepared set, see store.PreparedSet
    prepared: Path

    @property
    def hop_frames(self) -> int:
        """Frames between two windows of a clip that is scored."""
        return max(1, round(self.config.data.hop_s / self.network.spec.frame_s))

    @property
    def mel(self) -> MelSpec:
        """How sound becomes the network's input; raises InputError if it never saw sound."""
        if self.meta["source"] != "audio":
            raise InputError(
                f"{self.directory}: was trained on ready-made features, so it cannot listen to "
                "sound files; train on a set prepared from audio"
            )
        return MelSpec(**self.meta["mel"])


def save_weights(path: Path, network: Network, config: Config, data: PreparedSet) -> None:
    """Write the weights with all that is needed to build the network again in the header."""
    header = {
        "model": config.model.name,
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


def resume_point(out: Path, config: Config, made: dict[str, Any], resume: bool) -> str | None:
    """Say whether to start ("start"), go on ("resume"), or that all is done (None).

    Removes an older finished run. Raises InputError as `training.fit` says.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; --out must name a directory")
    old = read_record(out)
    keys = ("command", "settings", "inputs", "code_version")
    if old is not None and old.get("command") == "train":
        if all(old.get(key) == made[key] for key in keys):
            return None
        # The scores too: they would pass for those of the new weights.
        for name in (WEIGHTS, LAST, *EARLY, CONFIG_JSON, *SCORES):
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
                f"{out}: was begun with other settings; resume with the same, or remove it"
            )
        return "resume"
    begun = {CONFIG, BEST, LAST, *EARLY}
    begun |= {f".{name}.partial" for name in begun}
    if out.is_dir() and {path.name for path in out.iterdir()} - begun:
        raise InputError(f"{out}: holds something else; choose another --out")
    return "start"


def kept_row(metrics: pd.DataFrame) -> dict[str, float]:
    """Return the row of metrics.csv whose weights are kept: the best epoch, else the last."""
    best = metrics["valid_loss"].idxmin() if "valid_loss" in metrics else metrics.index[-1]
    return {str(key): float(value) for key, value in metrics.loc[best].items()}


def load_run(directory: Path) -> Run:
    """Open a finished training; raise InputError where there is none or it is damaged."""
    directory = Path(directory)
    made = read_record(directory)
    if made is None or made["command"] != "train":
        unfinished = (directory / LAST).is_file()
        raise InputError(
            f"{directory}: its training is not finished; go on with 'neuromusic train --resume'"
            if unfinished
            else f"{directory}: is no run; make one with 'neuromusic train'"
        )
    config = load_config(directory / CONFIG)
    try:
        with safetensors.safe_open(directory / WEIGHTS, "pt") as file:
            header = json.loads(file.metadata()["neuromusic"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        spec = InputSpec(**header["spec"])
        network = build_model(header["model"], spec, config.train.seed, **header["options"])
        network.load_state_dict(tensors)
    except InputError:
        raise
    except Exception as error:  # safetensors, json and torch each have their own
        raise InputError(f"{directory / WEIGHTS}: is damaged ({error}); train again") from None
    return Run(
        directory,
        config,
        network.eval(),
        header["classes"],
        header["meta"],
        Path(header["prepared"]),
    )


def random_twin(run: Run) -> Network:
    """Return the same network with the weights that it had before training: the control."""
    twin = build_model(
        run.config.model.name, run.network.spec, run.config.train.seed, **run.config.model.options
    )
    twin.band_mean.copy_(run.network.band_mean)
    twin.band_std.copy_(run.network.band_std)
    return twin.eval()


def best_device() -> torch.device:
    """Return the GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
