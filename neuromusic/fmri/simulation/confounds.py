"""Simulated confounds of a run, under the names of fMRIPrep, and what of them is in the voxels."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.files import write_json

Array = NDArray[np.float64]
MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
STEP = (0.05, 0.05, 0.05, 0.0008, 0.0008, 0.0008)  # from volume to volume: mm, and radians
JERK_SHARE = 0.02  # of the volumes in which the head moves at once
JERK = 6.0  # times the usual step
HEAD_MM = 50.0  # radius on which rotations are measured
N_COMPONENTS = 6  # of aCompCor
COSINE_S = 128.0  # longest period that fMRIPrep's cosines leave
N_UNSTEADY = 2  # first volumes, before the magnetisation is in a steady state
UNSTEADY = 20.0  # by which the first of them is brighter, in standard deviations of the signal


def head_motion(n_volumes: int, rng: np.random.Generator) -> Array:
    """Return the six parameters of head motion (n_volumes, 6): mm, and radians.

    A random walk that returns slowly to its beginning, with some jerks.
    """
    from scipy.signal import lfilter

    scale = np.where(rng.random(n_volumes) < JERK_SHARE, JERK, 1.0)
    steps = rng.standard_normal((n_volumes, len(MOTION))) * np.array(STEP) * scale[:, None]
    steps[0] = 0
    return np.asarray(lfilter([1.0], [1.0, -0.98], steps, axis=0))


def motion_in_voxels(motion: Array, n_voxels: int, rng: np.random.Generator) -> Array:
    """Return a random sum of motion and its derivatives for each voxel, of unit deviation.

    (n_volumes, n_voxels).
    """
    columns = np.hstack([motion, _derivative(motion)])
    columns = columns - columns.mean(axis=0)
    columns /= np.maximum(columns.std(axis=0), np.finfo(float).tiny)
    mixed = columns @ rng.standard_normal((columns.shape[1], n_voxels))
    return np.asarray(mixed / np.maximum(mixed.std(axis=0), np.finfo(float).tiny))


def unsteady(n_volumes: int) -> Array:
    """Return by how much each volume (n_volumes,) is brighter, in deviations of the signal."""
    brighter = np.zeros(n_volumes)
    brighter[:N_UNSTEADY] = UNSTEADY * np.exp(-2.0 * np.arange(N_UNSTEADY))[:n_volumes]
    return brighter


def _derivative(values: Array) -> Array:
    return np.diff(values, axis=0, prepend=values[:1])


def write_confounds(
    folder: Path, stem: str, motion: Array, image: NDArray[np.int16], tr_s: float,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Write ``STEM_desc-confounds_timeseries.tsv`` and its JSON, with the columns of fMRIPrep.

    Motion with derivatives and squares, csf, white_matter and global_signal with the same,
    framewise_displacement, std_dvars, components of aCompCor, cosines and volumes that are not in a
    steady state. csf, white_matter and the components are noise that is in no voxel;
    global_signal is the mean of ``image`` (n_volumes, n_voxels).
    """
    n_volumes = len(image)
    table = dict(zip(MOTION, motion.T, strict=True))
    table["csf"] = 1000 + 10 * rng.standard_normal(n_volumes)
    table["white_matter"] = 1000 + 10 * rng.standard_normal(n_volumes)
    table["global_signal"] = image.mean(axis=1, dtype=np.float64)
    for name in list(table):
        table |= _expanded(name, table[name])
    moved = np.abs(np.diff(motion, axis=0, prepend=np.nan))
    table["framewise_displacement"] = moved[:, :3].sum(axis=1) + HEAD_MM * moved[:, 3:].sum(axis=1)
    table["std_dvars"] = _std_dvars(image)
    components = _orthonormal(rng.standard_normal((n_volumes, N_COMPONENTS)))
    about: dict[str, Any] = {}
    for index, values in enumerate(components.T):
        table[f"a_comp_cor_{index:02d}"] = values
        about[f"a_comp_cor_{index:02d}"] = {
            "CumulativeVarianceExplained": (index + 1) / 20, "Mask": "combined",
            "Method": "aCompCor", "Retained": True, "SingularValue": 20.0 - index,
            "VarianceExplained": 1 / 20,
        }  # fmt: skip
    time = (np.arange(n_volumes) + 0.5) / n_volumes
    for index in range(int(2 * n_volumes * tr_s / COSINE_S)):
        table[f"cosine{index:02d}"] = np.cos(np.pi * (index + 1) * time) * np.sqrt(2 / n_volumes)
    for index in range(N_UNSTEADY):
        table[f"non_steady_state_outlier{index:02d}"] = (np.arange(n_volumes) == index) * 1.0
    path = folder / f"{stem}_desc-confounds_timeseries.tsv"
    pd.DataFrame(table).to_csv(
        path, sep="\t", index=False, na_rep="n/a", float_format="%.8g", lineterminator="\n"
    )
    write_json(path.with_suffix(".json"), about)


def _expanded(name: str, values: Array) -> dict[str, Array]:
    """Return a column with its derivative, and the squares of both."""
    derivative = np.diff(values, prepend=np.nan)
    return {
        f"{name}_derivative1": derivative,
        f"{name}_power2": values**2,
        f"{name}_derivative1_power2": derivative**2,
    }


def _std_dvars(image: NDArray[np.int16]) -> Array:
    """Return the change from volume to volume (n_volumes,) relative to its median; NaN first."""
    steps = np.diff(image.astype(np.float64), axis=0, prepend=np.nan)
    dvars = np.sqrt((steps**2).mean(axis=1))
    return np.asarray(dvars / np.nanmedian(dvars))


def _orthonormal(values: Array) -> Array:
    return np.asarray(np.linalg.qr(values - values.mean(axis=0))[0])
