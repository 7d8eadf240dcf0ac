"""ScannerRun: a network's responses in one scanner run, by trial and by volume.

Every export format is written from these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.files import write_json
from neuromusic.core.notes import summarised
from neuromusic.design.bids import RunId
from neuromusic.design.timing import REST, volume_of_each
from neuromusic.fmri.activations import PROBABILITY
from neuromusic.fmri.hrf import HrfName
from neuromusic.fmri.layout import NO_SOUND

DUMMY = "dummy"


@dataclass(frozen=True)
class Context:
    """What every format needs in addition to the runs."""

    classes: list[str]
    hrf: HrfName  # of the regressors that are convolved in the export
    slice_time_ref: float  # the image of volume v stands for the time (v + slice_time_ref) TR
    modulator: str  # a regressor: "probability", or a component such as A1_pc01
    nilearn: tuple[str, ...]  # groups of regressors in nilearn's designs: names, or "all"
    contrast: tuple[str, ...]  # two classes, the first minus the second; empty: no classes
    high_pass_note: tuple[str, ...]  # sentences on the cutoff against drifts
    about: dict[str, Any]  # the first entries of every sidecar

    def write_sidecar(self, path: Path, content: Mapping[str, Any], notes: Sequence[str]) -> None:
        """Write the JSON file that describes the files of a format."""
        write_json(path, {**self.about, **content, "Notes": summarised(notes)})


@dataclass(frozen=True)
class ScannerRun:
    """A network's responses in one scanner run.

    Attributes
    ----------
    id : RunId
        Subject, session, task and number; the subject is "" if all subjects heard this run.
    split : {"train", "test"} or None
        Whether the run is for training; None if the experiment does not say.
    tr_s : float
        Repetition time in s.
    trials : pandas.DataFrame
        One row per presentation, the dummy first: trial, repeat, onset_s, duration_s, genre, clip,
        condition (the genre, or dummy), predicted, probability (of the predicted genre) and
        genre_probability (of the true genre); the last three are NaN if the clip is missing.
        Without classes, genre, condition and genre_probability are NaN.
    volumes : pandas.DataFrame
        One row per volume, see `layout.volume_table`.
    grid : mapping
        "probability" -> (n_volumes, classes) and each stage -> (n_volumes, units), float32; NaN if
        the clip is missing. The stages are read from files.
    regressors : mapping
        "probability" and each exported stage -> (n_volumes, columns), centred on `fitted_runs`,
        without a haemodynamic response.
    """

    id: RunId
    split: str | None
    tr_s: float
    trials: pd.DataFrame
    volumes: pd.DataFrame
    grid: Mapping[str, NDArray[np.float32]]
    regressors: Mapping[str, pd.DataFrame]

    @property
    def stem(self) -> str:
        """Start of all file names of the run, such as task-Training_run-01."""
        return self.id.stem

    @property
    def folder(self) -> str:
        """Folder of the run in a BIDS dataset, such as sub-01/func; "" if it has no subject."""
        return f"{folder_of(self.id.subject, self.id.session)}/func" if self.id.subject else ""

    @property
    def conditions(self) -> list[str]:
        """Genres of the run in alphabetical order, then the dummy if there is one."""
        played = self.trials.loc[self.trials["trial"] > 0, "condition"].dropna()
        has_dummy = (self.trials["trial"] <= 0).any()
        return [*sorted(set(played)), *([DUMMY] if has_dummy else [])]

    @property
    def missing_volumes(self) -> NDArray[np.int64]:
        """Numbers of the volumes without a response, from 0."""
        values = self.grid[PROBABILITY]
        if not values.shape[1]:  # no classes
            values = next(self.grid[name] for name in self.grid if name != PROBABILITY)
        return np.flatnonzero(np.isnan(values[:, 0]))

    @property
    def missing(self) -> list[str]:
        """Clips with a volume that has no response."""
        return sorted(set(self.volumes["clip"].iloc[self.missing_volumes]) - {NO_SOUND})

    @property
    def dummy_volumes(self) -> list[int]:
        """Numbers of the volumes of the dummy, from 0."""
        return list(map(int, self.volumes.loc[self.volumes["dummy"] == 1, "volume"]))

    def onsets_s(self, condition: str) -> NDArray[np.float64]:
        """Return the onsets of a condition, in seconds after the first volume."""
        return self.trials.loc[self.trials["condition"] == condition, "onset_s"].to_numpy(float)

    def modulation(self, condition: str, name: str) -> NDArray[np.float64]:
        """Return one value per presentation of a condition: a regressor's mean over its volumes.

        "probability" is that of the true genre, over the whole presentation.
        """
        if name == PROBABILITY:
            values = self.trials["genre_probability"].to_numpy(np.float64)
        else:
            by_volume = self.regressors[name.rsplit("_", 1)[0]][name].to_numpy(np.float64)
            values = self._trial_means(by_volume)
        return values[(self.trials["condition"] == condition).to_numpy()]

    def durations_s(self, condition: str) -> NDArray[np.float64]:
        """Return the durations of a condition, in seconds."""
        return self.trials.loc[self.trials["condition"] == condition, "duration_s"].to_numpy(float)

    def _trial_means(self, by_volume: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean (n_trials,) of values over the volumes of each presentation."""
        row_of = volume_of_each(self.trials, self.tr_s, len(by_volume))
        return np.array([by_volume[row_of == row].mean() if (row_of == row).any() else np.nan
                         for row in range(len(self.trials))])  # fmt: skip

    def complete_regressors(self) -> tuple[dict[str, pd.DataFrame], list[str]]:
        """Return the regressors with a value in every volume, and notes on the others."""
        complete = {}
        left_out: dict[str, list[str]] = {}
        for name, frame in self.regressors.items():
            without_value = np.flatnonzero(np.isnan(frame.to_numpy()).any(axis=1))
            n_clips = self.volumes["clip"].iloc[without_value].nunique()
            if n_clips:
                left_out.setdefault(f"no value in {n_clips} of its clips", []).append(name)
            elif not len(frame.columns):
                left_out.setdefault("the units do not vary", []).append(name)
            else:
                complete[name] = frame
        return complete, [
            f"{self.stem}: no regressors of {', '.join(names)}: {reason}"
            for reason, names in left_out.items()
        ]


