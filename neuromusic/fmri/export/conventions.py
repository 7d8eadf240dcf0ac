"""Designs for general linear models as SPM, FSL, AFNI and nilearn read them.

In all of them the dummy is a condition of its own, genres are complete even where the network lacks
a clip, and what comes from the network is left out, by name, where it has no value.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.design import grid
from neuromusic.fmri import volumes
from neuromusic.fmri.export.scanner_run import Context
from neuromusic.fmri.hrf import hrf

ONSETS = (
    "Onsets are seconds after the first volume; the dummy is at 0, trial 1 at "
    f"{grid.trial_onset_s(1):g} s. Take {grid.trial_onset_s(1):g} s off where the dummy's "
    "volumes have been removed from the images."
)
DUMMY_POLICY = (
    "The presentation that opens each run is the condition 'dummy', never part of its genre. "
    "Regressors of the network run through it, since what was heard then still shapes the "
    "response to trial 1."
)
LEVEL = (
    "Regressors are centred on the training runs (dummy and missing clips excluded) before "
    "anything else, and not centred again in each run; components have deviation 1 there."
)
NO_VALUE = "the modulator has no value at some trials"
NO_RESPONSE = "No delay and no haemodynamic response is applied."


def _convolution(context: Context) -> str:
    return (
        f"Regressors are convolved with the {context.hrf} response of unit sum, each volume taken "
        "as acquired at its onset; they are not to be convolved again."
    )


def _convolved(frame: pd.DataFrame, context: Context) -> pd.DataFrame:
    values = volumes.convolved(frame.to_numpy(np.float64), hrf(context.hrf))
    return pd.DataFrame(values, columns=frame.columns)


def _label(group: str) -> str:
    """Return how a group of regressors is called in a file's name."""
    return group if group == "probability" else f"stage-{group}"


def _varies(values: NDArray[np.float64]) -> bool:
    return len(values) > 1 and bool(np.ptp(values) > 1e-9 * max(1.0, np.abs(values).max()))


FRAMES = {
    "mean": "A frame belongs to the volume in which its centre lies; a volume is the mean of its "
    "frames",
    "lanczos": "A volume is the value in its middle of the frames without what is faster than half "
    "the volumes' rate (Lanczos kernel of three lobes)",
}


NO_DELAY = "No delay and no haemodynamic response is applied"


def grid_text(binning: str) -> str:
    """Return how volumes are filled, for the sidecars."""
    return (
        f"volume v holds what sounds while v is acquired. {FRAMES[binning]}. Probabilities are the "
        "mean log-probability of the windows that overlap the volume, weighted by the overlap, "
        "normalised."
    )
