"""Regions of interest: which voxel or vertex of the images lies in which area."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, did_you_mean
from neuromusic.core.progress import Say
from neuromusic.encoding.atlas import NOT_HUMAN, Labels, on_reference, read_labels, varies
from neuromusic.models import cortex

# Area -> Brodmann numbers, as the cortical networks have them.
AREAS: dict[str, tuple[int, ...]] = {area.name: area.brodmann for area in cortex.AREAS}
WORDS = ("auditory", "all", "whole")
BRODMANN = re.compile(
    r"(?<![a-z])(?:brodmann(?:[ ._-]*area)?|ba)[ ._-]*0*(\d{1,2})(?!\d|\s*[/,+&-]\s*\d)", re.I
)
SIDES = {"left": "l", "lh": "l", "l": "l", "right": "r", "rh": "r", "r": "r"}


@dataclass(frozen=True)
class Areas:
    """Areas by name and the area of every voxel, in the order of the images.

    ``label`` (n_voxels,) is 0 outside and n inside ``names[n - 1]``. Voxels of an image are in C
    order; vertices are hemisphere after hemisphere.
    """

    names: list[str]
    label: NDArray[np.int64]

    def voxels(self, name: str) -> NDArray[np.int64]:
        """Return the indices of an area's voxels (n,)."""
        return np.flatnonzero(self.label == self.names.index(name) + 1)


def read_areas(
    roi: str, atlas: Path | None, table: Path | None, reference: Sequence[Path], say: Say
) -> Areas:
    """Return the areas that a word or file asks for, on the voxels of the images.

    Parameters
    ----------
    roi : str
        "auditory": `AREAS` in an atlas, those without a voxel left out and told of. "all": every
        label of the atlas, by its name. "whole": all voxels that are finite and vary, one area. Or
        a mask file, one area with the name of the file.
    atlas : Path or None
        Label image (NIfTI, or whatever nibabel reads), for surfaces a label GIFTI of either
        hemisphere beside that of the other, or .npy with a label for every voxel. None: the
        Brodmann areas of nilearn's Talairach atlas, which it downloads once.
    table : Path or None
        .tsv or .csv with the columns index and name. None: the .tsv of the same name beside the
        atlas, or the label table of a GIFTI.
    reference : sequence of Path
        One image (3-D or 4-D), one .npy (n_vol, n_voxels), or a GIFTI for each hemisphere.
    say : callable
        Is told what was resampled, taken for granted or found empty.

    Raises InputError, naming the files, for another space or number of voxels, for files that
    cannot be read, and where nothing is left.
    """
    if roi in ("auditory", "all"):
        return _atlas_areas(roi, read_labels(atlas, table, reference, say), say)
    if atlas or table:
        raise InputError(f"--roi {roi}: takes no atlas; give it with --roi auditory or --roi all")
    if roi == "whole":
        inside = np.concatenate([varies(path) for path in reference])
        if not inside.any():
            raise InputError(f"{reference[0]}: no voxel in it varies")
        return Areas(["whole"], inside.astype(np.int64))
    path = Path(roi)
    if not path.is_file():
        raise InputError(
            f"--roi {roi}: no such file, and none of {', '.join(WORDS)}{did_you_mean(roi, WORDS)}"
        )
    inside = on_reference(path, reference, say)
    found = np.unique(inside[inside != 0])
    if len(found) > 1:
        raise InputError(
            f"{path}: is no mask, it holds {len(found)} labels; give it as --atlas with --roi all"
        )
    if not len(found):
        raise InputError(f"{path}: the mask is empty on the voxels of {reference[0]}")
    return Areas([path.name.split(".")[0]], (inside != 0).astype(np.int64))


def _atlas_areas(roi: str, labels: Labels, say: Say) -> Areas:
    present = [int(value) for value in np.unique(labels.values) if value != 0]
    names = labels.names
    if roi == "auditory":
        if names is None:
            names = _as_brodmann(labels, say)
        areas = {name: [v for v in present if area_of(names.get(v, "")) == name] for name in AREAS}
    else:
        areas = {}
        for value in present:
            areas.setdefault((names or {}).get(value, str(value)), []).append(value)
    empty = [name for name, values in areas.items() if not values]
    left = [name for name in areas if name not in empty]
    if not left:
        raise InputError(
            f"{labels.source}: none of its labels on the voxels of the images is "
            + (f"of {', '.join(AREAS)}" if roi == "auditory" else "above 0")
            + "; see whether atlas and images overlap, and how --labels names the areas"
        )
    if empty:
        say(f"{labels.source}: no voxel of the images lies in {', '.join(empty)}")
    out = np.zeros(len(labels.values), np.int64)
    for index, name in enumerate(left, start=1):
        out[np.isin(labels.values, areas[name])] = index
    return Areas(left, out)


def _as_brodmann(labels: Labels, say: Say) -> dict[int, str]:
    found = set(np.unique(labels.values).tolist()) - {0}
    if not found <= set(range(1, 53)) - NOT_HUMAN:
        raise InputError(
            f"{labels.source}: its labels are no Brodmann numbers; say what they are with --labels "
            "(a .tsv with the columns index and name)"
        )
    say(f"{labels.source}: has no table; its labels are taken for Brodmann numbers")
    return {value: str(value) for value in found}


def area_of(name: str) -> str | None:
    """Return which of `AREAS` a label's name means, if any.

    By Brodmann number ("Brodmann area 41", "BA41", "41") or by the area's own name ("A1", "T2/T3"),
    of either hemisphere.
    """
    words = [word.lower() for word in re.split(r"[^A-Za-z0-9]+", name) if word]
    plain = "".join(word for word in words if word not in SIDES and word != "roi")
    for area in AREAS:
        if plain == area.lower():
            return area
    match = BRODMANN.search(name)
    number = int(match[1]) if match else int(plain) if re.fullmatch(r"\d{1,2}", plain) else None
    return next((area for area, numbers in AREAS.items() if number in numbers), None)


# --- Files --------------------------------------------------------------------------------------
