"""The scanner's time grid: volumes, presentations and the frames that fall into them."""

TR_S = 1.5  # repetition time of ds003720
CLIP_S = 15.0  # length of one presentation
VOLUMES_PER_CLIP = 10  # CLIP_S / TR_S


def n_volumes(n_trials: int) -> int:
    """Return the volumes of a run of ``n_trials`` trials and its dummy lead-in (410 for 40)."""
    return (n_trials + 1) * VOLUMES_PER_CLIP


def trial_onset_s(trial: int) -> float:
    """Return the onset in seconds after the first volume; trial 0 is the dummy."""
    return trial * CLIP_S


def first_volume(trial: int) -> int:
    """Return the index (from 0) of the first volume of a trial; trial 0 is the dummy."""
    return trial * VOLUMES_PER_CLIP
