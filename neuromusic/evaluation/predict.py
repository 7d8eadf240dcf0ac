"""Predict the classes of sound files of any length, in blocks of about a minute."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.progress import track
from neuromusic.features.windows import cut_windows
from neuromusic.models.applied import AppliedNetwork
from neuromusic.models.inference import in_threads, log_probabilities, pool_windows
from neuromusic.stimuli import audio
from neuromusic.training.trained import TrainedNetwork, best_device

BLOCK_S = 60.0  # the memory that a file needs does not grow with its length


def sound_blocks(path: Path, trained: AppliedNetwork) -> Iterator[NDArray[np.float32]]:
    """Yield a sound file as mono blocks of about BLOCK_S seconds at audio.RATE_HZ, (samples,).

    No block is shorter than a window of the network, unless the file is: a short remainder is
    joined to the block before it. Raises InputError if the file is empty or silent, or has samples
    that are not finite.
    """
    spec = trained.network.spec
    window = round(spec.n_frames * spec.frame_s * audio.RATE_HZ)
    waiting = np.zeros(0, np.float32)
    has_sound = False
    for block in audio.blocks(path, BLOCK_S, trained.meta.channel):
        if not np.isfinite(block).all():
            raise InputError(f"{path}: contains NaN or infinite samples; write it again")
        has_sound = has_sound or bool(block.any())
        if len(waiting) >= BLOCK_S * audio.RATE_HZ and len(block) >= window:
            yield waiting
            waiting = block
        else:
            waiting = np.concatenate([waiting, block])
    if not has_sound:
        raise InputError(f"{path}: is {'silent' if len(waiting) else 'empty'}; expected sound")
    yield waiting


def predict_files(paths: Sequence[Path], trained: TrainedNetwork) -> NDArray[np.float64]:
    """Return the log-probabilities (files, classes) of sound files of any length and rate.

    They are pooled over all windows of a file that contain sound. Raises InputError for a file
    without sound, and if the network does not take sound.
    """
    return np.stack([pool_windows(log_p) for log_p in predict_windows(paths, trained)])


def predict_windows(paths: Sequence[Path], trained: TrainedNetwork) -> list[NDArray[np.float64]]:
    """Return the log-probabilities (windows, classes) of the windows of each file that have sound.

    Raises InputError as `predict_files` does.
    """
    trained.network.to(best_device())
    empty = np.zeros((0, len(trained.classes)))

    def predict(
        numbered_block: tuple[int, NDArray[np.float32]],
    ) -> tuple[int, float, NDArray[np.float64]]:
        number, wave = numbered_block
        features, has_sound = trained.features_of(wave)
        window = trained.network.spec.n_frames
        windows, _ = cut_windows(features, window, trained.hop_frames, has_sound)
        log_p = log_probabilities(trained.network, windows) if len(windows) else empty
        return number, len(wave) / audio.RATE_HZ, log_p

    total_s = sum(audio.duration_s(path) for path in paths)
    blocks = (
        (number, wave) for number, path in enumerate(paths) for wave in sound_blocks(path, trained)
    )
    results = track(
        in_threads(predict, blocks), "predict (s)", round(total_s), size=lambda result: result[1]
    )
    by_file: list[list[NDArray[np.float64]]] = [[] for _ in paths]
    for number, _, log_p in results:
        by_file[number].append(log_p)
    per_window = [np.concatenate(parts) for parts in by_file]
    for path, log_p in zip(paths, per_window, strict=True):
        if len(log_p) == 0:
            raise InputError(f"{path}: is so quiet that it counts as silence; expected sound")
    return per_window


def prediction_table(
    names: pd.DataFrame, log_p: NDArray[np.float64], classes: list[str]
) -> pd.DataFrame:
    """Return ``names`` with the columns predicted, probability and one per class.

    ``names`` and ``log_p`` (n, classes) have the same rows.
    """
    p = np.exp(log_p)
    best = p.argmax(axis=1)
    table = names.reset_index(drop=True).assign(
        predicted=np.array(classes)[best], probability=p.max(axis=1)
    )
    return pd.concat([table, pd.DataFrame(p, columns=classes)], axis=1)
