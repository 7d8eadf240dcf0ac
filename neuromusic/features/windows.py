"""Where windows are cut: their starts, those with sound, and the cut itself.

A window never contains padding: it lies within the valid frames of a clip. Only a sound that is
shorter than one window, which `predict` and `encode --sounds` accept, is repeated to fill one.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # commands that only use NumPy need not import torch
    from torch import Tensor


def window_starts(n_frames: int, window: int, hop: int) -> list[int]:
    """Return the starts of windows that together cover ``n_frames`` frames.

    One every ``hop`` frames from 0, and a last one that ends with the last frame, if those leave
    frames uncovered. Empty if a window is longer than ``n_frames``.
    """
    if window > n_frames:
        return []
    starts = list(range(0, n_frames - window + 1, hop))
    if starts[-1] + window < n_frames:
        starts.append(n_frames - window)
    return starts


def windows_with_sound(has_sound: NDArray[np.bool_], window: int) -> NDArray[np.bool_]:
    """Return for each possible start whether its window contains a frame with sound.

    ``has_sound`` (..., n_frames), see `frontends.base.frames_with_sound`; the result has the shape
    (..., n_frames - window + 1).
    """
    count = np.zeros((*has_sound.shape[:-1], has_sound.shape[-1] + 1), dtype=np.int64)
    np.cumsum(has_sound, axis=-1, out=count[..., 1:])
    return count[..., window:] > count[..., :-window]


def starts_with_sound(has_sound: NDArray[np.bool_], window: int, hop: int) -> list[int]:
    """Return those `window_starts` of frames (n_frames,) whose window contains sound."""
    with_sound = windows_with_sound(has_sound, window)
    return [start for start in window_starts(len(has_sound), window, hop) if with_sound[start]]


def cut_windows(
    features: NDArray[np.float32],
    window: int,
    hop: int,
    has_sound: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float32], list[int]]:
    """Cut features (bands, n_frames) into windows (n, bands, window) float32; return their starts.

    A clip shorter than one window is repeated until it fills one. With ``has_sound`` (n_frames,),
    windows without any sound are left out.
    """
    if features.shape[1] < window:
        repeats = -(-window // features.shape[1])
        features = np.tile(features, (1, repeats))[:, :window]
        has_sound = None if has_sound is None else np.tile(has_sound, repeats)[:window]
    if has_sound is None:
        starts = window_starts(features.shape[1], window, hop)
    else:
        starts = starts_with_sound(has_sound, window, hop)
    cut = [features[:, start : start + window] for start in starts]
    return np.array(cut, dtype=np.float32).reshape(-1, len(features), window), starts


def cut_windows_on_device(
    features: "Tensor", rows: "Tensor", starts: "Tensor", window: int
) -> "Tensor":
    """Cut one window per (row, start), (batch, bands, window) float32, from a tensor of all rows.

    ``features`` (n_rows, bands, n_frames); ``rows`` and ``starts`` (batch,) on the same device.
    """
    # Indexing a view of all possible windows copies only those of the batch, in one operation.
    return features.unfold(2, window, 1)[rows, :, starts].float()
