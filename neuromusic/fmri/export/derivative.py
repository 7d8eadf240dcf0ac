"""Writer of a network's activations in every scanner run: .npy, tables, JSON, activations.mat."""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from neuromusic.core.files import write_json
from neuromusic.core.matlab_writer import ReadLater, cell, save_mat, structs
from neuromusic.core.progress import track
from neuromusic.design.grid import TR_S, n_volumes
from neuromusic.design.orders import TASK
from neuromusic.fmri.activations import (
    PROBABILITY,
    ArrayFiles,
    ClipInputs,
    clip_responses,
    volume_table,
)
from neuromusic.fmri.export.bids import missing_volumes
from neuromusic.fmri.export.conventions import NO_RESPONSE, grid_text
from neuromusic.fmri.export.scanner_run import ScannerRun, score_trials
from neuromusic.models.network import Stage
from neuromusic.training.trained import TrainedNetwork

DIRECTORY = "activations"  # in the directory of the export


def write_activations(
    trained: TrainedNetwork,
    runs_of_lists: Mapping[tuple[str, int], pd.DataFrame],
    clips: Iterable[str],
    inputs: ClipInputs,
    directory: Path,
    binning: str,
) -> tuple[list[ScannerRun], list[str]]:
    """Write the activations of all stages of a network in every volume of every run.

    For each run: ``STEM_stage-NAME_activations.npy`` (n_volumes, units) float32 and
    ``STEM_volumes.tsv`` with the clip of each volume. For all runs: ``activations.mat``, which also
    has the class probabilities, and ``activations.json``. The response to each clip is computed
    once.

    Parameters
    ----------
    trained : TrainedNetwork
        The network.
    runs_of_lists : mapping
        (split, run number) -> presentations, see `activations.list_runs`.
    clips : iterable of str
        Names of all clips that were played.
    inputs : ClipInputs
        Their inputs.
    directory : Path
        Directory to make.
    binning : {"mean", "lanczos"}
        How frames become volumes.

    Returns the runs, without regressors, and the names of missing clips, whose volumes are NaN.
    Raises InputError if none of the clips is available.
    """
    directory.mkdir()
    runs = []
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        responses = clip_responses(
            trained,
            clips,
            inputs=inputs,
            binning=binning,
            directory=Path(scratch),
            label="export: computing activations",
        )
        items = track(runs_of_lists.items(), "export: writing runs", len(runs_of_lists))
        for (split, number), trials in items:
            grid = responses.on_volumes(trials, n_volumes(len(trials) - 1))
            stem = f"task-{TASK[split]}_run-{number:02d}"  # type: ignore[index]
            scored = score_trials(trials, grid[PROBABILITY], trained.classes)
            run = ScannerRun(stem, split, number, scored, volume_table(trials), grid, {})
            runs.append(_write_run(directory, run))
    policy = f"{NO_RESPONSE}: {grid_text(binning)}"
    _write_sidecar(directory, trained.network.stages, runs, policy)
    _write_matlab(directory / "activations.mat", trained.classes, runs, policy)
    return runs, responses.missing


def _write_run(directory: Path, run: ScannerRun) -> ScannerRun:
    """Write all files of one run; return the run with its stages in these files."""
    run.volumes.to_csv(directory / f"{run.stem}_volumes.tsv", sep="\t", index=False)
    files = {}
    for name in run.grid:
        if name != PROBABILITY:
            files[name] = directory / f"{run.stem}_stage-{name}_activations.npy"
            np.save(files[name], run.grid[name])
    grid = ArrayFiles(files, {PROBABILITY: run.grid[PROBABILITY]})
    return ScannerRun(run.stem, run.split, run.number, run.trials, run.volumes, grid, {})


def _write_sidecar(
    directory: Path, stages: Sequence[Stage], runs: Sequence[ScannerRun], policy: str
) -> None:
    """Write ``activations.json``, which describes the arrays of all stages and runs."""
    sidecar = {
        "RepetitionTime": TR_S,
        "DelayPolicy": policy,
        "Shape": ["volumes", "units"],
        "Units": "activation after the stage's last operation, arbitrary",
        "DummyVolumes": runs[0].dummy_volumes,
        "MissingVolumes": missing_volumes(runs),
        "VolumeTables": {run.stem: f"{run.stem}_volumes.tsv" for run in runs},
        "Stages": {
            stage.name: {
                "Area": stage.area or "n/a",
                "BrodmannAreas": list(stage.brodmann),
                "NumberOfUnits": runs[0].grid[stage.name].shape[1],
            }
            for stage in stages
        },
    }
    write_json(directory / "activations.json", sidecar)


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
