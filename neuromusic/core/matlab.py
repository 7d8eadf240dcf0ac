"""Read variables of MATLAB 5 files (``save -v6`` and ``-v7``).

They are parsed here because scipy's reader (1.17) allocates whatever size a header declares and
aborts the process at an unknown data type; here every size is checked before memory is allocated.
Only real numbers, text, string arrays, cells and 1 x 1 structs of them are read: no other objects
and no function handles.

References
----------
MathWorks (2021). MAT-File Format, R2021a. Tables 1-1 and 1-3 list the codes below.
"""

import math
import struct
import zlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.files import check_size, reading
from neuromusic.core.matlab_objects import Malformed, Opaque, Unread, resolve

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
MOST_VARIABLES = 100_000
MOST_CELLS = 100_000
MOST_FIELDS = 1000  # of a struct
MOST_DEPTH = 3  # of cells and structs inside each other
MOST_ARRAY_BYTES = 1_000_000_000  # of a file that holds numbers, compressed or not
FIRST_BYTES = 65_536  # of a compressed variable: they contain its name
SUBSYSTEM_PLACE = slice(116, 124)  # in the header: where the contents of objects begin

# Codes of data elements: containers, numbers as stored, text as stored.
MATRIX, COMPRESSED = 14, 15
INT32, UINT32 = 5, 6
STORED = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
ENCODINGS = {1: "latin1", 2: "latin1", 16: "utf-8"}
WIDE_ENCODINGS = {4: "utf-16", 17: "utf-16", 18: "utf-32"}
# Codes of MATLAB classes; numbers may be stored in a smaller type than that of their class.
CELL, STRUCT, CHAR, OPAQUE = 1, 2, 4, 17
NUMBERS = {
    6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8",
}  # fmt: skip
REFUSED = {3: "an object", 5: "a sparse matrix", 16: "a function handle"}
COMPLEX_FLAG = 0x0800


def is_hdf5(path: Path) -> bool:
    """Return whether a file is HDF5, on its own or, as in MATLAB 7.3, after a 512-byte header."""
    with reading(path), open(path, "rb") as file:
        head = file.read(520)
    return HDF5_MAGIC in (head[:8], head[512:520])


