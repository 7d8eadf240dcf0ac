"""The order in which clips were presented: read, write, check and design order files.

An `Order` comes from a MATLAB cell array (version 5 or 7.3), from the events of a BIDS dataset
(`neuromusic.design.events`) or from a new design. `presentations` puts it on the scanner's time
grid; `dummy_clip` derives the dummy that opens each run.
"""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, did_you_mean
from neuromusic.core.files import reading
from neuromusic.core.matlab_names import read_names
from neuromusic.core.matlab_writer import save_mat
from neuromusic.design.experiment import Split, load_experiment

log = logging.getLogger(__name__)

EXPERIMENT = load_experiment("ds003720")  # the only one with order files
_FILES = EXPERIMENT.orders
assert _FILES is not None
CLIP_NAME, CLIP_EXAMPLE = re.compile(_FILES.clip_name), _FILES.clip_example
GENRES = EXPERIMENT.sounds.classes
REPEATS = _FILES.test_repeats
TRIALS_PER_GENRE = _FILES.trials_per_class
VARIABLE = _FILES.variables
ORDER_FILES = _FILES.files
_TIME = EXPERIMENT.time
assert _TIME.tr_s and _TIME.duration_s
TR_S, CLIP_S = _TIME.tr_s, _TIME.duration_s
VOLUMES_PER_CLIP = round(CLIP_S / TR_S)
TASK: dict[Split, str] = {"train": EXPERIMENT.task_of("train"), "test": EXPERIMENT.task_of("test")}


@dataclass(frozen=True, repr=False, eq=False)
class Order:
    """The clips of all runs of one task, in the order of presentation.

    The dummy that opens each run is not part of an order; `dummy_clip` derives it.

    Parameters
    ----------
    split : {"train", "test"}
        Whether these are training or test runs.
    clips : ndarray of str, shape (n_runs, n_trials)
        Names of clips; ``clips[run - 1, trial - 1]`` is a name such as "reggae.00013_15s.wav".

    Raises
    ------
    InputError
        If the split is unknown or ``clips`` does not have two axes.

    Examples
    --------
    >>> import neuromusic as nm
    >>> nm.Order("test", [["blues.00001_15s.wav", "rock.00002_15s.wav"] * 4])
    Order('test', 1 run x 8 trials, 2 unique clips)
    """

    split: Split
    clips: NDArray[np.str_]

    def __post_init__(self) -> None:
        clips = np.asarray(self.clips)
        if self.split not in TASK or clips.ndim != 2:
            raise InputError(
                f"order: expected the split train or test and clips (runs, trials); got "
                f"{self.split!r} and the shape {clips.shape}"
            )
        object.__setattr__(self, "clips", clips)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Order)
            and self.split == other.split
            and np.array_equal(self.clips, other.clips)
        )

    def __hash__(self) -> int:
        return hash((self.split, *self.clips.flat))

    def __repr__(self) -> str:
        runs = f"{self.n_runs} run{'s' if self.n_runs != 1 else ''}"
        return (
            f"Order({self.split!r}, {runs} x {self.n_trials} trials, {self.n_clips} unique clips)"
        )

    @property
    def n_runs(self) -> int:
        """Number of runs."""
        return int(self.clips.shape[0])

    @property
    def n_trials(self) -> int:
        """Number of trials per run, without the dummy."""
        return int(self.clips.shape[1])

    @property
    def n_clips(self) -> int:
        """Number of different clips."""
        return len(set(self.clips.flat))


def check_clip_name(name: object, where: str) -> re.Match[str]:
    """Return the parts of a clip name: genre, number, length.

    Raises InputError, starting with ``where``, if it is not a clip name or its genre is unknown.
    """
    match = CLIP_NAME.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        raise InputError(
            f"{where}: {name!r} is not a clip name; expected one such as {CLIP_EXAMPLE}"
        )
    if match["genre"] not in GENRES:
        raise InputError(
            f"{where}: unknown genre {match['genre']!r}; expected one of {', '.join(GENRES)}"
            f"{did_you_mean(match['genre'], GENRES)}"
        )
    return match


def dummy_clip(order: Order, run: int) -> str:
    """Return the clip of the dummy, trial 0, that opens a run (counted from 1).

    Rule of ds003720, checked against its events: in a training run the dummy is the last clip of
    the previous run (for run 1, of the last run); in a test run it is the last clip of the run
    itself.
    """
    return str(order.clips[run - 2 if order.split == "train" else run - 1, -1])


def presentations(order: Order) -> pd.DataFrame:
    """Put an order on the time grid: one row per presentation, with the dummies as trial 0.

    Returns
    -------
    DataFrame
        split, run, trial, repeat (counted from 1 within the run; 0 for the dummy), onset_s (after
        the first volume of the run), volume (index from 0 of its first volume), genre, track, clip.
    """
    rows = []
    for run in range(1, order.n_runs + 1):
        n_repeats: dict[str, int] = {}
        for trial in range(order.n_trials + 1):
            if trial == 0:
                clip, repeat = dummy_clip(order, run), 0
            else:
                clip = str(order.clips[run - 1, trial - 1])
                repeat = n_repeats[clip] = n_repeats.get(clip, 0) + 1
            genre, number, _ = check_clip_name(clip, f"run {run}, trial {trial}").groups()
            rows.append(
                {
                    "split": order.split,
                    "run": run,
                    "trial": trial,
                    "repeat": repeat,
                    "onset_s": trial * CLIP_S,
                    "volume": trial * VOLUMES_PER_CLIP,
                    "genre": genre,
                    "track": f"{genre}.{number}",
                    "clip": clip,
                }
            )
    return pd.DataFrame(rows)


# --- MATLAB files ---------------------------------------------------------------------------------


