"""Variables of files that hold responses in time: .mat (5 and 7.3), .npz and HDF5."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.files import check_size, read_npz, readable
from neuromusic.core.matlab import MOST_CELLS, is_hdf5
from neuromusic.core.matlab import read_variables as read_matlab5
from neuromusic.core.matlab_objects import Unread

MOST_BYTES = 8_000_000_000  # of a file, compressed or not


def read_variables(path: Path) -> dict[str, Any]:
    """Return the arrays of numbers and the texts in a file, by name.

    Arrays have the axes that MATLAB or numpy shows. Cells are arrays of objects. Structs, objects
    and groups are left out.

    Raises InputError if the file is not what its suffix says, or is larger than MOST_BYTES.
    """
    check_size(path, MOST_BYTES, "a file of responses")
    if path.suffix.lower() == ".npz":
        return read_npz(path)
    if is_hdf5(path):
        return _read_hdf5(path)
    if path.suffix.lower() != ".mat":
        raise InputError(f"{path}: is not an HDF5 file")
    values, _ = read_matlab5(path, MOST_BYTES)
    return {name: value for name, value in values.items() if not isinstance(value, dict | Unread)}


def _read_hdf5(path: Path) -> dict[str, Any]:
    """Read the datasets at the top of a file; those of MATLAB have their axes reversed."""
    import h5py

    is_matlab = path.suffix.lower() == ".mat"
    with readable(path, "MATLAB 7.3 file" if is_matlab else "HDF5 file"), h5py.File(path) as file:
        items = {
            name: file[name]
            for name in file
            if isinstance(file.get(name, getlink=True), h5py.HardLink)
            and isinstance(file[name], h5py.Dataset)
        }
        if sum(item.nbytes for item in items.values()) > MOST_BYTES:
            raise ValueError(f"it unpacks to more than {MOST_BYTES / 1e9:g} GB")
        return {name: _value(file, item, is_matlab) for name, item in items.items()}


def _value(file: Any, item: Any, is_matlab: bool) -> Any:
    import h5py

    if item.external is not None or item.is_virtual:
        raise ValueError(f"{item.name} is stored in another file")
    if h5py.check_string_dtype(item.dtype) is not None:
        return np.asarray(item.asstr()[()], dtype=str)
    if item.dtype == h5py.ref_dtype:
        return _cells(file, item)
    array: NDArray[Any] = np.asarray(item[()])
    kind = item.attrs.get("MATLAB_class", b"")
    if kind in (b"char", "char"):
        lines = ["".join(map(chr, row)) for row in array.T]
        return lines[0] if len(lines) == 1 else np.array(lines)
    return array.T if is_matlab else array


def _cells(file: Any, item: Any) -> NDArray[np.object_]:
    """Return the cells of MATLAB, which are references to datasets."""
    if item.size > MOST_CELLS:
        raise ValueError(f"{item.name} has more than {MOST_CELLS} cells")
    references = np.asarray(item[()], dtype=object).T
    cells = np.empty(references.shape, dtype=object)
    left = MOST_BYTES  # the same data can be referred to from many cells
    for index, reference in np.ndenumerate(references):
        left -= file[reference].nbytes
        if left < 0:
            raise ValueError(f"{item.name} unpacks to more than {MOST_BYTES / 1e9:g} GB")
        cells[index] = _value(file, file[reference], is_matlab=True)
    return cells
