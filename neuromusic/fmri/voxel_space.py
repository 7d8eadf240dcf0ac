"""Voxel spaces: which voxels or vertices a set of images has, and maps of values in them.

A space is the grid of a volume (NIfTI), the vertices of surfaces (GIFTI, one file per hemisphere),
grayordinates (CIFTI: the vertices of the cortex and the voxels below it in one file) or the columns
of a plain array (.npy). Voxels of a volume are counted in C order; vertices one hemisphere after
the other; grayordinates as in the file.
"""

import gzip
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.files import open_array, readable

Kind = Literal["volume", "surface", "cifti", "array"]
CIFTI = (".dtseries.nii", ".dscalar.nii", ".dlabel.nii")
HEMISPHERE = re.compile(r"_hemi-([LR])(?=[_.])")

AFFINE_TOLERANCE = 1e-3  # in mm


@dataclass(frozen=True)
class VoxelSpace:
    """The voxels or vertices of a set of images.

    Parameters
    ----------
    kind : {"volume", "surface", "cifti", "array"}
        What the voxels are.
    shape : tuple of int
        (x, y, z), the number of vertices of each hemisphere, or (n_voxels,).
    affine : array (4, 4) or None
        From voxel indices to mm; None except for volumes.
    files : tuple of Path
        An example with these voxels: one file, or one per hemisphere.
    models : nibabel.cifti2.BrainModelAxis or None
        Structure, and vertex or voxel, of each grayordinate; None except for CIFTI.
    """

    kind: Kind
    shape: tuple[int, ...]
    affine: NDArray[np.float64] | None
    files: tuple[Path, ...]
    models: Any = None

    @property
    def n_voxels(self) -> int:
        """Number of voxels, or of vertices of all hemispheres."""
        return int(sum(self.shape) if self.kind == "surface" else np.prod(self.shape))

    def matches(self, other: "VoxelSpace") -> bool:
        """Return whether two spaces have the same voxels in the same places."""
        if (self.kind, self.shape, self.sides) != (other.kind, other.shape, other.sides):
            return False
        if self.models != other.models:
            return False
        if self.affine is None or other.affine is None:
            return True
        return bool(np.allclose(self.affine, other.affine, atol=AFFINE_TOLERANCE))

    def varying(self) -> NDArray[np.bool_]:
        """Return which voxels (n_voxels,) of the example are finite and vary between volumes.

        If the example has one volume: which voxels are finite and not 0.
        """
        return np.concatenate([_varies(read_volumes(path)) for path in self.files])

    @property
    def sides(self) -> tuple[str, ...]:
        """The hemisphere of each file, "L" or "R"; "" if the file is not of one hemisphere."""
        if self.kind != "surface":
            return ("",)
        matches = [HEMISPHERE.search(path.name) for path in self.files]
        return tuple(match[1] if match else "" for match in matches)

    @property
    def extension(self) -> str:
        """The end of the names of maps."""
        extensions = {"volume": ".nii.gz", "surface": ".func.gii", "cifti": ".dscalar.nii"}
        return extensions.get(self.kind, ".npy")

    def write_map(
        self, paths: Sequence[Path], voxels: NDArray[np.integer], values: NDArray[np.floating]
    ) -> None:
        """Write a value for some voxels, NaN for the others.

        ``voxels`` (n,) are indices, ``values`` (n,). ``paths`` are one file per side.
        """
        whole = np.full(self.n_voxels, np.nan, np.float32)
        whole[voxels] = values
        if self.kind == "volume":
            self._write_volume(paths[0], whole)
        elif self.kind == "surface":
            self._write_surfaces(paths, whole)
        elif self.kind == "cifti":
            self._write_cifti(paths[0], whole)
        else:
            np.save(paths[0], whole)

    def _write_volume(self, path: Path, values: NDArray[np.float32]) -> None:
        import nibabel

        image = nibabel.Nifti1Image(values.reshape(self.shape), self.affine)
        header = nibabel.load(self.files[0]).header
        image.set_sform(self.affine, int(header["sform_code"]) or 1)
        image.set_qform(self.affine, int(header["qform_code"]) or 1)
        image.header.set_xyzt_units("mm")
        nibabel.save(image, path)

    def _write_surfaces(self, paths: Sequence[Path], values: NDArray[np.float32]) -> None:
        import nibabel

        borders = np.cumsum(self.shape)[:-1]
        for path, part in zip(paths, np.split(values, borders), strict=True):
            array = nibabel.gifti.GiftiDataArray(part, intent="NIFTI_INTENT_NONE")
            nibabel.save(nibabel.gifti.GiftiImage(darrays=[array]), path)

    def _write_cifti(self, path: Path, values: NDArray[np.float32]) -> None:
        from nibabel import cifti2

        name = path.name.removesuffix(self.extension)
        image = cifti2.Cifti2Image(values[None], (cifti2.ScalarAxis([name]), self.models))
        image.nifti_header.set_intent("ConnDenseScalar")
        image.to_filename(path)


def open_space(files: Sequence[Path]) -> VoxelSpace:
    """Return the voxel space of an image: a NIfTI, CIFTI or .npy file, or one GIFTI per side.

    The columns of an array are its last axis. Raises InputError if a file is not readable.
    """
    kind = file_kind(files[0])
    if kind == "volume":
        return volume_space(read_image(files[0]), files)
    if kind == "array":
        return VoxelSpace(kind, (open_array(files[0]).shape[-1],), None, tuple(files))
    if kind == "cifti":
        return cifti_space(read_cifti(files[0]), files)
    shape = tuple(read_volumes(path).shape[1] for path in files)
    return VoxelSpace(kind, shape, None, tuple(files))


