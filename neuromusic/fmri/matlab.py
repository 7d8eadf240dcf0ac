"""MATLAB 5 files that MATLAB, SPM and Octave read, with the same bytes for the same content."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEADER = b"MATLAB 5.0 MAT-file, written by neuromusic"
TEXT_BYTES = 116  # of the header; what follows is the version and the byte order


def save_mat(path: Path, content: Mapping[str, Any]) -> None:
    """Write variables: arrays as they are, lists of text as cells, one dimension as a column.

    scipy puts the time into the header; here it is left out.
    """
    import scipy.io

    scipy.io.savemat(path, dict(content), oned_as="column")
    with open(path, "r+b") as file:
        file.write(HEADER.ljust(TEXT_BYTES))


class ReadLater:
    """One array of a mapping, which is read when it is written, so that few are held at a time."""

    def __init__(self, source: Mapping[str, NDArray[Any]], name: str) -> None:
        self.source = source
        self.name = name

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self.source[self.name], dtype)


def cell(items: Sequence[Any], row: bool = True) -> NDArray[np.object_]:
    """Return a cell array, 1 x n or n x 1; each item an array or a text."""
    out = np.empty(len(items), dtype=object)
    for index, item in enumerate(items):
        out[index] = item
    return out[None, :] if row else out[:, None]


def structs(items: Sequence[Mapping[str, Any]]) -> NDArray[Any]:
    """Return a struct array 1 x n from mappings with the same fields."""
    out = np.zeros((1, len(items)), dtype=[(field, object) for field in items[0]])
    for index, item in enumerate(items):
        for field, value in item.items():
            out[0, index][field] = value
    return out
