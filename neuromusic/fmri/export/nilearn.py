"""TODO: docstring."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from neuromusic.core.errors import InputError
from neuromusic.design import grid
from neuromusic.fmri.export.conventions import DUMMY_POLICY, LEVEL, ONSETS, _convolution, _convolved
from neuromusic.fmri.export.scanner_run import Context, ScannerRun

HIGH_PASS_HZ = 0.01  # of the cosine drift, nilearn's default


def write_nilearn(directory: Path, runs: Sequence[ScannerRun], context: Context) -> list[str]:
    """Write the design matrix of each run, ``STEM_design.tsv``.

    Index frame_times (s); columns: genres, dummy, regressors of the network, cosine drift and
    constant, as nilearn's make_first_level_design_matrix gives them. Returns what is left out and
    why, and which designs are singular.
    """
    notes = []
    for run in runs:
        whole, why = run.whole_regressors()
        notes += why
        design = _design([_convolved(frame, context) for frame in whole.values()], run, context.hrf)
        n_vol, n_columns = design.shape
        if n_columns >= n_vol:
            raise InputError(
                f"nilearn: the design of {run.stem} would have {n_columns} columns for {n_vol} "
                "volumes, which no design can fit; give fewer --components or --stages"
            )
        rank = np.linalg.matrix_rank(design.to_numpy())
        if rank < n_columns:
            notes.append(
                f"{run.stem}: its design has {n_columns} columns of rank {rank}; drop some of the "
                "network's before a fit"
            )
        design.to_csv(
            directory / f"{run.stem}_design.tsv",
            sep="\t",
            index_label="frame_times",
            float_format="%.8g",
        )
    own_text = {
        "Onsets": ONSETS,
        "Dummy": DUMMY_POLICY,
        "Regressors": LEVEL,
        "DelayPolicy": (
            f"Conditions are convolved by nilearn with its {context.hrf} response, slice_time_ref "
            f"0. {_convolution(context)}"
        ),
        "Drift": f"cosine, high-pass {HIGH_PASS_HZ:g} Hz, and a constant",
        "Baseline": (
            "There is no rest: the genres and the dummy add up to nearly the constant. Contrasts "
            "between genres are well determined, a genre against the constant is not."
        ),
    }
    context.write_sidecar(directory / "nilearn.json", own_text, notes)
    return notes


def _design(added: Sequence[pd.DataFrame], run: ScannerRun, hrf: str) -> pd.DataFrame:
    """Return nilearn's design of a run with regressors of the network (a row a volume) added."""
    from nilearn.glm.first_level import make_first_level_design_matrix

    events = pd.DataFrame(
        {
            "onset": run.trials["onset_s"].astype(float),
            "duration": grid.CLIP_S,
            "trial_type": run.trials["condition"],
        }
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Matrix is singular", UserWarning)  # write_nilearn says
        design: pd.DataFrame = make_first_level_design_matrix(
            np.arange(len(run.volumes)) * grid.TR_S,
            events,
            hrf_model=hrf,
            drift_model="cosine",
            high_pass=HIGH_PASS_HZ,
            add_regs=pd.concat(added, axis=1) if added else None,
        )
    return design
