"""Writer of three-column text files for FSL's FEAT."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neuromusic.design import grid
from neuromusic.fmri.export.conventions import DUMMY_POLICY, LEVEL, NO_RESPONSE, ONSETS
from neuromusic.fmri.export.scanner_run import Context, ScannerRun


def write_fsl(directory: Path, runs: Sequence[ScannerRun], context: Context) -> list[str]:
    """Write three-column files for each genre, the dummy and each regressor, a directory per run.

    A genre has one row per presentation (onset s, duration s, 1), a regressor one row per volume
    with its value as the weight. FEAT convolves both.

    Returns notes on what is left out and why.
    """
    notes = []
    for run in runs:
        folder = directory / run.stem
        folder.mkdir()
        for name in run.conditions:
            onset_s = run.onsets_s(name)
            table = np.column_stack([onset_s, np.full((len(onset_s), 2), (grid.CLIP_S, 1.0))])
            np.savetxt(folder / f"{name}.txt", table, fmt="%.3f\t%.3f\t%g")
        regressors, left_out = run.complete_regressors()
        notes += left_out
        volume_s = np.arange(len(run.volumes)) * grid.TR_S
        for frame in regressors.values():
            for name, values in frame.items():
                table = np.column_stack([volume_s, np.full(len(values), grid.TR_S), values])
                np.savetxt(folder / f"{name}.txt", table, fmt="%.3f\t%.3f\t%.6f")
    sidecar = {
        "Columns": "onset and duration in seconds, weight",
        "Onsets": ONSETS,
        "Dummy": DUMMY_POLICY,
        "Weights": f"1 for genres and the dummy. {LEVEL}",
        "Regressors": "One row per volume.",
        "DelayPolicy": f"{NO_RESPONSE}. Choose a convolution in FEAT for genres and regressors.",
    }
    context.write_sidecar(directory / "fsl.json", sidecar, notes)
    return notes
