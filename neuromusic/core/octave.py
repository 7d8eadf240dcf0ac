"""Read text and cells from Octave's own text format, which ``save FILE`` writes by default."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.files import reading
from neuromusic.core.matlab import MOST_CELLS, MOST_DEPTH
from neuromusic.core.matlab_objects import Malformed, Unread

REMEDY = "write it again with save -v7"
OTHER_FORMATS = {
    b"Octave-1-": "Octave's binary format",
    b"\x1f\x8b": "compressed by gzip, as Octave's save -zip does",
}
TEXT_TYPES = ("string", "sq_string")
CELL_NAME = "<cell-element>"


def is_octave_text(path: Path) -> bool:
    """Return whether a file is in Octave's text format.

    Raises InputError, with the remedy, if it is in another of Octave's own formats.
    """
    with reading(path), open(path, "rb") as file:
        head = file.read(100)
    for start, what in OTHER_FORMATS.items():
        if head.startswith(start):
            raise InputError(f"{path}: is {what}; {REMEDY}")
    return head.startswith((b"# Created by Octave", b"# name: "))


def read_variables_octave(path: Path) -> dict[str, Any]:
    """Return all variables of a file in Octave's text format, as `read_variables_hdf5` does.

    Raises InputError if it is damaged.
    """
    with reading(path):
        content = path.read_bytes().replace(b"\r\n", b"\n")
    parser = _Parser(content)
    values: dict[str, Any] = {}
    try:
        while (name := parser.next_name()) is not None:
            if name in values:
                raise InputError(f"{path}: has the variable {name} twice; expected it once")
            values[name] = parser.value(depth=1)
    except (Malformed, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: is not a readable file in Octave's text format ({error}); {REMEDY}"
        ) from None
    return values


class _Parser:
    """A position in the bytes of a file; each method reads one part and moves past it."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.place = 0
        self.cells_left = MOST_CELLS

    def line(self) -> bytes:
        """Read a line, without its end."""
        end = self.content.find(b"\n", self.place)
        end = len(self.content) if end < 0 else end
        line = self.content[self.place : end]
        self.place = end + 1
        return line

    def next_name(self) -> str | None:
        """Skip to the next name and read it; None at the end."""
        while self.place < len(self.content):
            line = self.line()
            if line.startswith(b"# name: "):
                return line[8:].decode("utf-8")
        return None

    def field(self, key: str) -> str:
        """Read a line such as ``# rows: 2`` and return the text after the key."""
        line = self.line()
        if not line.startswith(f"# {key}: ".encode()):
            raise Malformed(f"{line[:40].decode('utf-8', 'replace')!r}; expected '# {key}: '")
        return line[len(key) + 4 :].decode("utf-8")

    def number(self, key: str, most: int) -> int:
        """Read a line such as ``# rows: 2`` and return its number."""
        text = self.field(key)
        if not re.fullmatch("[0-9]{1,9}", text) or int(text) > most:
            raise Malformed(f"{key} is {text[:20]!r}; expected a number up to {most}")
        return int(text)

    def value(self, depth: int) -> Any:
        """Read what follows a name; numbers are skipped by the next search for a name."""
        kind = self.field("type")
        if kind in TEXT_TYPES:
            return self._text()
        if kind == "cell" and self.content.startswith(b"# rows: ", self.place):
            return self._cells(depth)
        if kind == "scalar struct":
            return self._struct(depth)
        if kind in ("cell", "struct", "object"):
            raise Malformed(f"it holds a {kind} array, whose end cannot be found")
        return Unread(f"holds a {kind}")

    def _text(self) -> str | NDArray[np.str_]:
        lines = []
        for _ in range(self.number("elements", MOST_CELLS)):
            n_bytes = self.number("length", len(self.content) - self.place)
            lines.append(self.content[self.place : self.place + n_bytes].decode("utf-8"))
            self.place += n_bytes
            if self.content[self.place : self.place + 1] != b"\n":
                raise Malformed("a text is cut short or longer than it declares")
            self.place += 1
        return np.array(lines) if len(lines) > 1 else "".join(lines)

    def _cells(self, depth: int) -> NDArray[np.object_]:
        shape = self.number("rows", MOST_CELLS), self.number("columns", MOST_CELLS)
        size = shape[0] * shape[1]
        self._count(size, depth)
        cells = np.empty(size, dtype=object)
        for index in range(size):
            if self.next_name() != CELL_NAME:
                raise Malformed("a cell array is cut short")
            cells[index] = self.value(depth + 1)
        return cells.reshape(shape, order="F")

    def _struct(self, depth: int) -> dict[str, Any]:
        if self.content.startswith(b"# ndims: ", self.place):
            self.number("ndims", 2)
            self.line()  # 1 1
        n = self.number("length", MOST_CELLS)
        self._count(n, depth)
        fields: dict[str, Any] = {}
        for _ in range(n):
            name = self.next_name()
            if name is None:
                raise Malformed("a struct is cut short")
            fields[name] = self.value(depth + 1)
        return fields

    def _count(self, n: int, depth: int) -> None:
        self.cells_left -= n
        if depth > MOST_DEPTH or self.cells_left < 0:
            raise Malformed(
                f"it has over {MOST_CELLS} cells, or cells in cells more than {MOST_DEPTH} deep"
            )
