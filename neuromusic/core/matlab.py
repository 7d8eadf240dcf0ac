"""Read variables of MATLAB files, versions 5 and 7.3.

Version 5 is parsed here because scipy's reader (1.17) allocates whatever size a header declares and
aborts the process at an unknown data type; here every size is checked before memory is allocated.
Only real numbers, text and cells of them are read: no structs, objects or function handles.

References
----------
MathWorks (2021). MAT-File Format, R2021a. Tables 1-1 and 1-3 list the codes below.
"""

import math
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.files import check_size, readable, reading

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
MOST_VARIABLES = 100_000
MOST_CELLS = 100_000
MOST_DEPTH = 3  # of cells inside cells
MOST_TEXT = 1000  # characters in a cell of a 7.3 file
MOST_CHUNK_BYTES = 1_000_000  # that HDF5 unpacks at once
MOST_LIST_BYTES = 16_000_000  # of a file that holds names, compressed or not
MOST_ARRAY_BYTES = 1_000_000_000  # of a file that holds numbers, compressed or not
FIRST_BYTES = 65_536  # of a compressed variable: they contain its name

# Codes of data elements: containers, numbers as stored, text as stored.
MATRIX, COMPRESSED = 14, 15
INT32, UINT32 = 5, 6
STORED = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
ENCODINGS = {1: "latin1", 2: "latin1", 16: "utf-8"}
WIDE_ENCODINGS = {4: "utf-16", 17: "utf-16", 18: "utf-32"}
# Codes of MATLAB classes; numbers may be stored in a smaller type than that of their class.
CELL, OBJECT, CHAR, OPAQUE = 1, 3, 4, 17
NUMBERS = {
    6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8",
}  # fmt: skip
REFUSED = {
    2: "a struct", OBJECT: "an object", 5: "a sparse matrix", 16: "a function handle",
    OPAQUE: "an object",
}  # fmt: skip
COMPLEX_FLAG = 0x0800


def is_hdf5(path: Path) -> bool:
    """Return whether a file is HDF5, on its own or, as in MATLAB 7.3, after a 512-byte header."""
    with reading(path), open(path, "rb") as file:
        head = file.read(520)
    return HDF5_MAGIC in (head[:8], head[512:520])


def read_cells(path: Path, name: str) -> NDArray[np.object_]:
    """Read a cell array of names from a MATLAB file of version 5 or 7.3.

    Parameters
    ----------
    path : Path
        File of at most 16 MB, which also limits what it unpacks to.
    name : str
        Name of the variable.

    Returns
    -------
    ndarray of object
        In the shape that MATLAB shows. Text is a str. From version 7.3, any other cell is a
        description such as "<float64>"; from version 5, what it contains.

    Raises
    ------
    InputError
        If the file cannot be read, has no such variable, or declares sizes beyond the limits.
    """
    check_size(path, MOST_LIST_BYTES, "a list of names")
    if is_hdf5(path):
        return _read_cells_hdf5(path, name)
    cells = read_arrays(path, [name], MOST_LIST_BYTES)[name]
    if not (isinstance(cells, np.ndarray) and cells.dtype == object):
        raise InputError(f"{path}: {name} is not a cell array; expected a cell array of names")
    return cells


def _missing(path: Path, name: str, present: Iterable[str]) -> InputError:
    listed = ", ".join(filter(None, present))[:500] or "nothing"
    return InputError(f"{path}: has no variable {name}; it contains {listed}")


# --- Reading version 5 ----------------------------------------------------------------------------


class _Malformed(ValueError):
    """The bytes are not what the format prescribes, or exceed our limits."""


