"""Writer of stimulus times and .1D regressors for AFNI's 3dDeconvolve."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from neuromusic.design.timing import HIGH_PASS_HZ
from neuromusic.fmri.export.conventions import (
    NO_VALUE,
    analysis_text,
    convolution_text,
    convolved_regressors,
    dummy_text,
    file_label,
    level_text,
    no_classes,
    of_runs,
    onsets_text,
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
    notes = no_classes(runs, "afni has no stimulus times, or only the dummy's")
    tasks: dict[str, list[ScannerRun]] = {}
    for run in runs:
        tasks.setdefault(run.stem.partition("_run-")[0], []).append(run)
    for task, task_runs in tasks.items():
        notes += _write_task_times(directory, task, task_runs, context)
        notes += _write_regressors(directory, task, task_runs, context)
    polorts = {
        task: _polort(max(len(run.volumes) * run.tr_s for run in group))
        for task, group in tasks.items()
    }
    sidecar = {
        **analysis_text(context, "Choose -polort as in Polort, which has as many drifts.", runs),
        "Polort": polorts,
        "Onsets": (
            f"{onsets_text(runs)} One row per run, local times; * if a condition is not played. "
            "3dDeconvolve takes images as acquired at the onset of each volume; "
            f"{_shift_text(runs, context)} are subtracted from all times, so that its model fits "
            f"images with this SliceTimeRef. {_first_text(runs)} stays at 0, because times below 0 "
            "are ignored."
        ),
        "OnsetShift": of_runs(runs, lambda run: 0.0 - _shift_s(run, context)),
        "Dummy": dummy_text(runs),
        "Amplitudes": (
            f"onset*amplitude with {context.modulator} as the amplitude, for -stim_times_AM2, "
            f"which centres it; {_block(runs)}"
        ),
        "Regressors": f"For -stim_file. {level_text(runs)}",
        "DelayPolicy": f"Times are not convolved; AFNI does that. {convolution_text(context)}",
        "RunsOfTask": {task: [run.stem for run in group] for task, group in tasks.items()},
    }
    context.write_sidecar(directory / "afni.json", sidecar, notes)
    return notes


def _polort(length_s: float) -> int:
    """Return the order of polynomials that are as many as cosines below the high-pass cutoff."""
    return int(2 * length_s * HIGH_PASS_HZ)


def _block(runs: Sequence[ScannerRun]) -> str:
    """Return the response model for the durations of the sounds."""
    durations_s = sorted({float(s) for run in runs for s in run.trials["duration_s"]})
    if len(durations_s) > 1:
        return (
            f"durations from {durations_s[0]:g} to {durations_s[-1]:g} s: use dmBLOCK with "
            "onset:duration."
        )
    return f"duration {durations_s[0]:g} s: BLOCK({durations_s[0]:g},1)."


def _shift_s(run: ScannerRun, context: Context) -> float:
    return context.slice_time_ref * run.tr_s


def _shift_text(runs: Sequence[ScannerRun], context: Context) -> str:
    shifts_s = {_shift_s(run, context) for run in runs}
    return f"{shifts_s.pop():g} s" if len(shifts_s) == 1 else "The seconds in OnsetShift"


def _first_text(runs: Sequence[ScannerRun]) -> str:
    return "The dummy" if any(DUMMY in run.conditions for run in runs) else "A sound at 0 s"


def _shifted(onset_s: float, shift_s: float) -> float:
    """Return an onset that is earlier by a shift, but not before the first image by that shift."""
    return onset_s - shift_s if onset_s < 0 else max(onset_s - shift_s, 0)


def _write_task_times(
    directory: Path, task: str, runs: Sequence[ScannerRun], context: Context
) -> list[str]:
    """Write the stimulus times of each condition of a task; return notes on what is left out."""
    without_value, modulator = [], context.modulator
    for name in sorted({name for run in runs for name in run.conditions}):
        times = [
            [f"{_shifted(onset, _shift_s(run, context)):g}" for onset in run.onsets_s(name)]
            for run in runs
        ]
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
            block = convolved_regressors(frame, context, run.tr_s)
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
    path.write_text(
        "\n".join(line if line != "*" else "* *" for line in lines) + "\n", "utf-8", newline="\n"
    )


def _write_1d(path: Path, frame: pd.DataFrame) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        np.savetxt(file, frame.to_numpy(), fmt="%.6f", header=" ".join(frame.columns))
