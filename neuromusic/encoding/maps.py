"""Numbers a voxel as files in the space of the images."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuromusic.fmri.bold import Geometry


def write_map(
    stem: Path, geometry: Geometry, voxels: NDArray[np.int64], values: NDArray[np.floating]
) -> list[Path]:
    """Write values (n,) of some voxels, NaN elsewhere; return the files.

    ``stem``.nii.gz for images, ``stem`` with hemi-L and hemi-R and .func.gii for surfaces,
    ``stem``.npy for arrays.
    """
    import nibabel

    whole = np.full(geometry.n_voxels, np.nan, np.float32)
    whole[voxels] = values
    if geometry.kind == "array":
        path = Path(f"{stem}.npy")
        np.save(path, whole)
        return [path]
    if geometry.kind == "volume":
        path = Path(f"{stem}.nii.gz")
        image = nibabel.Nifti1Image(whole.reshape(geometry.shape), geometry.affine)
        codes = nibabel.load(geometry.example[0]).header
        image.set_sform(geometry.affine, int(codes["sform_code"]) or 1)
        image.set_qform(geometry.affine, int(codes["qform_code"]) or 1)
        nibabel.save(image, path)
        return [path]
    paths = []
    edges = np.cumsum(geometry.shape)[:-1]
    for example, part in zip(geometry.example, np.split(whole, edges), strict=True):
        side = "L" if "_hemi-L_" in example.name else "R"
        path = stem.with_name(f"{stem.name}_hemi-{side}.func.gii")
        array = nibabel.gifti.GiftiDataArray(part, intent="NIFTI_INTENT_NONE")
        nibabel.save(nibabel.gifti.GiftiImage(darrays=[array]), path)
        paths.append(path)
    return paths
