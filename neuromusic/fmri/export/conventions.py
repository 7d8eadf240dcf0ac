"""What the exports for SPM, FSL, AFNI and nilearn have in common, with the text of their sidecars.

In all of them the dummy is its own condition. Genres are complete even if clips are missing, and
anything from the network that has no value somewhere is left out and listed in the notes.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.design.timing import HIGH_PASS_HZ
from neuromusic.fmri import volumes
from neuromusic.fmri.activations import PROBABILITY
from neuromusic.fmri.export.scanner_run import DUMMY, Context, ScannerRun, fitted_runs, is_rest
from neuromusic.fmri.hrf import hrf

DUMMY_POLICY = (
    "The presentation that opens each run is the condition 'dummy' and is never part of its genre. "
    "Regressors of the network include it, because its sound still affects the response to trial 1."
)
LEVEL = (
    "Regressors are centred on {0} (without dummies and missing clips) before "
    "anything else, and are not centred again in each run; components have standard deviation 1 "
    "over {0}."
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


REST = {
    "zero": "Where no sound is played, everything is 0",
    "silence": "Where no sound is played, everything is the network's response to silence",
}


def grid_text(binning: str, rest: str | None) -> str:
    """Return the description of how frames and windows become volumes.

    ``rest`` is what stands for silence; None if there is none.
    """
    silence = (
        f" {REST[rest]}; a sound counts by the share of a volume that it fills." if rest else ""
    )
    return (
        f"volume v holds what sounds while v is acquired. {FRAMES[binning]}. Probabilities are the "
        "mean log-probability of the windows that overlap the volume, weighted by the overlap, "
        f"normalised.{silence}"
    )


def level_text(runs: Sequence[ScannerRun]) -> str:
    """Return the description of the level of the regressors."""
    rest = (
        " The probability is 0 in volumes of rest."
        if any(is_rest(run).any() for run in runs)
        else ""
    )
    return LEVEL.format(fitted_runs(runs)) + rest


def dummy_text(runs: Sequence[ScannerRun]) -> str:
    """Return the description of dummies."""
    if any(DUMMY in run.conditions for run in runs):
        return DUMMY_POLICY
    return "No presentation is a dummy."


def onsets_text(runs: Sequence[ScannerRun]) -> str:
    """Return the description of onsets."""
    text = "Onsets are in seconds after the first volume"
    onsets_s = set()
    for run in runs:
        of_trial = run.trials.set_index("trial")["onset_s"]
        onsets_s.add((of_trial.get(0), of_trial.get(1)))
    (dummy_s, first_s), *others = onsets_s
    if others or dummy_s is None or first_s is None:
        return f"{text}."
    return (
        f"{text}: the dummy is at {dummy_s:g} s, trial 1 at {first_s:g} s. Subtract {first_s:g} s "
        "if the dummy's volumes were removed from the images."
    )


def of_runs(runs: Sequence[ScannerRun], function: Callable[[ScannerRun], Any]) -> Any:
    """Return a value that all runs have, or stem -> the value of each run."""
    values = {run.stem: function(run) for run in runs}
    first = values[runs[0].stem]
    return first if all(value == first for value in values.values()) else values


def no_classes(runs: Sequence[ScannerRun], what: str) -> list[str]:
    """Return a note if no run has a class, with what a format leaves out for that reason."""
    if any(name != DUMMY for run in runs for name in run.conditions):
        return []
    return [f"the experiment has no classes, so {what}"]


def convolution_text(context: Context) -> str:
    """Return the description of `convolved_regressors`."""
    return (
        f"Regressors are convolved with the {context.hrf} response of unit sum, at the times that "
        f"the images stand for (slice_time_ref {context.slice_time_ref:g}); do not convolve them "
        "again."
    )


def analysis_text(context: Context, high_pass: str, runs: Sequence[ScannerRun]) -> dict[str, Any]:
    """Return the entries of a sidecar on the images' times and the drift, with its setting."""
    tr_s = {run.tr_s for run in runs}
    tr_text = f"{tr_s.pop():g} s" if len(tr_s) == 1 else "the run's RepetitionTime"
    return {
        "SliceTimeRef": context.slice_time_ref,
        "ImageTimes": (
            f"The image of volume v stands for the time (v + {context.slice_time_ref:g}) x "
            f"{tr_text} after the first volume began (nilearn's slice_time_ref)."
        ),
        "HighPassHz": HIGH_PASS_HZ,
        "HighPass": " ".join([high_pass, *context.high_pass_note]),
    }


def convolved_regressors(frame: pd.DataFrame, context: Context, tr_s: float) -> pd.DataFrame:
    """Convolve the regressors of one run with the haemodynamic response, (n_volumes, columns)."""
    kernel = _kernel(context.hrf, tr_s, context.slice_time_ref)
    values = volumes.convolved(frame.to_numpy(np.float64), kernel)
    return pd.DataFrame(values, columns=frame.columns)


_kernel = functools.cache(hrf)  # the same for every run and stage


def file_label(group: str) -> str:
    """Return the part of a file name that stands for a group of regressors."""
    return group if group == PROBABILITY else f"stage-{group}"


def varies(values: NDArray[np.float64]) -> bool:
    """Return whether values differ by more than rounding error."""
    return len(values) > 1 and bool(np.ptp(values) > 1e-9 * max(1.0, np.abs(values).max()))
