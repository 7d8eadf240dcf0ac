"""Search by sound: the clips whose activations are nearest, with an index that is kept."""

import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.files import check_zip, sha256
from neuromusic.core.progress import Say, track
from neuromusic.evaluation.predict import pieces
from neuromusic.features.windows import cut_windows
from neuromusic.models.inference import BATCH, in_threads
from neuromusic.training.trained import TrainedNetwork

SAVE_EVERY = 100  # clips, so that a killed search does not begin anew


@dataclass
class Index:
    """The vectors of clips, for one stage of one network.

    A clip is known by the SHA-256 of its file, so one that was moved is not heard again.
    """

    weights: str  # SHA-256 of model.safetensors
    stage: str
    vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict)  # file's SHA-256 -> units
    names: dict[str, str] = field(default_factory=dict)  # where the file was seen last


@torch.inference_mode()
def clip_vector(path: Path, run: TrainedNetwork, stage: str) -> NDArray[np.float32]:
    """Return the mean over time of a stage's activations to a sound file, (units,).

    Over all windows of the file, none of them padded; units are channels x bands, flattened.
    Raises InputError for a file without sound.
    """
    window, device = run.network.spec.n_frames, run.network.band_mean.device
    means = []
    for wave in pieces(path, run):
        windows, _ = cut_windows(run.hear(wave)[0], window, run.hop_frames)
        for first in range(0, len(windows), BATCH):
            x = torch.from_numpy(windows[first : first + BATCH]).to(device)
            active = run.network.activations(x)[stage]  # (n, ..., time)
            means.append(active.flatten(1, -2).mean(-1).cpu().numpy())
    return np.concatenate(means).mean(0)


def load_index(path: Path, weights: str, stage: str) -> Index:
    """Open a saved index; an empty one where there is none, or of other weights, or damaged."""
    index = Index(weights, stage)
    try:
        check_zip(path)
        with np.load(path, allow_pickle=False) as saved:
            if str(saved["weights"]) == weights and str(saved["stage"]) == stage:
                hashes, names = saved["sha256"].tolist(), saved["files"].tolist()
                vectors = dict(zip(hashes, saved["vectors"], strict=True))
                index = Index(weights, stage, vectors, dict(zip(hashes, names, strict=True)))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        pass  # it is made again
    return index


def save_index(index: Index, path: Path) -> None:
    """Write an index whole: files, their SHA-256, vectors (n, units), stage, weights."""
    part = path.with_name(f".{path.name}.partial")
    part.unlink(missing_ok=True)  # it may be a link to elsewhere
    with open(part, "wb") as file:
        np.savez(
            file,
            files=np.array([index.names[key] for key in index.vectors]),
            sha256=np.array(list(index.vectors)),
            vectors=np.stack(list(index.vectors.values())),
            stage=np.array(index.stage),
            weights=np.array(index.weights),
        )
    part.replace(path)


def extend_index(
    index: Index, run: TrainedNetwork, paths: list[Path], save: Callable[[], None], say: Say
) -> tuple[dict[Path, str], int]:
    """Hear what an index lacks; return (path -> SHA-256 of all that can be heard, how many were).

    What is no sound is said and left out.
    """

    def listen(path: Path) -> tuple[str, NDArray[np.float32] | InputError | None]:
        key = sha256(path)
        try:
            return key, None if key in index.vectors else clip_vector(path, run, index.stage)
        except InputError as error:
            return key, error

    known: dict[Path, str] = {}
    heard = 0
    made = track(in_threads(listen, paths), "listen", len(paths))
    for path, (key, vector) in zip(paths, made, strict=True):
        if isinstance(vector, InputError):
            say(f"left out: {vector}")
            continue
        if vector is not None and key not in index.vectors:  # not a copy that was begun meanwhile
            index.vectors[key] = vector
            heard += 1
        known[path] = key
        index.names[key] = str(path)
        if heard and heard % SAVE_EVERY == 0:
            save()
    if heard:
        save()
    return known, heard


def nearest(
    vector: NDArray[np.float32], others: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the rows of ``others`` (n, units) nearest to ``vector`` (units,), and how near.

    By the cosine of the angle between them, at most k, the nearest first; a vector of zeros is
    at a right angle to all.
    """
    a, b = vector.astype(np.float64), others.astype(np.float64)
    lengths = np.linalg.norm(a) * np.linalg.norm(b, axis=1)
    cosine = (b @ a) / np.where(lengths > 0, lengths, 1)
    order = np.argsort(-cosine, kind="stable")[:k]
    return order, cosine[order]
