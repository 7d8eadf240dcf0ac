"""The images: find them, read them, clean them, run by run.

An image is a 4-D NIfTI, a surface (GIFTI, one file a hemisphere) or a plain ``.npy`` of (volumes,
voxels). Whatever cannot be used is named with its file.
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.design import grid
from neuromusic.design.orders import TASK, Split

BOLD_NAME = re.compile(
    r"sub-(?P<subject>[A-Za-z0-9]+)_(?:ses-[A-Za-z0-9]+_)?task-(?P<task>Training|Test)_"
    r"(?:.*_)?run-(?P<run>\d+)_(?P<entities>.*_)?bold(?P<kind>\.nii|\.nii\.gz|\.func\.gii|\.npy)"
)
TR_TOLERANCE_S = 1e-3

RunKey = tuple[Split, int]


@dataclass(frozen=True)
class Geometry:
    """What the voxels of a set of images are: enough to write a map of them.

    ``kind`` is "volume", "surface" or "array"; ``shape`` (x, y, z), (vertices of each hemisphere)
    or (voxels,); ``example`` the files of one run.
    """

    kind: str
    shape: tuple[int, ...]
    affine: NDArray[np.float64] | None
    example: tuple[Path, ...]

    @property
    def n_voxels(self) -> int:
        """Number of voxels or vertices in all."""
        return int(sum(self.shape) if self.kind == "surface" else np.prod(self.shape))

    def agrees(self, other: "Geometry") -> bool:
        """Say whether two images have the same voxels at the same places."""
        if (self.kind, self.shape) != (other.kind, other.shape):
            return False
        if self.affine is None or other.affine is None:
            return True
        return bool(np.allclose(self.affine, other.affine, atol=1e-3))


def find_bold(
    directory: Path, subject: str, space: str | None = None
) -> dict[RunKey, tuple[Path, ...]]:
    """Return the images of a subject: (split, run) -> the file, or those of both hemispheres.

    ``space`` picks among images of several spaces (the ``space-`` entity of their names). Raises
    InputError where there is none, or more than one for a run.
    """
    found: dict[RunKey, list[Path]] = {}
    for path in sorted(Path(directory).glob(f"**/sub-{subject}_*bold*")):
        match = BOLD_NAME.fullmatch(path.name)
        if match is None or (space and f"_space-{space}_" not in path.name):
            continue
        split: Split = "train" if match["task"] == TASK["train"] else "test"
        found.setdefault((split, int(match["run"])), []).append(path)
    if not found:
        among = f" in the space {space}" if space else ""
        raise InputError(
            f"{directory}: has no images of sub-{subject}{among}; expected "
            f"sub-{subject}/func/sub-{subject}_task-Training_run-01_..._bold.nii.gz (or .nii, "
            ".func.gii, .npy)"
        )
    for (split, run), paths in found.items():
        sides = sorted(re.findall(r"_hemi-([LR])_", "".join(path.name for path in paths)))
        if len(paths) > 1 and not (len(paths) == 2 and sides == ["L", "R"]):
            raise InputError(
                f"sub-{subject} task-{TASK[split]} run-{run:02d} has {len(paths)} images "
                f"({', '.join(path.name for path in paths)}); name one with --space, or move the "
                "others away"
            )
    return {key: tuple(found[key]) for key in sorted(found, key=lambda k: (k[0] != "train", k[1]))}


def read_geometry(paths: Sequence[Path]) -> tuple[Geometry, int, float | None]:
    """Return the geometry of a run, its number of volumes and its TR in s where the header has one.

    Raises InputError for a file that is no readable image with a time axis.
    """
    path = paths[0]
    if path.suffix == ".npy":
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: is no readable array ({error})") from None
        if array.ndim != 2:
            raise InputError(f"{path}: has the shape {array.shape}; expected (volumes, voxels)")
        return Geometry("array", (array.shape[1],), None, tuple(paths)), array.shape[0], None
    import nibabel

    try:
        images = [nibabel.load(each) for each in paths]
        if path.suffix == ".gii":
            n_vol = {len(image.darrays) for image in images}
            shape = tuple(len(image.darrays[0].data) for image in images)
            tr_s = _seconds(images[0].darrays[0].meta.get("TimeStep"))
        else:
            shape, n_vol = images[0].shape[:3], {*images[0].shape[3:]}
            header = images[0].header
            unit = {"msec": 1e-3, "usec": 1e-6}.get(header.get_xyzt_units()[1], 1.0)
            tr_s = float(header.get_zooms()[3]) * unit if len(n_vol) else None
    except Exception as error:  # nibabel raises several kinds for a broken file
        raise InputError(f"{path}: is no readable image ({error})") from None
    if len(n_vol) != 1:
        raise InputError(f"{path}: has no single time axis; expected a 4-D image")
    if path.suffix == ".gii":
        return Geometry("surface", shape, None, tuple(paths)), n_vol.pop(), tr_s
    return Geometry("volume", shape, images[0].affine, tuple(paths)), n_vol.pop(), tr_s or None


def _seconds(milliseconds: str | None) -> float | None:
    return float(milliseconds) / 1000 if milliseconds else None


def check_run(paths: Sequence[Path], want: Geometry, n_vol: int) -> str | None:
    """Return why a run cannot be used with the others, naming its file, or None.

    ``n_vol`` is what its events need.
    """
    try:
        got, volumes, tr_s = read_geometry(paths)
    except InputError as error:
        return str(error)
    if volumes != n_vol:
        return f"{paths[0]}: has {volumes} volumes; its events need {n_vol}"
    if tr_s is not None and abs(tr_s - grid.TR_S) > TR_TOLERANCE_S:
        return f"{paths[0]}: has a TR of {tr_s:g} s; expected {grid.TR_S:g} s"
    if not got.agrees(want):
        return f"{paths[0]}: lies in another space or grid than {want.example[0].name}"
    return None


def read_voxels(paths: Sequence[Path], voxels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return (volumes, voxels) float32 of one run; ``voxels`` index the geometry in C order."""
    if paths[0].suffix == ".npy":
        array = np.load(paths[0], mmap_mode="r", allow_pickle=False)
        return np.asarray(array[:, voxels], np.float32)
    import nibabel

    if paths[0].suffix == ".gii":
        sides = [np.array([d.data for d in nibabel.load(path).darrays]) for path in paths]
        return np.asarray(np.concatenate(sides, axis=1)[:, voxels], np.float32)
    image = nibabel.load(paths[0])
    stored = np.asanyarray(image.dataobj.get_unscaled())
    series = stored.reshape(-1, stored.shape[3])[voxels].T.astype(np.float32)
    return np.asarray(series * image.dataobj.slope + image.dataobj.inter, np.float32)


def filtered(
    series: NDArray[np.floating], high_pass_hz: float, standardise: bool
) -> NDArray[np.float32]:
    """Take a linear trend, and cosines slower than ``high_pass_hz``, out of (volumes, columns).

    By nilearn, as its GLM has the drifts. ``standardise`` gives every column deviation 1.
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
    """Filter and standardise the volumes of one run (volumes, voxels), the dummy dropped before.

    Returns (series, which voxels hold NaN or do not vary; those are 0).
    """
    bad = ~np.isfinite(series).all(0)
    series = np.where(bad, 0, series)
    bad |= np.ptp(series, axis=0) == 0
    with warnings.catch_warnings():  # of the constant ones, which are known
        warnings.simplefilter("ignore")
        cleaned = filtered(series, high_pass_hz, standardise=True)
    return np.where(bad, 0, cleaned).astype(np.float32), bad
