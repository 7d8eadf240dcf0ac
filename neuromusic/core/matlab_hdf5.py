"""Read names from MATLAB 7.3 files, which are HDF5: text, string arrays, cells and structs."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.files import readable
from neuromusic.core.matlab import MOST_CELLS, MOST_DEPTH
from neuromusic.core.matlab_objects import Malformed, Opaque, Unread, resolve

MOST_CHARACTERS = 16_000_000  # of all texts together
MOST_CHUNK_BYTES = 1_000_000  # that HDF5 unpacks at once
OBJECTS = "#subsystem#/MCOS"


def read_variables_hdf5(path: Path) -> dict[str, Any]:
    """Return all variables of a MATLAB 7.3 file.

    Text is a str, or an array of str with several rows; a cell or string array is an array of
    objects in the shape that MATLAB shows; a struct of 1 x 1 is a dict; anything else, numbers
    included, is an `Unread`.

    Raises InputError if the file cannot be read, contains links or data in other files, or is
    larger than a list of names can be.
    """
    import h5py

    with readable(path, "MATLAB 7.3 file"), h5py.File(path, "r") as file:
        reader = _Reader(file)
        names = [key for key in file if not key.startswith("#")]
        if any("OCTAVE_NEW_FORMAT" in file[key].attrs for key in names if reader.is_here(key)):
            raise InputError(f"{path}: is Octave's own HDF5 format; write it again with save -v7")
        values: dict[str, Any] = {}
        for key in names:
            if not reader.is_here(key):
                raise InputError(f"{path}: {key} is a link; expected a variable")
            values[key] = reader.value(file[key], depth=1)
        resolved: dict[str, Any] = resolve(values, "<", reader.objects)
    return resolved


class _Reader:
    """A file, and how many more cells and characters may be read from it.

    The same text can be referred to from many cells, so the size of the file is no limit.
    """

    def __init__(self, file: Any) -> None:
        self.file = file
        self.cells_left = MOST_CELLS
        self.characters_left = MOST_CHARACTERS

    def is_here(self, key: str) -> bool:
        """Return whether a name belongs to this file and is not a link to another place."""
        import h5py

        return isinstance(self.file.get(key, getlink=True), h5py.HardLink)

    def value(self, item: Any, depth: int) -> Any:
        """Return the value of a dataset or group; ``depth`` counts those inside each other."""
        import h5py

        self.cells_left -= 1
        if self.cells_left < 0:
            raise Malformed(f"it has more than {MOST_CELLS} cells")
        if isinstance(item, h5py.Group):
            return self._struct(item, depth)
        if not isinstance(item, h5py.Dataset):
            return Unread("holds no data")
        _check_storage(item)
        kind = item.attrs.get("MATLAB_class", b"")
        class_name = kind.decode("latin1") if isinstance(kind, bytes) else str(kind)
        if "MATLAB_object_decode" in item.attrs:
            return Opaque(class_name, self._numbers(item))
        if "MATLAB_empty" in item.attrs:
            return "" if class_name == "char" else np.zeros((0, 0))
        if item.dtype == h5py.ref_dtype:
            return self._cells(item, depth)
        if item.dtype == np.uint16 and class_name in ("char", ""):
            return self._text(item)
        return Unread(f"holds {item.dtype}")

    def _struct(self, group: Any, depth: int) -> dict[str, Any] | Unread:
        if depth > MOST_DEPTH:
            raise Malformed(f"it has cells in cells more than {MOST_DEPTH} deep")
        return {
            key: self.value(group[key], depth + 1)
            for key in group
            if self.is_here(f"{group.name}/{key}")
        }

    def _cells(self, item: Any, depth: int) -> NDArray[np.object_]:
        if depth > MOST_DEPTH:
            raise Malformed(f"it has cells in cells more than {MOST_DEPTH} deep")
        if item.size > self.cells_left:
            raise Malformed(f"it has more than {MOST_CELLS} cells")
        # MATLAB stores arrays column by column, so HDF5 shows (columns, rows).
        references = np.asarray(item[()], dtype=object).T
        cells = np.empty(references.shape, dtype=object)
        for index, reference in np.ndenumerate(references):
            cells[index] = self.value(self.file[reference], depth + 1)
        return cells

    def _text(self, item: Any) -> str | NDArray[np.str_]:
        codes = self._numbers(item)
        lines = ["".join(map(chr, row)) for row in (codes.T if codes.ndim == 2 else codes[None])]
        return lines[0] if len(lines) == 1 else np.array(lines)

    def _numbers(self, item: Any) -> NDArray[Any]:
        self.characters_left -= item.size
        if self.characters_left < 0:
            raise Malformed(f"it has more than {MOST_CHARACTERS / 1e6:g} million characters")
        numbers: NDArray[Any] = np.asarray(item[()])
        return numbers

    def objects(self) -> list[Any]:
        """Return the cells in which the file keeps the contents of its objects."""
        import h5py

        item = self.file.get(OBJECTS)
        if not isinstance(item, h5py.Dataset) or item.dtype != h5py.ref_dtype:
            raise Malformed("it has no contents for its objects")
        _check_storage(item)
        if item.size > MOST_CELLS:
            raise Malformed(f"it has more than {MOST_CELLS} cells")
        cells = []
        for reference in item[()].ravel():
            content = self.file[reference]
            is_array = isinstance(content, h5py.Dataset) and content.dtype.kind == "u"
            if is_array:
                _check_storage(content)
            cells.append(self._numbers(content) if is_array else None)
        return cells


def _check_storage(data: Any) -> None:
    """Raise Malformed if data are stored in another file or in chunks that unpack to too much."""
    if data.external is not None or data.is_virtual:
        raise Malformed(f"{data.name} is stored in another file")
    chunk_bytes = math.prod(data.chunks or (0,)) * data.dtype.itemsize
    if chunk_bytes > MOST_CHUNK_BYTES:
        raise Malformed(f"{data.name} unpacks in pieces of {chunk_bytes / 1e6:.0f} MB")
