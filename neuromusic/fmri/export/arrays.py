"""Writer of all units of all stages, run by run, as HDF5, .npz and .mat."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.matlab_writer import cell, save_mat
from neuromusic.fmri.export.conventions import NO_RESPONSE
from neuromusic.fmri.export.scanner_run import Context, ScannerRun

NUMBERS = ("volume", "onset_s", "trial", "repeat", "dummy")
NAMES = ("genre", "clip")
SIDECAR = {
    "DelayPolicy": f"{NO_RESPONSE}.",
    "Shape": ["volumes", "units"],
    "Ids": f"{', '.join(NUMBERS)}, {' and '.join(NAMES)} of each volume",
    "Dummy": "dummy is 1 in the volumes of the presentation that opens a run; leave them out",
    "Missing": "NaN in every unit of a volume whose clip is missing",
}


def write_hdf5(directory: Path, runs: Sequence[ScannerRun], context: Context) -> list[str]:
    """Write activations.h5: one group per run with (n_volumes, units) float32 per stage and IDs.

    A chunk is one presentation, so that a single clip can be read without the others.
    """
    import h5py

    with h5py.File(directory / "activations.h5", "w") as file:
        file.attrs["network"] = str(context.about["Network"])
        file.attrs["delay_policy"] = f"{NO_RESPONSE}. {context.about['Grid']}"
        tr_s = {run.tr_s for run in runs}
        if len(tr_s) == 1:
            file.attrs["tr_s"] = tr_s.pop()
        file.attrs["classes"] = context.classes
        for run in runs:
            group = file.create_group(run.stem)
            if "tr_s" not in file.attrs:
                group.attrs["tr_s"] = run.tr_s
            chunk = max(1, round(run.trials["duration_s"].median() / run.tr_s))
            for name, block in run.grid.items():
                chunks = (min(chunk, len(block)), block.shape[1])
                group.create_dataset(name, data=block, chunks=chunks)
            for name, values in _volume_ids(run.volumes):
                is_text = values.dtype.kind == "U"
                group.create_dataset(
                    name,
                    data=values.astype(object) if is_text else values,
                    dtype=h5py.string_dtype() if is_text else None,
                )
    context.write_sidecar(directory / "hdf5.json", SIDECAR, [])
    return []


def write_npz(directory: Path, runs: Sequence[ScannerRun], context: Context) -> list[str]:
    """Write ``STEM_activations.npz`` of each run: (n_volumes, units) float32 per stage, and IDs."""
    for run in runs:
        content: dict[str, Any] = {**run.grid, **dict(_volume_ids(run.volumes))}
        content["classes"] = np.array(context.classes)
        np.savez(directory / f"{run.stem}_activations.npz", **content)
    context.write_sidecar(directory / "npz.json", SIDECAR, [])
    return []


def write_matlab(directory: Path, runs: Sequence[ScannerRun], context: Context) -> list[str]:
    """Write ``STEM_activations.mat`` of each run: (n_volumes, units) single per stage, and IDs.

    Numbers are columns of doubles, names are columns of cells.
    """
    for run in runs:
        ids = {
            name: cell(values.tolist(), row=False)
            if values.dtype.kind == "U"
            else values.astype(np.float64)
            for name, values in _volume_ids(run.volumes)
        }
        content = {**run.grid, **ids, "classes": cell(context.classes)}
        save_mat(directory / f"{run.stem}_activations.mat", content)
    context.write_sidecar(directory / "mat.json", SIDECAR, [])
    return []


def _volume_ids(volumes: pd.DataFrame) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """Yield the name and the values of each column that identifies a volume."""
    for name in NUMBERS:
        yield name, volumes[name].to_numpy(np.float64 if name == "onset_s" else np.int64)
    for name in NAMES:
        yield name, volumes[name].to_numpy(str)
