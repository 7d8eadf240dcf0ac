"""Predictions and activations of a run on the scanner's time grid, as files for other programs."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic import audio, timing
from neuromusic.errors import InputError
from neuromusic.fmri.bids import dataset_description, write_json, write_stim
from neuromusic.fmri.formats import WITH_REGRESSORS, Wanted, write_formats
from neuromusic.fmri.matlab import cell, save_mat, structs
from neuromusic.fmri.signals import (
    PROBABILITY,
    Context,
    ScannerRun,
    describe_components,
    score_trials,
    with_regressors,
)
from neuromusic.inference import clip_volumes
from neuromusic.orders import TASK
from neuromusic.prepare import unique_clips
from neuromusic.progress import track
from neuromusic.rundir import Run, best_device
from neuromusic.store import new_array, open_prepared

Responses = dict[str, NDArray[np.floating]]  # "probability" and one a stage, (n_vol, units) each
FRAMES = {
    "mean": "A frame belongs to the volume in which its centre lies; a volume is the mean of its "
    "frames",
    "lanczos": "A volume is the value in its middle of the frames without what is faster than half "
    "the volumes' rate (Lanczos kernel of three lobes)",
}
NO_DELAY = "No delay and no haemodynamic response is applied"


def grid_text(binning: str) -> str:
    """Return how volumes are filled, for the sidecars."""
    return (
        f"volume v holds what sounds while v is acquired. {FRAMES[binning]}. Probabilities are the "
        "mean log-probability of the windows that overlap the volume, weighted by the overlap, "
        "normalised."
    )


def listen(run: Run, features: NDArray[np.float32], binning: str = "mean") -> Responses:
    """Return the responses to one clip, as the run hears it (rows, frames), on its volumes."""
    probability, stages = clip_volumes(run.network, features, run.hop_frames, binning)
    return {"probability": probability.astype(np.float32), **stages}


def clip_features(
    run: Run, clips: pd.DataFrame, lists: Path
) -> Iterator[tuple[str, NDArray[np.float32] | None]]:
    """Yield (clip, what the run hears of it or None where it is missing) for unique clips.

    From the sound in the lists; for a run trained on ready-made features, from its prepared set.
    """
    if run.meta["source"] == "audio":
        for row in clips.itertuples():
            if pd.isna(row.path):
                yield row.clip, None
            else:
                wave = audio.read(lists / row.path, timing.CLIP_S)
                yield row.clip, run.hear(wave)[0]
        return
    data = open_prepared(run.prepared).heard_as(run.kind, run.per_clip)
    row_of = data.row_of_clip()
    for clip in clips["clip"]:
        yield clip, data.row_features(row_of[clip]) if clip in row_of else None


def on_run_grid(
    trials: pd.DataFrame, responses: dict[str, Responses], names: dict[str, int]
) -> dict[str, NDArray[np.float32]]:
    """Lay the responses to clips on the volumes of one run: name -> (n_volumes, units).

    ``trials`` are the presentations of the run, the dummy included; ``names`` name -> units. Where
    a clip is missing the rows are NaN.
    """
    n_vol = timing.n_volumes(len(trials) - 1)
    out = {name: np.full((n_vol, units), np.nan, dtype=np.float32) for name, units in names.items()}
    for row in trials.itertuples():
        if row.clip in responses:
            span = slice(row.volume, row.volume + timing.VOLUMES_PER_CLIP)
            for name, block in out.items():
                block[span] = responses[row.clip][name]
    return out


def volume_table(trials: pd.DataFrame) -> pd.DataFrame:
    """Return volume, onset_s, trial, repeat, dummy, genre and clip of each volume of a run."""
    table = trials.loc[
        trials.index.repeat(timing.VOLUMES_PER_CLIP), ["trial", "repeat", "genre", "clip"]
    ].reset_index(drop=True)
    table.insert(0, "volume", range(len(table)))
    table.insert(1, "onset_s", table["volume"] * timing.TR_S)
    table.insert(4, "dummy", (table["trial"] == 0).astype(int))
    return table


def listen_to_all(
    run: Run, clips: pd.DataFrame, lists: Path, scratch: Path, binning: str
) -> tuple[dict[str, Responses], list[str]]:
    """Return clip -> responses to unique clips, and the names of the clips that are missing.

    The responses lie in files of ``scratch``, mapped into memory, so that what is held does not
    grow with the number of clips.
    """
    run.network.to(best_device())
    files: dict[str, NDArray[np.float32]] = {}
    responses: dict[str, Responses] = {}
    missing = []
    for clip, features in track(clip_features(run, clips, lists), "listen", len(clips)):
        if features is None:
            missing.append(clip)
            continue
        row = len(responses)
        responses[clip] = {}
        for name, block in listen(run, features, binning).items():
            if name not in files:
                files[name] = new_array(
                    scratch / f"{name}.npy", np.float32, (len(clips), *block.shape)
                )
            files[name][row] = block
            responses[clip][name] = files[name][row]
    return responses, missing


def export(
    run: Run, table: pd.DataFrame, lists: Path, directory: Path, wanted: Wanted
) -> tuple[list[str], list[str]]:
    """Write the responses of a run to every run of stimulus lists into a directory.

    For each run: ``_stim.tsv.gz`` with the class probabilities, ``_stage-NAME_activations.npy``
    (n_volumes, units) float32, ``_volumes.tsv`` saying which clip each volume holds, JSON sidecars;
    and ``activations.mat`` with all of it. Every unique clip is computed once. The formats that are
    ``wanted`` go into directories of their own beside these.

    Returns the names of the clips that are missing, whose volumes are NaN; and what the formats
    had to leave out. Raises InputError for lists without a time grid, if no clip at all is there,
    or where a design cannot be fitted.
    """
    if table["trial"].isna().all():
        raise InputError(f"{lists}: comes from a folder and has no scanner runs to export to")
    clips = unique_clips(table)
    policy = f"{NO_DELAY}: {grid_text(wanted.binning)}"
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        responses, missing = listen_to_all(run, clips, lists, Path(scratch), wanted.binning)
        if not responses:
            raise InputError(f"{lists}: none of the {len(clips)} clips is there; nothing to export")
        units = {name: block.shape[1] for name, block in next(iter(responses.values())).items()}
        runs = []
        groups = list(table.groupby(["split", "run"], sort=False))
        for (split, number), rows in track(groups, "write runs", len(groups)):
            trials = rows.sort_values("trial").reset_index(drop=True)
            stem = f"task-{TASK[split]}_run-{number:02d}"
            grid = on_run_grid(trials, responses, units)
            volumes = volume_table(trials)
            _write_run(directory, stem, run, grid, volumes, policy)
            for name in units.keys() - {PROBABILITY}:
                path = directory / f"{stem}_stage-{name}_activations.npy"
                grid[name] = np.load(path, mmap_mode="r")
            scored = score_trials(trials, grid[PROBABILITY], run.classes)
            runs.append(ScannerRun(stem, split, int(number), scored, volumes, grid, {}))
    description = dataset_description(run.config.model.name, missing)
    write_json(directory / "dataset_description.json", description)
    _write_matlab(directory / "activations.mat", run.classes, runs, policy)
    return missing, _write_wanted(directory, run, runs, wanted)


def _write_wanted(directory: Path, run: Run, runs: list[ScannerRun], wanted: Wanted) -> list[str]:
    about: dict[str, Any] = {
        "Network": run.config.model.name,
        "RepetitionTime": timing.TR_S,
        "Grid": f"Before any delay or response, {grid_text(wanted.binning)}",
        "MissingClips": {r.stem: r.missing for r in runs if r.missing},
    }
    if set(wanted.formats) & set(WITH_REGRESSORS):
        stages = wanted.stages or tuple(stage.name for stage in run.network.stages)
        runs, fitted = with_regressors(runs, stages, wanted.components, run.classes)
        about |= describe_components(fitted, wanted.components)
    context = Context(run.classes, wanted.hrf, wanted.modulator, about)
    return write_formats(directory, runs, context, wanted.formats)


def _write_run(
    directory: Path,
    stem: str,
    run: Run,
    grid: dict[str, NDArray[np.float32]],
    volumes: pd.DataFrame,
    policy: str,
) -> None:
    volumes.to_csv(directory / f"{stem}_volumes.tsv", sep="\t", index=False)
    common = {
        "RepetitionTime": timing.TR_S,
        "DelayPolicy": policy,
        "DummyVolumes": volumes.loc[volumes["dummy"] == 1, "volume"].tolist(),
        "MissingVolumes": np.flatnonzero(np.isnan(grid[PROBABILITY][:, 0])).tolist(),
        "VolumeTable": f"{stem}_volumes.tsv",
    }
    for stage in run.network.stages:
        block = grid[stage.name]
        path = directory / f"{stem}_stage-{stage.name}_activations.npy"
        np.save(path, block)
        sidecar = {
            **common,
            "Stage": stage.name,
            "Area": stage.area or "n/a",
            "BrodmannAreas": list(stage.brodmann),
            "Shape": ["volumes", "units"],
            "NumberOfUnits": block.shape[1],
            "Units": "activation after the stage's last operation, arbitrary",
        }
        write_json(path.with_suffix(".json"), sidecar)
    write_stim(directory / f"{stem}_stim.tsv.gz", grid[PROBABILITY])
    stim = {
        "SamplingFrequency": 1 / timing.TR_S,
        "StartTime": 0.0,
        "Columns": run.classes,
        **{name: {"Description": f"probability of {name}", "Units": "1"} for name in run.classes},
        **common,
    }
    write_json(directory / f"{stem}_stim.json", stim)


def _write_matlab(path: Path, classes: list[str], runs: list[ScannerRun], policy: str) -> None:
    items = [
        {
            "task": TASK[run.split],  # type: ignore[index]
            "run": float(run.number),
            "tr_s": timing.TR_S,
            "trial": run.volumes["trial"].to_numpy(np.float64)[:, None],
            "dummy": run.volumes["dummy"].to_numpy(bool)[:, None],
            "genre": cell(run.volumes["genre"], row=False),
            "clip": cell(run.volumes["clip"], row=False),
            **run.grid,
        }
        for run in runs
    ]
    genres = cell(classes, row=False)
    save_mat(path, {"runs": structs(items).T, "genres": genres, "delay_policy": policy})
