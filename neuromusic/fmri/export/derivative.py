"""Writer of a network's activations in every scanner run: .npy, tables, JSON, activations.mat."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from neuromusic.core.files import write_json
from neuromusic.core.matlab_writer import ReadLater, cell, save_mat, structs
from neuromusic.core.progress import track
from neuromusic.design.presentations import Design
from neuromusic.design.timing import all_placements
from neuromusic.design.whole_designs import rest_of
from neuromusic.fmri.activations import PROBABILITY, ArrayFiles, clip_responses
from neuromusic.fmri.clip_inputs import ClipInputs
from neuromusic.fmri.export.bids import missing_volumes
from neuromusic.fmri.export.conventions import NO_RESPONSE, grid_text, of_runs
from neuromusic.fmri.export.scanner_run import ScannerRun, score_trials
from neuromusic.fmri.layout import volume_table
from neuromusic.models.applied import AppliedNetwork
from neuromusic.models.network import Stage

DIRECTORY = "activations"  # in the directory of the export


def write_activations(
    trained: AppliedNetwork,
    design: Design,
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
    trained : AppliedNetwork
        The network.
    design : Design
        The runs; each has a TR and a number of volumes.
    inputs : ClipInputs
        The inputs of their clips.
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
            all_placements((run.trials, run.known_tr_s) for run in design.runs.values()),
            inputs=inputs,
            binning=binning,
            rest=design.experiment.time.rest,
            directory=Path(scratch),
            label="export: computing activations",
        )
        for name, each in track(design.runs.items(), "export: writing runs", len(design.runs)):
            trials, tr_s, n_volumes = each.trials, each.known_tr_s, each.known_volumes
            grid = responses.on_volumes(trials, tr_s, n_volumes)
            played = trials.rename(columns={"class": "genre"}).replace({"genre": {"": np.nan}})
            scored = score_trials(played, tr_s, grid[PROBABILITY], trained.classes)
            volumes = volume_table(trials, tr_s, n_volumes)
            run = ScannerRun(name, each.split, tr_s, scored, volumes, grid, {})
            runs.append(_write_run(directory, run))
    policy = f"{NO_RESPONSE}: {grid_text(binning, rest_of(design))}"
    _write_sidecar(directory, trained.network.stages, runs, policy)
    _write_matlab(directory / "activations.mat", trained.classes, runs, policy)
    return runs, responses.missing


def _write_run(directory: Path, run: ScannerRun) -> ScannerRun:
    """Write all files of one run; return the run with its stages in these files."""
    run.volumes.to_csv(
        directory / f"{run.stem}_volumes.tsv", sep="\t", index=False, lineterminator="\n"
    )
    files = {}
    for name in run.grid:
        if name != PROBABILITY:
            files[name] = directory / f"{run.stem}_stage-{name}_activations.npy"
            np.save(files[name], run.grid[name])
    grid = ArrayFiles(files, {PROBABILITY: run.grid[PROBABILITY]})
    return replace(run, grid=grid)


def _write_sidecar(
    directory: Path, stages: Sequence[Stage], runs: Sequence[ScannerRun], policy: str
) -> None:
    """Write ``activations.json``, which describes the arrays of all stages and runs."""
    sidecar = {
        "RepetitionTime": of_runs(runs, lambda run: run.tr_s),
        "DelayPolicy": policy,
        "Shape": ["volumes", "units"],
        "Units": "activation after the stage's last operation, arbitrary",
        "DummyVolumes": of_runs(runs, lambda run: run.dummy_volumes),
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


def _subject_and_session(run: ScannerRun, runs: Sequence[ScannerRun]) -> dict[str, str]:
    """Return the fields of a run that say whose it is; none if all subjects heard the same."""
    fields = {"subject": run.id.subject} if any(each.id.subject for each in runs) else {}
    if any(each.id.session for each in runs):
        fields["session"] = run.id.session
    return fields


def _write_matlab(path: Path, classes: list[str], runs: list[ScannerRun], policy: str) -> None:
    """Write all runs into one .mat file, one stage of a run in memory at a time."""
    items = [
        {
            **_subject_and_session(run, runs),
            "task": run.id.task,
            "run": float(run.id.run),
            "tr_s": run.tr_s,
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
