"""Presentations: every playing of a sound in every run of every subject, on one time axis.

Lists, exports, simulations, encodings and statistics read these two tables and the description of
the experiment. Onsets are in seconds after the first image of the run.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from neuromusic.core.errors import InputError, did_you_mean, listed
from neuromusic.design.bids import BidsIndex, RunId, check_events_present, in_order, index_bids
from neuromusic.design.event_rows import RunEvents, read_run_events
from neuromusic.design.experiment import Experiment, Split

log = logging.getLogger(__name__)

COLUMNS = (
    "subject", "session", "task", "run", "trial", "repeat", "onset_s", "duration_s", "clip",
    "class", "group", "split", "is_dummy",
)  # fmt: skip
OVERLAP_S = 0.1  # by which two sounds may overlap, for jitter and rounded durations
IMAGES = (".nii", ".nii.gz", ".func.gii", ".dtseries.nii", ".npy")


@dataclass(frozen=True)
class RunDesign:
    """One run: its events, its timing, and the sounds that it plays.

    Parameters
    ----------
    id : RunId
        Subject, session, task and number; the subject is "" if all subjects heard this run.
    split : {"train", "test"} or None
        Whether the run is for training or testing; None if folds decide.
    events : RunEvents or None
        The events file, which several runs may inherit; None if the run is not from events.
    tr_s : float or None
        Repetition time in s; None if neither the description nor the metadata give it.
    n_volumes : int or None
        Number of volumes; None if neither gives it.
    trials : pandas.DataFrame
        One row per presentation, in the order of the onsets: trial, repeat, onset_s, duration_s,
        clip, class, group, is_dummy. The dummies of the lead-in are trial 0 (with several: 0, -1,
        ... from the last to the first) and have repeat 0; all others count from 1. duration_s is
        NaN if it is known neither from the events nor from the description.
    """

    id: RunId
    split: Split | None
    events: RunEvents | None
    tr_s: float | None
    n_volumes: int | None
    trials: pd.DataFrame

    @property
    def known_tr_s(self) -> float:
        """The repetition time of a run whose timing is known."""
        assert self.tr_s is not None
        return self.tr_s

    @property
    def known_volumes(self) -> int:
        """The number of volumes of a run whose timing is known."""
        assert self.n_volumes is not None
        return self.n_volumes


@dataclass(frozen=True)
class Design:
    """All runs of an experiment.

    Parameters
    ----------
    experiment : Experiment
        Its description.
    runs : dict of RunDesign
        By run, sorted by subject, task (in the order of ``files.tasks``), session and number.
    """

    experiment: Experiment
    runs: dict[RunId, RunDesign]

    @property
    def subjects(self) -> list[str]:
        """Labels of the subjects, in order."""
        return list(dict.fromkeys(run.subject for run in self.runs))

    def of_subject(self, subject: str) -> "Design":
        """Return the runs of one subject."""
        runs = {run: each for run, each in self.runs.items() if run.subject == subject}
        return Design(self.experiment, runs)

    def table(self) -> pd.DataFrame:
        """Return all presentations as one table with the columns COLUMNS."""
        parts = []
        for run, each in self.runs.items():
            ids = {"subject": run.subject, "session": run.session, "task": run.task}
            parts.append(each.trials.assign(**ids, run=run.run, split=each.split or "n/a"))
        return pd.concat(parts, ignore_index=True)[list(COLUMNS)]

    @property
    def clips(self) -> list[str]:
        """Names of all sounds, each once, in the order in which they were first played."""
        played = (clip for each in self.runs.values() for clip in each.trials["clip"])
        return list(dict.fromkeys(played))


# --- Loading --------------------------------------------------------------------------------------


def load_design(
    bids: Path | BidsIndex,
    experiment: Experiment,
    subjects: Collection[str] | None = None,
    inherited_by: Collection[RunId] = (),
) -> Design:
    """Read the events of an experiment.

    Parameters
    ----------
    bids : Path or BidsIndex
        The dataset, or its index.
    experiment : Experiment
        Which runs and columns are read, and what is known of the timing.
    subjects : collection of str, optional
        Labels of the subjects to read; by default all.
    inherited_by : collection of RunId
        Runs with images elsewhere, which may inherit events from the top of the dataset.

    Raises
    ------
    InputError
        If there are no such events, a file cannot be read, or two sounds in different folders have
        the same file name.
    """
    index = bids if isinstance(bids, BidsIndex) else index_bids(bids)
    paths = events_paths(index, experiment, inherited_by)
    if subjects is not None:
        known = dict.fromkeys(run.subject for run in paths)
        for subject in subjects:
            if subject not in known:
                raise InputError(
                    f"{index.directory}: has no events of sub-{subject}; its subjects are "
                    f"{listed(known)}{did_you_mean(subject, known)}"
                )
        paths = {run: path for run, path in paths.items() if run.subject in subjects}
    read: dict[Path, RunEvents] = {}
    for path in paths.values():
        if path not in read:
            read[path] = read_run_events(path, experiment.sounds)
    _report(list(read.values()))
    _check_sources(read.values())
    runs = {run: _run_design(run, read[path], index, experiment) for run, path in paths.items()}
    return Design(experiment, runs)


def events_paths(
    index: BidsIndex, experiment: Experiment, inherited_by: Collection[RunId] = ()
) -> dict[RunId, Path]:
    """Return the events file of each run of the experiment, in order.

    A run without a file of its own inherits one from a folder above.

    Raises InputError if there is none, two files are of the same run, or one is a link to nothing.
    """
    check_events_present(index)
    own: dict[RunId, Path] = {}
    for file in index.select_own("events", (".tsv",)):
        run = file.run_id
        if run is None or not _belongs(run, experiment):
            continue
        if run in own:
            raise InputError(f"{file.path}: is of the same run as {own[run]}; keep one of them")
        own[run] = file.path
    found = dict(own)
    images = {file.run_id: file.path for file in index.select("bold", (*IMAGES, ".json"))}
    for run in (*images, *inherited_by):
        if run is None or run in found or not _belongs(run, experiment):
            continue
        path = images.get(run, index.directory / f"{run.stem}_bold.nii.gz")
        inherited = index.inherited(path, "events.tsv")
        if inherited:
            found[run] = inherited[0]
    if not found:
        raise InputError(f"{index.directory}: {_no_events(index, experiment)}")
    tasks = experiment.files.tasks
    return {run: found[run] for run in in_order(found, tasks.index)}


def _belongs(run: RunId, experiment: Experiment) -> bool:
    sessions = experiment.files.sessions
    return run.task in experiment.files.tasks and (not sessions or run.session in sessions)


def _no_events(index: BidsIndex, experiment: Experiment) -> str:
    """Return what is missing, and what there is instead."""
    task = experiment.files.tasks[0]
    text = f"has no events; expected sub-X/func/sub-X_task-{task}_run-NN_events.tsv"
    others = {file.run_id.task for file in index.select("events", (".tsv",)) if file.run_id}
    if others:
        text += f" (the tasks with events are {listed(sorted(others))})"
    return text


def _report(events: Sequence[RunEvents]) -> None:
    """Say which rows play nothing, and which files are not sorted."""
    if n_rest := sum(each.n_rest for each in events):
        log.info("left out %d rest rows (no sound) of the events", n_rest)
    unsorted = [each.path.name for each in events if not each.was_sorted]
    if unsorted:
        log.warning(
            "%d events files have rows that are not in the order of their onsets, and were sorted: "
            "%s", len(unsorted), listed(unsorted),
        )  # fmt: skip


def _check_sources(events: Collection[RunEvents]) -> None:
    """Raise InputError if two sounds differ only in their folders."""
    source_of: dict[str, str] = {}
    for each in events:
        for row in each.rows:
            first = source_of.setdefault(row.clip, row.source)
            if row.source != first:
                raise InputError(
                    f"{each.path}, row {row.row}: {row.source} has the same file name as {first}; "
                    "rename one of the sounds"
                )


# --- One run --------------------------------------------------------------------------------------


def _run_design(
    run: RunId, events: RunEvents, index: BidsIndex, experiment: Experiment
) -> RunDesign:
    time = experiment.time
    trials = trial_table(events, experiment)
    place = image_place(run, events.path, index)
    tr_s, n_volumes = time.tr_s, time.n_volumes
    if tr_s is None and (found := index.metadata(place, "bold", "RepetitionTime")):
        tr_s = seconds_of(*found, key="RepetitionTime")
    if n_volumes is None and (found := index.metadata(place, "bold", "NumberOfVolumes")):
        n_volumes = int(seconds_of(*found, key="NumberOfVolumes"))
    return RunDesign(run, experiment.split_of(run.task), events, tr_s, n_volumes, trials)


def image_place(run: RunId, events: Path, index: BidsIndex) -> Path:
    """Return where the image of a run would be, for the metadata that it would inherit."""
    if events.parent != index.directory:
        return events.with_name(events.name.replace("_events.tsv", "_bold.nii.gz"))
    return index.directory / f"sub-{run.subject}" / "func" / f"{run.stem}_bold.nii.gz"


def seconds_of(value: object, source: Path, key: str) -> float:
    """Return a number from metadata; raise InputError if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise InputError(f"{source}: {key} is {value!r}; expected a number above 0")
    return float(value)


