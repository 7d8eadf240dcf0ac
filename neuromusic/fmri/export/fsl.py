"""TODO: docstring."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neuromusic.design import grid
from neuromusic.fmri.export.conventions import DUMMY_POLICY, LEVEL, NO_RESPONSE, ONSETS
from neuromusic.fmri.export.scanner_run import Context, ScannerRun


def write_fsl(directory: Path, runs: Sequence[ScannerRun], context: Context) -> list[str]:
    """Write three-column files, a directory a run: each genre, the dummy, and each regressor.

    A genre has a row a presentation (onset s, duration s, 1), a regressor a row a volume with its
    value as the weight; FEAT convolves both. Returns what is left out and why.
    """
    notes = []
    for run in runs:
        folder = directory / run.stem
        folder.mkdir()
        for name in run.conditions:
            onset_s = run.onsets_s(name)
            table = np.column_stack([onset_s, np.full((len(onset_s), 2), (grid.CLIP_S, 1.0))])
            np.savetxt(folder / f"{name}.txt", table, fmt="%.3f\t%.3f\t%g")
        whole, why = run.whole_regressors()
        notes += why
        volume_s = np.arange(len(run.volumes)) * grid.TR_S
        for frame in whole.values():
            for name, values in frame.items():
                table = np.column_stack([volume_s, np.full(len(values), grid.TR_S), values])
                np.savetxt(folder / f"{name}.txt", table, fmt="%.3f\t%.3f\t%.6f")
    own_text = {
        "Columns": "onset and duration in seconds, weight",
        "Onsets": ONSETS,
        "Dummy": DUMMY_POLICY,
        "Weights": f"1 for genres and dummy. {LEVEL}",
        "Regressors": "One row a volume.",
        "DelayPolicy": f"{NO_RESPONSE} Choose a convolution in FEAT, for genres and regressors.",
    }
    context.write_sidecar(directory / "fsl.json", own_text, notes)
    return notes
