"""Find the clips with the most similar activations, with an index on disk of earlier results."""

import functools
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.files import read_npz, sha256
from neuromusic.core.progress import track
from neuromusic.evaluation.predict import sound_blocks
from neuromusic.features.windows import cut_windows
from neuromusic.models.applied import AppliedNetwork
from neuromusic.models.inference import BATCH, in_threads
from neuromusic.models.stored import Responses, Sound, file_key, sound_of_file

log = logging.getLogger(__name__)

SAVE_EVERY = 100  # clips, so that a search that is killed does not start again


@dataclass
class Index:
    """The activation vectors of clips, for one stage of one network.

    The key of a clip is the SHA-256 of its file, so a file that was moved is not computed again.
    """

    weights: str  # SHA-256 of model.safetensors, and the channel if it is not the mix
    stage: str
    vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict)  # SHA-256 -> (units,)
    names: dict[str, str] = field(default_factory=dict)  # SHA-256 -> last known path


def clip_vector(
    path: Path, trained: AppliedNetwork, stage: str, responses: Responses | None = None
) -> NDArray[np.float32]:
    """Return the mean over time of a stage's activations to a sound file, (units,).

    The mean is over all windows of the file, none of them padded; units are channels x bands,
    flattened. ``responses`` are those of the network, which are the same for many files. Raises
    InputError for a file without sound.
    """
    if not trained.has_windows:
        sound = sound_of_file(trained, path)
        compute = functools.partial(_mean_frames, trained)
    else:
        sound = Sound(lambda: path, lambda: file_key(trained, path, "blocks"), False)
        compute = functools.partial(_mean_windows, trained)
    found = (responses or Responses(trained)).of(sound, ["mean"], compute)
    return np.asarray(found[stage])


def _mean_frames(trained: AppliedNetwork, x: Any) -> dict[str, NDArray[np.float32]]:
    """Return stage -> mean over all frames (units,) for an input."""
    return {name: frames.values.mean(0) for name, frames in trained.frames_of(x).items()}


@torch.inference_mode()
def _mean_windows(trained: AppliedNetwork, path: Path) -> dict[str, NDArray[np.float32]]:
    """Return stage -> mean over all windows (units,) for a file, which is read in blocks."""
    device = trained.network.band_mean.device
    means: dict[str, list[NDArray[np.float32]]] = {each.name: [] for each in trained.network.stages}
    for wave in sound_blocks(path, trained):
        features = trained.features_of(wave)[0]
        for prefix, part in trained.parts.items():
            windows, _ = cut_windows(features, part.network.spec.n_frames, part.hop_frames)
            for first in range(0, len(windows), BATCH):
                x = torch.from_numpy(windows[first : first + BATCH]).to(device)
                for name, values in part.network.activations(x).items():  # (n, ..., time)
                    of_windows = values.flatten(1, -2).mean(-1).cpu().numpy()
                    means[f"{prefix}{name}"].append(of_windows)
    return {name: np.concatenate(parts).mean(0) for name, parts in means.items()}


def load_index(path: Path, weights: str, stage: str) -> Index:
    """Open a stored index; return an empty one if it is missing, damaged or for other weights."""
    try:
        saved = read_npz(path)
        if str(saved["weights"]) == weights and str(saved["stage"]) == stage:
            hashes, names = saved["sha256"].tolist(), saved["files"].tolist()
            vectors = dict(zip(hashes, saved["vectors"], strict=True))
            return Index(weights, stage, vectors, dict(zip(hashes, names, strict=True)))
    except (OSError, ValueError, KeyError, TypeError) as error:  # an InputError is a ValueError
        log.debug("%s: not used, computed again (%s)", path, error)
    return Index(weights, stage)


def save_index(index: Index, path: Path) -> None:
    """Write an index completely or not at all.

    Arrays: files, sha256, vectors (n, units) float32, stage, weights.
    """
    part = path.with_name(f".{path.name}.partial")
    part.unlink(missing_ok=True)  # it may be a link to a file elsewhere
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


def update_index(
    index: Index, trained: AppliedNetwork, paths: list[Path], target: Path
) -> tuple[dict[Path, str], int]:
    """Compute the vectors that an index does not contain; save it to ``target`` repeatedly.

    Returns (path -> SHA-256 of all usable files, number of clips that were computed). Files without
    sound are left out, with a warning.
    """
    hashes: dict[Path, str] = {}
    n_computed = 0
    for path, key, vector in _vectors(index, trained, paths):
        hashes[path] = key
        if vector is not None and key not in index.vectors:  # a copy may have been computed
            index.vectors[key] = vector
            n_computed += 1
        index.names[key] = str(path)
        if n_computed and n_computed % SAVE_EVERY == 0:
            save_index(index, target)
    if n_computed:
        save_index(index, target)
    return hashes, n_computed


def _vectors(
    index: Index, trained: AppliedNetwork, paths: list[Path]
) -> Iterator[tuple[Path, str, NDArray[np.float32] | None]]:
    """Yield (path, SHA-256, vector or None if the index contains it) for files with sound."""

    responses = Responses(trained, n_threads=1)

    def compute(path: Path) -> tuple[str, NDArray[np.float32] | InputError | None]:
        key = sha256(path)
        if key in index.vectors:
            return key, None
        try:
            return key, clip_vector(path, trained, index.stage, responses)
        except InputError as error:
            return key, error

    results = track(in_threads(compute, paths), "compute activations", len(paths))
    for path, (key, vector) in zip(paths, results, strict=True):
        if isinstance(vector, InputError):
            log.warning("left out: %s", vector)
        else:
            yield path, key, vector


def nearest(
    vector: NDArray[np.float32], others: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the k rows of ``others`` (n, units) closest to ``vector`` (units,), with similarities.

    Similarity is the cosine of the angle between two vectors; it is 0 if one of them is zero. The
    most similar row comes first; there are fewer than k if ``others`` has fewer rows.
    """
    a, b = vector.astype(np.float64), others.astype(np.float64)
    lengths = np.linalg.norm(a) * np.linalg.norm(b, axis=1)
    cosine = (b @ a) / np.where(lengths > 0, lengths, 1)
    order = np.argsort(-cosine, kind="stable")[:k]
    return order, cosine[order]
