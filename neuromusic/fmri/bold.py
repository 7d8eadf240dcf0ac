"""Functional images: find, read and clean the files of each scanner run.

An image is a 4-D NIfTI, a surface (GIFTI, one file per hemisphere), grayordinates (CIFTI) or a
plain .npy of (volumes, voxels). nilearn's maskers are not used because they convert the whole run
to floats: for 60 000 of 100 x 100 x 60 voxels in 410 volumes they need 1.6 GB, the code here
1.1 GB, for the same numbers.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.files import open_array, readable
from neuromusic.design.bids import BidsIndex
from neuromusic.design.presentations import seconds_of
from neuromusic.fmri.voxel_space import (
    VoxelSpace,
    check_complete,
    cifti_space,
    file_kind,
    gifti_volumes,
    read_cifti,
    read_gifti,
    read_image,
    read_volumes,
    volume_space,
)

TR_TOLERANCE_S = 1e-3
LEAST_TR_S, MOST_TR_S = 0.02, 50.0  # outside of these the unit of a header is wrong
LEAST_SPREAD = 1e-6  # of a confound that the others do not explain, as a share
FIRST_VOLUMES = 4  # read before the work begins
SLAB_BYTES = 2**26  # of an image that is read at a time
# What the names of JSON files end with; earlier versions of fMRIPrep repeat the image's extension.
SIDECARS = ("bold", "bold.dtseries", "bold.func")


# --- Reading --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunImage:
    """What the headers of a run's image declare; ``tr_s`` is None if they have no TR."""

    space: VoxelSpace
    n_volumes: int
    tr_s: float | None


def open_run(files: Sequence[Path]) -> RunImage:
    """Return the voxel space, number of volumes and TR of a run's image, from its headers.

    Raises InputError if a file is not readable or has no time axis.
    """
    openers = {"array": _open_array_run, "surface": _open_surface_run, "cifti": _open_cifti_run}
    return openers.get(file_kind(files[0]), _open_volume_run)(files)


def _open_array_run(files: Sequence[Path]) -> RunImage:
    array = open_array(files[0])
    if array.ndim != 2:
        raise InputError(f"{files[0]}: has the shape {array.shape}; expected (volumes, voxels)")
    n_volumes, n_voxels = array.shape
    return RunImage(VoxelSpace("array", (n_voxels,), None, tuple(files)), n_volumes, None)


def _open_surface_run(files: Sequence[Path]) -> RunImage:
    images = [read_gifti(path) for path in files]
    shapes = [gifti_volumes(*each).shape for each in zip(images, files, strict=True)]
    if len({n_volumes for n_volumes, _ in shapes}) > 1:
        raise InputError(
            f"{files[0]}: differs from the other hemisphere in its number of volumes; expected the "
            "same number"
        )
    with readable(files[0], "GIFTI file"):
        meta = {**images[0].meta, **images[0].darrays[0].meta}
        step = float(meta.get("TimeStep") or math.nan)
    n_vertices = tuple(n_vertices for _, n_vertices in shapes)
    space = VoxelSpace("surface", n_vertices, None, tuple(files))
    return RunImage(space, shapes[0][0], _plausible_tr_s(step, "msec"))


def _open_cifti_run(files: Sequence[Path]) -> RunImage:
    from nibabel.cifti2 import SeriesAxis

    image = read_cifti(files[0])
    check_complete(image, files[0])
    with readable(files[0], "CIFTI file"):
        series = image.header.get_axis(0)
        if not isinstance(series, SeriesAxis):
            raise ValueError("its rows are not volumes")
        tr_s = _plausible_tr_s(float(series.step), "sec") if series.unit == "SECOND" else None
    return RunImage(cifti_space(image, files), image.shape[0], tr_s)


def _open_volume_run(files: Sequence[Path]) -> RunImage:
    image = read_image(files[0])
    if len(image.shape) != 4:
        raise InputError(f"{files[0]}: has the shape {image.shape}; expected a 4-D image")
    check_complete(image, files[0])
    with readable(files[0], "image"):
        step, unit = float(image.header.get_zooms()[3]), image.header.get_xyzt_units()[1]
        tr_s = None if (step, unit) == (1, "unknown") else _plausible_tr_s(step, unit)
    return RunImage(volume_space(image, files), image.shape[3], tr_s)


def _plausible_tr_s(step: float, unit: str) -> float | None:
    """Return the TR of a header in s; None for a value that no unit makes plausible.

    Many programs write the wrong unit. A NIfTI header without unit and with a step of 1 is one in
    which nobody has set a TR.
    """
    unit_s = {"msec": 1e-3, "usec": 1e-6}.get(unit, 1.0)
    plausible = (step * each for each in (unit_s, 1.0, 1e-3))
    return next((tr_s for tr_s in plausible if LEAST_TR_S <= tr_s <= MOST_TR_S), None)


