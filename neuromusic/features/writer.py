"""Write the arrays of a prepared set from several processes, with a journal to resume from.

Workers write rows into the .npy files (`RowFile`); the main process lists each complete clip in a
journal, with checksums of its rows, so that an interrupted preparation continues after it.
"""

import hashlib
import json
import os
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import ResourceError
from neuromusic.core.files import write_text
from neuromusic.core.outputs import NO_SPACE
from neuromusic.features.prepared import FEATURES, WAVES

JOURNAL = "done.jsonl"
MIB = 2**20
Shape = tuple[int, ...]
Row = dict[str, Any]  # column of rows.tsv -> value


def new_array(path: Path, dtype: type, shape: Shape) -> NDArray[Any]:
    """Return a new .npy file mapped into memory, with its disk space reserved.

    Without the reservation, writing into the map when the disk is full would kill the process with
    SIGBUS, without a message. Raises ResourceError if there is not enough space.
    """
    n_bytes = np.dtype(dtype).itemsize * int(np.prod(shape, dtype=np.int64))
    try:
        array = np.lib.format.open_memmap(path, "w+", dtype, shape)
        _reserve(path, array.offset)
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise ResourceError(
            f"{path}: needs {n_bytes / MIB:.0f} MiB, and "
            f"{shutil.disk_usage(path.parent).free / MIB:.0f} MiB are free ({error.strerror}); "
            "make some space, or choose a location with more"
        ) from None
    return array


def _reserve(path: Path, start: int) -> None:
    """Reserve the disk space of a new file, whose bytes from ``start`` on are zeros."""
    with open(path, "r+b") as file:
        n_bytes = os.fstat(file.fileno()).st_size
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, n_bytes)
            return
        file.seek(start)  # macOS and Windows: what has been written has its space
        for position in range(start, n_bytes, MIB):
            file.write(bytes(min(MIB, n_bytes - position)))


@dataclass(frozen=True)
class RowFile:
    """A .npy file that several processes write to, each to different rows.

    They write to the file rather than to a memory map, so memory does not grow with the set.
    """

    path: Path
    start: int  # of the first row, in bytes
    row_bytes: int

    @classmethod
    def open(cls, path: Path, dtype: type, shape: Shape, keep: bool) -> Self:
        """Open a file for rows of ``shape[1:]``; create it unless ``keep`` and it exists."""
        if not (keep and path.is_file()):
            new_array(path, dtype, shape)
        with open(path, "rb") as file:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            start = file.tell()
        row_bytes = np.dtype(dtype).itemsize * int(np.prod(shape[1:], dtype=np.int64))
        return cls(path.absolute(), start, row_bytes)

    def write(self, row: int, block: NDArray[Any]) -> int:
        """Write a block of rows, the first at ``row``; return its CRC-32."""
        data = np.ascontiguousarray(block).data.cast("B")
        rest = data
        try:
            with open(self.path, "r+b", buffering=0) as file:
                file.seek(self.start + row * self.row_bytes)
                while rest:
                    rest = rest[file.write(rest) :]
        except OSError as error:  # a full disk, for example
            error.filename = str(self.path)
            raise
        return zlib.crc32(data)

    def read(self, row: int, n: int) -> bytes:
        """Return the bytes of ``n`` rows, the first at ``row``."""
        with open(self.path, "rb") as file:
            file.seek(self.start + row * self.row_bytes)
            return file.read(n * self.row_bytes)

    def header(self) -> bytes:
        """Return the bytes before the first row."""
        with open(self.path, "rb") as file:
            return file.read(self.start)


class Journal:
    """The clips of a set that are complete, in order; the file is removed on success.

    Each line of ``done.jsonl`` has the CRC-32 of the clip's rows in each array, and its lines in
    rows.tsv. Opening a journal also opens the arrays, and keeps the clips whose rows in them
    match their checksums.

    Attributes
    ----------
    files : list of RowFile
        The arrays that workers write: features and, if they are kept, waves.
    clips : list of list of dict
        For each complete clip the rows of rows.tsv, one per variant.
    n_rows : int
        Number of rows of all complete clips.
    """

    def __init__(self, directory: Path, features: Shape, waves: Shape | None) -> None:
        self.path = directory / JOURNAL
        lines = _read_lines(self.path)
        keep = bool(lines)
        self.files = [RowFile.open(directory / FEATURES, np.float16, features, keep)]
        if waves is not None:
            self.files.append(RowFile.open(directory / WAVES, np.int16, waves, keep))
        self._hashes = [hashlib.sha256(file.header()) for file in self.files]
        self.clips: list[list[Row]] = []
        self.n_rows = 0
        complete = []
        for line in lines:
            if not self._hash_next_rows(line["checksums"], len(line["rows"])):
                break
            complete.append(json.dumps(line) + "\n")
            self._append(line["rows"])
        write_text(self.path, "".join(complete))
        # Open until __exit__.
        self._file = open(self.path, "a", encoding="utf-8", newline="\n")  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None:
            self.path.unlink()

    def add(self, checksums: list[int], rows: list[Row]) -> None:
        """List the next clip, whose rows a worker has written.

        Raises ResourceError if they cannot be read back here, as can happen over a network.
        """
        if not self._hash_next_rows(checksums, len(rows)):
            raise ResourceError(
                f"{self.files[0].path}: does not contain what a worker wrote; all workers must "
                "write into the same directory; run the same command again"
            )
        self._file.write(json.dumps({"checksums": checksums, "rows": rows}) + "\n")
        self._file.flush()
        self._append(rows)

    @property
    def hashes(self) -> dict[str, str]:
        """File name -> SHA-256 of each array up to its last complete row."""
        pairs = zip(self.files, self._hashes, strict=True)
        return {file.path.name: sha256.hexdigest() for file, sha256 in pairs}

    def _hash_next_rows(self, checksums: list[int], n: int) -> bool:
        """Return whether the next ``n`` rows have these checksums; if so, hash them."""
        blocks = [file.read(self.n_rows, n) for file in self.files]
        if list(map(zlib.crc32, blocks)) != checksums:
            return False
        for sha256, block in zip(self._hashes, blocks, strict=True):
            sha256.update(block)
        return True

    def _append(self, rows: list[Row]) -> None:
        self.clips.append(rows)
        self.n_rows += len(rows)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the complete lines of a journal; none if there is no journal."""
    if not path.is_file():
        return []
    lines: list[dict[str, Any]] = []
    for text in path.read_text("utf-8", errors="replace").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:  # the process was stopped in the middle of a line
            break
    return lines
