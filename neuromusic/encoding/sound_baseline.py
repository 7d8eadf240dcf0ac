"""The spectro-temporal baseline of single responses, computed once for several networks."""

import hashlib
import io
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.files import read_npz
from neuromusic.core.progress import working
from neuromusic.core.records import record
from neuromusic.encoding.sound_encoding import ScoredSet, Scores, baseline_sets, score_sets
from neuromusic.encoding.sound_features import baseline_features
from neuromusic.encoding.sound_responses import Floats, Halves, Protocol

log = logging.getLogger(__name__)

Baseline = tuple[dict[str, Floats], list[ScoredSet]]


def scored_baseline(
    waves: Sequence[NDArray[np.float32]], y: Floats, halves: Halves, protocol: Protocol,
    shared: Path | None = None,
) -> Baseline:  # fmt: skip
    """Return the features of the baseline, and the scores of its sets.

    Parameters
    ----------
    waves : sequence of float32 arrays (samples,)
        Sounds at audio.RATE_HZ.
    y : array (sounds, targets)
        Responses.
    halves : sequence of pairs of arrays
        Indices of the training and test sounds of each split.
    protocol : {"ours", "tuckute2023"}
        See `sound_encoding.score`.
    shared : Path, optional
        Folder in which the result is kept, under a hash of all of the above and of the versions.
        Of several processes that need the same, one computes it, and the others wait.

    Returns
    -------
    dict of arrays (sounds, features), list of ScoredSet
        As `baseline_features`, and `score_sets` of `baseline_sets`.
    """
    if shared is None:
        return _compute(waves, y, halves, protocol)
    shared.mkdir(parents=True, exist_ok=True)
    path = shared / f"{_key(waves, y, halves, protocol)}.npz"
    with FileLock(path.with_suffix(".lock")):
        kept = _read(path)
        if kept is None:
            kept = _compute(waves, y, halves, protocol)
            _write(path, kept)
        return kept


def _compute(
    waves: Sequence[NDArray[np.float32]], y: Floats, halves: Halves, protocol: Protocol
) -> Baseline:
    with working("baseline: computing features"):
        features = baseline_features(waves)
    return features, score_sets(baseline_sets(features), y, halves, protocol)


def _key(
    waves: Sequence[NDArray[np.float32]], y: Floats, halves: Halves, protocol: Protocol
) -> str:
    """Return a hash of what the baseline depends on."""
    versions = record("baseline", {}, {})
    state = hashlib.sha256(repr((protocol, versions["code_version"])).encode())
    state.update(repr(sorted(versions["packages"].items())).encode())
    arrays: list[NDArray[Any]] = [*waves, y, *(half for pair in halves for half in pair)]
    for array in arrays:
        state.update(repr((array.shape, array.dtype.str)).encode())
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()


def _write(path: Path, content: Baseline) -> None:
    """Write atomically; the scores of set number i are named i.r2, and so on."""
    features, scored = content
    scores = {
        f"{number}.{field.name}": getattr(each.scores, field.name)
        for number, each in enumerate(scored)
        for field in fields(Scores)
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **features, **scores)  # type: ignore[arg-type]
    part = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        part.write_bytes(buffer.getvalue())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _read(path: Path) -> Baseline | None:
    """Return what is kept, or None if there is nothing or it is damaged."""
    try:
        arrays = read_npz(path)
        features: Mapping[str, Floats] = {
            name: array for name, array in arrays.items() if "." not in name
        }
        sets = baseline_sets(features)
        scored = [
            ScoredSet(each, Scores(*(arrays[f"{number}.{field.name}"] for field in fields(Scores))))
            for number, each in enumerate(sets)
        ]
    except FileNotFoundError:
        return None
    except (InputError, KeyError) as error:
        log.warning("%s: is computed again, because it is damaged (%s)", path, error)
        return None
    return dict(features), scored