def missing_variable(path: Path, name: str, present: Iterable[str]) -> InputError:
    """Return the error for a variable that a file does not have."""
    listed = ", ".join(filter(None, present))[:500] or "nothing"
    return InputError(f"{path}: has no variable {name}; it contains {listed}")


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
        Name -> array of numbers in native byte order, array of objects for cells and string arrays,
        str for text, or array of str for text of several rows.

    Raises
    ------
    InputError
        If the file is not a MATLAB 5 file or is too large, if a variable is missing or occurs
        twice, or contains anything but real numbers, text and cells.
    """
    values, present = read_variables(path, most_bytes, [*names, *optional])
    for name in names:
        if name not in present:
            raise missing_variable(path, name, present)
    for value in values.values():
        what = "holds a struct" if isinstance(value, dict) else None
        what = value.what if isinstance(value, Unread) else what
        if what:
            raise InputError(
                f"{path}: is not a readable MATLAB file (it {what}; only numbers, text and cells "
                "are read)"
            )
    return values


def read_variables(
    path: Path, most_bytes: int, wanted: Collection[str] | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Return the values of the wanted variables, or of all, and the names of all variables.

    Values are as in `read_arrays`; a 1 x 1 struct is a dict, and content of other kinds is an
    `Unread`. Raises InputError as `read_arrays` does.
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
            if not name or (wanted is not None and name not in wanted):
                continue
            if present.count(name) > 1:
                raise InputError(f"{path}: has the variable {name} twice; expected it once")
            matrix = memoryview(_unpack_all(body, bytes_left)) if is_compressed else body
            bytes_left -= len(matrix)
            values[name] = _read_matrix(_Cursor(matrix, order), depth=1)
        values = resolve(values, order, lambda: _objects(content, order, bytes_left))
    except (Malformed, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not a readable MATLAB file ({error})") from None
    return values, present


def _objects(content: memoryview, order: str, most_bytes: int) -> Sequence[Any]:
    """Return the cells in which a file keeps the contents of its objects.

    They are in a variable without a name, of bytes that are a small MATLAB file themselves.
    """
    (place,) = struct.unpack(f"{order}Q", content[SUBSYSTEM_PLACE])
    if not 128 <= place < len(content):
        raise Malformed("it has no contents for its objects")
    ((is_compressed, body),) = _variables(content, order, place, most=1)
    matrix = memoryview(_unpack_all(body, most_bytes)) if is_compressed else body
    inner = _read_matrix(_Cursor(matrix, order), depth=1)
    if not isinstance(inner, np.ndarray) or inner.dtype != np.uint8 or inner.size < 16:
        raise Malformed("the contents of its objects are damaged")
    ((_, body),) = _variables(memoryview(inner.tobytes()), order, 8, most=1)
    systems = _read_matrix(_Cursor(body, order), depth=-MOST_DEPTH)  # it nests deeper itself
    wrapper = systems.get("MCOS") if isinstance(systems, dict) else None
    cells = wrapper.reference if isinstance(wrapper, Opaque) else None
    if not isinstance(cells, np.ndarray) or cells.dtype != object:
        raise Malformed("the contents of its objects are damaged")
    return list(cells.flat)


# --- Parts of a file ------------------------------------------------------------------------------


def _byte_order(content: memoryview) -> str:
    """Return "<" or ">", as `struct` and numpy write it; check the header."""
    order = {b"IM": "<", b"MI": ">"}.get(bytes(content[126:128]))
    if order is None:
        raise Malformed("it does not start with a MATLAB 5 header; write it with save -v7")
    if struct.unpack(f"{order}H", content[124:126])[0] != 0x0100:
        raise Malformed("its version is not MATLAB 5")
    return order


def _variables(
    content: memoryview, order: str, place: int = 128, most: int = MOST_VARIABLES + 1
) -> list[tuple[bool, memoryview]]:
    """Return (is it compressed, its bytes) for each variable of a file, from a place on."""
    variables: list[tuple[bool, memoryview]] = []
    while place < len(content) and len(variables) < most:
        if place + 8 > len(content):
            raise Malformed("it is cut short")
        kind, size = struct.unpack(f"{order}II", content[place : place + 8])
        place += 8
        if size > len(content) - place:
            raise Malformed("it is cut short")
        if kind not in (MATRIX, COMPRESSED):
            raise Malformed(f"it has data of type {kind} among its variables")
        variables.append((kind == COMPRESSED, content[place : place + size]))
        place += size
        if len(variables) > MOST_VARIABLES:
            raise Malformed(f"it has more than {MOST_VARIABLES} variables")
    return variables


def _unpack(body: memoryview, n_bytes: int) -> bytes:
    """Return the first ``n_bytes`` of a compressed matrix, after its 8-byte tag."""
    return zlib.decompressobj().decompress(body, n_bytes + 8)[8:]


def _unpack_all(body: memoryview, most_bytes: int) -> bytes:
    """Return the bytes of a compressed matrix, after its 8-byte tag."""
    stream = zlib.decompressobj()
    content = stream.decompress(body, most_bytes + 8)
    if len(content) > most_bytes or stream.unconsumed_tail:
        raise Malformed(f"it unpacks to more than {most_bytes / 1e6:g} MB")
    if not stream.eof:
        raise Malformed("it is cut short")
    return content[8:]


@dataclass
class _Cursor:
    """A position in the bytes of a matrix; each method reads one part and moves past it."""

    view: memoryview
    order: str
    place: int = 0
    is_complex: bool = False  # the matrix whose class was read last

    @property
    def n_left(self) -> int:
        return len(self.view) - self.place

    def element(self) -> tuple[int, memoryview]:
        """Read (data type, bytes) of a data element; a short one has a tag of 4 bytes."""
        if self.n_left < 8:
            raise Malformed("it is cut short")
        kind, size = struct.unpack(f"{self.order}II", self.view[self.place : self.place + 8])
        if kind >> 16:
            kind, size, first = kind & 0xFFFF, kind >> 16, self.place + 4
            if size > 4:
                raise Malformed(f"it has a short element of {size} bytes")
            self.place += 8
            return kind, self.view[first : first + size]
        first = self.place + 8
        if size > len(self.view) - first:
            raise Malformed(f"it declares {size} bytes but has {len(self.view) - first}")
        self.place = first + (size + 7) // 8 * 8  # padded to 8 bytes
        return kind, self.view[first : first + size]

    def matlab_class(self) -> int:
        """Read the class of a matrix, its first part."""
        kind, flags = self.element()
        if kind != UINT32 or len(flags) != 8:
            raise Malformed("a variable has no flags")
        (word, _) = struct.unpack(f"{self.order}II", flags)
        self.is_complex = bool(word & COMPLEX_FLAG)
        return int(word) & 0xFF

    def shape(self) -> tuple[int, ...]:
        """Read the dimensions of a matrix, its second part."""
        kind, raw = self.element()
        if kind != INT32 or len(raw) % 4 or not 2 <= len(raw) // 4 <= 8:
            raise Malformed("a variable has no dimensions")
        shape = struct.unpack(f"{self.order}{len(raw) // 4}i", raw)
        if min(shape) < 0:
            raise Malformed(f"a variable has the dimensions {shape}")
        return shape

    def name(self) -> str:
        """Read the name of a matrix, its third part."""
        return self.element()[1].tobytes().decode("latin1")

    def variable_name(self) -> str:
        """Read all three parts; an opaque object has no dimensions."""
        if self.matlab_class() != OPAQUE:
            self.shape()
        return self.name()


def _read_matrix(cursor: _Cursor, depth: int) -> Any:
    """Read a numeric array, a text, a cell array, a struct or a reference to an object.

    ``depth`` counts cells and structs inside each other.
    """
    category = cursor.matlab_class()
    if category == OPAQUE:
        return _read_opaque(cursor, depth)
    if category not in (CELL, STRUCT, CHAR) and category not in NUMBERS:
        return Unread(f"holds {REFUSED.get(category, f'class {category}')}")
    if cursor.is_complex:
        return Unread("holds complex numbers")
    shape = cursor.shape()
    cursor.name()
    if depth > MOST_DEPTH and category in (CELL, STRUCT):
        raise Malformed(f"it has cells in cells more than {MOST_DEPTH} deep")
    if category == CELL:
        return _read_cell_array(cursor, shape, depth)
    if category == STRUCT:
        return _read_struct(cursor, shape, depth)
    if category == CHAR:
        return _read_text(cursor, shape)
    return _read_numbers(cursor, shape, category)


def _read_element(cursor: _Cursor, depth: int) -> Any:
    """Read the matrix in a cell or a field; MATLAB writes an empty one without data."""
    kind, content = cursor.element()
    if kind != MATRIX:
        raise Malformed(f"a cell has data of type {kind}")
    return (
        _read_matrix(_Cursor(content, cursor.order), depth + 1)
        if len(content)
        else np.zeros((0, 0))
    )


def _read_opaque(cursor: _Cursor, depth: int) -> Opaque | Unread:
    cursor.name()
    system, class_name = cursor.name(), cursor.name()
    if system != "MCOS":
        return Unread("holds an object")
    return Opaque(class_name, _read_element(cursor, depth - 1))


def _read_struct(cursor: _Cursor, shape: tuple[int, ...], depth: int) -> dict[str, Any] | Unread:
    """Read a struct of 1 x 1; larger ones are not needed."""
    if math.prod(shape) != 1:
        return Unread("holds a struct array")
    kind, raw = cursor.element()
    if kind != INT32 or len(raw) != 4:
        raise Malformed("a struct has no field names")
    (width,) = struct.unpack(f"{cursor.order}i", raw)
    names = cursor.element()[1].tobytes()
    if not 1 <= width <= 256 or len(names) % width or len(names) // width > MOST_FIELDS:
        raise Malformed("a struct has no field names")
    starts = range(0, len(names), width)
    fields = [names[at : at + width].split(b"\0")[0].decode("latin1") for at in starts]
    return {field: _read_element(cursor, depth) for field in fields}


def _read_numbers(cursor: _Cursor, shape: tuple[int, ...], category: int) -> NDArray[Any]:
    kind, data = cursor.element()
    stored, dtype = STORED.get(kind, ""), NUMBERS[category]
    size = math.prod(shape)
    if not stored or (stored[0] == "f" and dtype[0] != "f"):
        raise Malformed(f"a variable of class {category} has data of type {kind}")
    if size * int(stored[1]) != len(data):
        raise Malformed(f"a variable declares {size} values in {len(data)} bytes")
    values = np.frombuffer(data, f"{cursor.order}{stored}").astype(f"={dtype}")
    return values.reshape(shape, order="F")


def _read_cell_array(cursor: _Cursor, shape: tuple[int, ...], depth: int) -> NDArray[np.object_]:
    size = math.prod(shape)
    if size > MOST_CELLS or size * 8 > cursor.n_left:
        raise Malformed(f"a cell array declares {size} cells in {cursor.n_left} bytes")
    cells = np.empty(size, dtype=object)
    for index in range(size):
        cells[index] = _read_element(cursor, depth)
    return cells.reshape(shape, order="F")


def _read_text(cursor: _Cursor, shape: tuple[int, ...]) -> str | NDArray[np.str_]:
    kind, data = cursor.element()
    encoding = ENCODINGS.get(kind)
    if encoding is None:
        if kind not in WIDE_ENCODINGS:
            raise Malformed(f"a text has data of type {kind}")
        encoding = f"{WIDE_ENCODINGS[kind]}-{'le' if cursor.order == '<' else 'be'}"
    text = data.tobytes().decode(encoding)
    if len(shape) != 2 or shape[0] == 1 or not text:
        return text
    if math.prod(shape) != len(text):
        raise Malformed(f"a text declares {math.prod(shape)} characters and has {len(text)}")
    return np.array(["".join(text[row :: shape[0]]) for row in range(shape[0])])
