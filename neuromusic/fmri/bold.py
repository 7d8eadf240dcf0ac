"""Functional images: find, read and clean the files of each scanner run.

An image is a 4-D NIfTI, a surface (GIFTI, one file per hemisphere) or a plain .npy of (volumes,
voxels). nilearn's maskers are not used because they convert the whole run to floats: for 60 000 of
100 x 100 x 60 voxels in 410 volumes they need 1.6 GB, the code here 1.1 GB, for the same numbers.
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, listed
from neuromusic.core.files import open_array, read_json, readable
from neuromusic.core.folders import check_present, find_files, is_same_file, why_no_file
from neuromusic.design import grid
from neuromusic.design.bids import parse_bids_name
from neuromusic.design.events import run_label
from neuromusic.design.orders import Split
from neuromusic.fmri.voxel_space import (
    VoxelSpace,
    check_complete,
    file_kind,
    read_gifti,
    read_image,
    read_volumes,
    volume_space,
)

EXTENSIONS = (".nii", ".nii.gz", ".func.gii", ".npy")
TR_TOLERANCE_S = 1e-3
FIRST_VOLUMES = 4  # read before the work begins

RunKey = tuple[Split, int]
RunFiles = dict[RunKey, tuple[Path, ...]]


# --- Finding --------------------------------------------------------------------------------------


def find_bold(directory: Path, subject: str, space: str | None = None) -> RunFiles:
    """Return the images of a subject: (split, run) -> its file, or those of both hemispheres.

    The runs are in order, training before test. If a run has images in several spaces, ``space``
    (the ``space-`` entity of their names) chooses.

    Raises InputError if there is no image, or several for a run.
    """
    found = find_files(
        Path(directory), lambda name: name.startswith(f"sub-{subject}_"), "a folder of images"
    )
    runs: dict[RunKey, list[Path]] = {}
    for path in sorted([*found.files, *found.broken]):
        key = _run_of(path)
        if key is not None and (not space or f"_space-{space}_" in path.name):
            of_run = runs.setdefault(key, [])
            if not any(is_same_file(path, other) for other in of_run):
                of_run.append(path)
    if not runs:
        in_space = f" in space {space!r}" if space else ""
        raise InputError(
            f"{directory}: contains no images of sub-{subject}{in_space}; expected "
            f"sub-{subject}/func/sub-{subject}_task-Training_run-01_..._bold.nii.gz (or .nii, "
            f".func.gii, .npy){_hint(found.broken)}"
        )
    for key, paths in runs.items():
        check_present(paths)
        _check_one_image(run_label(subject, *key), paths)
    return {key: tuple(runs[key]) for key in sorted(runs, key=lambda k: (k[0] != "train", k[1]))}


def _hint(broken: Sequence[Path]) -> str:
    """Return the first link that leads nowhere, which may have led to a folder of images."""
    return f"; {broken[0]} {why_no_file(broken[0])}" if broken else ""


def _run_of(path: Path) -> RunKey | None:
    """Return split and run of a functional image, or None for any other file name."""
    name = parse_bids_name(path)
    if name is None or name.suffix != "bold" or name.extension not in EXTENSIONS:
        return None
    return name.scanner_run


def _check_one_image(label: str, paths: Sequence[Path]) -> None:
    sides = sorted(re.findall(r"_hemi-([LR])_", "".join(path.name for path in paths)))
    if len(paths) > 1 and not (len(paths) == 2 and sides == ["L", "R"]):
        raise InputError(
            f"{label} has {len(paths)} images ({listed(path.name for path in paths)}); choose "
            "one with space, or move the others away"
        )


# --- Reading --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunImage:
    """What the headers of a run's image declare; ``tr_s`` is None if they have no TR."""

    space: VoxelSpace
    n_volumes: int
    tr_s: float | None


def open_run(files: Sequence[Path]) -> RunImage:
    """Return the voxel space, number of volumes and TR of a run's image.

    Raises InputError if a file is not readable or has no time axis.
    """
    kind = file_kind(files[0])
    if kind == "array":
        return _open_array_run(files)
    return _open_surface_run(files) if kind == "surface" else _open_volume_run(files)


def _open_array_run(files: Sequence[Path]) -> RunImage:
    array = open_array(files[0])
    if array.ndim != 2:
        raise InputError(f"{files[0]}: has the shape {array.shape}; expected (volumes, voxels)")
    n_volumes, n_voxels = array.shape
    return RunImage(VoxelSpace("array", (n_voxels,), None, tuple(files)), n_volumes, None)


def _open_surface_run(files: Sequence[Path]) -> RunImage:
    images = [read_gifti(path) for path in files]
    lengths = {len(image.darrays) for image in images}
    if len(lengths) > 1:
        raise InputError(
            f"{files[0]}: differs from the other hemisphere in its number of volumes; expected the "
            "same number"
        )
    with readable(files[0], "GIFTI file"):
        shape = tuple(len(image.darrays[0].data) for image in images)
        step_ms = images[0].darrays[0].meta.get("TimeStep")
        tr_s = float(step_ms) / 1000 if step_ms else None
    return RunImage(VoxelSpace("surface", shape, None, tuple(files)), lengths.pop(), tr_s)


def _open_volume_run(files: Sequence[Path]) -> RunImage:
    image = read_image(files[0])
    if len(image.shape) != 4:
        raise InputError(f"{files[0]}: has the shape {image.shape}; expected a 4-D image")
    check_complete(image, files[0])
    with readable(files[0], "image"):
        tr_s = _tr_s(image.header)
    return RunImage(volume_space(image, files), image.shape[3], tr_s)


