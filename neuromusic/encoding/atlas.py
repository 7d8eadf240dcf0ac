"""TODO: docstring."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, need_package
from neuromusic.core.files import text_table
from neuromusic.core.progress import Say

# Numbers of Brodmann's map that the human brain lacks: an atlas that has them counts otherwise.
NOT_HUMAN = {14, 15, 16, 49, 50, 51}


HEMISPHERE = re.compile(r"(?:(?<=hemi-)|(?<![A-Za-z0-9-]))(lh|rh|l|r)(?=[._])", re.I)


SPACE = re.compile(r"(?<![a-z])(mni|talairach)", re.I)


STANDARD = {"mni": "MNI", "talairach": "Talairach"}


CODES = {3: "Talairach", 4: "MNI"}  # of sform and qform, NIfTI-1


@dataclass(frozen=True)
class Labels:
    """The labels of an atlas on the voxels of the images, and what it calls them."""

    source: str
    values: NDArray[np.int64]  # (n_voxels,), 0 for none
    names: dict[int, str] | None  # None where nothing says


def read_labels(
    atlas: Path | None, table: Path | None, reference: Sequence[Path], say: Say
) -> Labels:
    """Return an atlas on the voxels of the images; arguments and errors as for `read_areas`."""
    if atlas is None:
        if table:
            raise InputError(f"{table}: names the labels of an atlas; give it too, with --atlas")
        return _talairach(reference, say)
    if not atlas.is_file():
        raise InputError(f"{atlas}: no such file; expected an atlas")
    beside = atlas.with_name(atlas.name.split(".")[0] + ".tsv")
    if table is None and beside.is_file():
        say(f"{atlas}: labels are named by {beside}")
        table = beside
    names = read_table(table) if table else _gifti_names(atlas)
    return Labels(str(atlas), on_reference(atlas, reference, say), names)


def kind(path: Path) -> str:
    """Return "surface", "array" or "image", by the end of a file's name."""
    return {".gii": "surface", ".npy": "array"}.get(path.suffix, "image")


def read_table(path: Path) -> dict[int, str]:
    """Return index -> name from a .tsv or .csv; raise InputError for anything else."""
    try:
        table = text_table(path, "," if path.suffix == ".csv" else "\t")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a table ({error})") from None
    if not {"index", "name"} <= set(table):
        raise InputError(
            f"{path}: has the columns {', '.join(map(str, table))}; expected index and name"
        )
    for row, text in enumerate(table["index"], start=1):
        if not re.fullmatch(r"-?\d+", text):
            raise InputError(f"{path}, row {row}: index {text!r} is no whole number")
    return dict(zip(table["index"].astype(int), table["name"], strict=True))


def varies(path: Path) -> NDArray[np.bool_]:
    """Say of every voxel of an image or array whether it is finite and varies (n_voxels,).

    Of an image of one volume: whether it is finite and not 0.
    """
    if kind(path) == "image":
        data = np.asanyarray(_load(path).dataobj)
        volumes = np.moveaxis(data, 3, 0) if data.ndim == 4 else data[None]
    elif kind(path) == "surface":
        volumes = _vertices(path)
    else:
        volumes = _array(path)
    volumes = volumes.reshape(len(volumes), -1)
    first = volumes[0] if len(volumes) > 1 else np.zeros_like(volumes[0])
    differs = np.zeros(len(first), np.bool_)
    finite = np.ones(len(first), np.bool_)
    for volume in volumes:
        differs |= volume != first
        finite &= np.isfinite(volume)
    return differs & finite


def on_reference(path: Path, reference: Sequence[Path], say: Say) -> NDArray[np.int64]:
    """Return the labels of an atlas or mask on the voxels of the images, (n_voxels,).

    Raises InputError as `read_areas`.
    """
    if kind(path) == "array":
        values = _whole_numbers(np.ravel(_array(path)), path)
        n_voxels = sum(_n_voxels(file) for file in reference)
        return _same_size(values, path, n_voxels, reference[0])
    other = [file for file in reference if kind(file) != kind(path)]
    if other:
        raise InputError(
            f"{path}: is no {kind(other[0])} as {other[0]}; give one of the same kind, or a .npy "
            "with a label for every voxel"
        )
    if kind(path) == "image":
        return image_on_reference(path, _load(path), None, reference[0], say)
    parts = []
    for file in reference:
        own = _of_hemisphere(path, file)
        values = _whole_numbers(_vertices(own)[0], own)
        parts.append(_same_size(values, own, _n_voxels(file), file))
    return np.concatenate(parts)


