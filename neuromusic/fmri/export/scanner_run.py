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
from neuromusic.design.grid import VOLUMES_PER_CLIP
from neuromusic.fmri.activations import PROBABILITY
from neuromusic.fmri.hrf import HrfName

DUMMY = "dummy"


@dataclass(frozen=True)
class Context:
    """What every format needs in addition to the runs."""

    classes: list[str]
    hrf: HrfName  # of the regressors that are convolved in the export
    slice_time_ref: float  # the image of volume v stands for the time (v + slice_time_ref) TR
    modulator: str  # a regressor: "probability", or a component such as A1_pc01
    nilearn: tuple[str, ...]  # groups of regressors in nilearn's designs: names, or "all"
    about: dict[str, Any]  # the first entries of every sidecar

    def write_sidecar(self, path: Path, content: Mapping[str, Any], notes: Sequence[str]) -> None:
        """Write the JSON file that describes the files of a format."""
        write_json(path, {**self.about, **content, "Notes": list(notes)})


@dataclass(frozen=True)
class ScannerRun:
    """A network's responses in one scanner run.

    Attributes
    ----------
    stem : str
        Start of all file names of the run, such as task-Training_run-01.
    split : str
        "train" or "test".
    number : int
        Number of the run, from 1.
    trials : pandas.DataFrame
        One row per presentation, the dummy first: trial, repeat, onset_s, volume, genre, clip,
        condition (the genre, or dummy), predicted, probability (of the predicted genre) and
        genre_probability (of the true genre); the last three are NaN if the clip is missing.
    volumes : pandas.DataFrame
        One row per volume, see `activations.volume_table`.
    grid : mapping
        "probability" -> (n_volumes, classes) and each stage -> (n_volumes, units), float32; NaN if
        the clip is missing. The stages are read from files.
    regressors : mapping
        "probability" and each exported stage -> (n_volumes, columns), centred on the training runs,
        without a haemodynamic response.
    """

    stem: str
    split: str
    number: int
    trials: pd.DataFrame
    volumes: pd.DataFrame
    grid: Mapping[str, NDArray[np.float32]]
    regressors: Mapping[str, pd.DataFrame]

    @property
    def task(self) -> str:
        """Label of the task in BIDS file names."""
        return self.stem.split("_")[0].removeprefix("task-")

    @property
    def conditions(self) -> list[str]:
        """Genres of the run in alphabetical order, then the dummy."""
        played = self.trials.loc[self.trials["trial"] > 0, "condition"]
        return [*sorted(set(played)), DUMMY]

    @property
    def missing_volumes(self) -> NDArray[np.int64]:
        """Numbers of the volumes without a response, from 0."""
        return np.flatnonzero(np.isnan(self.grid[PROBABILITY][:, 0]))

    @property
    def missing(self) -> list[str]:
        """Clips with a volume that has no response."""
        return sorted(set(self.volumes["clip"].iloc[self.missing_volumes]))

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
            values = by_volume.reshape(-1, VOLUMES_PER_CLIP).mean(axis=1)
        return values[(self.trials["condition"] == condition).to_numpy()]

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


def score_trials(
    trials: pd.DataFrame, probability: NDArray[np.floating], classes: Sequence[str]
) -> pd.DataFrame:
    """Add condition, predicted, probability and genre_probability to the presentations of a run.

    ``probability`` is (n_volumes, classes). A presentation has the normalised mean log-probability
    of its volumes, just as a clip has that of its windows.
    """
    log_p, has_response = _trial_log_probability(probability, len(trials))
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
    probability: NDArray[np.floating], n_trials: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return (n_trials, classes) log-probabilities, and which trials have any response (n_trials,).

    Volumes without a response are left out of the mean; trials with none get equal probabilities.
    """
    p = np.asarray(probability, dtype=np.float64)
    p = p.reshape(n_trials, VOLUMES_PER_CLIP, p.shape[1])
    present: NDArray[np.bool_] = ~np.any(np.isnan(p), axis=2)
    log_p = np.log(np.maximum(np.where(present[..., None], p, 1.0), 1e-30)).sum(axis=1)
    log_p /= np.maximum(present.sum(axis=1), 1)[:, None]
    log_p -= np.logaddexp.reduce(log_p, axis=1, keepdims=True)
    return log_p, np.any(present, axis=1)


def genre_probability(
    volumes: pd.DataFrame, probability: NDArray[np.floating], classes: Sequence[str]
) -> NDArray[np.float64]:
    """Return the probability of the true genre in each volume (n_volumes,).

    NaN if the network has no such class or the clip is missing.
    """
    label = _labels(volumes["genre"], classes)
    values = np.asarray(probability)[np.arange(len(volumes)), label.fillna(0).to_numpy(int)]
    return np.where(label.notna(), values, np.nan).astype(np.float64)


def _labels(genres: pd.Series, classes: Sequence[str]) -> pd.Series:
    return genres.map({name: index for index, name in enumerate(classes)})
