"""What a network makes of every volume that a subject was scanned in, from the subject's events."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.progress import track
from neuromusic.design import grid
from neuromusic.design.events import EventsFile, read_events
from neuromusic.features.prepared import open_prepared
from neuromusic.fmri.export.scanner_run import PROBABILITY
from neuromusic.fmri.volumes import clip_volumes
from neuromusic.models.inference import in_threads
from neuromusic.models.network import Network
from neuromusic.stimuli import audio
from neuromusic.training.trained import TrainedNetwork, best_device

ON_GRID_S = 0.05  # how far an onset may lie from the start of a volume


@dataclass(frozen=True)
class ClipResponses:
    """The responses of a network's stages to unique clips, on the volumes of one presentation."""

    clips: list[str]
    stages: dict[str, NDArray[np.float32]]  # stage -> (n_clips, volumes of a clip, units)


def run_trials(file: EventsFile, tr_s: float = grid.TR_S) -> pd.DataFrame:
    """Return the presentations of one run from its events, the dummy included as trial 0.

    Columns: trial, repeat (1.. within the run; 0 for the dummy), volume (of its onset, from 0),
    genre, clip. Raises InputError for an onset that is not the start of a volume.
    """
    events = read_events(file.path)
    volume = (events["onset_s"] / tr_s).round().astype(int)
    off = (events["onset_s"] - volume * tr_s).abs() > ON_GRID_S
    if off.any():
        row = int(off.to_numpy().argmax())
        raise InputError(
            f"{file.path}, row {row + 1}: onset {events['onset_s'].iat[row]:g} s is not the start "
            f"of a volume of {tr_s:g} s"
        )
    table = events[["genre", "clip"]].assign(trial=range(len(events)), volume=volume)
    table["repeat"] = table.groupby("clip").cumcount()
    # Where the dummy's clip is played again, its count started too early by the dummy.
    table.loc[table["clip"] != table["clip"].iat[0], "repeat"] += 1
    return table[["trial", "repeat", "volume", "genre", "clip"]]


def clip_responses(
    run: TrainedNetwork, clips: Sequence[str], network: Network | None = None
) -> tuple[ClipResponses, list[str]]:
    """Return the responses to clips of the run's prepared set, and the clips that it lacks.

    ``network`` takes the place of the run's own, such as its random twin. Every clip is computed
    once. Raises InputError if the prepared set holds none of the clips.
    """
    data = open_prepared(run.prepared).heard_as(run.kind, run.per_clip)
    data.check_readable()
    row_of = data.row_of_clip()
    here = [clip for clip in dict.fromkeys(clips) if clip in row_of]
    missing = [clip for clip in dict.fromkeys(clips) if clip not in row_of]
    if not here:
        raise InputError(
            f"{run.prepared}: holds none of the {len(missing)} clips that were played; encode with "
            "a run that was trained on a set prepared from the lists of this experiment"
        )
    listening = (network or run.network).to(best_device())

    def respond(clip: str) -> dict[str, NDArray[np.float32]]:
        return clip_volumes(listening, data.row_features(row_of[clip]), run.hop_frames)[1]

    stages: dict[str, NDArray[np.float32]] = {}
    made = track(in_threads(respond, here), "listen", len(here))
    for index, active in enumerate(made):
        for name, block in active.items():
            if name not in stages:
                stages[name] = np.empty((len(here), *block.shape), np.float32)
            stages[name][index] = block
    return ClipResponses(here, stages), missing


def on_volumes(
    trials: pd.DataFrame, clips: Sequence[str], block: NDArray[np.floating], n_vol: int
) -> NDArray[np.float32]:
    """Lay what a stage makes of clips (n_clips, volumes of a clip, units) on one run's volumes.

    Returns (n_vol, units) float32; NaN where a clip is not among ``clips``, 0 where nothing plays.
    """
    row_of = {clip: row for row, clip in enumerate(clips)}
    out = np.zeros((n_vol, block.shape[2]), np.float32)
    for row in trials.itertuples():
        span = out[row.volume : row.volume + block.shape[1]]
        span[:] = block[row_of[row.clip]][: len(span)] if row.clip in row_of else np.nan
    return out


Responses = dict[str, NDArray[np.floating]]  # "probability" and one a stage, (n_vol, units) each


def listen(run: TrainedNetwork, features: NDArray[np.float32], binning: str = "mean") -> Responses:
    """Return the responses to one clip, as the run hears it (rows, frames), on its volumes."""
    probability, stages = clip_volumes(run.network, features, run.hop_frames, binning)
    return {"probability": probability.astype(np.float32), **stages}


