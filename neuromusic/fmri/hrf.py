"""The haemodynamic response function on the scanner's time grid."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.design import grid

HrfName = Literal["spm", "glover"]
HRF_NAMES: tuple[str, ...] = get_args(HrfName)
OVERSAMPLING = 1000  # steps per volume; nilearn's curve starts one step late


def hrf(name: HrfName, tr_s: float = grid.TR_S) -> NDArray[np.float64]:
    """Return the response (n_delays,) to one volume of steady sound, at the onset of each volume.

    This is the kernel for `volumes.convolved`: entry d is the integral of nilearn's SPM or Glover
    response, scaled to unit sum, over the volume that began d volumes earlier. Images are taken as
    acquired at the onset of their volume (nilearn's ``slice_time_ref=0``), so entry 0 is 0.

    Raises InputError for an unknown name.
    """
    from nilearn.glm import first_level

    if name not in HRF_NAMES:
        raise InputError(f"hrf={name!r}: is unknown; expected {' or '.join(HRF_NAMES)}")
    response = first_level.spm_hrf if name == "spm" else first_level.glover_hrf
    fine = np.asarray(response(tr_s, oversampling=OVERSAMPLING))
    integral = np.concatenate([[0.0], np.cumsum(fine)])[::OVERSAMPLING]
    return np.diff(integral, prepend=0.0)
