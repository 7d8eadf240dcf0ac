"""Rows of a .npy file that several processes write, each of them others."""

import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class RowFile:
    """Where the rows of a .npy file begin, and how long each is, in bytes.

    They are written to the file, not through a map of it: memory does not grow with the set.
    """

    path: Path
    start: int
    row_bytes: int

    def write(self, row: int, block: NDArray[Any]) -> int:
        """Write rows from ``row`` on; return their CRC-32."""
        view = np.ascontiguousarray(block).data.cast("B")
        at, left = self.start + row * self.row_bytes, view
        file = os.open(self.path, os.O_WRONLY)
        try:
            while left:
                n = os.pwrite(file, left, at)
                at, left = at + n, left[n:]
        except OSError as error:  # of a full disk, say
            error.filename = str(self.path)
            raise
        finally:
            os.close(file)
        return zlib.crc32(view)

    def read(self, row: int, n: int) -> bytes:
        """Return ``n`` rows from ``row`` on."""
        with open(self.path, "rb", buffering=0) as file:
            return os.pread(file.fileno(), n * self.row_bytes, self.start + row * self.row_bytes)

    def head(self) -> bytes:
        """Return what is before the first row."""
        with open(self.path, "rb") as file:
            return file.read(self.start)
