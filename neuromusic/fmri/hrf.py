"""The haemodynamic response on the scanner's grid."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.design import grid

Name = Literal["spm", "glover"]
NAMES: tuple[str, ...] = get_args(Name)
OVERSAMPLING = 1000  # steps in a volume; nilearn's curve begins one step late


def hrf(name: Name, tr_s: float = grid.TR_S) -> NDArray[np.float64]:
    """Return the response (n_delays,) to a volume of steady sound, at the onset of each volume.

    The kernel for `timing.convolved`: entry d is what nilearn's SPM or Glover response, with unit
    sum, has gathered over the volume that began d volumes before. Images are taken as acquired at
    the onset of their volume (nilearn's ``slice_time_ref=0``), so entry 0 is 0.

    Raises InputError for another name.
    """
    from nilearn.glm import first_level

    if name not in NAMES:
        raise InputError(f"hrf: {name!r} is unknown; expected one of {', '.join(NAMES)}")
    shape = first_level.spm_hrf if name == "spm" else first_level.glover_hrf
    fine = np.asarray(shape(tr_s, oversampling=OVERSAMPLING))
    gathered = np.concatenate([[0.0], np.cumsum(fine)])[::OVERSAMPLING]
    return np.diff(gathered, prepend=0.0)
