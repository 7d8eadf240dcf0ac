"""Listen: from log-mel or sound files to log-probabilities, and to the volumes of a clip."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from neuromusic import audio, timing
from neuromusic.errors import InputError
from neuromusic.models import Network
from neuromusic.rundir import Run

BATCH = 64
BLOCK_S = 60.0  # a long file is heard in pieces of this length


def windows_of(
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
    every = timing.window_starts(features.shape[1], window, hop)
    starts = every
    if sounds is not None:
        heard = timing.windows_with_sound(sounds, window)
        starts = [start for start in every if heard[start]]
    cut = [features[:, start : start + window] for start in starts]
    return np.array(cut, dtype=np.float32).reshape(-1, len(features), window), starts


@torch.no_grad()
def log_probabilities(network: Network, windows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (n, classes) log-probabilities for windows (n, mels, frames) in dB."""
    device = network.band_mean.device
    parts = [
        torch.log_softmax(network(torch.from_numpy(windows[i : i + BATCH]).to(device)).double(), 1)
        for i in range(0, len(windows), BATCH)
    ]
    return torch.cat(parts).cpu().numpy()


def pool_windows(log_p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a clip's log-probabilities: the mean over its windows (n, classes), normalised."""
    mean = log_p.mean(axis=0)
    return mean - np.logaddexp.reduce(mean)


def heard_blocks(path: Path, run: Run) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """Yield a sound file as a run hears it in pieces of about a minute, so any length will do.

    Raises InputError for a file without sound.
    """
    spec = run.network.spec
    least = round(spec.n_frames * spec.frame_s * audio.RATE_HZ)
    held = np.zeros(0, np.float32)
    heard = False
    for block in audio.blocks(path, BLOCK_S):
        if not np.isfinite(block).all():
            raise InputError(f"{path}: holds NaN or infinite samples; write it again")
        heard = heard or bool(block.any())
        # A piece waits for the next, so that a short rest at the end joins the one before.
        if len(held) >= BLOCK_S * audio.RATE_HZ and len(block) >= least:
            yield run.hear(held)
            held = block
        else:
            held = np.concatenate([held, block])
    if not heard:
        raise InputError(f"{path}: is {'silent' if len(held) else 'empty'}; expected sound")
    yield run.hear(held)


def predict_file(path: Path, run: Run) -> NDArray[np.float64]:
    """Return the log-probabilities (classes,) of one sound file of any length and rate.

    Windows of silence alone do not count. Raises InputError for a file without sound.
    """
    parts = []
    for features, sounds in heard_blocks(path, run):
        windows, _ = windows_of(features, run.network.spec.n_frames, run.hop_frames, sounds)
        if len(windows):
            parts.append(log_probabilities(run.network, windows))
    if not parts:
        raise InputError(f"{path}: nothing in it is loud enough to be heard; expected sound")
    return pool_windows(np.concatenate(parts))


def prediction_table(
    names: pd.DataFrame, log_p: NDArray[np.float64], classes: list[str]
) -> pd.DataFrame:
    """Join ``names`` (rows) with predicted, probability and one column a class, from log_p."""
    p = np.exp(log_p)
    best = p.argmax(axis=1)
    table = names.reset_index(drop=True).assign(
        predicted=np.array(classes)[best], probability=p.max(axis=1)
    )
    return pd.concat([table, pd.DataFrame(p, columns=classes)], axis=1)


@torch.no_grad()
def clip_volumes(
    network: Network,
    features: NDArray[np.float32],
    hop: int,
    binning: str = "mean",
    n_vol: int = timing.VOLUMES_PER_CLIP,
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float32]]]:
    """Return what a network makes of one clip (mels, frames), on the volumes of its presentation.

    Probabilities (n_vol, classes): for each volume the mean log-probability of the windows that
    overlap it, weighted by the overlap, normalised. Activations: stage -> (n_vol, units) float32,
    the mean of the frames (of all windows) whose centre lies inside the volume, or with ``binning``
    "lanczos" their value in its middle; units are channels x bands, flattened. NaN where a clip
    ends before a volume, or its middle.
    """
    into_volumes = timing.BINNINGS[binning]
    spec = network.spec
    windows, starts = windows_of(features, spec.n_frames, hop)
    device = network.band_mean.device
    totals: dict[str, NDArray[np.float64]] = {}
    counts: dict[str, NDArray[np.floating]] = {}
    log_p = np.zeros((n_vol, spec.n_classes))
    weight = np.zeros(n_vol)
    edges_s = np.arange(n_vol) * timing.TR_S
    for first in range(0, len(windows), BATCH):
        batch = torch.from_numpy(windows[first : first + BATCH]).to(device)
        active = network.activations(batch)
        logits = network.readout(active)
        window_log_p = torch.log_softmax(logits.double(), 1).cpu().numpy()
        stages = {s.name: active[s.name].flatten(1, -2).cpu().numpy() for s in network.stages}
        for index, start in enumerate(starts[first : first + BATCH]):
            begin_s, end_s = start * spec.frame_s, (start + spec.n_frames) * spec.frame_s
            overlap = np.minimum(edges_s + timing.TR_S, end_s) - np.maximum(edges_s, begin_s)
            overlap = overlap.clip(min=0)
            log_p += overlap[:, None] * window_log_p[index]
            weight += overlap
            for stage in network.stages:
                frames = stages[stage.name][index].T  # (time, units)
                centre = start + np.arange(len(frames)) * stage.pool + stage.centre
                total, count = into_volumes(frames, centre * spec.frame_s, n_vol)
                totals[stage.name] = totals.get(stage.name, 0) + total
                counts[stage.name] = counts.get(stage.name, 0) + count
    if binning == "lanczos":  # beyond the end only the tails of the kernel are left
        over = edges_s + timing.TR_S / 2 > features.shape[1] * spec.frame_s
        counts = {name: np.where(over, np.nan, count) for name, count in counts.items()}
    with np.errstate(invalid="ignore"):
        log_p /= weight[:, None]
        means = {
            name: (total / counts[name][:, None]).astype(np.float32)
            for name, total in totals.items()
        }
        log_p -= np.logaddexp.reduce(log_p, axis=1, keepdims=True)
    return np.exp(log_p), means
