"""The order in which clips were played: read, write, check and design order files.

An `Order` comes from a MATLAB cell array (v5 or v7.3), from the events of a BIDS dataset
(`neuromusic.events`), or from a new design. `presentations` lays it on the scanner's time grid.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, did_you_mean
from neuromusic.core.files import reading
from neuromusic.core.matlab import read_cells
from neuromusic.design import grid
from neuromusic.stimuli.corpora.gtzan import GENRES

CLIP_NAME = re.compile(r"(?P<genre>[a-z]+)\.(?P<number>[0-9]{5})_(?P<length>[0-9]+)s\.wav")
REPEATS = 4  # times that a test clip is played in its run
TRIALS_PER_GENRE = 4  # training clips of a genre in one run

Split = Literal["train", "test"]
VARIABLE: dict[Split, str] = {"train": "TrnOrd", "test": "ValOrd"}
ORDER_FILES: dict[Split, str] = {"train": "ExpTrnOrder.mat", "test": "ExpValOrder.mat"}
TASK: dict[Split, str] = {"train": "Training", "test": "Test"}


@dataclass(frozen=True)
class Order:
    """The clips of one task; ``clips[run - 1, trial - 1]`` is a name such as reggae.00013_15s.wav.

    The dummy that opens each run is not part of an order; `dummy_clip` derives it.
    """

    split: Split
    clips: NDArray[np.str_]  # (runs, trials)

    @property
    def n_runs(self) -> int:
        """Number of runs."""
        return self.clips.shape[0]

    @property
    def n_trials(self) -> int:
        """Number of trials in a run, the dummy not counted."""
        return self.clips.shape[1]


def check_clip_name(name: object, where: str) -> re.Match[str]:
    """Return the parts of a clip name; raise InputError, naming ``where``, if it is none."""
    match = CLIP_NAME.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        raise InputError(
            f"{where}: {name!r} is no clip name; expected genre.NNNNN_15s.wav, "
            "such as reggae.00013_15s.wav"
        )
    if match["genre"] not in GENRES:
        raise InputError(
            f"{where}: unknown genre {match['genre']!r}; expected one of {', '.join(GENRES)}"
            f"{did_you_mean(match['genre'], GENRES)}"
        )
    return match


def dummy_clip(order: Order, run: int) -> str:
    """Return the clip of trial 0 of a run (from 1).

    Training: the last clip of the run before (of the last run for run 1). Test: of the same run.
    """
    return str(order.clips[run - 2 if order.split == "train" else run - 1, -1])


def presentations(order: Order) -> pd.DataFrame:
    """Lay an order on the time grid: one row a presentation, the dummies included as trial 0.

    Columns: split, run, trial, repeat (1.. within the run; 0 for the dummy), onset_s, volume
    (index from 0 of the first volume), genre, track, clip.
    """
    rows = []
    for run in range(1, order.n_runs + 1):
        heard: dict[str, int] = {}
        for trial in range(order.n_trials + 1):
            if trial == 0:
                clip, repeat = dummy_clip(order, run), 0
            else:
                clip = str(order.clips[run - 1, trial - 1])
                repeat = heard[clip] = heard.get(clip, 0) + 1
            genre, number, _ = check_clip_name(clip, f"run {run}, trial {trial}").groups()
            rows.append(
                {
                    "split": order.split,
                    "run": run,
                    "trial": trial,
                    "repeat": repeat,
                    "onset_s": grid.trial_onset_s(trial),
                    "volume": grid.first_volume(trial),
                    "genre": genre,
                    "track": f"{genre}.{number}",
                    "clip": clip,
                }
            )
    return pd.DataFrame(rows)


# --- MATLAB files -------------------------------------------------------------------------------


def read_order(path: Path, split: Split) -> Order:
    """Read ``TrnOrd`` or ``ValOrd``, a cell array (trials, runs) of clip names, from a .mat file.

    MATLAB 5 and 7.3 (HDF5). Raises InputError for anything that is not such a cell array, and for
    an entry that is no clip name (with its row and column, from 1).
    """
    path = Path(path)
    name = VARIABLE[split]
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a .mat file with the variable {name}")
    with reading(path):
        cells = read_cells(path, name)
    if cells.ndim != 2 or cells.size == 0:
        raise InputError(f"{path}: {name} has the shape {cells.shape}; expected trials x runs")
    for (row, column), entry in np.ndenumerate(cells):
        check_clip_name(entry, f"{path}: {name}, row {row + 1}, column {column + 1}")
    return Order(split, cells.T.astype(str))


def write_order(order: Order, path: Path) -> None:
    """Write an order as MATLAB 5, a cell array (trials, runs) as the laboratory's files have it."""
    import scipy.io

    scipy.io.savemat(path, {VARIABLE[order.split]: order.clips.T.astype(object)}, oned_as="column")


