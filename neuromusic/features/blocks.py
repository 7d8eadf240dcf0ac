"""Features of a long sound, computed while its blocks are read: the same as of the whole."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from neuromusic.features.frontends.base import FrontEnd
from neuromusic.features.frontends.mel import MelSpec

Wave = NDArray[np.float32]


def compute_in_blocks(spec: FrontEnd, blocks: Iterable[Wave]) -> NDArray[np.float32]:
    """Return the features (channels x bands, frames) of a sound that is given in blocks.

    They are those that ``spec.compute`` returns for all blocks together. Frames of log-mel depend
    on few samples, so that only these are kept in memory; other front ends get the whole sound.
    """
    if not isinstance(spec, MelSpec):
        return spec.compute(np.concatenate([np.zeros(0, np.float32), *blocks]))
    margin = -(-spec.n_fft // (2 * spec.hop))  # frames at a border that depend on what is beyond
    parts: list[NDArray[np.float32]] = []
    kept, first, done = np.zeros(0, np.float32), 0, 0  # samples, frame of the first one, frames
    for block in blocks:
        kept = np.concatenate([kept, block])
        end = first + (len(kept) - spec.n_fft // 2) // spec.hop + 1
        if end <= done:
            continue
        parts.append(spec.compute(kept)[:, done - first : end - first])
        start = max(first, end - margin)
        kept, first, done = kept[(start - first) * spec.hop :], start, end
    parts.append(spec.compute(kept)[:, done - first :])
    return np.concatenate(parts, axis=1)
