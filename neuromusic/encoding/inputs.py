"""The images and areas of all subjects of an encoding, checked before the work begins.

Nothing here imports torch, so a mask that does not fit is reported within seconds.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.files import as_path
from neuromusic.core.records import read_record
from neuromusic.design.events import EventsFile
from neuromusic.encoding.rois import Areas, Rois, read_areas
from neuromusic.fmri.bold import find_sidecar, read_voxels, varying_at_start
from neuromusic.fmri.scans import Scans, open_scans
from neuromusic.fmri.voxel_space import VoxelSpace

if TYPE_CHECKING:
    from neuromusic.training.trained import TrainedNetwork

log = logging.getLogger(__name__)


def check_trained(network: "TrainedNetwork | Path | str") -> None:
    """Raise InputError for a directory that is not a trained network, without opening it."""
    if isinstance(network, str | Path):
        record = read_record(as_path(network))
        if record is None or record.get("command") != "train":
            from neuromusic.training.trained import load_network

            load_network(network)  # says why


@dataclass(frozen=True)
class SubjectInputs:
    """The runs of one subject that can be used, and the area of each voxel of their images."""

    scans: Scans
    areas: Areas

    @property
    def voxels(self) -> NDArray[np.int64]:
        """Indices of the voxels that are in an area (n,)."""
        return np.flatnonzero(self.areas.label)

    def files(self) -> list[Path]:
        """Return the images of all runs, and the JSON files with their metadata."""
        images = [path for paths in self.scans.images.values() for path in paths]
        sidecars = {find_sidecar(paths[0]) for paths in self.scans.images.values()}
        return images + [path for path in sidecars if path is not None]


def open_subjects(
    events: Mapping[str, Sequence[EventsFile]], images: Path, rois: Rois, space: str | None
) -> dict[str, SubjectInputs]:
    """Open the images of all subjects and lay the areas on their voxels.

    Parameters
    ----------
    events : mapping
        Subject -> the events of its runs.
    images : Path
        Folder of the images.
    rois : Rois
        The voxels to encode.
    space : str or None
        The ``space-`` entity of the images.

    Raises InputError if a subject has too few runs that can be used, if the areas cannot be read or
    do not fit the images, or if no voxel in them varies in one of the runs.
    """
    opened: dict[str, SubjectInputs] = {}
    for subject, files in events.items():
        scans = open_scans(files, images, space)
        areas = _areas_of_same_space(opened.values(), scans.space, rois)
        opened[subject] = SubjectInputs(scans, areas or read_areas(rois, scans.space))
    for inputs in opened.values():
        for line in inputs.scans.left_out:
            log.warning("left out: %s", line)
        _check_voxels_vary(inputs)
    return opened


def _areas_of_same_space(
    opened: Iterable[SubjectInputs], space: VoxelSpace, rois: Rois
) -> Areas | None:
    """Return the areas of a subject whose images have the same voxels, if there is one.

    The voxels of the region "whole" depend on the subject.
    """
    if rois.roi == "whole":
        return None
    return next((each.areas for each in opened if each.scans.space.matches(space)), None)


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