# --- A new design -------------------------------------------------------------------------------


def design_orders(clips: list[str], seed: int) -> tuple[Order, Order]:
    """Design a training and a test order for the clips at hand, after ds003720.

    The published design has 48 + 6 clips a genre: 12 training runs of 40 trials with 4 clips of
    each genre, and 6 test runs of one clip a genre, each played 4 times in the same sequence. With
    fewer clips there are fewer runs in the same proportion; with fewer than 4 training clips a
    genre one run has them all. Clips beyond what fills whole runs are left out.

    Raises InputError for a name that is no clip name, and where a genre has under 2 clips.
    """
    by_genre: dict[str, list[str]] = {}
    for clip in sorted(clips):
        by_genre.setdefault(check_clip_name(clip, "clips")["genre"], []).append(clip)
    n_clips = min(map(len, by_genre.values()), default=0)
    if n_clips < 2:
        few = min(by_genre, key=lambda g: len(by_genre[g]), default="any genre")
        raise InputError(f"clips: {n_clips} of {few}; a design needs at least 2 clips a genre")
    n_test = max(1, round(n_clips * 6 / 54))
    per_run = min(TRIALS_PER_GENRE, n_clips - n_test)
    n_runs = (n_clips - n_test) // per_run
    rng = np.random.default_rng(seed)
    train: list[list[str]] = [[] for _ in range(n_runs)]
    test: list[list[str]] = [[] for _ in range(n_test)]
    for genre in sorted(by_genre):
        drawn = [str(clip) for clip in rng.permutation(by_genre[genre])]
        for run in range(n_test):
            test[run].append(drawn.pop())
        for run in range(n_runs):
            train[run] += [drawn.pop() for _ in range(per_run)]
    return (
        Order("train", np.array([rng.permutation(run) for run in train])),
        Order("test", np.array([np.tile(rng.permutation(run), REPEATS) for run in test])),
    )


# --- Comparison ---------------------------------------------------------------------------------


def check_design(order: Order) -> list[str]:
    """Return what in an order departs from the published design; empty if nothing does."""
    faults = []
    name = VARIABLE[order.split]
    unique, count = np.unique(order.clips, return_counts=True)
    expected = 1 if order.split == "train" else REPEATS
    for clip, times in zip(unique[count != expected], count[count != expected], strict=True):
        faults.append(f"{name}: {clip} is played {times} times; expected {expected}")
    if order.split == "test":
        for run, clips in enumerate(order.clips, start=1):
            first = clips[: len(clips) // REPEATS]
            for trial, clip in enumerate(clips, start=1):
                if len(clips) % REPEATS or clip != first[(trial - 1) % len(first)]:
                    faults.append(
                        f"{name}: run {run}, trial {trial}: {clip}; expected the {len(first)} "
                        f"clips of the run {REPEATS} times in the same sequence"
                    )
                    break
    for run, clips in enumerate(order.clips, start=1):
        genres, n = np.unique([clip.split(".")[0] for clip in clips], return_counts=True)
        if len(set(n)) > 1:
            counts = ", ".join(f"{g} {k}" for g, k in zip(genres, n, strict=True))
            faults.append(f"{name}: run {run} is not balanced over genres ({counts})")
    return faults
