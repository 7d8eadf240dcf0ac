"""The images and areas of all subjects of an encoding, checked before the work begins.

Nothing here imports torch, so a mask that does not fit is reported within seconds.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, did_you_mean
from neuromusic.core.files import as_path
from neuromusic.core.folders import why_no_file
from neuromusic.core.records import NETWORK_COMMANDS, read_record
from neuromusic.design.bids import BidsIndex
from neuromusic.design.presentations import Design
from neuromusic.encoding.rois import Areas, Rois, read_areas
from neuromusic.fmri.bold import read_voxels, sidecars_of, varying_at_start
from neuromusic.fmri.confounds import common_brain_mask, confounds_table
from neuromusic.fmri.scans import ImageChoice, Scans, open_scans
from neuromusic.fmri.voxel_space import VoxelSpace

if TYPE_CHECKING:
    from neuromusic.models.applied import AppliedNetwork
    from neuromusic.models.external import External

log = logging.getLogger(__name__)


def check_network(network: "AppliedNetwork | External | Path | str") -> None:
    """Raise InputError for a name or path that is no network, without opening it."""
    if not isinstance(network, str | Path) or as_path(network).is_dir():
        check_trained(network)
        return
    path = Path(network)
    if path.suffix == ".py" and not path.is_file():
        raise InputError(f"{path}: {why_no_file(path)}")
    if path.suffix == ".py" or ":" in path.name:  # loaded later: this needs torch
        return
    from neuromusic.models.loading import external_names, is_external

    if not is_external(network):
        try:
            check_trained(network)
        except InputError as error:
            raise InputError(f"{error}{did_you_mean(str(network), external_names())}") from None


def check_trained(network: object) -> None:
    """Raise InputError for a directory that is not a trained network, without opening it."""
    if isinstance(network, str | Path):
        record = read_record(as_path(network))
        if record is None or record.get("command") not in NETWORK_COMMANDS:
            from neuromusic.training.trained import load_network

            load_network(network)  # says why


@dataclass(frozen=True)
class SubjectInputs:
    """The runs of one subject that can be used, and the area of each voxel of their images."""

    scans: Scans
    areas: Areas
    more_files: list[Path]  # JSON files, confounds and brain masks of the images
    is_whole: bool = True  # the areas are not limited by brain masks

    @property
    def voxels(self) -> NDArray[np.int64]:
        """Indices of the voxels that are in an area (n,)."""
        return np.flatnonzero(self.areas.label)

    def files(self) -> list[Path]:
        """Return the images of all runs, and the files beside them that were used."""
        return [path for paths in self.scans.images.values() for path in paths] + self.more_files


def open_subjects(
    design: Design, index: BidsIndex, rois: Rois, choice: ImageChoice
) -> dict[str, SubjectInputs]:
    """Open the images of all subjects and lay the areas on their voxels.

    Parameters
    ----------
    design : Design
        The runs of all subjects.
    index : BidsIndex
        Folder of the images.
    rois : Rois
        The voxels to encode. If there are brain masks beside the images, as fMRIPrep writes them,
        voxels outside of them are left out.
    choice : ImageChoice
        Which images are read, and what is removed from them.

    Raises InputError if a subject has too few runs that can be used, if the areas cannot be read or
    do not fit the images, or if no voxel in them varies in one of the runs.
    """
    opened: dict[str, SubjectInputs] = {}
    for subject in design.subjects:
        scans = open_scans(design.of_subject(subject), index, choice)
        areas = _areas_of_same_space(opened.values(), scans.space, rois)
        areas = areas or read_areas(rois, scans.space)
        files = {path for each in scans.images.values() for path in sidecars_of(each, index)}
        if choice.confounds:
            tables = (confounds_table(each) for each in scans.images.values())
            files |= {table for table in tables if table is not None}
        mask = common_brain_mask(scans.images.values(), scans.space)
        if mask is not None:
            areas, n_outside = _inside(areas, mask[0])
            files |= set(mask[1])
            log.info("sub-%s: %d voxels of the areas are outside the brain mask of their images "
                     "and left out", subject, n_outside)  # fmt: skip
        opened[subject] = SubjectInputs(scans, areas, sorted(files), mask is None)
    for inputs in opened.values():
        for line in inputs.scans.left_out:
            log.warning("left out: %s", line)
        _check_voxels_vary(inputs)
    return opened


def _inside(areas: Areas, mask: NDArray[np.bool_]) -> tuple[Areas, int]:
    """Return areas without the voxels outside a mask (n_voxels,), and how many these are."""
    outside = (areas.label > 0) & ~mask
    return Areas(areas.names, np.where(mask, areas.label, 0)), int(outside.sum())


def _areas_of_same_space(
    opened: Iterable[SubjectInputs], space: VoxelSpace, rois: Rois
) -> Areas | None:
    """Return the areas of a subject whose images have the same voxels, if there is one.

    The voxels of the region "whole" depend on the subject.
    """
    if rois.roi == "whole":
        return None
    return next(
        (each.areas for each in opened if each.is_whole and each.scans.space.matches(space)), None
    )


def _check_voxels_vary(inputs: SubjectInputs) -> None:
    """Raise InputError for a run in which no voxel of the areas is finite and varies.

    Only the first volumes are read, unless no voxel varies in them.
    """
    for paths in inputs.scans.images.values():
        if varying_at_start(paths, inputs.voxels).any():
            continue
        series = read_voxels(paths, inputs.voxels)
        if not (np.isfinite(series).all(0) & (np.ptp(series, axis=0) > 0)).any():
            raise InputError(
                f"{paths[0]}: none of the {len(inputs.voxels)} voxels in "
                f"{', '.join(inputs.areas.names)} is finite and varies; check that the areas are "
                "inside the brain of these images"
            )
