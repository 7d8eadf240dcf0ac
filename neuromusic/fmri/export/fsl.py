"""Writer of three-column text files for FSL's FEAT."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuromusic.design.timing import HIGH_PASS_HZ
from neuromusic.fmri.export.conventions import (
    NO_RESPONSE,
    analysis_text,
    dummy_text,
    level_text,
    no_classes,
    of_runs,
    onsets_text,
)
from neuromusic.fmri.export.scanner_run import Context, ScannerRun

MODEL_TIME = 0.5  # FEAT samples its model in the middle of each volume


def write_fsl(directory: Path, runs: Sequence[ScannerRun], context: Context) -> list[str]:
    """Write three-column files for each genre, the dummy and each regressor, a directory per run.

    A genre has one row per presentation (onset s, duration s, 1), a regressor one row per volume
    with its value as the weight. FEAT convolves both, for images that stand for the middle of each
    volume; for another ``slice_time_ref`` all onsets are shifted.

    Returns notes on what is left out and why.
    """
    notes = no_classes(runs, "fsl has no files of conditions, or only the dummy's")
    for run in runs:
        shift_s = _shift_s(run, context)
        folder = directory / run.stem
        folder.mkdir()
        for name in run.conditions:
            onset_s = run.onsets_s(name) + shift_s
            table = np.column_stack([onset_s, run.durations_s(name), np.ones(len(onset_s))])
            _write_rows(folder / f"{name}.txt", table, "%.3f\t%.3f\t%g\n")
        regressors, left_out = run.complete_regressors()
        notes += left_out
        volume_s = np.arange(len(run.volumes)) * run.tr_s + shift_s
        for frame in regressors.values():
            for name, values in frame.items():
                table = np.column_stack([volume_s, np.full(len(values), run.tr_s), values])
                _write_rows(folder / f"{name}.txt", table, "%.3f\t%.3f\t%.6f\n")
    sidecar = {
        **analysis_text(context, f"Set FEAT's high-pass cutoff to {1 / HIGH_PASS_HZ:g} s.", runs),
        "Columns": "onset and duration in seconds, weight",
        "Onsets": (
            f"{onsets_text(runs)} FEAT takes images as acquired in the middle of each volume; "
            f"{_shift_text(runs, context)} are added to all onsets, so that its model fits images "
            "with this SliceTimeRef."
        ),
        "OnsetShift": of_runs(runs, lambda run: _shift_s(run, context)),
        "Dummy": dummy_text(runs),
        "Weights": f"1 for genres and the dummy. {level_text(runs)}",
        "Regressors": "One row per volume.",
        "DelayPolicy": f"{NO_RESPONSE}. Choose a convolution in FEAT for genres and regressors.",
    }
    context.write_sidecar(directory / "fsl.json", sidecar, notes)
    return notes


def _write_rows(path: Path, table: NDArray[np.float64], row: str) -> None:
    """Write a table with three columns; much faster than numpy.savetxt for many small files."""
    path.write_text("".join([row % tuple(each) for each in table.tolist()]), "utf-8", newline="\n")


def _shift_s(run: ScannerRun, context: Context) -> float:
    return (MODEL_TIME - context.slice_time_ref) * run.tr_s


def _shift_text(runs: Sequence[ScannerRun], context: Context) -> str:
    shifts_s = {_shift_s(run, context) for run in runs}
    return f"{shifts_s.pop():+g} s" if len(shifts_s) == 1 else "The seconds in OnsetShift"
