"""Predictions and activations of a run on the scanner's time grid, as files for other programs."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.matlab import ReadLater, cell, save_mat, structs
from neuromusic.core.progress import track
from neuromusic.design.grid import TR_S
from neuromusic.design.lists import unique_clips
from neuromusic.design.orders import TASK
from neuromusic.fmri.activations import SavedGrid, listen_to_all, on_run_grid, volume_table
from neuromusic.fmri.export.bids import dataset_description, write_json, write_stim
from neuromusic.fmri.export.conventions import NO_DELAY, grid_text
from neuromusic.fmri.export.formats import WITH_REGRESSORS, Wanted, write_formats
from neuromusic.fmri.export.scanner_run import (
    PROBABILITY,
    Context,
    ScannerRun,
    describe_components,
    score_trials,
    with_regressors,
)
from neuromusic.training.trained import TrainedNetwork


def export(
    run: TrainedNetwork, table: pd.DataFrame, lists: Path, directory: Path, wanted: Wanted
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
        heard, missing = listen_to_all(run, clips, lists, Path(scratch), wanted.binning)
        if not heard.row_of:
            raise InputError(f"{lists}: none of the {len(clips)} clips is there; nothing to export")
        runs = []
        groups = list(table.groupby(["split", "run"], sort=False))
        for (split, number), rows in track(groups, "write runs", len(groups)):
            trials = rows.sort_values("trial").reset_index(drop=True)
            stem = f"task-{TASK[split]}_run-{number:02d}"
            laid = on_run_grid(trials, heard.responses(trials["clip"]), heard.units)
            volumes = volume_table(trials)
            grid = SavedGrid(
                laid[PROBABILITY], _write_run(directory, stem, run, laid, volumes, policy)
            )
            scored = score_trials(trials, laid[PROBABILITY], run.classes)
            runs.append(ScannerRun(stem, split, int(number), scored, volumes, grid, {}))
    description = dataset_description(run.config.model.name, missing)
    write_json(directory / "dataset_description.json", description)
    _write_matlab(directory / "activations.mat", run.classes, runs, policy)
    return missing, _write_wanted(directory, run, runs, wanted)


def _write_wanted(
    directory: Path, run: TrainedNetwork, runs: list[ScannerRun], wanted: Wanted
) -> list[str]:
    about: dict[str, Any] = {
        "Network": run.config.model.name,
        "RepetitionTime": TR_S,
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
    run: TrainedNetwork,
    grid: dict[str, NDArray[np.float32]],
    volumes: pd.DataFrame,
    policy: str,
) -> dict[str, Path]:
    """Write all files of one run; return the file of each stage."""
    volumes.to_csv(directory / f"{stem}_volumes.tsv", sep="\t", index=False)
    common = {
        "RepetitionTime": TR_S,
        "DelayPolicy": policy,
        "DummyVolumes": volumes.loc[volumes["dummy"] == 1, "volume"].tolist(),
        "MissingVolumes": np.flatnonzero(np.isnan(grid[PROBABILITY][:, 0])).tolist(),
        "VolumeTable": f"{stem}_volumes.tsv",
    }
    saved = {}
    for stage in run.network.stages:
        block = grid[stage.name]
        path = saved[stage.name] = directory / f"{stem}_stage-{stage.name}_activations.npy"
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
        "SamplingFrequency": 1 / TR_S,
        "StartTime": 0.0,
        "Columns": run.classes,
        **{name: {"Description": f"probability of {name}", "Units": "1"} for name in run.classes},
        **common,
    }
    write_json(directory / f"{stem}_stim.json", stim)
    return saved


def _write_matlab(path: Path, classes: list[str], runs: list[ScannerRun], policy: str) -> None:
    items = [
        {
            "task": TASK[run.split],  # type: ignore[index]
            "run": float(run.number),
            "tr_s": TR_S,
            "trial": run.volumes["trial"].to_numpy(np.float64)[:, None],
            "dummy": run.volumes["dummy"].to_numpy(bool)[:, None],
            "genre": cell(run.volumes["genre"], row=False),
            "clip": cell(run.volumes["clip"], row=False),
            **{name: ReadLater(run.grid, name) for name in run.grid},
        }
        for run in runs
    ]
    genres = cell(classes, row=False)
    save_mat(path, {"runs": structs(items).T, "genres": genres, "delay_policy": policy})
