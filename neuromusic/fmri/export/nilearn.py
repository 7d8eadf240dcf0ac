"""Writer of design matrices for nilearn's first-level models."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuromusic.core.errors import InputError
from neuromusic.design.timing import HIGH_PASS_HZ
from neuromusic.fmri.export.conventions import (
    analysis_text,
    convolution_text,
    convolved_regressors,
    dummy_text,
    level_text,
    no_classes,
    onsets_text,
)
from neuromusic.fmri.export.scanner_run import Context, ScannerRun, is_rest
from neuromusic.stats.contrasts import contrast_variance

log = logging.getLogger(__name__)

ALL = "all"  # of the network's regressors
MUCH_INFLATION = 5.0


def write_nilearn(directory: Path, runs: Sequence[ScannerRun], context: Context) -> list[str]:
    """Write the design matrix of each run, ``STEM_design.tsv``.

    Index frame_times (s); columns: genres, dummy, the requested regressors of the network, cosine
    drift and constant, as in nilearn's make_first_level_design_matrix.

    Returns notes on what is left out and why, on singular designs, and on regressors that inflate
    the variance of the contrast. Raises InputError if a design would have as many columns as
    volumes.
    """
    notes = no_classes(runs, "nilearn's designs have no conditions, or only the dummy")
    contrasts, inflated = {}, {}
    for run in runs:
        regressors, left_out = _requested(run, context.nilearn).complete_regressors()
        notes += left_out
        convolved = [
            convolved_regressors(frame, context, run.tr_s) for frame in regressors.values()
        ]
        design = _design_matrix(run, convolved, context)
        notes += _check_design(run, design)
        added = [name for frame in convolved for name in frame]
        contrasts[run.stem] = _contrast_of_genres(design, added, context.contrast)
        if added:
            inflated[run.stem] = contrasts[run.stem]
        design.to_csv(
            directory / f"{run.stem}_design.tsv",
            sep="\t",
            index_label="frame_times",
            float_format="%.8g",
            lineterminator="\n",
        )
    notes += _report_inflation(inflated, " - ".join(context.contrast))
    high_pass = f"The drift is cosines slower than 1/{1 / HIGH_PASS_HZ:g} Hz, and a constant."
    sidecar = {
        **analysis_text(context, high_pass, runs),
        "Onsets": onsets_text(runs),
        "Dummy": dummy_text(runs),
        "Regressors": level_text(runs) if context.nilearn else "None of the network.",
        "DelayPolicy": (
            f"Conditions are convolved by nilearn with its {context.hrf} response. "
            f"{convolution_text(context)}"
        ),
        **({"Contrast": _contrast_entry(contrasts, context.contrast)} if context.contrast else {}),
        "Baseline": _baseline_text(runs),
    }
    context.write_sidecar(directory / "nilearn.json", sidecar, notes)
    return notes


def _contrast_entry(
    contrasts: Mapping[str, Mapping[str, Any]], contrast: Sequence[str]
) -> dict[str, Any]:
    return {
        "Contrast": " - ".join(contrast),
        "Description": (
            "Of each run: the standard error of the contrast for white noise of standard deviation "
            "1, and its variance relative to the design without the network's regressors; null if "
            "the design does not determine the contrast."
        ),
        "Runs": {stem: values for stem, values in contrasts.items() if values},
    }


def _baseline_text(runs: Sequence[ScannerRun]) -> str:
    if any(is_rest(run).any() for run in runs):
        return "Volumes without a sound are the baseline."
    return (
        "There is no rest: the genres and the dummy add up to nearly the constant. Contrasts "
        "between genres are well determined; a genre against the constant is not."
    )


def _requested(run: ScannerRun, names: Sequence[str]) -> ScannerRun:
    """Return a run with the named groups of regressors only, in their own order."""
    chosen = {k: frame for k, frame in run.regressors.items() if k in names or ALL in names}
    return replace(run, regressors=chosen)


# --- Checks ---------------------------------------------------------------------------------------


def _check_design(run: ScannerRun, design: pd.DataFrame) -> list[str]:
    """Return a note if a design is singular; raise InputError if it has too many columns."""
    n_volumes, n_columns = design.shape
    if n_columns >= n_volumes:
        raise InputError(
            f"formats: the nilearn design of {run.stem} would have {n_columns} columns for "
            f"{n_volumes} volumes, which no design can fit; choose fewer regressors.nilearn, "
            "regressors.components or regressors.stages"
        )
    rank = np.linalg.matrix_rank(design.to_numpy())
    if rank < n_columns:
        return [
            f"{run.stem}: its design has {n_columns} columns and rank {rank}; remove some of the "
            "network's regressors before fitting"
        ]
    return []


def _contrast_of_genres(
    design: pd.DataFrame, added: Sequence[str], contrast: Sequence[str]
) -> dict[str, float | None]:
    """Return standard error and variance inflation of the contrast in a design of one run.

    ``added`` are the columns of the network. Empty if a genre of the contrast was not played.
    """
    if len(contrast) < 2 or not set(contrast) <= set(design):
        return {}
    plain = design.drop(columns=list(added))
    with_network, without = (_contrast_variance(each, contrast) for each in (design, plain))
    return {
        "StandardError": _rounded(np.sqrt(with_network)),
        "VarianceInflation": _rounded(with_network / without),
    }


def _contrast_variance(design: pd.DataFrame, contrast: Sequence[str]) -> float:
    weights = pd.Series(0.0, index=design.columns)
    weights[list(contrast)] = 1.0, -1.0
    return contrast_variance(design.to_numpy(), weights.to_numpy())


def _rounded(value: float) -> float | None:
    """Return four digits of a number, which are the same on every machine; None if infinite."""
    return float(f"{value:.4g}") if np.isfinite(value) else None


def _report_inflation(contrasts: Mapping[str, Mapping[str, Any]], name: str) -> list[str]:
    """Log how much the network's regressors inflate the contrast; return a note if it is much."""
    inflation = {
        stem: np.inf if values["VarianceInflation"] is None else values["VarianceInflation"]
        for stem, values in contrasts.items()
        if values
    }
    if not inflation:
        return []
    worst = max(inflation, key=lambda stem: inflation[stem])
    log.info(
        "nilearn: the network's regressors multiply the variance of %s by %.3g (median of %d runs)",
        name, np.median(list(inflation.values())), len(inflation),
    )  # fmt: skip
    if inflation[worst] <= MUCH_INFLATION:
        return []
    return [
        f"nilearn: the network's regressors multiply the variance of {name} by up to "
        f"{inflation[worst]:.3g} ({worst}), its standard error by {np.sqrt(inflation[worst]):.3g}; "
        "request fewer of them, or fewer components"
    ]


# --- The matrix -----------------------------------------------------------------------------------


def _design_matrix(
    run: ScannerRun, regressors: Sequence[pd.DataFrame], context: Context
) -> pd.DataFrame:
    """Return nilearn's design matrix of a run with the network's regressors added."""
    from nilearn.glm.first_level import make_first_level_design_matrix

    events = pd.DataFrame(
        {
            "onset": run.trials["onset_s"].astype(float),
            "duration": run.trials["duration_s"],
            "trial_type": run.trials["condition"],
        }
    ).dropna(subset="trial_type")
    with warnings.catch_warnings():
        # `_check_design` reports it.
        warnings.filterwarnings("ignore", "Matrix is singular", UserWarning)
        design: pd.DataFrame = make_first_level_design_matrix(
            (np.arange(len(run.volumes)) + context.slice_time_ref) * run.tr_s,
            events if len(events) else None,
            hrf_model=context.hrf,
            drift_model="cosine",
            high_pass=HIGH_PASS_HZ,
            add_regs=pd.concat(regressors, axis=1) if regressors else None,
        )
    return design
