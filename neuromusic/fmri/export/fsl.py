"""Writer of three-column text files for FSL's FEAT."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neuromusic.design import grid
from neuromusic.fmri.export.conventions import (
    DUMMY_POLICY,
    LEVEL,
    NO_RESPONSE,
    ONSETS,
    analysis_text,
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
    notes = []
    shift_s = (MODEL_TIME - context.slice_time_ref) * grid.TR_S
    for run in runs:
        folder = directory / run.stem
        folder.mkdir()
        for name in run.conditions:
            onset_s = run.onsets_s(name) + shift_s
            table = np.column_stack([onset_s, np.full((len(onset_s), 2), (grid.CLIP_S, 1.0))])
            np.savetxt(folder / f"{name}.txt", table, fmt="%.3f\t%.3f\t%g")
        regressors, left_out = run.complete_regressors()
        notes += left_out
        volume_s = np.arange(len(run.volumes)) * grid.TR_S + shift_s
        for frame in regressors.values():
            for name, values in frame.items():
                table = np.column_stack([volume_s, np.full(len(values), grid.TR_S), values])
                np.savetxt(folder / f"{name}.txt", table, fmt="%.3f\t%.3f\t%.6f")
    sidecar = {
        **analysis_text(context, f"Set FEAT's high-pass cutoff to {1 / grid.HIGH_PASS_HZ:g} s."),
        "Columns": "onset and duration in seconds, weight",
        "Onsets": (
            f"{ONSETS} FEAT takes images as acquired in the middle of each volume; {shift_s:+g} s "
            "are added to all onsets, so that its model fits images with this SliceTimeRef."
        ),
        "OnsetShift": shift_s,
        "Dummy": DUMMY_POLICY,
        "Weights": f"1 for genres and the dummy. {LEVEL}",
        "Regressors": "One row per volume.",
        "DelayPolicy": f"{NO_RESPONSE}. Choose a convolution in FEAT for genres and regressors.",
    }
    context.write_sidecar(directory / "fsl.json", sidecar, notes)
    return notes