def trial_table(events: RunEvents, experiment: Experiment) -> pd.DataFrame:
    """Return `RunDesign.trials` from the events of a run."""
    rows = events.rows
    onset_s = np.array([row.onset_s for row in rows])
    is_dummy = _dummies(onset_s, experiment, events.path)
    known = experiment.time.duration_s
    duration_s = np.array([row.duration_s for row in rows])
    duration_s = np.where(np.isnan(duration_s), known if known else np.nan, duration_s)
    n_dummies = int(is_dummy.sum())
    counts: dict[str, int] = {}
    repeat = []
    for row, dummy in zip(rows, is_dummy, strict=True):
        counts[row.clip] = counts.get(row.clip, 0) + (not dummy)
        repeat.append(0 if dummy else counts[row.clip])
    return pd.DataFrame(
        {
            "trial": np.arange(len(rows)) - n_dummies + 1,
            "repeat": repeat,
            "onset_s": onset_s,
            "duration_s": duration_s,
            "clip": [row.clip for row in rows],
            "class": [row.class_ for row in rows],
            "group": [row.group for row in rows],
            "is_dummy": is_dummy,
        }
    )


def _dummies(onset_s: np.ndarray, experiment: Experiment, path: Path) -> np.ndarray:
    """Return which sounds are part of the lead-in.

    If the volumes of the lead-in were cut from the images, its onsets are negative, or its rows are
    missing as well: then the run has exactly as many rows as it has trials.
    """
    before_images = onset_s < 0
    if before_images.any():
        return before_images
    is_early = onset_s < experiment.time.lead_in_s
    if is_early.any() and len(onset_s) == experiment.time.trials:
        log.warning(
            "%s: has %d rows, the number of trials without the lead-in, and begins at 0 s; its "
            "lead-in is taken to have been cut off", path.name, len(onset_s),
        )  # fmt: skip
        return np.zeros(len(onset_s), bool)
    return is_early


def overlaps(run: RunDesign) -> list[str]:
    """Return one line for each sound of a run that begins before the one before has ended."""
    onset_s, duration_s = (run.trials[name].to_numpy(float) for name in ("onset_s", "duration_s"))
    end_s = onset_s + np.nan_to_num(duration_s)
    late = (end_s[:-1] > onset_s[1:] + OVERLAP_S) | (np.diff(onset_s) == 0)
    lines = []
    for index in np.flatnonzero(late):
        where = [f"{each:g} s" for each in onset_s[index : index + 2]]
        if run.events is not None:
            where = [f"row {row.row}" for row in run.events.rows[index : index + 2]]
        lines.append(
            f"{run.events.path if run.events else run.id.label}, {where[1]}: begins at "
            f"{onset_s[index + 1]:g} s, before {where[0]} ends ({end_s[index]:g} s); sounds must "
            "not overlap"
        )
    return lines