def folder_of(subject: str, session: str) -> str:
    """Return the folder of a subject, and of the session if there is one, in a BIDS dataset."""
    return f"sub-{subject}/ses-{session}" if session else f"sub-{subject}"


def fitted_runs(runs: Sequence[ScannerRun]) -> str:
    """Return on which runs components are fitted: all, if folds divide them, or for training."""
    return "all runs" if any(run.split is None for run in runs) else "the training runs"


def score_trials(
    trials: pd.DataFrame, tr_s: float, probability: NDArray[np.floating], classes: Sequence[str]
) -> pd.DataFrame:
    """Add condition, predicted, probability and genre_probability to the presentations of a run.

    ``probability`` is (n_volumes, classes). A presentation has the normalised mean log-probability
    of the volumes of which it fills most, just as a clip has that of its windows.
    """
    if not classes:
        names = ("predicted", "probability", "genre_probability")
        condition = trials["genre"].where(trials["trial"] > 0, DUMMY)
        return trials.assign(condition=condition, **dict.fromkeys(names, np.nan))
    row_of = volume_of_each(trials, tr_s, len(probability))
    log_p, has_response = _trial_log_probability(probability, row_of, len(trials))
    best = log_p.argmax(axis=1)
    label = _labels(trials["genre"], classes)
    known = has_response & label.notna().to_numpy()
    row = np.arange(len(trials))
    of_genre = np.exp(log_p[row, label.fillna(0).to_numpy(int)])
    return trials.assign(
        condition=trials["genre"].where(trials["trial"] > 0, DUMMY),
        predicted=pd.Series(np.array(classes, dtype=object)[best]).where(has_response),
        probability=np.where(has_response, np.exp(log_p[row, best]), np.nan),
        genre_probability=np.where(known, of_genre, np.nan),
    )


def _trial_log_probability(
    probability: NDArray[np.floating], row_of: NDArray[np.int64], n_trials: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return (n_trials, classes) log-probabilities and which trials have a response (n_trials,).

    ``row_of`` (n_volumes,) is the row of each volume's trial, or REST. Volumes without a response
    are left out of the mean; trials with none get equal probabilities.
    """
    p = np.asarray(probability, dtype=np.float64)
    present = (row_of != REST) & ~np.isnan(p).any(axis=1)
    log_p, count = (
        np.zeros((n_trials, p.shape[1])),
        np.bincount(row_of[present], minlength=n_trials),
    )
    for row in np.flatnonzero(count):
        log_p[row] = np.log(np.maximum(p[present & (row_of == row)], 1e-30)).sum(axis=0)
    log_p /= np.maximum(count, 1)[:, None]
    log_p -= np.logaddexp.reduce(log_p, axis=1, keepdims=True)
    return log_p, count > 0


def genre_probability(run: ScannerRun, classes: Sequence[str]) -> NDArray[np.float64]:
    """Return the probability of the true genre in each volume (n_volumes,).

    0 in volumes of rest. NaN if the network has no such class or the clip is missing.
    """
    label = _labels(run.volumes["genre"], classes)
    probability = run.grid[PROBABILITY]
    if not classes:
        return np.full(len(label), np.nan)
    values = probability[np.arange(len(label)), label.fillna(0).to_numpy(int)]
    values = np.where(label.notna(), values, np.nan).astype(np.float64)
    return np.where(is_rest(run), 0.0, values)


def is_rest(run: ScannerRun) -> NDArray[np.bool_]:
    """Return which volumes (n_volumes,) belong to no presentation."""
    return (run.volumes["clip"] == NO_SOUND).to_numpy(bool)


def _labels(genres: pd.Series, classes: Sequence[str]) -> pd.Series:
    return genres.map({name: index for index, name in enumerate(classes)})
