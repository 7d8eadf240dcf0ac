"""TODO: docstring."""

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
    _convolution,
    _convolved,
    _label,
    _varies,
)
from neuromusic.fmri.export.scanner_run import DUMMY, Context, ScannerRun


def write_afni(directory: Path, runs: Sequence[ScannerRun], context: Context) -> list[str]:
    """Write stimulus times of each task (a row a run) and .1D regressors (a row a volume).

    ``task-T_GENRE_times.1D`` and, with the modulator as amplitude, ``task-T_GENRE_times-NAME.1D``
    (onset*amplitude); ``STEM_stage-NAME_regressors.1D`` of each run, and where no run lacks it
    ``task-T_stage-NAME_regressors.1D`` of all in a row. Returns what is left out and why.
    """
    notes = []
    tasks: dict[str, list[ScannerRun]] = {}
    for run in runs:
        tasks.setdefault(run.stem.split("_")[0], []).append(run)
    for task, own in tasks.items():
        notes += _write_task_times(directory, task, own, context.modulator)
        blocks: dict[str, list[pd.DataFrame]] = {}
        for run in own:
            whole, why = run.whole_regressors()
            notes += why
            for group, frame in whole.items():
                block = _convolved(frame, context)
                blocks.setdefault(_label(group), []).append(block)
                _write_1d(directory / f"{run.stem}_{_label(group)}_regressors.1D", block)
        for label, parts in blocks.items():
            if len(parts) == len(own):
                _write_1d(directory / f"{task}_{label}_regressors.1D", pd.concat(parts))
    own_text = {
        "Onsets": f"{ONSETS} One row a run, local times; * where a condition is not played.",
        "Dummy": DUMMY_POLICY,
        "Amplitudes": (
            f"onset*amplitude with {context.modulator} as the amplitude, for -stim_times_AM2, "
            f"which centres it; duration {grid.CLIP_S:g} s: BLOCK({grid.CLIP_S:g},1)."
        ),
        "Regressors": f"For -stim_file. {LEVEL}",
        "DelayPolicy": f"Times are not convolved, AFNI does that. {_convolution(context)}",
        "RunsOfTask": {task: [run.stem for run in own] for task, own in tasks.items()},
    }
    context.write_sidecar(directory / "afni.json", own_text, notes)
    return notes


def _write_task_times(
    directory: Path, task: str, runs: Sequence[ScannerRun], modulator: str
) -> list[str]:
    """Write the stimulus times of each condition of a task; return what is left out and why."""
    valueless = []
    for name in sorted({name for run in runs for name in run.conditions}):
        times = [[f"{onset:g}" for onset in run.onsets_s(name)] for run in runs]
        _write_times(directory / f"{task}_{name}_times.1D", times)
        if name == DUMMY:
            continue
        heights = [run.modulation(name, modulator) for run in runs]
        if np.isnan(np.concatenate(heights)).any():
            valueless.append(name)
        elif _varies(np.concatenate(heights)):
            married = [
                [f"{onset}*{height:.6g}" for onset, height in zip(row, own, strict=True)]
                for row, own in zip(times, heights, strict=True)
            ]
            _write_times(directory / f"{task}_{name}_times-{modulator}.1D", married)
    return [f"{task}: no amplitudes of {', '.join(valueless)}: {NO_VALUE}"] if valueless else []


def _write_times(path: Path, rows: Sequence[Sequence[str]]) -> None:
    """Write stimulus times; a second * in a row of one time says that times are local to runs."""
    lines = [" ".join(row) if len(row) > 1 else " ".join([*row, "*"]) for row in rows]
    path.write_text("\n".join(line if line != "*" else "* *" for line in lines) + "\n", "utf-8")


def _write_1d(path: Path, frame: pd.DataFrame) -> None:
    np.savetxt(path, frame.to_numpy(), fmt="%.6f", header=" ".join(frame.columns))
