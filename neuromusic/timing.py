"""The scanner's time grid: volumes, presentations and the frames that fall into them."""

import numpy as np
from numpy.typing import NDArray

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


def sum_into_volumes(
    frames: NDArray[np.floating],
    centre_s: NDArray[np.floating],
    n_vol: int,
    tr_s: float = TR_S,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Add up the frames whose centre lies inside each volume.

    Parameters
    ----------
    frames : (n_frames, units)
    centre_s : (n_frames,)
        Time of each frame's centre in seconds after the first volume's onset.
    n_vol : int
        Number of volumes; volume v covers [v * tr_s, (v + 1) * tr_s).
    tr_s : float

    Returns
    -------
    total : (n_vol, units) float64
    count : (n_vol,) int64
        Frames in each volume; ``total / count`` is the mean. Frames outside the grid are left out.
    """
    frames = np.asarray(frames)
    # The tolerance keeps a frame that lies on a border, up to rounding, in the later volume.
    volume = np.floor(np.asarray(centre_s, dtype=np.float64) / tr_s + 1e-9).astype(np.int64)
    inside = (volume >= 0) & (volume < n_vol)
    total = np.zeros((n_vol, frames.shape[1]))
    np.add.at(total, volume[inside], frames[inside])
    return total, np.bincount(volume[inside], minlength=n_vol)


def window_starts(n_frames: int, window: int, hop: int) -> list[int]:
    """Return the starts of the windows that cover ``n_frames`` frames without any padding.

    Every ``hop`` frames from 0, and one more flush with the end where those leave frames over.
    Empty if the window is longer than what there is.
    """
    if window > n_frames:
        return []
    starts = list(range(0, n_frames - window + 1, hop))
    if starts[-1] + window < n_frames:
        starts.append(n_frames - window)
    return starts


def windows_with_sound(sounds: NDArray[np.bool_], window: int) -> NDArray[np.bool_]:
    """Say for every start (..., n_frames - window + 1) whether its window holds a frame of sound.

    ``sounds`` (..., n_frames) says which frames hold sound; see `features.sounding`.
    """
    heard = np.zeros((*sounds.shape[:-1], sounds.shape[-1] + 1), dtype=np.int64)
    np.cumsum(sounds, axis=-1, out=heard[..., 1:])
    return heard[..., window:] > heard[..., :-window]
