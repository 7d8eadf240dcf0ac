"""TODO: docstring."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neuromusic.core.matlab import cell, save_mat, structs
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


def write_spm(directory: Path, runs: Sequence[ScannerRun], context: Context) -> list[str]:
    """Write multiple conditions and multiple regressors, .mat files of each run.

    ``STEM_conditions.mat``: names, onsets and durations (s), and pmod where a genre's modulator
    varies (SPM12, spm_run_fmri_spec). ``STEM_stage-NAME_regressors.mat``: R (n_vol, columns) and
    names. Returns what is left out and why.
    """
    notes = []
    for run in runs:
        modulators, valueless = [], []
        empty = np.empty((0, 0), dtype=object)
        for name in run.conditions:
            own = run.modulation(name, context.modulator)
            pmod = {"name": empty, "param": empty, "poly": empty}
            if name != DUMMY and np.isnan(own).any():
                valueless.append(name)
            elif name != DUMMY and _varies(own):
                pmod = {
                    "name": cell([context.modulator]),
                    "param": cell([own[:, None]]),
                    "poly": cell([1.0]),
                }
            modulators.append(pmod)
        onsets = [run.onsets_s(name)[:, None] for name in run.conditions]
        content = {
            "names": cell(run.conditions),
            "onsets": cell(onsets),
            "durations": cell([np.full(times.shape, grid.CLIP_S) for times in onsets]),
        }
        if any(pmod["name"].size for pmod in modulators):
            content["pmod"] = structs(modulators)
        save_mat(directory / f"{run.stem}_conditions.mat", content)
        if valueless:
            notes.append(f"{run.stem}: no pmod of {', '.join(valueless)}: {NO_VALUE}")
        whole, why = run.whole_regressors()
        notes += why
        for group, frame in whole.items():
            content = {
                "R": _convolved(frame, context).to_numpy(),
                "names": cell(list(frame.columns)),
            }
            save_mat(directory / f"{run.stem}_{_label(group)}_regressors.mat", content)
    own_text = {
        "Onsets": f"{ONSETS} Units for design: seconds.",
        "Dummy": DUMMY_POLICY,
        "ParametricModulation": (
            f"pmod holds {context.modulator} for each trial, in genres where it varies within the "
            "run; SPM centres it. The clip of a genre in a test run is always the same, so there "
            "is none."
        ),
        "Regressors": LEVEL,
        "DelayPolicy": f"Conditions are not convolved, SPM does that. {_convolution(context)}",
    }
    context.write_sidecar(directory / "spm.json", own_text, notes)
    return notes
