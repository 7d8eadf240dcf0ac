"""Writer of a network's responses to every scanner run: .npy, tables, JSON and activations.mat."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.files import write_json
from neuromusic.core.matlab_writer import ReadLater, cell, save_mat, structs
from neuromusic.core.progress import track
from neuromusic.design.grid import TR_S, n_volumes
from neuromusic.design.lists import unique_clips
from neuromusic.design.orders import TASK
from neuromusic.fmri.activations import (
    PROBABILITY,
    ArrayFiles,
    clip_inputs,
    clip_responses,
    list_runs,
    volume_table,
)
from neuromusic.fmri.export.bids import dataset_description, probability_columns, write_stim
from neuromusic.fmri.export.conventions import NO_RESPONSE, grid_text
from neuromusic.fmri.export.scanner_run import ScannerRun, score_trials
from neuromusic.models.network import Stage
from neuromusic.training.trained import TrainedNetwork


def write_derivative(
    trained: TrainedNetwork, table: pd.DataFrame, lists: Path, directory: Path, binning: str
) -> tuple[list[ScannerRun], list[str]]:
    """Write the responses of a network to every run of stimulus lists.

    For each run: ``_stim.tsv.gz`` with the class probabilities, ``_stage-NAME_activations.npy``
    (n_volumes, units) float32, ``_volumes.tsv`` with the clip of each volume, and JSON sidecars;
    and ``activations.mat`` with all of it. The response to each clip is computed once.

    Returns the runs, without regressors, and the names of missing clips, whose volumes are NaN.
    Raises InputError if the lists, read from ``lists`` into ``table``, have no scanner runs, or if
    none of the clips is available.
    """
    runs_of_lists = list_runs(table, lists)
    clips = unique_clips(table)
    policy = f"{NO_RESPONSE}: {grid_text(binning)}"
    runs = []
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        responses = clip_responses(
            trained,
            clips["clip"],
            inputs=clip_inputs(trained, lists, clips),
            binning=binning,
            directory=Path(scratch),
        )
        items = track(runs_of_lists.items(), "write runs", len(runs_of_lists))
        for (split, number), trials in items:
            grid = responses.on_volumes(trials, n_volumes(len(trials) - 1))
            stem = f"task-{TASK[split]}_run-{number:02d}"  # type: ignore[index]
            scored = score_trials(trials, grid[PROBABILITY], trained.classes)
            run = ScannerRun(stem, split, number, scored, volume_table(trials), grid, {})
            runs.append(_write_run(directory, run, trained, policy))
    description = dataset_description(trained.config.model.name, responses.missing)
    write_json(directory / "dataset_description.json", description)
    _write_matlab(directory / "activations.mat", trained.classes, runs, policy)
    return runs, responses.missing


def _write_run(
    directory: Path, run: ScannerRun, trained: TrainedNetwork, policy: str
) -> ScannerRun:
    """Write all files of one run; return the run with its stages in these files."""
    run.volumes.to_csv(directory / f"{run.stem}_volumes.tsv", sep="\t", index=False)
    common = {
        "RepetitionTime": TR_S,
        "DelayPolicy": policy,
        "DummyVolumes": run.dummy_volumes,
        "MissingVolumes": run.missing_volumes.tolist(),
        "VolumeTable": f"{run.stem}_volumes.tsv",
    }
    files = {}
    for stage in trained.network.stages:
        path = directory / f"{run.stem}_stage-{stage.name}_activations.npy"
        _write_stage(path, stage, run.grid[stage.name], common)
        files[stage.name] = path
    write_stim(directory / f"{run.stem}_stim.tsv.gz", run.grid[PROBABILITY])
    sidecar = {
        "SamplingFrequency": 1 / TR_S,
        "StartTime": 0.0,
        "Columns": trained.classes,
        **probability_columns(trained.classes),
        **common,
    }
    write_json(directory / f"{run.stem}_stim.json", sidecar)
    grid = ArrayFiles(files, {PROBABILITY: run.grid[PROBABILITY]})
    return ScannerRun(run.stem, run.split, run.number, run.trials, run.volumes, grid, {})


def _write_stage(
    path: Path, stage: Stage, block: NDArray[np.float32], common: dict[str, Any]
) -> None:
    """Write a stage's activations (n_volumes, units) in a run, and their sidecar."""
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


def _write_matlab(path: Path, classes: list[str], runs: list[ScannerRun], policy: str) -> None:
    """Write all runs into one .mat file, one stage of a run in memory at a time."""
    items = [
        {
            "task": run.task,
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