def read_order(path: str | Path, split: Split) -> Order:
    """Read an order from a MATLAB or Octave file.

    Parameters
    ----------
    path : str or Path
        File with the names of the clips, trials x runs, as a cell array, a string array or a char
        matrix named TrnOrd or ValOrd; MATLAB 5 or 7.3, or Octave's text format. If no variable has
        that name, the only one that holds names of clips is read, with a warning.
    split : {"train", "test"}
        Which of the two: TrnOrd for "train", ValOrd for "test".

    Returns
    -------
    Order
        The order, runs x trials. ``.WAV`` becomes ``.wav``.

    Raises
    ------
    InputError
        If the file does not exist or has no such names, or an entry is not a clip name; the message
        gives the row and column, counted from 1.

    Examples
    --------
    >>> import neuromusic as nm
    >>> nm.read_order("orders/ExpValOrder.mat", "test")
    Order('test', 1 run x 40 trials, 10 unique clips)
    """
    path = Path(path)
    name = VARIABLE[split]
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a .mat file with the variable {name}")
    others = set(VARIABLE.values()) - {name}
    with reading(path):
        cells, source = read_names(path, name, _is_clip_name, others)
    if name not in source.split("."):
        log.warning("%s: has no variable %s; read %s, its only names of clips", path, name, source)
    for (row, column), entry in np.ndenumerate(cells):
        cells[row, column] = entry = _with_lower_suffix(entry)
        check_clip_name(entry, f"{path}: {source}, row {row + 1}, column {column + 1}")
    return Order(split, cells.T.astype(str))


def _is_clip_name(text: str) -> bool:
    return CLIP_NAME.fullmatch(_with_lower_suffix(text)) is not None


def _with_lower_suffix(name: str) -> str:
    return f"{name[:-4]}.wav" if name[-4:].lower() == ".wav" else name


def write_order(order: Order, path: Path) -> None:
    """Write an order to a MATLAB 5 file: a cell array (trials, runs), like the original files.

    The same order always gives the same bytes.
    """
    save_mat(path, {VARIABLE[order.split]: order.clips.T.astype(object)})


# --- A new design ---------------------------------------------------------------------------------


def design_orders(clips: list[str], seed: int) -> tuple[Order, Order]:
    """Design a training and a test order for a set of clips, following ds003720.

    The published design has 48 + 6 clips per genre: 12 training runs of 40 trials with 4 clips of
    each genre, and 6 test runs of one clip per genre, each presented 4 times in the same sequence.
    Fewer clips give fewer runs in the same proportion; with fewer than 4 training clips per genre,
    one run contains them all. Clips that do not fill a whole run are left out.

    Raises InputError if a name is not a clip name or a genre has fewer than 2 clips.
    """
    by_genre: dict[str, list[str]] = {}
    for clip in sorted(clips):
        by_genre.setdefault(check_clip_name(clip, "clips")["genre"], []).append(clip)
    n_clips = min(map(len, by_genre.values()), default=0)
    if n_clips < 2:
        genre = min(by_genre, key=lambda name: len(by_genre[name]), default="any genre")
        raise InputError(f"clips: {n_clips} of {genre}; a design needs at least 2 clips per genre")
    n_test = max(1, round(n_clips * 6 / 54))
    per_run = min(TRIALS_PER_GENRE, n_clips - n_test)
    n_runs = (n_clips - n_test) // per_run
    rng = np.random.default_rng(seed)
    train: list[list[str]] = [[] for _ in range(n_runs)]
    test: list[list[str]] = [[] for _ in range(n_test)]
    for genre in sorted(by_genre):
        shuffled = [str(clip) for clip in rng.permutation(by_genre[genre])]
        for run in range(n_test):
            test[run].append(shuffled.pop())
        for run in range(n_runs):
            train[run] += [shuffled.pop() for _ in range(per_run)]
    return (
        Order("train", np.array([rng.permutation(run) for run in train])),
        Order("test", np.array([np.tile(rng.permutation(run), REPEATS) for run in test])),
    )


# --- Comparison with the design -------------------------------------------------------------------


def check_design(order: Order) -> list[str]:
    """Return how an order differs from the published design, one line per difference."""
    name = VARIABLE[order.split]
    n_expected = 1 if order.split == "train" else REPEATS
    unique, counts = np.unique(order.clips, return_counts=True)
    differences = [
        f"{name}: {clip} is presented {n} times; expected {n_expected}"
        for clip, n in zip(unique, counts, strict=True)
        if n != n_expected
    ]
    if order.split == "test":
        for run, clips in enumerate(order.clips, start=1):
            differences += _check_sequence(clips, f"{name}: run {run}")
    for run, clips in enumerate(order.clips, start=1):
        genres, counts = np.unique([clip.split(".")[0] for clip in clips], return_counts=True)
        if len(set(counts)) > 1:
            listed = ", ".join(f"{genre} {n}" for genre, n in zip(genres, counts, strict=True))
            differences.append(f"{name}: run {run} is not balanced over genres ({listed})")
        elif order.split == "train" and counts[0] > TRIALS_PER_GENRE:
            differences.append(
                f"{name}: run {run} has {len(clips)} trials, {counts[0]} of each genre; expected "
                f"{TRIALS_PER_GENRE}, and one column per run"
            )
    return differences


def _check_sequence(clips: NDArray[np.str_], where: str) -> list[str]:
    """Return the first trial at which a test run does not repeat one sequence REPEATS times."""
    first = clips[: len(clips) // REPEATS]
    for trial, clip in enumerate(clips, start=1):
        if len(clips) % REPEATS or clip != first[(trial - 1) % len(first)]:
            return [
                f"{where}, trial {trial}: {clip}; expected the {len(first)} clips of the run "
                f"{REPEATS} times in the same sequence"
            ]
    return []
