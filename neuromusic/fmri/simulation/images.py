"""Writers of simulated images: NIfTI volumes, GIFTI surfaces and CIFTI grayordinates."""

import gzip
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

ImageForm = Literal["nifti", "cifti", "gifti"]
IMAGE_FORMS: tuple[str, ...] = get_args(ImageForm)
VOXEL_MM = 2.0
CENTRE_MM = (-48.0, -22.0, 8.0)  # of the grid, in MNI space: left Heschl's gyrus
CORTEX_SHARE = 0.4  # of the grayordinates that are in each cortex; the others are in the thalamus


def write_bold(
    form: ImageForm, folder: Path, stem: str, voxels: NDArray[np.int16], tr_s: float
) -> None:
    """Write the volumes of a run (n_volumes, n_voxels).

    "nifti" and "cifti" are one file. "gifti" is one per hemisphere: the first half of the voxels,
    rounded up, are vertices of the left one.
    """
    if form == "cifti":
        _write_cifti(folder / f"{stem}_bold.dtseries.nii", voxels, tr_s)
    elif form == "gifti":
        left = hemisphere_sizes(voxels.shape[1])[0]
        for name, part in (("L", voxels[:, :left]), ("R", voxels[:, left:])):
            _write_gifti(folder / f"{stem}_hemi-{name}_bold.func.gii", part, tr_s)
    else:
        write_image(folder / f"{stem}_bold.nii.gz", voxels, tr_s)


def hemisphere_sizes(n_voxels: int) -> tuple[int, int]:
    """Return the number of vertices of the left and of the right hemisphere."""
    return n_voxels - n_voxels // 2, n_voxels // 2


# --- Volumes --------------------------------------------------------------------------------------


def voxel_grid(n_voxels: int) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Return the shape of the smallest grid for ``n_voxels``, and its affine in MNI space."""
    side = next(n for n in range(1, n_voxels + 1) if n**3 >= n_voxels)
    shape = (-(-n_voxels // side**2), side, side)
    affine = np.diag([VOXEL_MM, VOXEL_MM, VOXEL_MM, 1.0])
    affine[:3, 3] = np.array(CENTRE_MM) - VOXEL_MM * (np.array(shape) - 1) / 2
    return shape, affine


def write_image(path: Path, voxels: NDArray[np.int16], tr_s: float | None = None) -> None:
    """Write (n_voxels,) or (n_volumes, n_voxels) as NIfTI-1, the voxels in C order on their grid.

    The rest of the grid is 0. The same voxels give the same bytes.
    """
    import nibabel

    shape, affine = voxel_grid(voxels.shape[-1])
    flat = np.zeros((int(np.prod(shape)), *voxels.shape[:-1]), np.int16)
    flat[: voxels.shape[-1]] = voxels.T
    image = nibabel.Nifti1Image(flat.reshape(*shape, *voxels.shape[:-1]), affine)
    image.set_sform(affine, code=4)  # MNI
    image.set_qform(affine, code=4)
    image.header.set_xyzt_units("mm", "sec")
    if tr_s is not None:
        image.header.set_zooms((VOXEL_MM, VOXEL_MM, VOXEL_MM, tr_s))
    with (
        open(path, "wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=4, fileobj=raw, mtime=0) as file,
    ):
        file.write(image.to_bytes())


# --- Surfaces and grayordinates -------------------------------------------------------------------


def _write_gifti(path: Path, vertices: NDArray[np.int16], tr_s: float) -> None:
    from nibabel import gifti

    meta = gifti.GiftiMetaData({"TimeStep": f"{1000 * tr_s:g}"})  # in ms, as fMRIPrep writes it
    arrays = [
        gifti.GiftiDataArray(volume, intent="NIFTI_INTENT_TIME_SERIES", meta=meta)
        for volume in vertices.astype(np.float32)
    ]
    path.write_bytes(gifti.GiftiImage(darrays=arrays).to_bytes())


def _write_cifti(path: Path, grayordinates: NDArray[np.int16], tr_s: float) -> None:
    from nibabel import cifti2

    axes = (cifti2.SeriesAxis(0, tr_s, len(grayordinates)), _models(grayordinates.shape[1]))
    image = cifti2.Cifti2Image(grayordinates.astype(np.float32), axes)
    image.nifti_header.set_intent("ConnDenseSeries")
    image.to_filename(path)


def _models(n: int) -> Any:
    """Return the axis of ``n`` grayordinates: two cortices, and the rest in the left thalamus."""
    from nibabel import cifti2

    n_cortex = round(CORTEX_SHARE * n)
    shape, affine = voxel_grid(n - 2 * n_cortex)
    inside = np.arange(np.prod(shape)) < n - 2 * n_cortex
    thalamus = cifti2.BrainModelAxis.from_mask(
        inside.reshape(shape), "CIFTI_STRUCTURE_THALAMUS_LEFT", affine
    )
    if not n_cortex:
        return thalamus
    cortices = [
        cifti2.BrainModelAxis.from_surface(np.arange(n_cortex), n_cortex + 10, f"CORTEX_{side}")
        for side in ("LEFT", "RIGHT")  # ten more vertices, without a value
    ]
    return cortices[0] + cortices[1] + thalamus
