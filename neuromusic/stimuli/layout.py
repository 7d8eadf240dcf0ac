"""What a walk through the headers of a sound file finds, to compare with what a decoder returns."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

MOST_HEAD_BYTES = 1 << 20  # of a header that is corrected


@dataclass(frozen=True)
class Layout:
    """How much sound a file contains, found without decoding it.

    Attributes
    ----------
    n_samples : int or None
        Samples per channel; None if nothing but the decoder knows.
    tolerance : int
        By how many samples the decoder may differ.
    unit_samples : int
        Samples in one frame of the coding, for messages.
    corrected : callable, optional
        Opens the file with a corrected header, for a file whose sound is complete. libsndfile never
        reads beyond the number of samples that a header gives, or that it estimates.
    header_is_wrong : bool
        Whether the header gives another number of samples.
    doubt : str
        What the user should know about the file; empty if nothing.
    """

    n_samples: int | None = None
    tolerance: int = 0
    unit_samples: int = 1
    corrected: Callable[[], BinaryIO] | None = None
    header_is_wrong: bool = False
    doubt: str = ""


def with_head(path: Path, head: bytes, start: int) -> Callable[[], BinaryIO]:
    """Return a function that opens a file in which ``head`` replaces the first ``start`` bytes."""
    return lambda: cast(BinaryIO, _WithHead(path, head, start))


class _WithHead(io.RawIOBase):
    """A file whose beginning is replaced; read-only."""

    def __init__(self, path: Path, head: bytes, start: int) -> None:
        self._file = open(path, "rb")  # noqa: SIM115  # until close
        self._head = head
        self._shift = start - len(head)
        self._size = path.stat().st_size - self._shift
        self._position = 0

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer from the current position; return the number of bytes."""
        if self._position < len(self._head):
            data = self._head[self._position : self._position + len(buffer)]
        else:
            self._file.seek(self._position + self._shift)
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position; return it."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
