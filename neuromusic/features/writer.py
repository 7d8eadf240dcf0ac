"""Rows of a .npy file that several processes write, each of them others."""

import hashlib
import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import ResourceError
from neuromusic.core.files import write_text
from neuromusic.features import prepared


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


pass

NAME = "done.jsonl"
Shape = tuple[int, ...]


class Journal:
    """Opens the arrays of a directory and finds what is done in them; removes itself at the end.

    ``files`` are the arrays, into which others write; ``clips`` holds for each clip that is done
    the dicts of its rows, in order.
    """

    def __init__(self, directory: Path, features: Shape, waves: Shape | None) -> None:
        self.path = directory / NAME
        lines = self._read()
        self.files = [_open_rows(directory / "features.npy", np.float16, features, bool(lines))]
        if waves is not None:
            self.files.append(_open_rows(directory / "waves.npy", np.int16, waves, bool(lines)))
        self._hashes = [hashlib.sha256(file.head()) for file in self.files]
        self.clips: list[list[dict[str, Any]]] = []
        self.n_rows = 0
        kept = []
        for line in lines:
            if not self._is_written(line["checksums"], len(line["rows"])):
                break
            kept.append(json.dumps(line) + "\n")
            self._count(line["rows"])
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

    def _is_written(self, checksums: list[int], n: int) -> bool:
        """Say whether the next ``n`` rows are there as they should be; then they are hashed."""
        blocks = [file.read(self.n_rows, n) for file in self.files]
        if list(map(zlib.crc32, blocks)) != checksums:
            return False
        for so_far, block in zip(self._hashes, blocks, strict=True):
            so_far.update(block)
        return True

    def _count(self, rows: list[dict[str, Any]]) -> None:
        self.clips.append(rows)
        self.n_rows += len(rows)

    def add(self, checksums: list[int], rows: list[dict[str, Any]]) -> None:
        """List the next clip, whose rows are written.

        Raises ResourceError where they do not arrive here, as over a network they may not.
        """
        if not self._is_written(checksums, len(rows)):
            raise ResourceError(
                f"{self.files[0].path}: does not hold what a worker wrote there; workers must "
                "write into the same directory, type the same again"
            )
        self._file.write(json.dumps({"checksums": checksums, "rows": rows}) + "\n")
        self._file.flush()
        self._count(rows)

    @property
    def hashes(self) -> dict[str, str]:
        """Name -> SHA-256 of the arrays up to the last row that is listed."""
        made = zip(self.files, self._hashes, strict=True)
        return {file.path.name: so_far.hexdigest() for file, so_far in made}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None:
            self.path.unlink()


def _open_rows(path: Path, dtype: type, shape: Shape, go_on: bool) -> RowFile:
    if not (go_on and path.is_file()):
        prepared.new_array(path, dtype, shape)
    with open(path, "rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        start = file.tell()
    row_bytes = np.dtype(dtype).itemsize * int(np.prod(shape[1:], dtype=np.int64))
    return RowFile(path.absolute(), start, row_bytes)