def hearer(run: TrainedNetwork, lists: Path) -> Callable[[Any], NDArray[np.float32] | None]:
    """Return what gives the run's input (rows, frames) for a row of unique clips, None if missing.

    From the sound in the lists; for a run trained on ready-made features, from its prepared set.
    """
    if run.meta["source"] == "audio":

        def of_sound(row: Any) -> NDArray[np.float32] | None:
            if pd.isna(row.path):
                return None
            return run.hear(audio.read(lists / row.path, grid.CLIP_S))[0]

        return of_sound
    data = open_prepared(run.prepared).heard_as(run.kind, run.per_clip)
    data.check_readable()
    row_of = data.row_of_clip()

    def of_features(row: Any) -> NDArray[np.float32] | None:
        return data.row_features(row_of[row.clip]) if row.clip in row_of else None

    return of_features


def on_run_grid(
    trials: pd.DataFrame, responses: dict[str, Responses], names: dict[str, int]
) -> dict[str, NDArray[np.float32]]:
    """Lay the responses to clips on the volumes of one run: name -> (n_volumes, units).

    ``trials`` are the presentations of the run, the dummy included; ``names`` name -> units. Where
    a clip is missing the rows are NaN.
    """
    n_vol = grid.n_volumes(len(trials) - 1)
    out = {name: np.full((n_vol, units), np.nan, dtype=np.float32) for name, units in names.items()}
    for row in trials.itertuples():
        if row.clip in responses:
            span = slice(row.volume, row.volume + grid.VOLUMES_PER_CLIP)
            for name, block in out.items():
                block[span] = responses[row.clip][name]
    return out


def volume_table(trials: pd.DataFrame) -> pd.DataFrame:
    """Return volume, onset_s, trial, repeat, dummy, genre and clip of each volume of a run."""
    table = trials.loc[
        trials.index.repeat(grid.VOLUMES_PER_CLIP), ["trial", "repeat", "genre", "clip"]
    ].reset_index(drop=True)
    table.insert(0, "volume", range(len(table)))
    table.insert(1, "onset_s", table["volume"] * grid.TR_S)
    table.insert(4, "dummy", (table["trial"] == 0).astype(int))
    return table


@dataclass(frozen=True)
class Heard:
    """The responses to unique clips, in files: what is held does not grow with their number."""

    row_of: dict[str, int]  # clip -> its place in every file
    files: dict[str, Path]  # "probability" and each stage: (clips, volumes, units) float32
    units: dict[str, int]

    def responses(self, clips: Iterable[str]) -> dict[str, Responses]:
        """Return the responses to some clips; those that are missing are left out."""
        here = [clip for clip in dict.fromkeys(clips) if clip in self.row_of]
        out: dict[str, Responses] = {clip: {} for clip in here}
        for name, path in self.files.items():
            shape = (len(self.row_of), grid.VOLUMES_PER_CLIP, self.units[name])
            # Opened anew each time: what is read of a map counts as memory until it is closed.
            block = np.memmap(path, np.float32, "r", shape=shape)
            for clip in here:
                out[clip][name] = np.array(block[self.row_of[clip]])
        return out


def listen_to_all(
    run: TrainedNetwork, clips: pd.DataFrame, lists: Path, scratch: Path, binning: str
) -> tuple[Heard, list[str]]:
    """Return the responses to unique clips, in ``scratch``, and the clips that are missing."""
    run.network.to(best_device())
    hear = hearer(run, lists)

    def respond(row: Any) -> Responses | None:
        features = hear(row)
        return None if features is None else listen(run, features, binning)

    heard = Heard({}, {}, {})
    missing = []
    made = track(in_threads(respond, clips.itertuples()), "listen", len(clips))
    with contextlib.ExitStack() as stack:
        files: dict[str, BinaryIO] = {}
        for clip, response in zip(clips["clip"], made, strict=True):
            if response is None:
                missing.append(clip)
                continue
            heard.row_of[clip] = len(heard.row_of)
            for name, block in response.items():
                if name not in files:
                    heard.files[name] = scratch / name
                    heard.units[name] = block.shape[1]
                    files[name] = stack.enter_context(open(heard.files[name], "wb"))
                files[name].write(block.tobytes())
    return heard, missing


class SavedGrid(Mapping[str, NDArray[np.float32]]):
    """A run's probabilities, and its stages as they were saved, opened anew each time."""

    def __init__(self, probability: NDArray[np.float32], saved: dict[str, Path]) -> None:
        self.probability = probability
        self.saved = saved

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        if name == PROBABILITY:
            return self.probability
        block: NDArray[np.float32] = np.load(self.saved[name], mmap_mode="r", allow_pickle=False)
        return block

    def __iter__(self) -> Iterator[str]:
        return iter((PROBABILITY, *self.saved))

    def __len__(self) -> int:
        return 1 + len(self.saved)
