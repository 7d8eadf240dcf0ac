"""The scanner's time grid: volumes, presentations and the frames that fall into them."""

from collections.abc import Callable, Sequence

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


def mean_weights(
    centre_s: NDArray[np.floating], n_vol: int, tr_s: float = TR_S
) -> NDArray[np.float64]:
    """Return 1 where a frame's centre lies inside a volume, else 0: (n_vol, n_frames).

    Parameters
    ----------
    centre_s : (n_frames,)
        Time of each frame's centre in seconds after the first volume's onset.
    n_vol : int
        Number of volumes; volume v covers [v * tr_s, (v + 1) * tr_s).
    tr_s : float

    With frames (n_frames, units), ``weights @ frames / weights.sum(1)[:, None]`` is the mean of
    each volume. Frames outside the grid have no weight.
    """
    # The tolerance keeps a frame that lies on a border, up to rounding, in the later volume.
    volume = np.floor(np.asarray(centre_s, dtype=np.float64) / tr_s + 1e-9)
    return (volume == np.arange(n_vol)[:, None]).astype(np.float64)


def lanczos_weights(
    centre_s: NDArray[np.floating], n_vol: int, tr_s: float = TR_S, lobes: int = 3
) -> NDArray[np.float64]:
    """Weigh frames for a value in the middle of each volume, free of aliasing: (n_vol, n_frames).

    A Lanczos window over a sinc that cuts off at half the volumes' rate, as voxelwise models of
    natural speech use it (Huth et al. 2016, Nature 532, Methods). Arguments and use as for
    `mean_weights`.
    """
    middle = (np.arange(n_vol) + 0.5) * tr_s
    away = (middle[:, None] - np.asarray(centre_s, dtype=np.float64)) / tr_s  # in volumes
    return np.where(np.abs(away) < lobes, np.sinc(away) * np.sinc(away / lobes), 0.0)


# How frames become volumes, by name: the weight of each frame in each volume.
BINNINGS: dict[str, Callable[..., NDArray[np.float64]]] = {
    "mean": mean_weights,
    "lanczos": lanczos_weights,
}


def delayed(run: NDArray[np.floating], delays_tr: Sequence[int]) -> NDArray[np.floating]:
    """Return the volumes of one run, moved later by each delay, side by side.

    ``run`` (n_vol, units) becomes (n_vol, len(delays_tr) * units), the first delay first; what lies
    before the run is 0. Call it for every run by itself: nothing may cross a border between runs.
    Raises ValueError for a delay that is negative.
    """
    if min(delays_tr) < 0:
        raise ValueError(f"delays_tr {list(delays_tr)}: a response cannot precede its sound")
    n_vol, units = run.shape
    out = np.zeros((n_vol, len(delays_tr), units), dtype=run.dtype)
    for index, delay in enumerate(delays_tr):
        out[delay:, index] = run[: max(0, n_vol - delay)]
    return out.reshape(n_vol, -1)


def convolved(run: NDArray[np.floating], kernel: NDArray[np.floating]) -> NDArray[np.float64]:
    """Convolve the volumes of one run (n_vol, units) with a response (n_delays,), causally.

    ``kernel[d]`` is the response d volumes after; see `fmri.hrf`. Nothing crosses the run's end.
    """
    out = np.zeros(run.shape)
    for delay, height in enumerate(kernel[: len(run)]):
        out[delay:] += height * run[: len(run) - delay]
    return out


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