def image_on_reference(
    name: object, image: Any, space: str | None, reference: Path, say: Say
) -> NDArray[np.int64]:
    """Return a label image on the grid of another, (n_voxels,) in C order.

    As it is where shape and affine agree; else, where both are in a standard space, by the nearest
    neighbour. ``space`` says which where the file does not. Raises InputError for another space.
    """
    from nibabel import Nifti1Image

    target = _load(reference)
    shape, affine = target.shape[:3], target.affine
    data = np.asanyarray(image.dataobj)
    if data.ndim == 4 and data.shape[3] == 1:
        data = data[..., 0]
    if data.ndim != 3:
        raise InputError(f"{name}: has the shape {data.shape}; expected a 3-D label image")
    data = _whole_numbers(data, name)
    if data.shape == shape and np.allclose(image.affine, affine, atol=1e-3):
        return data.ravel()
    own = space or standard_space(Path(str(name)).name, image)
    their = standard_space(reference.name, target)
    if own is None or their is None:
        raise InputError(
            f"{name}: lies on another grid than {reference} and the two share no space "
            f"({own or 'unknown'}, {their or 'unknown'}); bring it onto the grid of the images, or "
            "say MNI or Talairach in the names (space-MNI152NLin2009cAsym) or as sform code"
        )
    need_package("nilearn", "fmri")
    from nilearn.image import resample_to_img

    moved = resample_to_img(
        Nifti1Image(data.astype(np.int32), image.affine),
        Nifti1Image(np.zeros(shape, np.int8), affine),
        interpolation="nearest",
        force_resample=True,
        copy_header=True,
    )
    apart = "" if own == their else f"; {own} and {their} space differ by some millimetres"
    say(f"{name}: resampled to the grid of {reference} by the nearest neighbour{apart}")
    return np.asarray(moved.dataobj).astype(np.int64).ravel()


def standard_space(name: str, image: Any) -> str | None:
    """Return "MNI" or "Talairach" if the name of an image or its header says so.

    The entity ``space-`` comes first; then the rest of the name, unless it is that of a subject's
    file; then the codes of sform and qform.
    """
    import nibabel

    entity = re.search(r"(?:^|_)space-([A-Za-z0-9]+)", name)
    if entity or not name.startswith("sub-"):
        match = SPACE.search(entity[1] if entity else name)
        if match or entity:
            return STANDARD[match[1].lower()] if match else None
    if not isinstance(image, nibabel.Nifti1Pair):
        return None
    codes = (int(image.header["sform_code"]), int(image.header["qform_code"]))
    return CODES.get(codes[0] or codes[1])


def _talairach(reference: Sequence[Path], say: Say) -> Labels:
    if kind(reference[0]) != "image":
        raise InputError(
            f"{reference[0]}: is no image, so nilearn's atlas does not fit; give one with --atlas"
        )
    need_package("nilearn", "fmri")
    from nilearn.datasets import fetch_atlas_talairach

    name = "nilearn's Talairach atlas"
    try:
        found = fetch_atlas_talairach("ba", verbose=0)
    except Exception as error:  # urllib, requests, zlib and nibabel each have their own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{name}: cannot be fetched ({reason}); give a label image with --atlas, and the names "
            "of its labels with --labels"
        ) from None
    values = image_on_reference(name, found.maps, "Talairach", reference[0], say)
    return Labels(name, values, dict(enumerate(map(str, found.labels))))


def _of_hemisphere(path: Path, reference: Path) -> Path:
    """Return the file beside ``path`` that is of the hemisphere of ``reference``."""
    own, their = HEMISPHERE.search(path.name), HEMISPHERE.search(reference.name)
    if own is None or their is None or own[1][0].lower() == their[1][0].lower():
        return path
    side = own[1].translate(str.maketrans("lrLR", "rlRL"))
    other = path.with_name(path.name[: own.start(1)] + side + path.name[own.end(1) :])
    if not other.is_file():
        raise InputError(f"{other}: no such file; {reference} needs it beside {path.name}")
    return other


def _load(path: Path) -> Any:
    import nibabel

    try:
        image = nibabel.load(path)
        if len(image.shape) < 3:
            raise ValueError(f"shape {image.shape}")
    except Exception as error:  # nibabel raises several kinds for a broken file
        raise InputError(f"{path}: is no readable image ({error})") from None
    return image


def _vertices(path: Path) -> NDArray[Any]:
    """Return what a GIFTI holds, (n_arrays, n_vertices)."""
    import nibabel

    try:
        image = nibabel.load(path)
        return np.stack([np.ravel(array.data) for array in image.darrays])
    except Exception as error:  # nibabel and expat each have their own
        raise InputError(f"{path}: is no readable GIFTI ({error})") from None


def _gifti_names(path: Path) -> dict[int, str] | None:
    if kind(path) != "surface":
        return None
    import nibabel

    try:
        names = nibabel.load(path).labeltable.get_labels_as_dict()
    except Exception as error:  # nibabel and expat each have their own
        raise InputError(f"{path}: is no readable GIFTI ({error})") from None
    return {int(key): str(name) for key, name in names.items()} or None


def _array(path: Path) -> NDArray[Any]:
    try:
        return np.atleast_2d(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: is no readable .npy file ({error})") from None


def _n_voxels(path: Path) -> int:
    if kind(path) == "image":
        return int(np.prod(_load(path).shape[:3]))
    return int((_vertices(path) if kind(path) == "surface" else _array(path)).shape[1])


def _same_size(
    values: NDArray[np.int64], path: Path, n_voxels: int, reference: Path
) -> NDArray[np.int64]:
    if len(values) != n_voxels:
        raise InputError(
            f"{path}: has {len(values)} labels; {reference} has {n_voxels} voxels or vertices"
        )
    return values


def _whole_numbers(values: NDArray[Any], name: object) -> NDArray[np.int64]:
    values = np.nan_to_num(values)
    if (values != np.rint(values)).any():
        raise InputError(f"{name}: holds fractions; expected labels or a mask of 0 and 1")
    return values.astype(np.int64)