def read_arrays(
    path: Path,
    names: Sequence[str],
    most_bytes: int = MOST_ARRAY_BYTES,
    optional: Sequence[str] = (),
) -> dict[str, Any]:
    """Read variables of a MATLAB 5 file.

    Parameters
    ----------
    path : Path
        The file.
    names : sequence of str
        Variables that the file must have.
    most_bytes : int
        Limit for the size of the file and for what these variables unpack to together.
    optional : sequence of str
        Variables that are read if the file has them.

    Returns
    -------
    dict
        Name -> array of numbers in native byte order, array of objects for cells, str for text, or
        array of str for text of several rows.

    Raises
    ------
    InputError
        If the file is not a MATLAB 5 file or is too large, if a variable is missing or occurs
        twice, or contains anything but real numbers, text and cells.
    """
    check_size(path, most_bytes, "such a file")
    with reading(path):
        content = memoryview(path.read_bytes())
    present: list[str] = []
    values: dict[str, Any] = {}
    try:
        order = _byte_order(content)
        bytes_left = most_bytes
        for is_compressed, body in _variables(content, order):
            head = _unpack(body, FIRST_BYTES) if is_compressed else body
            name = _Cursor(memoryview(head), order).variable_name()
            present.append(name)
            if name not in names and name not in optional:
                continue
            if present.count(name) > 1:
                raise InputError(f"{path}: has the variable {name} twice; expected it once")
            matrix = memoryview(_unpack_all(body, bytes_left)) if is_compressed else body
            bytes_left -= len(matrix)
            values[name] = _read_matrix(_Cursor(matrix, order), depth=1)
    except (_Malformed, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not a readable MATLAB file ({error})") from None
    for name in names:
        if name not in present:
            raise _missing(path, name, present)
    return values


def _byte_order(content: memoryview) -> str:
    """Return "<" or ">", as `struct` and numpy write it; check the header."""
    order = {b"IM": "<", b"MI": ">"}.get(bytes(content[126:128]))
    if order is None:
        raise _Malformed("it does not start with a MATLAB 5 header")
    if struct.unpack(f"{order}H", content[124:126])[0] != 0x0100:
        raise _Malformed("its version is not MATLAB 5")
    return order


def _variables(content: memoryview, order: str) -> list[tuple[bool, memoryview]]:
    """Return (is it compressed, its bytes) for each variable of a file."""
    variables = []
    place = 128
    while place < len(content):
        if place + 8 > len(content):
            raise _Malformed("it is cut short")
        kind, size = struct.unpack(f"{order}II", content[place : place + 8])
        place += 8
        if size > len(content) - place:
            raise _Malformed("it is cut short")
        if kind not in (MATRIX, COMPRESSED):
            raise _Malformed(f"it has data of type {kind} among its variables")
        variables.append((kind == COMPRESSED, content[place : place + size]))
        place += size
        if len(variables) > MOST_VARIABLES:
            raise _Malformed(f"it has more than {MOST_VARIABLES} variables")
    return variables


def _unpack(body: memoryview, n_bytes: int) -> bytes:
    """Return the first ``n_bytes`` of a compressed matrix, after its 8-byte tag."""
    return zlib.decompressobj().decompress(body, n_bytes + 8)[8:]


def _unpack_all(body: memoryview, most_bytes: int) -> bytes:
    """Return the bytes of a compressed matrix, after its 8-byte tag."""
    stream = zlib.decompressobj()
    content = stream.decompress(body, most_bytes + 8)
    if len(content) > most_bytes or stream.unconsumed_tail:
        raise _Malformed(f"it unpacks to more than {most_bytes / 1e6:g} MB")
    if not stream.eof:
        raise _Malformed("it is cut short")
    return content[8:]


@dataclass
class _Cursor:
    """A position in the bytes of a matrix; each method reads one part and moves past it."""

    view: memoryview
    order: str
    place: int = 0

    @property
    def n_left(self) -> int:
        return len(self.view) - self.place

    def element(self) -> tuple[int, memoryview]:
        """Read (data type, bytes) of a data element; a short one has a tag of 4 bytes."""
        if self.n_left < 8:
            raise _Malformed("it is cut short")
        kind, size = struct.unpack(f"{self.order}II", self.view[self.place : self.place + 8])
        if kind >> 16:
            kind, size, first = kind & 0xFFFF, kind >> 16, self.place + 4
            if size > 4:
                raise _Malformed(f"it has a short element of {size} bytes")
            self.place += 8
            return kind, self.view[first : first + size]
        first = self.place + 8
        if size > len(self.view) - first:
            raise _Malformed(f"it declares {size} bytes but has {len(self.view) - first}")
        self.place = first + (size + 7) // 8 * 8  # padded to 8 bytes
        return kind, self.view[first : first + size]

    def matlab_class(self) -> int:
        """Read the class of a matrix, its first part."""
        kind, flags = self.element()
        if kind != UINT32 or len(flags) != 8:
            raise _Malformed("a variable has no flags")
        (word, _) = struct.unpack(f"{self.order}II", flags)
        if word & COMPLEX_FLAG:
            raise _Malformed("it holds complex numbers; only real ones are read")
        return int(word) & 0xFF

    def shape(self) -> tuple[int, ...]:
        """Read the dimensions of a matrix, its second part."""
        kind, raw = self.element()
        if kind != INT32 or len(raw) % 4 or not 2 <= len(raw) // 4 <= 8:
            raise _Malformed("a variable has no dimensions")
        shape = struct.unpack(f"{self.order}{len(raw) // 4}i", raw)
        if min(shape) < 0:
            raise _Malformed(f"a variable has the dimensions {shape}")
        return shape

    def name(self) -> str:
        """Read the name of a matrix, its third part."""
        return self.element()[1].tobytes().decode("latin1")

    def variable_name(self) -> str:
        """Read all three parts; empty for an opaque object, whose parts differ."""
        if self.matlab_class() == OPAQUE:
            return ""
        self.shape()
        return self.name()


def _read_matrix(cursor: _Cursor, depth: int) -> Any:
    """Read a numeric array, a text or a cell array; ``depth`` counts cells inside cells."""
    category = cursor.matlab_class()
    if category != CELL and category != CHAR and category not in NUMBERS:
        what = REFUSED.get(category, f"class {category}")
        raise _Malformed(f"it holds {what}; only numbers, text and cells are read")
    shape = cursor.shape()
    cursor.name()
    if category == CELL:
        return _read_cell_array(cursor, shape, depth)
    if category == CHAR:
        return _read_text(cursor, shape)
    return _read_numbers(cursor, shape, category)


def _read_numbers(cursor: _Cursor, shape: tuple[int, ...], category: int) -> NDArray[Any]:
    kind, data = cursor.element()
    stored, dtype = STORED.get(kind, ""), NUMBERS[category]
    size = math.prod(shape)
    if not stored or (stored[0] == "f" and dtype[0] != "f"):
        raise _Malformed(f"a variable of class {category} has data of type {kind}")
    if size * int(stored[1]) != len(data):
        raise _Malformed(f"a variable declares {size} values in {len(data)} bytes")
    values = np.frombuffer(data, f"{cursor.order}{stored}").astype(f"={dtype}")
    return values.reshape(shape, order="F")


def _read_cell_array(cursor: _Cursor, shape: tuple[int, ...], depth: int) -> NDArray[np.object_]:
    size = math.prod(shape)
    if depth > MOST_DEPTH:
        raise _Malformed(f"it has cells in cells more than {MOST_DEPTH} deep")
    if size > MOST_CELLS or size * 8 > cursor.n_left:
        raise _Malformed(f"a cell array declares {size} cells in {cursor.n_left} bytes")
    cells = np.empty(size, dtype=object)
    for index in range(size):
        kind, content = cursor.element()
        if kind != MATRIX:
            raise _Malformed(f"a cell has data of type {kind}")
        # MATLAB writes an empty cell as an element without data.
        cells[index] = (
            _read_matrix(_Cursor(content, cursor.order), depth + 1)
            if len(content)
            else np.zeros((0, 0))
        )
    return cells.reshape(shape, order="F")


def _read_text(cursor: _Cursor, shape: tuple[int, ...]) -> str | NDArray[np.str_]:
    kind, data = cursor.element()
    encoding = ENCODINGS.get(kind)
    if encoding is None:
        if kind not in WIDE_ENCODINGS:
            raise _Malformed(f"a text has data of type {kind}")
        encoding = f"{WIDE_ENCODINGS[kind]}-{'le' if cursor.order == '<' else 'be'}"
    text = data.tobytes().decode(encoding)
    if len(shape) != 2 or shape[0] == 1 or not text:
        return text
    if math.prod(shape) != len(text):
        raise _Malformed(f"a text declares {math.prod(shape)} characters and has {len(text)}")
    return np.array(["".join(text[row :: shape[0]]) for row in range(shape[0])])


# --- Reading version 7.3 --------------------------------------------------------------------------


def _read_cells_hdf5(path: Path, name: str) -> NDArray[np.object_]:
    import h5py

    with readable(path, "MATLAB 7.3 file"), h5py.File(path, "r") as file:
        references = _references(path, file, name)
        # MATLAB stores arrays column by column, so HDF5 shows (columns, rows).
        cells = np.empty(references.shape[::-1], dtype=object)
        for (column, row), reference in np.ndenumerate(references):
            cells[row, column] = _hdf5_text(file[reference])
    return cells


def _references(path: Path, file: Any, name: str) -> NDArray[Any]:
    """Return the references (columns, rows) that a cell array is stored as."""
    import h5py

    present = [key for key in file if not key.startswith("#")]
    if name not in present:
        raise _missing(path, name, present)
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise InputError(f"{path}: {name} is a link; expected a cell array")
    cells = file[name]
    if not isinstance(cells, h5py.Dataset) or cells.dtype != h5py.ref_dtype:
        raise InputError(f"{path}: {name} is not a cell array; expected a cell array of names")
    if cells.ndim != 2 or cells.size > MOST_CELLS:
        raise InputError(
            f"{path}: {name} has the shape {cells.shape}; expected two dimensions and at most "
            f"{MOST_CELLS} cells"
        )
    _check_storage(cells)
    references: NDArray[Any] = cells[()]
    return references


def _hdf5_text(codes: Any) -> str:
    """Return the text of a dataset of UTF-16 codes, or "<dtype>" for anything else."""
    if codes.dtype != np.uint16 or codes.size > MOST_TEXT:
        return f"<{codes.dtype}>"
    _check_storage(codes)
    return "".join(map(chr, codes[()].ravel()))


def _check_storage(data: Any) -> None:
    """Raise ValueError if data are stored in another file or in chunks that unpack to too much."""
    if data.external is not None or data.is_virtual:
        raise ValueError(f"{data.name} is stored in another file")
    chunk_bytes = math.prod(data.chunks or (0,)) * data.dtype.itemsize
    if chunk_bytes > MOST_CHUNK_BYTES:
        raise ValueError(f"{data.name} unpacks in pieces of {chunk_bytes / 1e6:.0f} MB")
