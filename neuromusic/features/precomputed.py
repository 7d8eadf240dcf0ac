"""Build a prepared set from log-mel features that were computed elsewhere (.npz files)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.files import check_file_name, names_in, read_npz
from neuromusic.core.folders import nfc
from neuromusic.core.progress import track
from neuromusic.design.orders import Order, presentations
from neuromusic.features import prepared
from neuromusic.features.frontends.mel import MelSpec
from neuromusic.features.frontends.modulation import ModulationSpec
from neuromusic.features.meta import SetMeta
from neuromusic.features.writer import Row, Shape, new_array

REQUIRED = ("features", "clip", "genre", "frame_s")
OPTIONAL = ("run", "trial")


@dataclass(frozen=True)
class LogMel:
    """Log-mel features of clips, from one file."""

    features: NDArray[np.floating]  # (clips, n_mels, n_frames), dB
    clip: list[str]
    genre: list[str]
    frame_s: float
    run: NDArray[Any] | None = None  # (clips,), if the clips are part of scanner runs
    trial: NDArray[Any] | None = None

    def row(self, index: int, split: str) -> Row:
        """Return the columns of rows.tsv for one clip, without row and frames."""
        clip = self.clip[index]
        return {
            "clip": clip,
            "genre": self.genre[index],
            "track": clip.rsplit("_", 1)[0],
            "split": split,
            "run": None if self.run is None else self.run[index],
            "trial": None if self.trial is None else self.trial[index],
            "variant": 0,
            "name": "original",
            "parameters": "{}",
            "samples": None,
        }


def prepare_features(parts: Mapping[str, LogMel], directory: Path, front_end: str) -> None:
    """Write precomputed log-mel features as a prepared set without variants.

    ``parts`` holds the features of each split, as `read_parts` returns them. With the front end
    "logmel" they are stored unchanged; with "modulation", their spectro-temporal modulation is
    stored. No other front end can be computed from log-mel: it is an InputError.
    """
    modulation = _modulation(front_end, parts["train"])
    meta = _meta(modulation, parts["train"])
    shape = set_shape(parts, front_end)
    n_frames = shape[2]
    features = new_array(directory / prepared.FEATURES, np.float16, shape)
    rows: list[Row] = []
    for split, part in parts.items():
        for index, mel in enumerate(track(part.features, "prepare", len(part.features))):
            features[len(rows)] = modulation.compute_from_mel(mel) if modulation else mel
            rows.append({"row": len(rows), "frames": n_frames, **part.row(index, split)})
    table = pd.DataFrame(rows).astype({"run": "Int64", "trial": "Int64"})
    prepared.write_tables(directory, table, meta, _presentations(table))


def set_shape(parts: Mapping[str, LogMel], front_end: str) -> Shape:
    """Return the shape of the features of a prepared set."""
    modulation = _modulation(front_end, parts["train"])
    meta = _meta(modulation, parts["train"])
    n_frames = parts["train"].features.shape[2]
    if modulation:
        n_frames = modulation.n_frames_of_mel(n_frames)
    n_rows = sum(len(part.clip) for part in parts.values())
    return n_rows, meta.n_channels * meta.n_bands, n_frames


def _modulation(front_end: str, part: LogMel) -> ModulationSpec | None:
    if front_end == ModulationSpec.name:
        return ModulationSpec(mel_frame_s=part.frame_s, n_mels=part.features.shape[1])
    if front_end != MelSpec.name:
        raise InputError(
            f"front_end={front_end!r}: cannot be computed from log-mel; prepare the set from sound"
        )
    return None


def _meta(modulation: ModulationSpec | None, train: LogMel) -> SetMeta:
    classes = sorted(set(train.genre))
    if modulation:
        return SetMeta.of_front_end("features", modulation, classes)
    # The parameters of the spectrogram are unknown, apart from its frames and bands.
    n_mels = train.features.shape[1]
    return SetMeta("features", {"name": MelSpec.name}, train.frame_s, 1, n_mels, classes)


def read_parts(train: Path, test: Path | None) -> dict[str, LogMel]:
    """Return the features of each split; raise InputError if the files do not fit together."""
    first = read_log_mel(train)
    if test is None:
        return {"train": first}
    second = read_log_mel(test)
    same_shape = second.features.shape[1:] == first.features.shape[1:]
    if not same_shape or second.frame_s != first.frame_s:
        raise InputError(
            f"{test}: has {_size(second)}, but {train} has {_size(first)}; they must be the same"
        )
    new = sorted(set(second.genre) - set(first.genre))
    if new:
        raise InputError(f"{test}: has the genre {new[0]!r}, which is missing from {train}")
    shared = sorted(set(second.clip) & set(first.clip))
    if shared:
        raise InputError(f"{test}: clip {shared[0]} is also in {train}; keep it in one of them")
    return {"train": first, "test": second}


def _size(part: LogMel) -> str:
    _, n_mels, n_frames = part.features.shape
    return f"{n_mels} bands x {n_frames} frames of {part.frame_s:g} s"


def read_log_mel(path: Path) -> LogMel:
    """Read log-mel features from an .npz file.

    It holds ``features`` (clips, n_mels, frames) in dB, ``clip`` and ``genre`` (clips,),
    ``frame_s`` (), and ``run`` and ``trial`` (clips,) if the clips are part of scanner runs.

    Raises InputError if the file does not exist or its content differs from this.
    """
    try:
        arrays = read_npz(path, names=(*REQUIRED, *OPTIONAL))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    missing = [name for name in REQUIRED if name not in arrays]
    if missing:
        raise InputError(
            f"{path}: has no array {', '.join(missing)}; expected {' '.join(REQUIRED)}"
        )
    _check_arrays(path, arrays)
    clip, genre = (
        [nfc(check_file_name(name, where)) for name in names_in(arrays[key], where)]
        for key, where in (("clip", f"{path}, clip"), ("genre", f"{path}, genre"))
    )
    frame_s = arrays["frame_s"]
    if frame_s.size != 1 or not float(frame_s) > 0:
        raise InputError(f"{path}: frame_s is {frame_s}; expected a number of seconds above 0")
    run, trial = arrays.get("run"), arrays.get("trial")
    return LogMel(arrays["features"], clip, genre, float(frame_s), run, trial)


def _check_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    features = arrays["features"]
    if features.ndim != 3 or features.dtype.kind != "f" or 0 in features.shape:
        raise InputError(
            f"{path}: features has the shape {features.shape} and type {features.dtype}; "
            "expected floats (clips, n_mels, frames)"
        )
    for key in set(arrays) - {"features", "frame_s"}:
        if arrays[key].shape != (len(features),):
            raise InputError(
                f"{path}: {key} has {arrays[key].size} entries; expected one for each of the "
                f"{len(features)} clips"
            )
    broken = np.flatnonzero(~np.isfinite(features).all(axis=(1, 2)))
    if len(broken):
        clip = arrays["clip"][broken[0]]
        raise InputError(f"{path}: row {broken[0] + 1} ({clip}) contains NaN or infinite values")


def _presentations(rows: pd.DataFrame) -> pd.DataFrame | None:
    """Return the presentations of the training order, if the training rows are whole runs of it."""
    train = rows[(rows["split"] == "train") & rows["run"].notna() & rows["trial"].notna()]
    if train.empty:
        return None
    grid = train.pivot_table(index="run", columns="trial", values="clip", aggfunc=list)
    is_single = grid.map(lambda cell: isinstance(cell, list) and len(cell) == 1)
    n_runs, n_trials = grid.shape
    is_complete = (
        is_single.to_numpy().all()
        and list(grid.index) == list(range(1, n_runs + 1))
        and list(grid.columns) == list(range(1, n_trials + 1))
    )
    if not is_complete:
        return None
    clips = np.array([[cell[0] for cell in line] for line in grid.to_numpy()])
    try:
        return presentations(Order("train", clips))
    except InputError:  # clips not named as in the experiment cannot be put on the time grid
        return None