def varying_at_start(files: Sequence[Path], voxels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which voxels (n,) of a run are finite and vary between its first volumes.

    This reads FIRST_VOLUMES volumes of an image or array, and all of a surface.
    """
    kind = file_kind(files[0])
    if kind == "volume":
        image = read_image(files[0])
        with readable(files[0], "image"):
            start = np.asanyarray(image.dataobj[..., :FIRST_VOLUMES])
        series = start.reshape(-1, start.shape[3])[voxels].T
    elif kind == "cifti":
        image = read_cifti(files[0])
        with readable(files[0], "CIFTI file"):
            series = np.asanyarray(image.dataobj[:FIRST_VOLUMES])[:, voxels]
    else:
        series = read_voxels(files, voxels)[:FIRST_VOLUMES]
    return np.asarray(np.isfinite(series).all(0) & (np.ptp(series, axis=0) > 0))


def read_voxels(files: Sequence[Path], voxels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return some voxels of a run, (volumes, len(voxels)) float32.

    ``voxels`` are indices into the run's `VoxelSpace`. Raises InputError if a file is not readable.
    """
    return np.concatenate([slab for _, slab in voxel_slabs(files, voxels)])


def voxel_slabs(
    files: Sequence[Path], voxels: NDArray[np.int64]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield some voxels of a run a few volumes at a time: the first volume, and (volumes, voxels).

    A 4-D image is read in slabs of SLAB_BYTES, once from its first volume to its last, so that even
    a compressed image of a whole brain needs little memory; a surface or grayordinates are read as
    a whole. ``voxels`` are indices into the run's `VoxelSpace`. Raises InputError if a file is not
    readable.
    """
    kind = file_kind(files[0])
    if kind == "array":
        yield 0, np.asarray(open_array(files[0])[:, voxels], np.float32)
    elif kind != "volume":
        sides = [read_volumes(path) for path in files]
        whole = sides[0] if len(sides) == 1 else np.concatenate(sides, axis=1)
        yield 0, np.asarray(whole[:, voxels], np.float32)
    else:
        yield from _image_slabs(files[0], voxels)


def _image_slabs(
    path: Path, voxels: NDArray[np.int64]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    from nibabel.openers import ImageOpener

    image = read_image(path)
    stored = image.dataobj
    *shape, n_volumes = image.shape
    # Volumes follow one another in the file, with the first index the fastest.
    index = np.ravel_multi_index(np.unravel_index(voxels, shape), shape, order="F")
    volume_bytes = math.prod(shape) * stored.dtype.itemsize
    at_once = max(1, SLAB_BYTES // volume_bytes)
    with readable(path, "image"), ImageOpener(stored.file_like) as file:
        file.seek(stored.offset)
        for first in range(0, n_volumes, at_once):
            n = min(at_once, n_volumes - first)
            slab = np.frombuffer(file.read(n * volume_bytes), stored.dtype).reshape(n, -1)
            # Scaled after voxels are chosen: a whole run of integers would become floats.
            values = slab[:, index].astype(np.float32) * stored.slope + stored.inter
            yield first, np.asarray(values, np.float32)


# --- Metadata and checks --------------------------------------------------------------------------


def sidecars_of(files: Sequence[Path], index: BidsIndex) -> list[Path]:
    """Return the JSON files with the metadata of a run's image, the closest first."""
    return [path for name in SIDECARS for path in index.inherited(files[0], f"{name}.json")]


def json_tr_s(files: Sequence[Path], index: BidsIndex) -> tuple[float, Path] | None:
    """Return the TR in s from the JSON files of a run's image, and which has it; None if none.

    Raises InputError if it is not a number above 0.
    """
    for name in SIDECARS:
        if found := index.metadata(files[0], name, "RepetitionTime"):
            return seconds_of(*found, key="RepetitionTime"), found[1]
    return None


@dataclass(frozen=True)
class RunCheck:
    """Whether a run can be used with the others.

    Parameters
    ----------
    reason : str or None
        Why it cannot be used; None if it can. It names files without their directory, so that a
        record of it does not depend on where the images are.
    n_volumes : int
        Number of volumes that are used; 0 with a reason.
    n_surplus : int
        Number of volumes after these, which the design does not need.
    tr_s : float or None
        Repetition time in s: as expected, or else from the JSON or the header; None if neither has
        one.
    """

    reason: str | None
    n_volumes: int = 0
    n_surplus: int = 0
    tr_s: float | None = None


def check_run(
    files: Sequence[Path],
    expected: VoxelSpace,
    tr_s: float | None,
    n_volumes: int | None,
    index: BidsIndex,
) -> RunCheck:
    """Compare the image of a run with its design and with the images of the other runs.

    Parameters
    ----------
    files : sequence of Path
        The image, one file per hemisphere if it is a surface.
    expected : VoxelSpace
        The voxels of the other runs.
    tr_s : float or None
        Repetition time of the design in s, None if it is not known.
    n_volumes : int or None
        Number of volumes of the design; None for as many as there are.
    index : BidsIndex
        The dataset of the images; its JSON files have precedence over the headers.
    """
    try:
        image = open_run(files)
        declared = json_tr_s(files, index)
    except InputError as error:
        folders = {str(files[0].parent): "", str(index.directory): ""}
        text = str(error)
        for folder in sorted(folders, key=len, reverse=True):
            text = text.replace(f"{folder}/", "")
        return RunCheck(text)
    name = files[0].name
    source, remedy = name, "; if the header is wrong, give RepetitionTime in a JSON file beside it"
    image_tr_s = image.tr_s
    if declared is not None:
        image_tr_s, source, remedy = declared[0], declared[1].name, ""
    if tr_s and image_tr_s and abs(image_tr_s - tr_s) > TR_TOLERANCE_S:
        reason = f"{source}: has a TR of {image_tr_s:g} s; expected {tr_s:g} s{remedy}"
        return RunCheck(reason)
    if n_volumes is not None and image.n_volumes < n_volumes:
        return RunCheck(f"{name}: has {image.n_volumes} volumes; its events need {n_volumes}")
    if not image.space.matches(expected):
        return RunCheck(f"{name}: differs in space or grid from {expected.files[0].name}")
    n_used = n_volumes or image.n_volumes
    return RunCheck(None, n_used, image.n_volumes - n_used, tr_s or image_tr_s)


# --- Cleaning -------------------------------------------------------------------------------------


def filtered(
    series: NDArray[np.floating],
    tr_s: float,
    high_pass_hz: float,
    standardise: bool,
    confounds: NDArray[np.floating] | None = None,
) -> NDArray[np.float32]:
    """Remove a linear trend, slow cosines and confounds from the columns of a run.

    All are removed together, by one projection, with `nilearn.signal.clean` and the drift terms of
    nilearn's GLM. Images and designs must be filtered with the same arguments: what is removed from
    one must be removed from the other.

    Parameters
    ----------
    series : array (volumes, columns)
        Voxels or regressors; finite.
    tr_s : float
        Repetition time in s.
    high_pass_hz : float
        Cosines slower than this are removed.
    standardise : bool
        Whether each column gets mean 0 and standard deviation 1.
    confounds : array (volumes, confounds), optional
        What else is removed, see `neuromusic.fmri.confounds`.

    Returns
    -------
    array (volumes, columns) of float32
    """
    from nilearn import signal

    options: dict[str, Any] = {"filter": "cosine", "high_pass": high_pass_hz}
    if confounds is not None and confounds.shape[1]:
        options = {"filter": False, "confounds": _removed(confounds, tr_s, high_pass_hz)}
    return np.asarray(
        signal.clean(
            series, detrend=True, standardize="zscore_sample" if standardise else None,
            t_r=tr_s, **options,
        ),
        np.float32,
    )  # fmt: skip


def _removed(
    confounds: NDArray[np.floating], tr_s: float, high_pass_hz: float
) -> NDArray[np.float64]:
    """Return confounds and slow cosines as orthonormal columns, without mean and linear trend.

    `nilearn.signal.clean` leaves out its cosines if a confound is correlated with any of them (r >
    .9), as slow motion of the head is. Columns that the others explain are left out.
    """
    from nilearn.glm.first_level import make_first_level_design_matrix
    from scipy import linalg, signal

    times_s = np.arange(len(confounds)) * tr_s
    drift = make_first_level_design_matrix(times_s, drift_model="cosine", high_pass=high_pass_hz)
    columns = np.hstack([confounds, drift.drop(columns="constant")]).astype(np.float64)
    if not columns.shape[1]:  # a short run has no slow cosine
        return columns
    spread = columns.std(axis=0)
    scaled = signal.detrend(columns, axis=0) / np.where(spread > 0, spread, 1)
    return np.asarray(linalg.orth(scaled, rcond=LEAST_SPREAD))


def filter_terms(
    n_volumes: int,
    tr_s: float,
    high_pass_hz: float,
    confounds: NDArray[np.floating] | None = None,
) -> NDArray[np.float64]:
    """Return what `filtered` removes, as orthonormal columns (volumes, terms)."""
    line = np.linspace(-1, 1, n_volumes)
    if confounds is None:
        confounds = np.empty((n_volumes, 0))
    removed = _removed(confounds, tr_s, high_pass_hz)
    return np.linalg.qr(np.column_stack([np.ones(n_volumes), line, removed]))[0]


def clean_run(
    series: NDArray[np.float32],
    tr_s: float,
    high_pass_hz: float,
    confounds: NDArray[np.floating] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Filter and standardise one run (volumes, voxels), without its dummy volumes.

    Returns the series, and which voxels (voxels,) cannot be used because they contain NaN or do not
    vary; these are 0 in the series. ``confounds`` have the same volumes.
    """
    unusable = ~np.isfinite(series).all(0)
    series = np.where(unusable, 0, series)
    unusable |= np.ptp(series, axis=0) == 0
    with warnings.catch_warnings():  # nilearn warns about constant voxels, which are found above
        warnings.simplefilter("ignore")
        cleaned = filtered(series, tr_s, high_pass_hz, True, confounds)
    return np.where(unusable, 0, cleaned).astype(np.float32), unusable
