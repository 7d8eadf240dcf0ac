"""Writer of .mat files with conditions and regressors for SPM's first-level models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neuromusic.core.matlab_writer import cell, save_mat, structs
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
    onsets_text,
    varies,
)
from neuromusic.fmri.export.scanner_run import DUMMY, Context, ScannerRun

MICROTIME = 16  # bins of a volume; SPM's default


def write_spm(directory: Path, runs: Sequence[ScannerRun], context: Context) -> list[str]:
    """Write the multiple conditions and multiple regressors of each run.

    ``STEM_conditions.mat``: names, onsets and durations (s), and pmod if a genre's modulator varies
    (SPM12, spm_run_fmri_spec). ``STEM_stage-NAME_regressors.mat``: R (n_volumes, columns) and
    names.

    Returns notes on what is left out and why.
    """
    notes = no_classes(runs, "spm has no conditions, or only the dummy")
    for run in runs:
        notes += _write_conditions(directory, run, context.modulator)
        regressors, left_out = run.complete_regressors()
        notes += left_out
        for group, frame in regressors.items():
            values = convolved_regressors(frame, context, run.tr_s).to_numpy()
            content = {"R": values, "names": cell(list(frame.columns))}
            save_mat(directory / f"{run.stem}_{file_label(group)}_regressors.mat", content)
    sidecar = {
        **analysis_text(context, f"Set SPM's high-pass filter to {1 / HIGH_PASS_HZ:g} s.", runs),
        "MicrotimeResolution": MICROTIME,
        "MicrotimeOnset": microtime_onset(context.slice_time_ref),
        "Onsets": f"{onsets_text(runs)} Units for design: seconds.",
        "Dummy": dummy_text(runs),
        "ParametricModulation": (
            f"pmod holds {context.modulator} for each trial, for genres in which it varies within "
            f"the run; SPM centres it.{_without_pmod(runs)}"
        ),
        "Regressors": level_text(runs),
        "DelayPolicy": f"Conditions are not convolved; SPM does that. {convolution_text(context)}",
    }
    context.write_sidecar(directory / "spm.json", sidecar, notes)
    return notes


def _without_pmod(runs: Sequence[ScannerRun]) -> str:
    """Return a sentence on test runs that play one clip of each genre, if there are some."""
    for run in runs:
        played = run.trials[run.trials["trial"] > 0]
        if run.split == "test" and (played.groupby("condition")["clip"].nunique() == 1).all():
            return " A test run always plays the same clip of a genre, so it has no pmod."
    return ""


def microtime_onset(slice_time_ref: float) -> int:
    """Return the bin of a volume, from 1, at which SPM samples its model (``fmri_t0``).

    Bin b begins at (b - 1) / MICROTIME of the volume. SPM has no bin for the end of a volume, so
    1 gives the last bin.
    """
    return min(MICROTIME, 1 + round(slice_time_ref * MICROTIME))


def _write_conditions(directory: Path, run: ScannerRun, modulator: str) -> list[str]:
    """Write the multiple conditions of a run, if any; return notes on what is left out."""
    if not run.conditions:
        return []
    modulators, without_value = [], []
    for name in run.conditions:
        values = run.modulation(name, modulator)
        pmod = _no_modulation()
        if name != DUMMY and np.isnan(values).any():
            without_value.append(name)
        elif name != DUMMY and varies(values):
            pmod = {
                "name": cell([modulator]),
                "param": cell([values[:, None]]),
                "poly": cell([1.0]),
            }
        modulators.append(pmod)
    onsets = [run.onsets_s(name)[:, None] for name in run.conditions]
    content = {
        "names": cell(run.conditions),
        "onsets": cell(onsets),
        "durations": cell([run.durations_s(name)[:, None] for name in run.conditions]),
    }
    if any(pmod["name"].size for pmod in modulators):
        content["pmod"] = structs(modulators)
    save_mat(directory / f"{run.stem}_conditions.mat", content)
    if without_value:
        return [f"{run.stem}: no pmod of {', '.join(without_value)}: {NO_VALUE}"]
    return []


def _no_modulation() -> dict[str, Any]:
    empty = np.empty((0, 0), dtype=object)
    return {"name": empty, "param": empty, "poly": empty}
