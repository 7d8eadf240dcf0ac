"""Listen: from log-mel or sound files to log-probabilities, and to the volumes of a clip."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuromusic import audio, timing
from neuromusic.errors import InputError
from neuromusic.models import Network
from neuromusic.progress import track
from neuromusic.rundir import Run, best_device

BATCH = 64
BLOCK_S = 60.0  # a long file is heard in pieces of this length
MOST_THREADS = 8  # each holds the activations of a clip

T = TypeVar("T")
Made = TypeVar("Made")


def in_threads(function: Callable[[T], Made], items: Iterable[T]) -> Iterator[Made]:
    """Yield ``function(item)`` in order, computed side by side in a thread a core.

    torch keeps to one thread inside each, which is faster for the small networks and windows here
    than to share out every operation, and the result does not depend on the number of cores. Few
    items are held at a time.
    """
    workers = min(len(os.sched_getaffinity(0)), MOST_THREADS)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    begun: deque[Future[Made]] = deque()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for item in items:
                begun.append(pool.submit(function, item))
                if len(begun) > 2 * workers:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
    finally:
        torch.set_num_threads(threads)


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


@torch.inference_mode()
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


def pieces(path: Path, run: Run) -> Iterator[NDArray[np.float32]]:
    """Yield the samples of a sound file in pieces of about a minute, so any length will do.

    None is shorter than the run's window unless the file is. Raises InputError for a file without
    sound.
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
            yield held
            held = block
        else:
            held = np.concatenate([held, block])
    if not heard:
        raise InputError(f"{path}: is {'silent' if len(held) else 'empty'}; expected sound")
    yield held


def predict_files(paths: Sequence[Path], run: Run) -> NDArray[np.float64]:
    """Return the log-probabilities (files, classes) of sound files of any length and rate.

    Windows of silence alone do not count. Raises InputError for a file without sound.
    """
    run.network.to(best_device())

    def listen(piece: tuple[int, NDArray[np.float32]]) -> tuple[int, float, NDArray[np.float64]]:
        number, wave = piece
        features, sounds = run.hear(wave)
        windows, _ = windows_of(features, run.network.spec.n_frames, run.hop_frames, sounds)
        heard = log_probabilities(run.network, windows) if len(windows) else no_windows
        return number, len(wave) / audio.RATE_HZ, heard

    no_windows = np.zeros((0, len(run.classes)))
    total_s = sum(audio.duration_s(path) for path in paths)
    waves = ((number, wave) for number, path in enumerate(paths) for wave in pieces(path, run))
    parts: list[list[NDArray[np.float64]]] = [[] for _ in paths]
    done = track(
        in_threads(listen, waves), "predict, seconds", round(total_s), size=lambda made: made[1]
    )
    for number, _, log_p in done:
        parts[number].append(log_p)
    whole = [np.concatenate(each) for each in parts]
    for path, log_p in zip(paths, whole, strict=True):
        if len(log_p) == 0:
            raise InputError(f"{path}: nothing in it is loud enough to be heard; expected sound")
    return np.stack([pool_windows(log_p) for log_p in whole])


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


@torch.inference_mode()
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
    spec = network.spec
    windows, starts = windows_of(features, spec.n_frames, hop)
    at = np.array(starts)
    device = network.band_mean.device
    totals: dict[str, Tensor] = {}
    counts = {stage.name: np.zeros(n_vol) for stage in network.stages}
    window_log_p = []
    for first in range(0, len(windows), BATCH):
        active = network.activations(torch.from_numpy(windows[first : first + BATCH]).to(device))
        window_log_p.append(torch.log_softmax(network.readout(active).double(), 1))
        for stage in network.stages:
            frames = active[stage.name].movedim(-1, 1)  # (n, time, ...)
            centre = np.add.outer(
                at[first : first + BATCH], np.arange(frames.shape[1]) * stage.pool + stage.centre
            )
            weights = timing.BINNINGS[binning](centre.ravel() * spec.frame_s, n_vol)
            units = frames.to(torch.float64, memory_format=torch.contiguous_format).flatten(2)
            total = torch.from_numpy(weights).to(device) @ units.flatten(0, 1)
            totals[stage.name] = totals[stage.name] + total if first else total
            counts[stage.name] += weights.sum(1)
    # Seconds of each volume that each window overlaps, (n_vol, windows).
    begin_s, edges_s = at * spec.frame_s, np.arange(n_vol)[:, None] * timing.TR_S
    ends_s = np.minimum(edges_s + timing.TR_S, begin_s + spec.n_frames * spec.frame_s)
    overlap = (ends_s - np.maximum(edges_s, begin_s)).clip(min=0)
    if binning == "lanczos":  # beyond the end only the tails of the kernel are left
        over = edges_s[:, 0] + timing.TR_S / 2 > features.shape[1] * spec.frame_s
        counts = {name: np.where(over, np.nan, count) for name, count in counts.items()}
    with np.errstate(invalid="ignore"):
        log_p = overlap @ torch.cat(window_log_p).cpu().numpy() / overlap.sum(1, keepdims=True)
        means = {
            name: (total.cpu().numpy() / counts[name][:, None]).astype(np.float32)
            for name, total in totals.items()
        }
        log_p -= np.logaddexp.reduce(log_p, axis=1, keepdims=True)
    return np.exp(log_p), means
