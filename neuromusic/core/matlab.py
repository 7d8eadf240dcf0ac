"""Read variables of MATLAB files, 5 and 7.3; nothing is made before its size is checked.

Only real numbers, text and cells of them are read: no structs, objects or function handles. MATLAB
5 is read here and not with scipy (1.17), whose reader allocates what a header declares and ends
the process at a data type that it does not know.
"""

import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.files import check_size

HDF5 = b"\x89HDF\r\n\x1a\n"
MOST_CELLS = 100_000
MOST_DEPTH = 3  # of cells in cells
MOST_TEXT = 1000  # characters in a cell of a 7.3 file
MOST_CHUNK_BYTES = 1_000_000  # that HDF5 unpacks at once
ORDER_BYTES = 16_000_000  # of a file that holds names, and of what it unpacks to
ARRAY_BYTES = 1_000_000_000  # of a file that holds numbers

# MAT-File Format (MathWorks, R2021a), tables 1-1 and 1-3.
MATRIX, COMPRESSED = 14, 15
STORED = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
CELL, CHAR = 1, 4
NUMBERS = {
    6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8",
}  # fmt: skip
OBJECT, COMPLEX = 17, 0x0800
OTHER = {
    2: "a struct", 3: "an object", 5: "a sparse matrix", 16: "a function handle",
    OBJECT: "an object",
}  # fmt: skip
TEXTS = {1: "latin1", 2: "latin1", 16: "utf-8"}
WIDE_TEXTS = {4: "utf-16", 17: "utf-16", 18: "utf-32"}


def is_hdf5(path: Path) -> bool:
    """Say whether a file is HDF5, as MATLAB 7.3 writes it behind 512 bytes of its own."""
    with open(path, "rb") as file:
        head = file.read(520)
    return HDF5 in (head[:8], head[512:520])


def read_cells(path: Path, name: str) -> NDArray[np.object_]:
    """Return a cell array as MATLAB shows it; text as str, anything else as it is or described.

    Raises InputError where the file or the variable is no such thing, or declares a size that no
    list of names has.
    """
    check_size(path, ORDER_BYTES, "an order file")
    if is_hdf5(path):
        return _read_cells_hdf5(path, name)
    cells = read_arrays(path, [name], ORDER_BYTES)[name]
    if not (isinstance(cells, np.ndarray) and cells.dtype == object):
        raise InputError(f"{path}: {name} is not a cell array; expected a cell of clip names")
    return cells


# --- MATLAB 5 -----------------------------------------------------------------------------------


class _Broken(Exception):
    """The bytes are not what the format says."""