def volume_space(image: Any, files: Sequence[Path]) -> VoxelSpace:
    """Return the voxel space of a nibabel image of at least three dimensions."""
    return VoxelSpace("volume", image.shape[:3], image.affine, tuple(files))


def cifti_space(image: Any, files: Sequence[Path]) -> VoxelSpace:
    """Return the voxel space of a CIFTI image."""
    models = image.header.get_axis(1)
    return VoxelSpace("cifti", (len(models),), None, tuple(files), models)


def file_kind(path: Path) -> Kind:
    """Return what a file contains, from the end of its name: a volume unless that says more."""
    if path.name.endswith(CIFTI):
        return "cifti"
    kinds: dict[str, Kind] = {".gii": "surface", ".npy": "array"}
    return kinds.get(path.suffix, "volume")


def read_image(path: Path) -> Any:
    """Return a nibabel image of at least three dimensions; its voxels are not read yet.

    Raises InputError for any other file.
    """
    import nibabel

    with readable(path, "image"):
        image = nibabel.load(path)
        if len(image.shape) < 3:
            raise ValueError(f"its shape is {image.shape}; expected three dimensions or more")
    return image


def read_cifti(path: Path) -> Any:
    """Return a nibabel CIFTI image of grayordinates; its values are not read yet.

    Raises InputError for any other file, such as one of parcels.
    """
    import nibabel
    from nibabel.cifti2 import BrainModelAxis

    with readable(path, "CIFTI file"):
        image: Any = nibabel.load(path)
        if not isinstance(image, nibabel.Cifti2Image):
            raise ValueError("it has no CIFTI header")
        if len(image.shape) != 2 or not isinstance(image.header.get_axis(1), BrainModelAxis):
            raise ValueError("its columns are not grayordinates")
    return image


def check_complete(image: Any, path: Path) -> None:
    """Raise InputError if a file has fewer bytes than the header of its image declares.

    The size of a compressed file is the one at its end; only if that differs is the file unpacked.
    Formats other than NIfTI and Analyze are not checked.
    """
    file = Path(image.file_map["image"].filename or path) if "image" in image.file_map else path
    offset = getattr(image.dataobj, "offset", None)
    if offset is None or file.suffix not in (".gz", ".nii", ".img"):
        return
    needed = offset + math.prod(image.shape) * image.dataobj.dtype.itemsize
    with readable(path, "image", "copy it again"):
        if file.suffix != ".gz":
            size = file.stat().st_size
        elif _size_at_end(file) == needed % 2**32:
            return
        else:
            size = _unpacked_bytes(file)
        if size < needed:
            raise ValueError(f"it has {size} bytes, but its header declares {needed}")


def _size_at_end(path: Path) -> int:
    """Return the size that a gzip file declares in its last four bytes, modulo 2**32."""
    with open(path, "rb") as file:
        file.seek(-4, os.SEEK_END)
        return int.from_bytes(file.read(4), "little")


def _unpacked_bytes(path: Path) -> int:
    total = 0
    with gzip.open(path) as file:
        while block := file.read(1 << 20):
            total += len(block)
    return total


def read_gifti(path: Path) -> Any:
    """Return a nibabel GIFTI image; raise InputError for any other file."""
    import nibabel

    with readable(path, "GIFTI file"):
        image = nibabel.load(path)
        if not image.darrays:
            raise ValueError("it has no data")
    return image


def read_volumes(path: Path) -> NDArray[Any]:
    """Return the values of an image, a surface or an array, (n_volumes, n_voxels).

    An image of one volume, and an array of one dimension, have one row. Arrays are mapped into
    memory. Raises InputError if the file is not readable.
    """
    kind = file_kind(path)
    if kind == "array":
        return np.atleast_2d(open_array(path))
    if kind == "surface":
        return gifti_volumes(read_gifti(path), path)
    if kind == "cifti":
        image = read_cifti(path)
        with readable(path, "CIFTI file"):
            return np.asanyarray(image.dataobj)
    image = read_image(path)
    with readable(path, "image"):
        values = np.asanyarray(image.dataobj)
    volumes = np.moveaxis(values, 3, 0) if values.ndim == 4 else values[None]
    return volumes.reshape(len(volumes), -1)


def gifti_volumes(image: Any, path: Path) -> NDArray[Any]:
    """Return the values of a GIFTI image, (n_volumes, n_vertices).

    It has one array per volume, or one array (vertices, volumes). ``path`` is for messages.
    """
    with readable(path, "GIFTI file"):
        arrays = [np.asarray(array.data) for array in image.darrays]
        if len(arrays) == 1 and arrays[0].ndim == 2 and arrays[0].shape[0] > 1:
            return arrays[0].T
        if any(array.size != max(array.shape, default=0) for array in arrays):
            shapes = sorted({array.shape for array in arrays})
            raise ValueError(f"its arrays have the shapes {shapes}; expected one per volume")
        return np.stack([np.ravel(array) for array in arrays])


def _varies(volumes: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which columns are finite and vary; see `VoxelSpace.varying`."""
    first = volumes[0] if len(volumes) > 1 else np.zeros_like(volumes[0])
    differs = np.zeros(len(first), np.bool_)
    finite = np.ones(len(first), np.bool_)
    for volume in volumes:
        differs |= volume != first
        finite &= np.isfinite(volume)
    return differs & finite
