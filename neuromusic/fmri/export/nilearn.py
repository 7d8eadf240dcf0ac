"""Writer of design matrices for nilearn's first-level models."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from neuromusic.core.errors import InputError
from neuromusic.design import grid
from neuromusic.fmri.export.conventions import (
    DUMMY_POLICY,
    LEVEL,
    ONSETS,
    convolution_text,
    convolved_regressors,
)
from neuromusic.fmri.export.scanner_run import Context, ScannerRun

HIGH_PASS_HZ = 0.01  # of the cosine drift; nilearn's default


def write_nilearn(directory: Path, runs: Sequence[ScannerRun], context: Context) -> list[str]:
    """Write the design matrix of each run, ``STEM_design.tsv``.

    Index frame_times (s); columns: genres, dummy, regressors of the network, cosine drift and
    constant, as in nilearn's make_first_level_design_matrix.

    Returns notes on what is left out and why, and on singular designs. Raises InputError if a
    design would have as many columns as volumes.
    """
    notes = []
    for run in runs:
        regressors, left_out = run.complete_regressors()
        notes += left_out
        convolved = [convolved_regressors(frame, context) for frame in regressors.values()]
        design = _design_matrix(run, convolved, context.hrf)
        notes += _check_design(run, design)
        design.to_csv(
            directory / f"{run.stem}_design.tsv",
            sep="\t",
            index_label="frame_times",
            float_format="%.8g",
        )
    sidecar = {
        "Onsets": ONSETS,
        "Dummy": DUMMY_POLICY,
        "Regressors": LEVEL,
        "DelayPolicy": (
            f"Conditions are convolved by nilearn with its {context.hrf} response, slice_time_ref "
            f"0. {convolution_text(context)}"
        ),
        "Drift": f"cosine, high-pass {HIGH_PASS_HZ:g} Hz, and a constant",
        "Baseline": (
            "There is no rest: the genres and the dummy add up to nearly the constant. Contrasts "
            "between genres are well determined; a genre against the constant is not."
        ),
    }
    context.write_sidecar(directory / "nilearn.json", sidecar, notes)
    return notes


def _check_design(run: ScannerRun, design: pd.DataFrame) -> list[str]:
    """Return a note if a design is singular; raise InputError if it has too many columns."""
    n_volumes, n_columns = design.shape
    if n_columns >= n_volumes:
        raise InputError(
            f"formats: the nilearn design of {run.stem} would have {n_columns} columns for "
            f"{n_volumes} volumes, which no design can fit; choose fewer regressors.components or "
            "regressors.stages"
        )
    rank = np.linalg.matrix_rank(design.to_numpy())
    if rank < n_columns:
        return [
            f"{run.stem}: its design has {n_columns} columns and rank {rank}; remove some of the "
            "network's regressors before fitting"
        ]
    return []


def _design_matrix(run: ScannerRun, regressors: Sequence[pd.DataFrame], hrf: str) -> pd.DataFrame:
    """Return nilearn's design matrix of a run with the network's regressors added."""
    from nilearn.glm.first_level import make_first_level_design_matrix

    events = pd.DataFrame(
        {
            "onset": run.trials["onset_s"].astype(float),
            "duration": grid.CLIP_S,
            "trial_type": run.trials["condition"],
        }
    )
    with warnings.catch_warnings():
        # `_check_design` reports it.
        warnings.filterwarnings("ignore", "Matrix is singular", UserWarning)
        design: pd.DataFrame = make_first_level_design_matrix(
            np.arange(len(run.volumes)) * grid.TR_S,
            events,
            hrf_model=hrf,
            drift_model="cosine",
            high_pass=HIGH_PASS_HZ,
            add_regs=pd.concat(regressors, axis=1) if regressors else None,
        )
    return design
