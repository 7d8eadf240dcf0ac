"""What the exports for SPM, FSL, AFNI and nilearn have in common, with the text of their sidecars.

In all of them the dummy is its own condition. Genres are complete even if clips are missing, and
anything from the network that has no value somewhere is left out and listed in the notes.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.design import grid
from neuromusic.fmri import volumes
from neuromusic.fmri.activations import PROBABILITY
from neuromusic.fmri.export.scanner_run import Context
from neuromusic.fmri.hrf import hrf

ONSETS = (
    "Onsets are in seconds after the first volume: the dummy is at 0 s, trial 1 at "
    f"{grid.trial_onset_s(1):g} s. Subtract {grid.trial_onset_s(1):g} s if the dummy's volumes "
    "were removed from the images."
)
DUMMY_POLICY = (
    "The presentation that opens each run is the condition 'dummy' and is never part of its genre. "
    "Regressors of the network include it, because its sound still affects the response to trial 1."
)
LEVEL = (
    "Regressors are centred on the training runs (without dummies and missing clips) before "
    "anything else, and are not centred again in each run; components have standard deviation 1 "
    "over the training runs."
)
NO_VALUE = "the modulator has no value in some trials"

# These sentences are also stored in .mat and .h5 files, so other words would change their hashes.
NO_RESPONSE = "No delay and no haemodynamic response is applied"
FRAMES = {
    "mean": "A frame belongs to the volume in which its centre lies; a volume is the mean of its "
    "frames",
    "lanczos": "A volume is the value in its middle of the frames without what is faster than half "
    "the volumes' rate (Lanczos kernel of three lobes)",
}


def grid_text(binning: str) -> str:
    """Return the description of how frames and windows become volumes."""
    return (
        f"volume v holds what sounds while v is acquired. {FRAMES[binning]}. Probabilities are the "
        "mean log-probability of the windows that overlap the volume, weighted by the overlap, "
        "normalised."
    )


def convolution_text(context: Context) -> str:
    """Return the description of `convolved_regressors`."""
    return (
        f"Regressors are convolved with the {context.hrf} response of unit sum, at the times that "
        f"the images stand for (slice_time_ref {context.slice_time_ref:g}); do not convolve them "
        "again."
    )


def analysis_text(context: Context, high_pass: str) -> dict[str, Any]:
    """Return the entries of a sidecar on the images' times and the drift, with its setting."""
    return {
        "SliceTimeRef": context.slice_time_ref,
        "ImageTimes": (
            f"The image of volume v stands for the time (v + {context.slice_time_ref:g}) x "
            f"{grid.TR_S:g} s after the first volume began (nilearn's slice_time_ref)."
        ),
        "HighPassHz": grid.HIGH_PASS_HZ,
        "HighPass": (
            f"{high_pass} A test run repeats itself every 150 s: a cutoff of 100 s would remove "
            "more than a fifth of the variance of the genres."
        ),
    }


def convolved_regressors(frame: pd.DataFrame, context: Context) -> pd.DataFrame:
    """Convolve the regressors of one run with the haemodynamic response, (n_volumes, columns)."""
    kernel = hrf(context.hrf, slice_time_ref=context.slice_time_ref)
    values = volumes.convolved(frame.to_numpy(np.float64), kernel)
    return pd.DataFrame(values, columns=frame.columns)


def file_label(group: str) -> str:
    """Return the part of a file name that stands for a group of regressors."""
    return group if group == PROBABILITY else f"stage-{group}"


def varies(values: NDArray[np.float64]) -> bool:
    """Return whether values differ by more than rounding error."""
    return len(values) > 1 and bool(np.ptp(values) > 1e-9 * max(1.0, np.abs(values).max()))