def _tr_s(header: Any) -> float | None:
    """Return the TR of a NIfTI header in s, which is the unit unless the header has another."""
    unit_s = {"msec": 1e-3, "usec": 1e-6}.get(header.get_xyzt_units()[1], 1.0)
    return float(header.get_zooms()[3]) * unit_s or None


def find_sidecar(path: Path) -> Path | None:
    """Return the JSON file with the metadata of an image: the closest one, as BIDS inherits them.

    It is beside the image or in one of the three folders above, and has no entity in its name that
    the image's name does not have.
    """
    entities = set(path.name.split("_")[:-1])
    for folder in (path.parent, *list(path.absolute().parents)[1:4]):
        candidates = [
            each
            for each in sorted(folder.glob("*bold.json"))
            if set(each.name.split("_")[:-1]) <= entities
        ]
        if candidates:
            return max(candidates, key=lambda each: len(each.name))
    return None


def check_run(files: Sequence[Path], expected: VoxelSpace, n_volumes: int) -> str | None:
    """Return why a run cannot be used with the others, or None if it can.

    The reason names the file without its directory, so that a record of it does not depend on where
    the images are. ``n_volumes`` is the number that the run's events need.
    """
    name, sidecar = files[0].name, find_sidecar(files[0])
    try:
        image = open_run(files)
        tr_of = {name: image.tr_s}
        if sidecar is not None:
            tr_of[sidecar.name] = _sidecar_tr_s(sidecar)
    except InputError as error:
        text = str(error).replace(str(files[0]), name)
        return text.replace(str(sidecar), sidecar.name) if sidecar is not None else text
    if image.n_volumes != n_volumes:
        return f"{name}: has {image.n_volumes} volumes; its events need {n_volumes}"
    for source, tr_s in tr_of.items():
        if tr_s is not None and abs(tr_s - grid.TR_S) > TR_TOLERANCE_S:
            return f"{source}: has a TR of {tr_s:g} s; expected {grid.TR_S:g} s"
    if not image.space.matches(expected):
        return f"{name}: differs in space or grid from {expected.files[0].name}"
    return None


def _sidecar_tr_s(path: Path) -> float | None:
    content = read_json(path)
    tr_s = content.get("RepetitionTime") if isinstance(content, dict) else None
    if tr_s is not None and (isinstance(tr_s, bool) or not isinstance(tr_s, int | float)):
        raise InputError(f"{path}: RepetitionTime is {tr_s!r}; expected seconds")
    return tr_s


def varying_at_start(files: Sequence[Path], voxels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which voxels (n,) of a run are finite and vary between its first volumes.

    This reads FIRST_VOLUMES volumes of an image or array, and all of a surface.
    """
    if file_kind(files[0]) == "volume":
        image = read_image(files[0])
        with readable(files[0], "image"):
            start = np.asanyarray(image.dataobj[..., :FIRST_VOLUMES])
        series = start.reshape(-1, start.shape[3])[voxels].T
    else:
        series = read_voxels(files, voxels)[:FIRST_VOLUMES]
    return np.asarray(np.isfinite(series).all(0) & (np.ptp(series, axis=0) > 0))


def read_voxels(files: Sequence[Path], voxels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return some voxels of a run, (volumes, len(voxels)) float32.

    ``voxels`` are indices into the run's `VoxelSpace`. Raises InputError if a file is not readable.
    """
    kind = file_kind(files[0])
    if kind == "array":
        return np.asarray(open_array(files[0])[:, voxels], np.float32)
    if kind == "surface":
        sides = [read_volumes(path) for path in files]
        return np.asarray(np.concatenate(sides, axis=1)[:, voxels], np.float32)
    image = read_image(files[0])
    with readable(files[0], "image"):
        # Unscaled, so that a run of integers is not converted to floats as a whole.
        stored = np.asanyarray(image.dataobj.get_unscaled())
    series = stored.reshape(-1, stored.shape[3])[voxels].T.astype(np.float32)
    return np.asarray(series * image.dataobj.slope + image.dataobj.inter, np.float32)


# --- Cleaning -------------------------------------------------------------------------------------


def filtered(
    series: NDArray[np.floating], high_pass_hz: float, standardise: bool
) -> NDArray[np.float32]:
    """Remove a linear trend, and cosines slower than ``high_pass_hz``, from (volumes, columns).

    Uses `nilearn.signal.clean`, with the drift terms of nilearn's GLM. With ``standardise`` each
    column gets mean 0 and standard deviation 1.
    """
    from nilearn import signal

    return np.asarray(
        signal.clean(
            series, detrend=True, standardize="zscore_sample" if standardise else None,
            t_r=grid.TR_S, filter="cosine", high_pass=high_pass_hz,
        ),
        np.float32,
    )  # fmt: skip


def clean_run(
    series: NDArray[np.float32], high_pass_hz: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Filter and standardise one run (volumes, voxels), without its dummy volumes.

    Returns the series, and which voxels (voxels,) cannot be used because they contain NaN or do not
    vary; these are 0 in the series.
    """
    unusable = ~np.isfinite(series).all(0)
    series = np.where(unusable, 0, series)
    unusable |= np.ptp(series, axis=0) == 0
    with warnings.catch_warnings():  # nilearn warns about constant voxels, which are found above
        warnings.simplefilter("ignore")
        cleaned = filtered(series, high_pass_hz, standardise=True)
    return np.where(unusable, 0, cleaned).astype(np.float32), unusable
