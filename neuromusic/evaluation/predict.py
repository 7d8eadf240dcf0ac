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
    return pool_parts(predict_windows(paths, trained), trained)


def pool_parts(
    windows: Sequence[Sequence[NDArray[np.float64]]], trained: TrainedNetwork
) -> NDArray[np.float64]:
    """Return the log-probabilities (files, classes) from those that `predict_windows` returns."""
    return np.stack(
        [trained.combined([pool_windows(log_p) for log_p in of_file]) for of_file in windows]
    )


def predict_windows(
    paths: Sequence[Path], trained: TrainedNetwork
) -> list[list[NDArray[np.float64]]]:
    """Return the log-probabilities (windows, classes) of the windows of each file that have sound.

    There is one array per file and part of the network: the members of an ensemble cut windows of
    their own. Raises InputError as `predict_files` does.
    """
    trained.network.to(best_device())
    parts = list(trained.parts.values())
    empty = np.zeros((0, len(trained.classes)))

    def predict(
        numbered_block: tuple[int, NDArray[np.float32]],
    ) -> tuple[int, float, list[NDArray[np.float64]]]:
        number, wave = numbered_block
        features, has_sound = trained.features_of(wave)
        of_parts = []
        for part in parts:
            window = part.network.spec.n_frames
            windows, _ = cut_windows(features, window, part.hop_frames, has_sound)
            of_parts.append(log_probabilities(part.network, windows) if len(windows) else empty)
        return number, len(wave) / audio.RATE_HZ, of_parts

    total_s = sum(audio.duration_s(path) for path in paths)
    blocks = (
        (number, wave) for number, path in enumerate(paths) for wave in sound_blocks(path, trained)
    )
    results = track(
        in_threads(predict, blocks), "predict (s)", round(total_s), size=lambda result: result[1]
    )
    by_file: list[list[list[NDArray[np.float64]]]] = [[] for _ in paths]
    for number, _, of_parts in results:
        by_file[number].append(of_parts)
    per_window = [
        [np.concatenate(blocks) for blocks in zip(*of_file, strict=True)] for of_file in by_file
    ]
    for path, arrays in zip(paths, per_window, strict=True):
        if min(map(len, arrays)) == 0:
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