def read_arrays(
    path: Path, names: Sequence[str], most_bytes: int = ARRAY_BYTES, optional: Sequence[str] = ()
) -> dict[str, Any]:
    """Return variables of a MATLAB 5 file: arrays, cells as arrays of objects, text as str.

    Text of several rows is an array of them.

    Raises InputError for a file that is none, a variable that is missing (unless ``optional``) or
    there twice, one that holds anything but numbers, text and cells, and for over ``most_bytes``.
    """
    check_size(path, most_bytes, "such a file")
    content = memoryview(path.read_bytes())
    found: list[str] = []
    read: dict[str, Any] = {}
    try:
        order = _byte_order(content)
        left = most_bytes
        for packed, body in _elements(content, order):
            head = _unpacked(body, 65_536, whole=False) if packed else body
            name = _name(memoryview(head), order)
            found.append(name)
            if name not in names and name not in optional:
                continue
            if found.count(name) > 1:
                raise InputError(f"{path}: has the variable {name} twice; expected it once")
            matrix = memoryview(_unpacked(body, left, whole=True)) if packed else body
            left -= len(matrix)
            read[name] = _matrix(matrix, order, 1)
        for name in names:
            if name not in found:
                held = ", ".join(filter(None, found)) or "nothing"
                raise InputError(f"{path}: has no variable {name}; it holds {held[:500]}")
        return read
    except (_Broken, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no readable MATLAB file ({error})") from None


def _byte_order(content: memoryview) -> str:
    orders = {b"IM": "<", b"MI": ">"}
    order = orders.get(bytes(content[126:128]))
    if order is None:
        raise _Broken("it does not begin like MATLAB 5")
    if struct.unpack(f"{order}H", content[124:126])[0] != 0x0100:
        raise _Broken("it has another version than MATLAB 5")
    return order


def _elements(content: memoryview, order: str) -> list[tuple[bool, memoryview]]:
    """Return what a file holds: (is it compressed, its bytes)."""
    out, place = [], 128
    while place < len(content):
        if place + 8 > len(content):
            raise _Broken("it is cut short")
        kind, size = struct.unpack(f"{order}II", content[place : place + 8])
        place += 8
        if size > len(content) - place:
            raise _Broken("it is cut short")
        if kind not in (MATRIX, COMPRESSED):
            raise _Broken(f"it has data of type {kind} among its variables")
        out.append((kind == COMPRESSED, content[place : place + size]))
        place += size
        if len(out) > MOST_CELLS:
            raise _Broken(f"it has over {MOST_CELLS} variables")
    return out


def _unpacked(body: memoryview, most: int, whole: bool) -> bytes:
    """Return the matrix in a compressed element: its first ``most`` bytes, or all of it."""
    stream = zlib.decompressobj()
    out = stream.decompress(body, most + 8)
    if whole and (len(out) > most or stream.unconsumed_tail):
        raise _Broken(f"it unpacks to over {most / 1e6:g} MB")
    if whole and not stream.eof:
        raise _Broken("it is cut short")
    return out[8:]


def _name(view: memoryview, order: str) -> str:
    """Return the name of a matrix; an object has another form, and no name that matters here."""
    category, place = _category(view, order)
    if category == OBJECT:
        return ""
    _, place = _shape(view, place, order)
    return _sub(view, place, order)[1].tobytes().decode("latin1")


def _sub(view: memoryview, place: int, order: str) -> tuple[int, memoryview, int]:
    """Return (type, bytes, where the next begins) of a data element; short ones have one word."""
    if place + 8 > len(view):
        raise _Broken("it is cut short")
    word, size = struct.unpack(f"{order}II", view[place : place + 8])
    if word >> 16:
        kind, size, first = word & 0xFFFF, word >> 16, place + 4
        if size > 4:
            raise _Broken(f"it has a short element of {size} bytes")
        return kind, view[first : first + size], place + 8
    first = place + 8
    if size > len(view) - first:
        raise _Broken(f"it declares {size} bytes where {len(view) - first} are")
    return word, view[first : first + size], first + (size + 7) // 8 * 8


def _category(view: memoryview, order: str) -> tuple[int, int]:
    """Return (class, where the dimensions begin) of a matrix."""
    kind, flags, place = _sub(view, 0, order)
    if kind != 6 or len(flags) != 8:
        raise _Broken("a variable has no flags")
    (word, _) = struct.unpack(f"{order}II", flags)
    if word & COMPLEX:
        raise _Broken("it holds complex numbers; only real ones are read")
    return word & 0xFF, place


def _shape(view: memoryview, place: int, order: str) -> tuple[tuple[int, ...], int]:
    """Return (dimensions, where the name begins) of a matrix."""
    kind, raw, place = _sub(view, place, order)
    if kind != 5 or len(raw) % 4 or not 2 <= len(raw) // 4 <= 8:
        raise _Broken("a variable has no dimensions")
    shape = struct.unpack(f"{order}{len(raw) // 4}i", raw)
    if min(shape) < 0:
        raise _Broken(f"a variable has the dimensions {shape}")
    return shape, place


def _matrix(view: memoryview, order: str, depth: int) -> Any:
    """Return the content of a matrix; raise _Broken where it is not what it declares."""
    category, place = _category(view, order)
    if category != CELL and category != CHAR and category not in NUMBERS:
        what = OTHER.get(category, f"class {category}")
        raise _Broken(f"it holds {what}; only numbers, text and cells are read")
    shape, place = _shape(view, place, order)
    _, _, place = _sub(view, place, order)  # its name
    if category == CELL:
        return _cells(view, place, shape, order, depth)
    kind, data, _ = _sub(view, place, order)
    if category == CHAR:
        return _text(kind, data, shape, order)
    stored, wanted = STORED.get(kind, ""), NUMBERS[category]
    size = math.prod(shape)
    if not stored or (stored[0] == "f" and wanted[0] != "f"):
        raise _Broken(f"a variable of class {category} has data of type {kind}")
    if size * int(stored[1]) != len(data):
        raise _Broken(f"a variable declares {size} values in {len(data)} bytes")
    values = np.frombuffer(data, f"{order}{stored}").astype(f"={wanted}")
    return values.reshape(shape, order="F")


def _cells(
    view: memoryview, place: int, shape: tuple[int, ...], order: str, depth: int
) -> NDArray[np.object_]:
    size = math.prod(shape)
    if depth > MOST_DEPTH:
        raise _Broken(f"it has cells in cells over {MOST_DEPTH} deep")
    if size > MOST_CELLS or size * 8 > len(view) - place:
        raise _Broken(f"a cell array declares {size} cells in {len(view) - place} bytes")
    cells = np.empty(size, dtype=object)
    for index in range(size):
        kind, cell, place = _sub(view, place, order)
        if kind != MATRIX:
            raise _Broken(f"a cell has data of type {kind}")
        # MATLAB writes an empty one as nothing.
        cells[index] = _matrix(cell, order, depth + 1) if len(cell) else np.zeros((0, 0))
    return cells.reshape(shape, order="F")


def _text(kind: int, data: memoryview, shape: tuple[int, ...], order: str) -> Any:
    name = TEXTS.get(kind)
    if name is None:
        if kind not in WIDE_TEXTS:
            raise _Broken(f"a text has data of type {kind}")
        name = f"{WIDE_TEXTS[kind]}-{'le' if order == '<' else 'be'}"
    text = data.tobytes().decode(name)
    if len(shape) != 2 or shape[0] == 1 or not text:
        return text
    if math.prod(shape) != len(text):
        raise _Broken(f"a text declares {math.prod(shape)} characters and has {len(text)}")
    return np.array(["".join(text[row :: shape[0]]) for row in range(shape[0])])


# --- MATLAB 7.3 ---------------------------------------------------------------------------------


def _read_cells_hdf5(path: Path, name: str) -> NDArray[np.object_]:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            found = [key for key in file if not key.startswith("#")]
            if name not in found:
                held = ", ".join(found) or "nothing"
                raise InputError(f"{path}: has no variable {name}; it holds {held[:500]}")
            if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                raise InputError(f"{path}: {name} is a link to elsewhere; expected a cell array")
            cells = file[name]
            if not isinstance(cells, h5py.Dataset) or cells.dtype != h5py.ref_dtype:
                raise InputError(f"{path}: {name} is not a cell array; expected clip names")
            if cells.ndim != 2 or cells.size > MOST_CELLS:
                raise InputError(
                    f"{path}: {name} has the shape {cells.shape}; expected trials x runs"
                )
            _check_stored(cells)
            # MATLAB stores arrays column by column, so HDF5 shows (runs, trials).
            text = np.empty(cells.shape[::-1], dtype=object)
            for (run, trial), reference in np.ndenumerate(cells[()]):
                codes = file[reference]
                text[trial, run] = f"<{codes.dtype}>"
                if codes.dtype == np.uint16 and codes.size <= MOST_TEXT:
                    _check_stored(codes)
                    text[trial, run] = "".join(map(chr, codes[()].ravel()))
    except InputError:
        raise
    except Exception as error:  # h5py raises OSError, KeyError, ValueError and RuntimeError
        raise InputError(f"{path}: is no readable MATLAB 7.3 file ({error})") from None
    return text


def _check_stored(data: Any) -> None:
    """Raise ValueError unless a dataset lies in its own file, in pieces that are soon unpacked."""
    if data.external is not None or data.is_virtual:
        raise ValueError(f"{data.name} lies in another file")
    chunk = math.prod(data.chunks or (0,)) * data.dtype.itemsize
    if chunk > MOST_CHUNK_BYTES:
        raise ValueError(f"{data.name} unpacks in pieces of {chunk / 1e6:.0f} MB")


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
