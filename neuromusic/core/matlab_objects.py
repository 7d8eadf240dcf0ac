"""String arrays of MATLAB: objects whose contents lie apart from the variables of a file.

A variable of class ``string`` only holds a reference. The contents of all objects are in one list
of cells: the first has the tables that lead from the number of an object to the cell with its
property. The format is not published; this reader follows files written by MATLAB R2025.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_STRINGS = 100_000
REFERENCE_MARK = 0xDD000000
OBJECT_WORDS = 6  # of 32 bits in the table of objects: class, 0, 0, number in the next table, ...
FIRST_CONTENT = 2  # index of the cell with the property 0
MISSING = 0xFFFF_FFFF_FFFF_FFFF  # length of the string <missing>


class Malformed(ValueError):
    """The bytes are not what the format prescribes, or exceed our limits."""


@dataclass(frozen=True)
class Opaque:
    """A reference to an object of a class."""

    class_name: str
    reference: Any


@dataclass(frozen=True)
class Unread:
    """Content of a kind that is not read; ``what`` continues a message, such as "holds a table"."""

    what: str


def resolve(value: Any, order: str, contents: Callable[[], Sequence[Any]]) -> Any:
    """Replace each reference to a string array by the array, and to another object by an `Unread`.

    Parameters
    ----------
    value : object
        A value, or a dict or an array of objects that contains some.
    order : {"<", ">"}
        Byte order of the file.
    contents : callable
        Returns the cells with the contents of all objects; called once at most.

    Raises
    ------
    Malformed
        If a reference leads nowhere or the contents are damaged.
    """
    cells: list[Sequence[Any]] = []

    def replaced(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: replaced(inner) for key, inner in part.items()}
        if isinstance(part, np.ndarray) and part.dtype == object:
            for index, inner in np.ndenumerate(part):
                part[index] = replaced(inner)
            return part
        if not isinstance(part, Opaque):
            return part
        if part.class_name != "string":
            return Unread(f"holds an object of the class {part.class_name or 'unknown'}")
        if not cells:
            cells.append(contents())
        return _strings(_property(part.reference, cells[0], order), order)

    return replaced(value)


def _property(reference: Any, cells: Sequence[Any], order: str) -> NDArray[np.uint64]:
    """Return the only property of an object of 1 x 1, as string arrays are stored."""
    words = _integers(reference, np.uint32)
    if len(words) < 6 or words[:2].tolist() != [REFERENCE_MARK, 2] or set(words[2:4]) != {1}:
        raise Malformed("a string array has a damaged reference")
    table = _integers(cells[0] if cells else None, np.uint8).tobytes()
    numbers = np.frombuffer(table[: len(table) // 4 * 4], f"{order}u4")
    if len(numbers) < 10:
        raise Malformed("the contents of its objects are damaged")
    properties, objects = int(numbers[3]) // 4, int(numbers[4]) // 4
    place = objects + OBJECT_WORDS * int(words[4])
    block = int(numbers[place + 3]) if place + 3 < len(numbers) else 0
    at = properties
    for _ in range(block):  # blocks of 1 + 3 n words, padded to an even number
        if at >= len(numbers) or block > MOST_STRINGS:
            raise Malformed("the contents of its objects are damaged")
        at += (2 + 3 * int(numbers[at])) // 2 * 2
    if block < 1 or at + 4 > len(numbers) or numbers[at] != 1 or numbers[at + 2] != 1:
        raise Malformed("a string array leads to no contents")
    index = FIRST_CONTENT + int(numbers[at + 3])
    if index >= len(cells):
        raise Malformed("a string array leads to no contents")
    return _integers(cells[index], np.uint64)


def _integers(array: Any, dtype: type[np.unsignedinteger[Any]]) -> NDArray[Any]:
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        raise Malformed("the contents of its objects are damaged")
    return array.ravel(order="F")


def _strings(words: NDArray[np.uint64], order: str) -> NDArray[np.object_]:
    """Return the strings in 64-bit words: 1, number of axes, shape, lengths, text in UTF-16."""
    n_axes = int(words[1]) if len(words) > 1 else 0
    if not 2 <= n_axes <= 8 or words[0] != 1 or len(words) < 2 + n_axes:
        raise Malformed("a string array has damaged contents")
    shape = [int(size) for size in words[2 : 2 + n_axes]]
    n = math.prod(shape)
    lengths = words[2 + n_axes : 2 + n_axes + n].tolist() if n <= MOST_STRINGS else []
    text = words[2 + n_axes + n :].astype(f"{order}u8").tobytes() if n <= MOST_STRINGS else b""
    if len(lengths) != n or 2 * sum(size for size in lengths if size != MISSING) > len(text):
        raise Malformed("a string array has damaged contents")
    strings = np.empty(n, dtype=object)
    at = 0
    for index, size in enumerate(lengths):
        if size == MISSING:
            strings[index] = "<missing>"
            continue
        strings[index] = text[at : at + 2 * size].decode(f"utf-16-{'le' if order == '<' else 'be'}")
        at += 2 * size
    return strings.reshape(shape, order="F")
