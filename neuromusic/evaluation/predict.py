"""Listen: from log-mel or sound files to log-probabilities, and to the volumes of a clip."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.progress import track
from neuromusic.features.windows import cut_windows
from neuromusic.models.inference import in_threads, log_probabilities, pool_windows
from neuromusic.stimuli import audio
from neuromusic.training.trained import TrainedNetwork, best_device

BLOCK_S = 60.0  # a long file is heard in pieces of this length


def pieces(path: Path, run: TrainedNetwork) -> Iterator[NDArray[np.float32]]:
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


def predict_files(paths: Sequence[Path], run: TrainedNetwork) -> NDArray[np.float64]:
    """Return the log-probabilities (files, classes) of sound files of any length and rate.

    Windows of silence alone do not count. Raises InputError for a file without sound.
    """
    run.network.to(best_device())

    def listen(piece: tuple[int, NDArray[np.float32]]) -> tuple[int, float, NDArray[np.float64]]:
        number, wave = piece
        features, sounds = run.hear(wave)
        windows, _ = cut_windows(features, run.network.spec.n_frames, run.hop_frames, sounds)
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
