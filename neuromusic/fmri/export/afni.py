"""Writer of stimulus times and .1D regressors for AFNI's 3dDeconvolve."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from neuromusic.design import grid
from neuromusic.fmri.export.conventions import (
    DUMMY_POLICY,
    LEVEL,
    NO_VALUE,
    ONSETS,
    analysis_text,
    convolution_text,
    convolved_regressors,
    file_label,
    varies,
)
from neuromusic.fmri.export.scanner_run import DUMMY, Context, ScannerRun


def write_afni(directory: Path, runs: Sequence[ScannerRun], context: Context) -> list[str]:
    """Write the stimulus times of each task (one row per run) and .1D regressors (per volume).

    ``task-T_GENRE_times.1D`` and, with the modulator as amplitude, ``task-T_GENRE_times-NAME.1D``
    (onset*amplitude); ``STEM_stage-NAME_regressors.1D`` for each run and, if no run is without it,
    ``task-T_stage-NAME_regressors.1D`` for all runs, one after another.

    3dDeconvolve samples its model at the onset of each volume; for another ``slice_time_ref`` all
    times are shifted, but none below 0, because it ignores those.

    Returns notes on what is left out and why.
    """
    notes = []
    shift_s = context.slice_time_ref * grid.TR_S
    tasks: dict[str, list[ScannerRun]] = {}
    for run in runs:
        tasks.setdefault(f"task-{run.task}", []).append(run)
    for task, task_runs in tasks.items():
        notes += _write_task_times(directory, task, task_runs, context.modulator, shift_s)
        notes += _write_regressors(directory, task, task_runs, context)
    polorts = {
        task: _polort(max(len(run.volumes) for run in group)) for task, group in tasks.items()
    }
    sidecar = {
        **analysis_text(context, "Choose -polort as in Polort, which has as many drifts."),
        "Polort": polorts,
        "Onsets": (
            f"{ONSETS} One row per run, local times; * if a condition is not played. 3dDeconvolve "
            f"takes images as acquired at the onset of each volume; {shift_s:g} s are subtracted "
            "from all times, so that its model fits images with this SliceTimeRef. The dummy stays "
            "at 0, because times below 0 are ignored."
        ),
        "OnsetShift": 0.0 - shift_s,
        "Dummy": DUMMY_POLICY,
        "Amplitudes": (
            f"onset*amplitude with {context.modulator} as the amplitude, for -stim_times_AM2, "
            f"which centres it; duration {grid.CLIP_S:g} s: BLOCK({grid.CLIP_S:g},1)."
        ),
        "Regressors": f"For -stim_file. {LEVEL}",
        "DelayPolicy": f"Times are not convolved; AFNI does that. {convolution_text(context)}",
        "RunsOfTask": {task: [run.stem for run in group] for task, group in tasks.items()},
    }
    context.write_sidecar(directory / "afni.json", sidecar, notes)
    return notes


def _polort(n_volumes: int) -> int:
    """Return the order of polynomials that are as many as cosines below the high-pass cutoff."""
    return int(2 * n_volumes * grid.TR_S * grid.HIGH_PASS_HZ)


def _write_task_times(
    directory: Path, task: str, runs: Sequence[ScannerRun], modulator: str, shift_s: float
) -> list[str]:
    """Write the stimulus times of each condition of a task; return notes on what is left out."""
    without_value = []
    for name in sorted({name for run in runs for name in run.conditions}):
        times = [[f"{max(onset - shift_s, 0):g}" for onset in run.onsets_s(name)] for run in runs]
        _write_times(directory / f"{task}_{name}_times.1D", times)
        if name == DUMMY:
            continue
        amplitudes = [run.modulation(name, modulator) for run in runs]
        if np.isnan(np.concatenate(amplitudes)).any():
            without_value.append(name)
        elif varies(np.concatenate(amplitudes)):
            married = [
                [f"{onset}*{amplitude:.6g}" for onset, amplitude in zip(*pair, strict=True)]
                for pair in zip(times, amplitudes, strict=True)
            ]
            _write_times(directory / f"{task}_{name}_times-{modulator}.1D", married)
    if without_value:
        return [f"{task}: no amplitudes of {', '.join(without_value)}: {NO_VALUE}"]
    return []


def _write_regressors(
    directory: Path, task: str, runs: Sequence[ScannerRun], context: Context
) -> list[str]:
    """Write the regressors of each run and of all runs; return notes on what is left out."""
    notes = []
    by_label: dict[str, list[pd.DataFrame]] = {}
    for run in runs:
        regressors, left_out = run.complete_regressors()
        notes += left_out
        for group, frame in regressors.items():
            block = convolved_regressors(frame, context)
            by_label.setdefault(file_label(group), []).append(block)
            _write_1d(directory / f"{run.stem}_{file_label(group)}_regressors.1D", block)
    for label, blocks in by_label.items():
        if len(blocks) == len(runs):
            _write_1d(directory / f"{task}_{label}_regressors.1D", pd.concat(blocks))
    return notes


def _write_times(path: Path, rows: Sequence[Sequence[str]]) -> None:
    """Write one row of times per run.

    AFNI takes a file with one time in each row for global times, so such rows get a second entry,
    ``*``, which marks times as local to their run.
    """
    lines = [" ".join(row) if len(row) > 1 else " ".join([*row, "*"]) for row in rows]
    path.write_text("\n".join(line if line != "*" else "* *" for line in lines) + "\n", "utf-8")


def _write_1d(path: Path, frame: pd.DataFrame) -> None:
    np.savetxt(path, frame.to_numpy(), fmt="%.6f", header=" ".join(frame.columns))
