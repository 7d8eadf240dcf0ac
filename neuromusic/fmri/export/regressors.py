"""Regressors for linear models: the genre's probability and the components of each stage."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.design.timing import covered
from neuromusic.fmri.activations import PROBABILITY
from neuromusic.fmri.components import Components, fit_components, fit_units
from neuromusic.fmri.export.scanner_run import (
    ScannerRun,
    fitted_runs,
    genre_probability,
    is_rest,
)

NComponents = int | Literal["all"]


def with_regressors(
    runs: Sequence[ScannerRun],
    stages: Sequence[str],
    n_components: NComponents,
    classes: Sequence[str],
) -> tuple[list[ScannerRun], dict[str, Components]]:
    """Return the runs with their regressors, and the components of each stage.

    Everything is fitted on the training runs, or on all if folds divide them; the others are
    projected. The probability of the genre is left out if no class that was played is one of the
    network's. It is 0 in volumes of rest, and centred by the share of a volume in which sounds are
    played.

    Raises InputError if no clip of the training runs is available.
    """
    components = {}
    for stage in stages:
        rows = training_rows(runs, stage)
        if n_components == "all":
            components[stage] = fit_units(rows)
        else:
            components[stage] = fit_components(rows, n_components)
    probabilities = [genre_probability(run, classes) for run in runs]
    mean = _training_mean(runs, probabilities)
    has_classes = any(run.volumes["genre"].isin(classes).any() for run in runs)
    out = []
    for run, probability in zip(runs, probabilities, strict=True):
        regressors = {}
        if has_classes:
            level = mean * covered(run.trials, run.tr_s, len(run.volumes)).clip(max=1)
            level[is_rest(run)] = 0
            regressors[PROBABILITY] = pd.DataFrame({PROBABILITY: probability - level})
        for stage, fitted in components.items():
            columns = [f"{stage}_{label}" for label in fitted.labels]
            regressors[stage] = pd.DataFrame(fitted.project(run.grid[stage]), columns=columns)
        out.append(replace(run, regressors=regressors))
    return out, components


def training_rows(runs: Sequence[ScannerRun], stage: str) -> NDArray[np.float32]:
    """Return a stage's activations to the sounds of `fitted_runs`, without dummies.

    Shape (n_rows, units). Raises InputError if fewer than two rows remain.
    """
    parts = []
    for run in runs:
        if run.split != "test":
            block = run.grid[stage]
            keep = _is_sound(run) & ~np.isnan(block).any(axis=1)
            parts.append(block[keep])
    rows = np.concatenate(parts) if parts else np.empty((0, 0), np.float32)
    if len(rows) < 2:
        raise InputError(
            "regressors: no clip of the training runs is available, and components are fitted on "
            "training runs only"
        )
    return rows


def _is_sound(run: ScannerRun) -> NDArray[np.bool_]:
    """Return which volumes belong to a sound that is not a dummy."""
    return (run.volumes["dummy"] == 0).to_numpy(bool) & ~is_rest(run)


def _training_mean(
    runs: Sequence[ScannerRun], probabilities: Sequence[NDArray[np.float64]]
) -> np.floating | float:
    """Return the mean probability over the sounds of `fitted_runs`, the dummies left out."""
    training = [
        values[_is_sound(run)]
        for run, values in zip(runs, probabilities, strict=True)
        if run.split != "test"
    ]
    known = np.concatenate([v[~np.isnan(v)] for v in training] or [np.empty(0)])
    return known.mean() if len(known) else np.nan


def describe_components(
    components: Mapping[str, Components], n_components: NComponents, runs: Sequence[ScannerRun]
) -> dict[str, Any]:
    """Return the entries of a sidecar that describe the components of each stage."""
    kind = "Every unit that varies" if n_components == "all" else "Principal components"
    return {
        "ComponentsFit": (
            f"{kind}, fitted on the volumes of {fitted_runs(runs)} only, without dummies and "
            "missing clips; other runs are projected. Units are centred on their mean over these "
            "volumes and not scaled; the components are scaled to standard deviation 1 over them. "
            "The largest weight of a component is positive."
        ),
        "Components": {
            stage: {
                "Columns": [f"{stage}_{label}" for label in fitted.labels],
                "Units": len(fitted.mean),
                "FittedVolumes": fitted.n_volumes,
                "ExplainedVarianceRatio": [round(float(share), 6) for share in fitted.explained],
            }
            for stage, fitted in components.items()
        },
    }
