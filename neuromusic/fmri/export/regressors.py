"""Regressors for linear models: the genre's probability and the components of each stage."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.fmri.activations import PROBABILITY
from neuromusic.fmri.components import Components, fit_components, fit_units
from neuromusic.fmri.export.scanner_run import ScannerRun, genre_probability

NComponents = int | Literal["all"]


def with_regressors(
    runs: Sequence[ScannerRun],
    stages: Sequence[str],
    n_components: NComponents,
    classes: Sequence[str],
) -> tuple[list[ScannerRun], dict[str, Components]]:
    """Return the runs with their regressors, and the components of each stage.

    Everything is fitted on the training runs; the test runs are projected.

    Raises InputError if no clip of the training runs is available.
    """
    components = {}
    for stage in stages:
        rows = training_rows(runs, stage)
        if n_components == "all":
            components[stage] = fit_units(rows)
        else:
            components[stage] = fit_components(rows, n_components)
    probabilities = [genre_probability(r.volumes, r.grid[PROBABILITY], classes) for r in runs]
    mean = _training_mean(runs, probabilities)
    out = []
    for run, probability in zip(runs, probabilities, strict=True):
        regressors = {PROBABILITY: pd.DataFrame({PROBABILITY: probability - mean})}
        for stage, fitted in components.items():
            columns = [f"{stage}_{label}" for label in fitted.labels]
            regressors[stage] = pd.DataFrame(fitted.project(run.grid[stage]), columns=columns)
        out.append(replace(run, regressors=regressors))
    return out, components


def training_rows(runs: Sequence[ScannerRun], stage: str) -> NDArray[np.float32]:
    """Return a stage's activations in the training runs, without dummies and missing clips.

    Shape (n_rows, units). Raises InputError if fewer than two rows remain.
    """
    parts = []
    for run in runs:
        if run.split == "train":
            block = run.grid[stage]
            keep = (run.volumes["dummy"] == 0).to_numpy() & ~np.isnan(block).any(axis=1)
            parts.append(block[keep])
    rows = np.concatenate(parts) if parts else np.empty((0, 0), np.float32)
    if len(rows) < 2:
        raise InputError(
            "regressors: no clip of the training runs is available, and components are fitted on "
            "training runs only"
        )
    return rows


def _training_mean(
    runs: Sequence[ScannerRun], probabilities: Sequence[NDArray[np.float64]]
) -> np.floating | float:
    """Return the mean probability over the training runs' volumes, the dummies left out."""
    training = [
        values[(run.volumes["dummy"] == 0).to_numpy()]
        for run, values in zip(runs, probabilities, strict=True)
        if run.split == "train"
    ]
    known = np.concatenate([v[~np.isnan(v)] for v in training] or [np.empty(0)])
    return known.mean() if len(known) else np.nan


def describe_components(
    components: Mapping[str, Components], n_components: NComponents
) -> dict[str, Any]:
    """Return the entries of a sidecar that describe the components of each stage."""
    kind = "Every unit that varies" if n_components == "all" else "Principal components"
    return {
        "ComponentsFit": (
            f"{kind}, fitted on the volumes of the training runs only, without dummies and missing "
            "clips; other runs are projected. Units are centred on their mean over these volumes "
            "and not scaled; the components are scaled to standard deviation 1 over them. The "
            "largest weight of a component is positive."
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
