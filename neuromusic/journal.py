"""The arrays of a prepared set while it is being made, and the list of what is in them.

A clip is listed when its rows are written, with a checksum of them; so a preparation that was
stopped at any moment, by a signal, a full disk or a power cut, goes on after the last clip that is
whole. Rows are written to the file, not through a map of it: memory does not grow with the set.
"""

import json
import os
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from neuromusic import store
from neuromusic.provenance import write_text

NAME = "done.jsonl"
Shape = tuple[int, ...]


class Journal:
    """Opens the arrays of a directory and finds what is done in them; removes itself at the end.

    ``clips`` holds for each clip that is done the dicts of its rows, in order.
    """

    def __init__(self, directory: Path, features: Shape, waves: Shape | None) -> None:
        self.path = directory / NAME
        lines = self._read()
        self.arrays = [RowFile(directory / "features.npy", np.float16, features, bool(lines))]
        if waves is not None:
            self.arrays.append(RowFile(directory / "waves.npy", np.int16, waves, bool(lines)))
        self.clips: list[list[dict[str, Any]]] = []
        self.n_rows = 0
        kept = []
        for line in lines:
            n = len(line["rows"])
            if [array.checksum(self.n_rows, n) for array in self.arrays] != line["checksums"]:
                break
            kept.append(json.dumps(line) + "\n")
            self.clips.append(line["rows"])
            self.n_rows += n
        write_text(self.path, "".join(kept))
        self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115  # until __exit__

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.is_file():
            return []
        lines: list[dict[str, Any]] = []
        for text in self.path.read_text("utf-8", errors="replace").splitlines():
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:  # it was stopped in the middle of a line
                break
        return lines

    def add(
        self, features: NDArray[np.float16], waves: NDArray[np.int16], rows: list[dict[str, Any]]
    ) -> None:
        """Write the rows of a clip, then list it."""
        sums = [
            array.write(self.n_rows, block)
            for array, block in zip(self.arrays, (features, waves), strict=False)
        ]
        self._file.write(json.dumps({"checksums": sums, "rows": rows}) + "\n")
        self._file.flush()
        self.clips.append(rows)
        self.n_rows += len(rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._file.close()
        for array in self.arrays:
            array.close()
        if kind is None:
            self.path.unlink()


class RowFile:
    """Rows of a .npy file that are written one block after the other."""

    def __init__(self, path: Path, dtype: type, shape: Shape, go_on: bool) -> None:
        if not (go_on and path.is_file()):
            store.new_array(path, dtype, shape)
        with open(path, "rb") as file:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            self.start = file.tell()
        self.row_bytes = np.dtype(dtype).itemsize * int(np.prod(shape[1:], dtype=np.int64))
        self.file = os.open(path, os.O_RDWR)

    def write(self, row: int, block: NDArray[Any]) -> int:
        """Write rows from ``row`` on; return their checksum."""
        view = np.ascontiguousarray(block).data.cast("B")
        at, left = self.start + row * self.row_bytes, view
        while left:
            n = os.pwrite(self.file, left, at)
            at, left = at + n, left[n:]
        return zlib.crc32(view)

    def checksum(self, row: int, n: int) -> int:
        """Return the checksum of ``n`` rows."""
        return zlib.crc32(
            os.pread(self.file, n * self.row_bytes, self.start + row * self.row_bytes)
        )

    def close(self) -> None:
        """Close the file."""
        os.close(self.file)
