"""What a network makes of a scanner run, by trial and by volume: what every format is made of."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.design.grid import VOLUMES_PER_CLIP
from neuromusic.fmri.components import Components, fit_components, fit_units
from neuromusic.fmri.hrf import Name

PROBABILITY = "probability"
DUMMY = "dummy"
HowMany = int | Literal["all"]


@dataclass(frozen=True)
class Context:
    """What every format needs beside the runs."""

    classes: list[str]
    hrf: Name  # of the regressors that are convolved here
    modulator: str  # a regressor: "probability", or a component such as A1_pc01
    about: dict[str, Any]  # the head of every sidecar

    def write_sidecar(self, path: Path, own: Mapping[str, Any], notes: Sequence[str]) -> None:
        """Write the JSON that goes with the files of a format."""
        text = json.dumps({**self.about, **own, "Notes": list(notes)}, indent=2)
        path.write_text(text + "\n", "utf-8")


@dataclass(frozen=True)
class ScannerRun:
    """One run of the experiment as a network heard it.

    ``trials``: a row a presentation, the dummy first: trial, repeat, onset_s, volume, genre, clip,
    condition (the genre, or dummy), predicted, probability (of the predicted genre) and
    genre_probability (of the genre that is played); n/a where the clip is missing.
    ``volumes``: a row a volume, see `export.volume_table`.
    ``grid``: "probability" (n_vol, classes) and each stage (n_vol, units), float32; NaN where a
    clip is missing. Memory-mapped.
    ``regressors``: "probability" and each chosen stage -> (n_vol, columns), centred on the training
    runs; no haemodynamic response.
    """

    stem: str
    split: str
    number: int
    trials: pd.DataFrame
    volumes: pd.DataFrame
    grid: Mapping[str, NDArray[np.float32]]
    regressors: Mapping[str, pd.DataFrame]

    @property
    def conditions(self) -> list[str]:
        """Genres that are played in the run, sorted, and the dummy last."""
        played = self.trials.loc[self.trials["trial"] > 0, "condition"]
        return [*sorted(set(played)), DUMMY]

    @property
    def missing(self) -> list[str]:
        """Clips with a volume that has no response."""
        lacking = np.flatnonzero(np.isnan(self.grid[PROBABILITY][:, 0]))
        return sorted(set(self.volumes["clip"].iloc[lacking]))

    def onsets_s(self, condition: str) -> NDArray[np.float64]:
        """Return the onsets of a condition, in seconds after the first volume."""
        return self.trials.loc[self.trials["condition"] == condition, "onset_s"].to_numpy(float)

    def modulation(self, condition: str, name: str) -> NDArray[np.float64]:
        """Return one value a presentation of a condition: a regressor's mean over its volumes.

        "probability" is that of the genre that is played, over the whole presentation.
        """
        if name == PROBABILITY:
            values = self.trials["genre_probability"].to_numpy(np.float64)
        else:
            by_volume = self.regressors[name.rsplit("_", 1)[0]][name].to_numpy(np.float64)
            values = by_volume.reshape(-1, VOLUMES_PER_CLIP).mean(axis=1)
        return values[(self.trials["condition"] == condition).to_numpy()]

    def whole_regressors(self) -> tuple[dict[str, pd.DataFrame], list[str]]:
        """Return the regressors that have a value at every volume, and why others are left out."""
        whole = {}
        why: dict[str, list[str]] = {}
        for name, frame in self.regressors.items():
            lacking = np.flatnonzero(np.isnan(frame.to_numpy()).any(axis=1))
            clips = self.volumes["clip"].iloc[lacking].nunique()
            if clips:
                why.setdefault(f"no value in {clips} of its clips", []).append(name)
            elif not len(frame.columns):
                why.setdefault("the units do not vary", []).append(name)
            else:
                whole[name] = frame
        return whole, [
            f"{self.stem}: no regressors of {', '.join(names)}: {reason}"
            for reason, names in why.items()
        ]


def score_trials(
    trials: pd.DataFrame, probability: NDArray[np.floating], classes: Sequence[str]
) -> pd.DataFrame:
    """Add condition, predicted, probability and genre_probability to the presentations of a run.

    From the probabilities (n_vol, classes) of the volumes: the mean log-probability over a
    presentation's volumes, normalised, as a clip's score is that of its windows.
    """
    shape = (len(trials), VOLUMES_PER_CLIP, len(classes))
    p = np.asarray(probability, dtype=np.float64).reshape(shape)
    heard: NDArray[np.bool_] = ~np.any(np.isnan(p), axis=2)
    log_p = np.log(np.maximum(np.where(heard[..., None], p, 1.0), 1e-30)).sum(axis=1)
    log_p /= np.maximum(heard.sum(axis=1), 1)[:, None]
    log_p -= np.logaddexp.reduce(log_p, axis=1, keepdims=True)
    any_heard = np.any(heard, axis=1)
    best = log_p.argmax(axis=1)
    place = trials["genre"].map({name: index for index, name in enumerate(classes)})
    known = any_heard & place.notna().to_numpy()
    row = np.arange(len(trials))
    of_genre = np.exp(log_p[row, place.fillna(0).to_numpy(int)])
    return trials.assign(
        condition=trials["genre"].where(trials["trial"] > 0, DUMMY),
        predicted=pd.Series(np.array(classes, dtype=object)[best]).where(any_heard),
        probability=np.where(any_heard, np.exp(log_p[row, best]), np.nan),
        genre_probability=np.where(known, of_genre, np.nan),
    )


def genre_probability(
    volumes: pd.DataFrame, probability: NDArray[np.floating], classes: Sequence[str]
) -> NDArray[np.float64]:
    """Return for each volume the probability (n_vol,) of the genre that is played; NaN if none."""
    place = volumes["genre"].map({name: index for index, name in enumerate(classes)})
    values = np.asarray(probability)[np.arange(len(volumes)), place.fillna(0).to_numpy(int)]
    return np.where(place.notna(), values, np.nan).astype(np.float64)


def fitted_rows(runs: Sequence[ScannerRun], name: str) -> NDArray[np.float32]:
    """Return a stage's activations (n, units) in the training runs, without dummy and missing.

    Raises InputError where nothing is left.
    """
    parts = []
    for run in runs:
        if run.split == "train":
            block = run.grid[name]
            keep = (run.volumes["dummy"] == 0).to_numpy() & ~np.isnan(block).any(axis=1)
            parts.append(block[keep])
    rows = np.concatenate(parts) if parts else np.empty((0, 0), np.float32)
    if len(rows) < 2:
        raise InputError(
            "components: no clip of the training runs is there, and they are fitted on those alone"
        )
    return rows


def with_regressors(
    runs: Sequence[ScannerRun], stages: Sequence[str], how_many: HowMany, classes: Sequence[str]
) -> tuple[list[ScannerRun], dict[str, Components]]:
    """Return the runs with their regressors, and each stage's components.

    All is fitted on the training runs; the test runs are projected. Raises InputError where all
    units are wanted and they are as many as the volumes of a run, or if no training clip is there.
    """
    shortest = min(len(run.volumes) for run in runs)
    for stage in stages if how_many == "all" else ():
        units = runs[0].grid[stage].shape[1]
        if units >= shortest:
            raise InputError(
                f"components: stage {stage} has {units} units and a run {shortest} volumes, which "
                "no design can fit; give a number, or leave the stage out with --stages (formats "
                "hdf5, npz and mat have all units)"
            )
    fitted = {}
    for stage in stages:
        rows = fitted_rows(runs, stage)
        fitted[stage] = fit_units(rows) if how_many == "all" else fit_components(rows, how_many)
    heard = [genre_probability(run.volumes, run.grid[PROBABILITY], classes) for run in runs]
    ours = [
        values[(run.volumes["dummy"] == 0).to_numpy()]
        for run, values in zip(runs, heard, strict=True)
        if run.split == "train"
    ]
    known = np.concatenate([values[~np.isnan(values)] for values in ours] or [np.empty(0)])
    level = known.mean() if len(known) else np.nan
    out = []
    for run, values in zip(runs, heard, strict=True):
        regressors = {PROBABILITY: pd.DataFrame({PROBABILITY: values - level})}
        for stage, parts in fitted.items():
            columns = [f"{stage}_{label}" for label in parts.labels]
            regressors[stage] = pd.DataFrame(parts.project(run.grid[stage]), columns=columns)
        out.append(replace(run, regressors=regressors))
    return out, fitted


def describe_components(fitted: Mapping[str, Components], how_many: HowMany) -> dict[str, Any]:
    """Return what a sidecar says of the components of each stage."""
    what = "Every unit that varies" if how_many == "all" else "Principal components"
    return {
        "ComponentsFit": (
            f"{what}, from the volumes of the training runs alone, without dummy and missing "
            "clips; other runs are projected. Units are centred on their mean over these volumes "
            "and not scaled; scores are scaled to deviation 1 over them. The largest weight of a "
            "component is positive."
        ),
        "Components": {
            stage: {
                "Columns": [f"{stage}_{label}" for label in parts.labels],
                "Units": len(parts.mean),
                "FittedVolumes": parts.n_volumes,
                "ExplainedVarianceRatio": [round(float(share), 6) for share in parts.explained],
            }
            for stage, parts in fitted.items()
        },
    }
