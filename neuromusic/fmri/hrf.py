"""The haemodynamic response function on the scanner's time grid."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError

HrfName = Literal["spm", "glover"]
HRF_NAMES: tuple[str, ...] = get_args(HrfName)
OVERSAMPLING = 1000  # steps per volume; nilearn's curve starts one step late


def hrf(name: HrfName, tr_s: float, slice_time_ref: float = 0.0) -> NDArray[np.float64]:
    """Return the response (n_delays,) to one volume of steady sound, at the time of each volume.

    This is the kernel for `volumes.convolved`: entry d is the integral of nilearn's SPM or Glover
    response, scaled to unit sum, over the volume that began d volumes earlier, as far as that
    volume lies before the time that the image stands for.

    Parameters
    ----------
    name : {"spm", "glover"}
        Response of nilearn (`spm_hrf`, `glover_hrf`).
    tr_s : float
        Repetition time in seconds.
    slice_time_ref : float
        The image of volume v stands for the time (v + slice_time_ref) * tr_s, as in nilearn's
        `FirstLevelModel`. With 0, its onset, entry 0 is 0.

    Raises
    ------
    InputError
        If the name is unknown, or ``slice_time_ref`` is not between 0 and 1.
    """
    from nilearn.glm import first_level

    if name not in HRF_NAMES:
        raise InputError(f"hrf={name!r}: is unknown; expected {' or '.join(HRF_NAMES)}")
    if not 0 <= slice_time_ref <= 1:
        raise InputError(f"slice_time_ref={slice_time_ref}: expected a number from 0 to 1")
    response = first_level.spm_hrf if name == "spm" else first_level.glover_hrf
    fine = np.asarray(response(tr_s, oversampling=OVERSAMPLING))
    integral = np.concatenate([[0.0], np.cumsum(fine)])
    step = np.arange(len(integral))
    times = step[::OVERSAMPLING] + slice_time_ref * OVERSAMPLING
    return np.diff(np.interp(times, step, integral), prepend=0.0)
