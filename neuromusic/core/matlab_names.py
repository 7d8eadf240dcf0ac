"""Read an array of names from a file of MATLAB or Octave, however it was made.

The same names can be cells of text (padded with spaces or not), cells in cells, a string array or
rows of a char matrix, in formats 5, 7.3 or Octave's text, alone or in a struct.
"""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.files import check_size
from neuromusic.core.matlab import is_hdf5, missing_variable, read_variables
from neuromusic.core.matlab_hdf5 import read_variables_hdf5
from neuromusic.core.matlab_objects import Unread
from neuromusic.core.octave import is_octave_text, read_variables_octave

PADDING = " \0\t"  # of names of a fixed width
MOST_LIST_BYTES = 16_000_000  # of a file that holds names, compressed or not

Grid = NDArray[np.object_]  # (rows, columns) of str


class Names(NamedTuple):
    """Names, (rows, columns) of str, and the variable or field that holds them."""

    cells: Grid
    source: str


def read_names(
    path: Path, name: str, is_name: Callable[[str], bool], others: Collection[str] = ()
) -> Names:
    """Read an array of names.

    Parameters
    ----------
    path : Path
        MATLAB 5 or 7.3 file, or one in Octave's text format, of at most 16 MB, which also limits
        what it unpacks to.
    name : str
        Variable, or field of a struct. If there is none of that name, the only variable or field
        that holds nothing but names is read.
    is_name : callable
        Tells whether a text is such a name.
    others : collection of str
        Variables that are known to be something else.

    Returns
    -------
    Names
        In the shape that MATLAB shows, without spaces around a name. What is not text is a
        description such as "<float64>". A row of columns (1 x 12 cells of 40 x 1) is joined to a
        matrix (40 x 12), and so is a column of rows.

    Raises
    ------
    InputError
        If the file cannot be read, has no such variable or several, holds something else, or
        declares sizes beyond the limits. The message says how to save the names.
    """
    check_size(path, MOST_LIST_BYTES, "a list of names")
    if is_hdf5(path):
        values, present = read_variables_hdf5(path), None
    elif is_octave_text(path):
        values, present = read_variables_octave(path), None
    else:
        values, present = read_variables(path, MOST_LIST_BYTES)
    if name in values and not isinstance(values[name], dict):
        return Names(_as_grid(values[name], f"{path}: {name}", name), name)
    fields = dict(_fields(values[name], name) if name in values else _variables(values, others))
    named = [label for label in fields if label.rpartition(".")[2] == name]
    if len(named) == 1:
        return Names(_as_grid(fields[named[0]], f"{path}: {named[0]}", named[0]), named[0])
    grids = {label: _as_grid_if_names(value, is_name) for label, value in fields.items()}
    found = [Names(grid, label) for label, grid in grids.items() if grid is not None]
    if len(found) > 1:
        listed = " and ".join(source for _, source in found[:3])
        raise InputError(
            f"{path}: has no variable {name}, and {listed} could be it; type "
            f"'{name} = {found[0].source}; save FILE {name} -v7' in MATLAB or Octave"
        )
    if not found and name in values:
        raise InputError(f"{path}: {name} is a struct without a field of names; {_remedy(name)}")
    if not found:
        raise missing_variable(path, name, present or values)
    return found[0]


def text_of(value: Any) -> str | None:
    """Return a single text, from cells around it if need be, without spaces around it, or None."""
    while isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    return value.strip(PADDING) if isinstance(value, str) else None


def _remedy(name: str, what: str = "") -> str:
    convert = "table2cell" if what.endswith("table") else "cellstr"
    return f"type '{name} = {convert}({name}); save FILE {name} -v7' in MATLAB"


def _variables(values: dict[str, Any], others: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Yield (name, value) of each variable, and of each field of a struct."""
    for key, value in values.items():
        if key in others:
            continue
        if isinstance(value, dict):
            yield from ((label, v) for label, v in _fields(value, key) if label not in others)
        else:
            yield key, value


def _fields(value: dict[str, Any], name: str) -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        yield f"{name}.{key}", inner


def _as_grid_if_names(value: Any, is_name: Callable[[str], bool]) -> Grid | None:
    try:
        grid = _as_grid(value, "", "")
    except InputError:
        return None
    return grid if grid.size and all(is_name(str(text)) for text in grid.flat) else None


def _as_grid(value: Any, where: str, name: str) -> Grid:
    """Return (rows, columns) of text; raise InputError, starting with ``where``, for other data."""
    if isinstance(value, str):
        return _filled([[value.strip(PADDING)]])
    if isinstance(value, np.ndarray) and value.dtype.kind == "U":  # rows of a char matrix
        return _filled([[row.strip(PADDING)] for row in value.tolist()])
    if not (isinstance(value, np.ndarray) and value.dtype == object):
        what = value.what if isinstance(value, Unread) else "is a struct"
        what = "holds numbers" if isinstance(value, np.ndarray) else what
        raise InputError(f"{where} is not a cell array of names (it {what}); {_remedy(name, what)}")
    if value.ndim != 2 or value.size == 0:
        raise InputError(f"{where} has the shape {value.shape}; expected trials x runs")
    parts = np.empty(value.shape, dtype=object)
    for index, inner in np.ndenumerate(value):
        parts[index] = _inner_grid(inner, where, name)
    return _joined(parts, where, name)


def _inner_grid(value: Any, where: str, name: str) -> Grid:
    if isinstance(value, str) or (isinstance(value, np.ndarray) and value.dtype.kind in "UO"):
        is_empty = isinstance(value, np.ndarray) and value.size == 0
        return _filled([["<empty>"]]) if is_empty else _as_grid(value, where, name)
    if isinstance(value, Unread):
        return _filled([[f"<{value.what.removeprefix('holds ')}>"]])
    if isinstance(value, np.ndarray):
        return _filled([[f"<{value.dtype}>" if value.size else "<empty>"]])
    return _filled([["<struct>"]])


def _joined(parts: Grid, where: str, name: str) -> Grid:
    """Return one grid from a grid of grids: single texts, a row of columns, or a column of rows."""
    rows, columns = _size(parts)
    shapes = {_size(part) for part in parts.ravel().tolist()}
    if shapes == {(1, 1)}:
        return _filled([[part[0, 0] for part in row] for row in parts])
    several = sorted(shapes)[:2]
    n_rows, n_columns = several[0]
    if len(shapes) == 1 and ((rows == 1 and n_columns == 1) or (columns == 1 and n_rows == 1)):
        joined: Grid = np.hstack(list(parts[0])) if rows == 1 else np.vstack(list(parts[:, 0]))
        return joined
    if parts.size == 1:
        single: Grid = parts[0, 0]
        return single
    raise InputError(
        f"{where} has {rows} x {columns} cells of {' and '.join(f'{a} x {b}' for a, b in several)} "
        "names; expected one name per cell, trials x runs, or a row of columns of the same length, "
        f"such as {name} = [{name}{{:}}]"
    )


def _size(grid: Grid) -> tuple[int, int]:
    return len(grid), grid.size // len(grid)


def _filled(rows: list[list[str]]) -> Grid:
    grid: Grid = np.empty((len(rows), len(rows[0])), dtype=object)
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            grid[row, column] = cell  # numpy would drop NULs at the end of texts in a list
    return grid
