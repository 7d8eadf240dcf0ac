"""MATLAB files written byte by byte, with content that no program here can write."""

import h5py
import numpy as np


def v5_element(kind, data, order="<"):
    """Return a data element: tag, data and padding."""
    return np.array([kind, len(data)], f"{order}u4").tobytes() + data + bytes(-len(data) % 8)


def v5_matrix(category, shape, body, name=b"TrnOrd", class_name=None, order="<"):
    """Return a MATLAB 5 matrix element with any class, dimensions and body.

    With ``class_name`` it is a reference to an object, which has no dimensions.
    """
    inner = v5_element(6, np.array([category, 0], f"{order}u4").tobytes(), order)
    if class_name is None:
        inner += v5_element(5, np.array(shape, f"{order}i4").tobytes(), order)
    inner += v5_element(1, name, order)
    if class_name is not None:
        inner += v5_element(1, b"MCOS", order) + v5_element(1, class_name.encode(), order)
        body = body or v5_numbers(np.array([1], np.uint32), order)
    return v5_element(14, inner + body, order)


def v5_numbers(array, order="<"):
    """Return a matrix element with a column of unsigned integers."""
    category, kind = {1: (9, 2), 4: (13, 6), 8: (15, 13)}[array.dtype.itemsize]
    body = v5_element(kind, array.astype(array.dtype.newbyteorder(order)).tobytes(), order)
    return v5_matrix(category, (len(array), 1), body, b"", order=order)


def v5_file(path, *elements, order="<", objects=0):
    """Write a MATLAB 5 file with these elements; ``objects`` is the place of the last one."""
    mark = b"\x00\x01IM" if order == "<" else b"\x01\x00MI"
    header = b"MATLAB 5.0".ljust(116) + np.array([objects], f"{order}u8").tobytes() + mark
    path.write_bytes(header + b"".join(elements))
    return path


def hdf5_order(path, make):
    """Write a MATLAB 7.3 cell array with one cell: the dataset that ``make(file)`` returns."""
    with h5py.File(path, "w") as file:
        table = file.create_dataset("TrnOrd", (1, 1), dtype=h5py.ref_dtype)
        table[0, 0] = make(file).ref
    return path


# --- String arrays --------------------------------------------------------------------------------

REFERENCE = np.array([0xDD000000, 2, 1, 1, 1, 1], np.uint32)  # object 1 of class 1, 1 x 1


def string_words(grid, order="<"):
    """Return the words in which MATLAB keeps a string array; None is <missing>."""
    texts = [
        b"" if text is None else str(text).encode(f"utf-16-{'le' if order == '<' else 'be'}")
        for text in grid.ravel(order="F").tolist()
    ]
    missing = [text is None for text in grid.ravel(order="F").tolist()]
    lengths = [2**64 - 1 if m else len(t) // 2 for t, m in zip(texts, missing, strict=True)]
    data = b"".join(texts)
    words = np.frombuffer(data + bytes(-len(data) % 8), f"{order}u8").astype(np.uint64)
    return np.concatenate([np.array([1, 2, *grid.shape, *lengths], np.uint64), words])


def string_tables(order="<"):
    """Return the tables that lead from object 1, of the class string, to its content."""
    names = b"any\0string\0".ljust(16, b"\0")
    classes = [0, 0, 0, 0, 0, 2, 0, 0]
    properties = [0, 0, 1, 1, 1, 0]  # nothing; one property: name 1, kind 1, content 0
    objects = [0] * 6 + [1, 0, 0, 1, 0, 1]
    first = 40 + len(names)
    starts = np.cumsum([first, 4 * len(classes), 4 * len(properties), 4 * len(objects)])
    head = [4, 2, *starts, *[starts[-1]] * 4]
    parts = (np.array(part, f"{order}u4").tobytes() for part in (classes, properties, objects))
    table = np.array(head, f"{order}u4").tobytes() + names + b"".join(parts)
    return np.frombuffer(table, np.uint8)


def string_file(path, grid, order="<"):
    """Write a MATLAB 5 file with a string array, as MATLAB does."""
    contents = [v5_numbers(string_tables(order), order), v5_element(14, b"", order),
                v5_numbers(string_words(grid, order), order)]  # fmt: skip
    cells = v5_matrix(1, (len(contents), 1), b"".join(contents), b"", order=order)
    wrapper = v5_matrix(17, None, cells, b"", "FileWrapper__", order=order)
    fields = v5_element(5, np.array([5], f"{order}i4").tobytes(), order)
    fields += v5_element(1, b"MCOS\0", order)
    system = v5_matrix(2, (1, 1), fields + wrapper, b"", order=order)
    mark = b"\x00\x01IM" if order == "<" else b"\x01\x00MI"
    inner = v5_numbers(np.frombuffer(mark + bytes(4) + system, np.uint8), order)
    variable = v5_matrix(17, None, v5_numbers(REFERENCE, order), b"TrnOrd", "string", order=order)
    return v5_file(path, variable, inner, order=order, objects=128 + len(variable))


def string_file_hdf5(path, grid):
    """Write a MATLAB 7.3 file with a string array, as MATLAB does."""
    with h5py.File(path, "w", userblock_size=512) as file:
        variable = file.create_dataset("TrnOrd", data=REFERENCE[None])
        variable.attrs["MATLAB_class"] = np.bytes_("string")
        variable.attrs["MATLAB_object_decode"] = np.int32(3)
        contents = [string_tables()[None], np.zeros(2, np.uint64), string_words(grid)[:, None]]
        objects = file.create_dataset("#subsystem#/MCOS", (1, 3), dtype=h5py.ref_dtype)
        for index, content in enumerate(contents):
            objects[0, index] = file.create_dataset(f"#refs#/{index}", data=content).ref
    return path
