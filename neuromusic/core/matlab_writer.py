"""Write variables, cell arrays and struct arrays to MATLAB 5 files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEADER = b"MATLAB 5.0 MAT-file, written by neuromusic"
HEADER_TEXT_BYTES = 116  # the subsystem offset, the version and the byte order follow


def save_mat(path: Path, variables: Mapping[str, Any]) -> None:
    """Write a MATLAB 5 file; the same variables always give the same bytes.

    Vectors become columns, and lists of strings become cell arrays. scipy writes the current time
    into the header; it is replaced by a fixed text.
    """
    import scipy.io

    scipy.io.savemat(path, dict(variables), oned_as="column")
    with open(path, "r+b") as file:
        file.write(HEADER.ljust(HEADER_TEXT_BYTES))


class ReadLater:
    """An array in a mapping that is not read until it is written, to save memory."""

    def __init__(self, source: Mapping[str, NDArray[Any]], name: str) -> None:
        self.source = source
        self.name = name

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self.source[self.name], dtype)


def cell(items: Sequence[Any], row: bool = True) -> NDArray[np.object_]:
    """Return a cell array of arrays or strings, of shape (1, n) or, without ``row``, (n, 1)."""
    cells = np.empty(len(items), dtype=object)
    for index, item in enumerate(items):
        cells[index] = item
    return cells[None, :] if row else cells[:, None]


def structs(items: Sequence[Mapping[str, Any]]) -> NDArray[Any]:
    """Return a struct array of shape (1, n) from n mappings with the same keys."""
    array = np.zeros((1, len(items)), dtype=[(field, object) for field in items[0]])
    for index, item in enumerate(items):
        for field, value in item.items():
            array[0, index][field] = value
    return array
