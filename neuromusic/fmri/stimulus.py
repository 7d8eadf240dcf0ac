"""What a network makes of every volume that a subject was scanned in, from the subject's events."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic import timing
from neuromusic.errors import InputError
from neuromusic.events import EventsFile, read_events
from neuromusic.inference import clip_volumes, in_threads
from neuromusic.models import Network
from neuromusic.progress import track
from neuromusic.rundir import Run, best_device
from neuromusic.store import open_prepared

ON_GRID_S = 0.05  # how far an onset may lie from the start of a volume


@dataclass(frozen=True)
class ClipResponses:
    """The responses of a network's stages to unique clips, on the volumes of one presentation."""

    clips: list[str]
    stages: dict[str, NDArray[np.float32]]  # stage -> (n_clips, volumes of a clip, units)


def run_trials(file: EventsFile, tr_s: float = timing.TR_S) -> pd.DataFrame:
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
    run: Run, clips: Sequence[str], network: Network | None = None
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
