"""TODO: docstring."""

import numpy as np
from numpy.typing import NDArray

from neuromusic.features import windows


def cut_windows(
    features: NDArray[np.float32], window: int, hop: int, sounds: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.float32], list[int]]:
    """Cut (mels, frames) into windows (n, mels, window) and their starts, without any padding.

    What is shorter than one window is repeated until it fills one. Given which frames hold sound
    (frames,), windows of silence alone are left out; see `features.sounding`.
    """
    if features.shape[1] < window:
        times = -(-window // features.shape[1])
        features = np.tile(features, (1, times))[:, :window]
        sounds = None if sounds is None else np.tile(sounds, times)[:window]
    every = windows.window_starts(features.shape[1], window, hop)
    starts = every
    if sounds is not None:
        heard = windows.windows_with_sound(sounds, window)
        starts = [start for start in every if heard[start]]
    cut = [features[:, start : start + window] for start in starts]
    return np.array(cut, dtype=np.float32).reshape(-1, len(features), window), starts


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
