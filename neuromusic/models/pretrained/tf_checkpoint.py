"""Read the arrays of a TensorFlow 1 checkpoint with numpy; nothing in it is executed.

The index is a table in LevelDB's format: blocks of sorted entries, whose keys share prefixes, and a
footer of 48 bytes. Each entry is a protocol buffer that says where an array lies in the data file.
Sources: LevelDB, doc/table_format.md; TensorFlow, core/protobuf/tensor_bundle.proto.
"""

import math
import struct
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError

N_FOOTER = 48  # bytes
MAGIC = 0xDB4775248B80FB57  # the last 8 bytes of the footer
N_TRAILER = 5  # bytes after a block: compression, and a checksum of block and compression
DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}  # TensorFlow's numbers of types
CASTAGNOLI = 0x82F63B78  # polynomial of CRC-32C, reversed
MASK = 0xA282EAD8  # LevelDB adds it to checksums
T = TypeVar("T")


def read_checkpoint(index: bytes, data: bytes, where: str) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of a checkpoint with one data file.

    Parameters
    ----------
    index : bytes
        Content of the file ``.index``.
    data : bytes
        Content of the file ``.data-00000-of-00001``.
    where : str
        Name of the checkpoint, for messages.

    Returns
    -------
    dict
        Name of each variable -> array, float32, float64, int32 or int64.

    Raises
    ------
    InputError
        If the index is damaged, or an array has another type or does not fit the data file.
    """
    return _or_refuse(lambda: dict(_arrays(index, data)), where)


def _or_refuse(read: Callable[[], T], where: str) -> T:
    try:
        return read()
    except (ValueError, LookupError, struct.error, OverflowError) as error:
        raise InputError(
            f"{where}: is not a TensorFlow 1 checkpoint, or it is damaged ({error})"
        ) from None


def _arrays(index: bytes, data: bytes) -> Iterator[tuple[str, NDArray[np.generic]]]:
    for key, value in _entries(index):
        if not key:  # the header of the bundle
            if _fields(value).get(1, [1]) != [1]:
                raise ValueError("it has several data files; expected one")
            continue
        yield key.decode("utf-8"), _array(_fields(value), data)


def _array(entry: Mapping[int, list[int | bytes]], data: bytes) -> NDArray[np.generic]:
    """Return the array that a BundleEntryProto describes."""
    kind, offset, n_bytes = (_number(entry, field) for field in (1, 4, 5))
    if kind not in DTYPES:
        raise ValueError(f"an array has type {kind}; expected one of {sorted(DTYPES)}")
    shape: list[int] = []
    for message in entry.get(2, []):
        shape += [
            _number(_fields(_content(size)), 1) for size in _fields(_content(message)).get(2, [])
        ]
    dtype = np.dtype(DTYPES[kind])
    if math.prod(shape) * dtype.itemsize != n_bytes or offset + n_bytes > len(data):
        raise ValueError(f"an array of shape {tuple(shape)} does not fit the data file")
    return np.frombuffer(data, dtype, math.prod(shape), offset).reshape(shape)


def _entries(index: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a table."""
    footer = index[-N_FOOTER:]
    if len(footer) < N_FOOTER or int.from_bytes(footer[-8:], "little") != MAGIC:
        raise ValueError("the footer is missing")
    place = 0
    for _ in range(2):  # the first handle is that of the metaindex, which is empty
        _, place = _varint(footer, place)
    for _, handle in _block(index, footer[place:]):
        yield from _block(index, handle)


def _block(index: bytes, handle: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of the block at a handle (offset, size)."""
    start, place = _varint(handle, 0)
    size, _ = _varint(handle, place)
    block = index[start : start + size + N_TRAILER]
    if len(block) < size + N_TRAILER or size < 4:
        raise ValueError("a block is cut off")
    expected = int.from_bytes(block[-4:], "little")
    if masked_crc32c(block[:-4]) != expected:
        raise ValueError("the checksum of a block is wrong")
    if block[size] != 0:
        raise ValueError("its blocks are compressed, which is not supported")
    end = size - 4 * (1 + int.from_bytes(block[size - 4 : size], "little"))  # restart points
    key, place = b"", 0
    while place < end:
        n_shared, place = _varint(block, place)
        n_new, place = _varint(block, place)
        n_value, place = _varint(block, place)
        key = key[:n_shared] + block[place : place + n_new]
        place += n_new + n_value
        if place > end:
            raise ValueError("an entry is cut off")
        yield key, block[place - n_value : place]


def _fields(message: bytes) -> dict[int, list[int | bytes]]:
    """Return the fields of a protocol buffer: number -> values."""
    fields: dict[int, list[int | bytes]] = {}
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        value: int | bytes
        if tag % 8 == 0:
            value, place = _varint(message, place)
        else:
            if tag % 8 == 2:
                size, place = _varint(message, place)
            else:
                size = {1: 8, 5: 4}[tag % 8]
            value, place = message[place : place + size], place + size
            if place > len(message):
                raise ValueError("a field is cut off")
        fields.setdefault(tag // 8, []).append(value)
    return fields


def _varint(content: bytes, place: int) -> tuple[int, int]:
    """Return a number, seven bits per byte, and where it ends."""
    number = 0
    for shift in range(0, 70, 7):
        byte = content[place]
        place += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, place
    raise ValueError("a number has over ten bytes")


def _number(fields: Mapping[int, list[int | bytes]], field: int) -> int:
    """Return a field that holds a number; a number that is 0 is not written."""
    value = fields.get(field, [0])[0]
    if not isinstance(value, int):
        raise ValueError(f"field {field} is not a number")
    return value


def _content(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a number was found; expected a message")
    return value


@cache
def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (CASTAGNOLI if byte & 1 else 0)
        table.append(byte)
    return table


def masked_crc32c(content: bytes) -> int:
    """Return LevelDB's checksum: CRC-32C, rotated by 15 bits, plus a constant."""
    table, crc = _crc_table(), 0xFFFFFFFF
    for byte in content:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + MASK) & 0xFFFFFFFF
