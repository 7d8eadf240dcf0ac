"""The scanner's time grid: the onset and the first volume of every trial.

Constants are those of the experiment (`neuromusic.design.experiment`).
"""

from neuromusic.design.experiment import DS003720

TR_S = DS003720.tr_s
CLIP_S = DS003720.clip_s
VOLUMES_PER_CLIP = DS003720.volumes_per_clip
HIGH_PASS_HZ = 1 / 256  # a test run repeats itself every 150 s: 1/128 Hz would remove signal


def n_volumes(n_trials: int) -> int:
    """Return the number of volumes of a run: ``n_trials`` trials and the dummy (410 for 40)."""
    return DS003720.n_volumes(n_trials)


def trial_onset_s(trial: int) -> float:
    """Return the onset of a trial in seconds after the first volume; trial 0 is the dummy."""
    return trial * CLIP_S


def first_volume(trial: int) -> int:
    """Return the index (from 0) of the first volume of a trial; trial 0 is the dummy."""
    return trial * VOLUMES_PER_CLIP
