"""MATLAB files written byte by byte, with content that no program would write."""

import h5py
import numpy as np


def v5_matrix(category, shape, body, name=b"TrnOrd"):
    """Return a MATLAB 5 matrix element with any class, dimensions and body."""

    def element(kind, data):
        return np.array([kind, len(data)], "<u4").tobytes() + data + bytes(-len(data) % 8)

    flags = np.array([category, 0], "<u4").tobytes()
    dims = np.array(shape, "<i4").tobytes()
    inner = element(6, flags) + element(5, dims) + element(1, name) + body
    return np.array([14, len(inner)], "<u4").tobytes() + inner


def v5_file(path, *elements):
    """Write a little-endian MATLAB 5 file with these elements."""
    path.write_bytes(b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + b"".join(elements))
    return path


def hdf5_order(path, make):
    """Write a MATLAB 7.3 cell array with one cell: the dataset that ``make(file)`` returns."""
    with h5py.File(path, "w") as file:
        table = file.create_dataset("TrnOrd", (1, 1), dtype=h5py.ref_dtype)
        table[0, 0] = make(file).ref
    return path
