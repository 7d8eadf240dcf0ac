"""The results of an encoding for a block of voxels, and the files that keep them.

Blocks are computed one after another, or on the machines of a cluster. What areas need of all
voxels are sums, so blocks can be joined without the series.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.files import read_npz

Floats = NDArray[np.float64]
Sums = dict[tuple[str, ...], Floats]  # sums over voxels, by what they are of


@dataclass(frozen=True)
class BlockScores:
    """Results for some voxels.

    Parameters
    ----------
    columns : dict of arrays (voxels,) float64
        Scores of each voxel, see `Encoding`.
    patterns : dict of arrays (repeats, clips, voxels) float32
        Area -> the mean of each presentation's volumes.
    sums : dict of arrays
        Sums over the voxels, which may be added to those of other blocks.
    """

    columns: dict[str, Floats]
    patterns: dict[str, NDArray[np.float32]]
    sums: Sums

    def save(self, path: Path) -> None:
        """Write the file; it is complete or absent."""
        arrays: dict[tuple[str, ...], NDArray[Any]] = {}
        for name, column in self.columns.items():
            arrays["columns", name] = column
        for area, pattern in self.patterns.items():
            arrays["patterns", area] = pattern
        for key, value in self.sums.items():
            arrays["sums", *key] = value
        named: dict[str, Any] = {json.dumps(key): array for key, array in arrays.items()}
        part = path.with_name(f"{path.stem}-{os.getpid()}.part")
        with open(part, "wb") as file:
            np.savez(file, **named)
        os.replace(part, path)

    @classmethod
    def load(cls, path: Path) -> "BlockScores":
        """Read a file that `save` has written."""
        block = cls({}, {}, {})
        for name, array in read_npz(path).items():
            kind, *key = json.loads(name)
            if kind == "sums":
                block.sums[tuple(key)] = array
            else:
                getattr(block, kind)[key[0]] = array
        return block


def joined(blocks: Iterable[BlockScores]) -> BlockScores:
    """Return the results for the voxels of all blocks, in the order of the blocks."""
    columns: dict[str, list[Floats]] = {}
    patterns: dict[str, list[NDArray[np.float32]]] = {}
    sums: Sums = {}
    for block in blocks:
        for name, column in block.columns.items():
            columns.setdefault(name, []).append(column)
        for area, pattern in block.patterns.items():
            patterns.setdefault(area, []).append(pattern)
        for key, value in block.sums.items():
            sums[key] = sums[key] + value if key in sums else value
    return BlockScores(
        {name: np.concatenate(parts) for name, parts in columns.items()},
        {area: np.concatenate(parts, axis=2) for area, parts in patterns.items()},
        sums,
    )
