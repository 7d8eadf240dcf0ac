"""A moving median of 31 values along the first axis, with 24 minima or maxima per value.

Neighbouring windows share most of their values, and a sorted run of shared values is computed once
for all of them (after Adams 2021, "Fast median filters using separable sorting networks", ACM
Trans. Graph. 40(4), here in one dimension). TILE windows next to each other form a tile. For a tile
of four windows of seven values, and the columns a, b, c of four values each::

    window 0     a1 a2 a3   b0 b1 b2 b3
    window 1        a2 a3   b0 b1 b2 b3   c0
    window 2           a3   b0 b1 b2 b3   c0 c1
    window 3                b0 b1 b2 b3   c0 c1 c2

                  b0 b1 b2 b3                   shared by windows 0 to 3
                  /          \\
            + a2 a3          + c0 c1            shared by windows 0, 1 and 2, 3
             /    \\           /    \\
          + a1    + c0     + a3    + c2         the four windows

Each step down merges two sorted runs and keeps the middle part: a value with too many others above
or below it cannot be a median.

`moving_median` runs this on tensors, for GPUs. For CPUs, `program` records every minimum and
maximum once, by running the same function on a stand-in for numpy, as a list of steps on the rows
of a table, which `stft.cpu` runs tile by tile.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LENGTH = 31  # values in a window
TILE = (LENGTH + 1) // 2  # windows in a tile, and values in a column
Step = tuple[int, int, int, int]  # written, read, read, 1 for the larger or 0 for the smaller


def mirrored_rows(n: int) -> NDArray[np.intp]:
    """Return which of n rows form the column of each tile, (tiles + 2, TILE).

    There is one extra column at either end; the borders are mirrored, as in the mode "reflect" of
    scipy.ndimage.median_filter.
    """
    place = np.arange(-TILE, (-(-n // TILE) + 1) * TILE) % (2 * n)
    return np.minimum(place, 2 * n - 1 - place).reshape(-1, TILE)


def moving_median(x: Tensor) -> Tensor:
    """Return the median of LENGTH values along the first axis of ``x`` (n, columns), without NaN.

    Equals scipy.ndimage.median_filter with mode "reflect". For GPUs; `stft.cpu` has the same
    function for arrays.
    """
    rows = torch.from_numpy(mirrored_rows(len(x)).T.copy()).to(x.device)
    return _window_medians(torch, x[rows]).swapaxes(0, 1).reshape(-1, x.shape[1])[: len(x)]


# --- The sorting network --------------------------------------------------------------------------


def _window_medians(xp: Any, values: Any) -> Any:
    """Return the medians (TILE, tiles, width) of values (TILE, tiles + 2, width).

    ``xp`` is numpy, torch or a `_Recorder`. Window j of tile t begins after the first j + 1 values
    of column t, contains all of column t + 1 and ends with the first j values of column t + 2.
    """
    runs = _sorted_runs(xp, values)
    shared = runs[TILE][:, :, 1:-1]  # (groups of windows, size, tiles, width)
    size = TILE
    while size > 1:
        size //= 2
        falling = xp.flip(runs[size], (1,))
        before, after = falling[1::2, :, :-2], falling[0::2, :, 2:]
        middle = xp.empty_like(shared).reshape(-1, 2, size, *shared.shape[2:])
        for half, new in ((0, before), (1, after)):
            # The smaller half of both runs, and the larger half of that.
            xp.minimum(shared[:, size:], new, out=middle[:, half])
            xp.maximum(shared[:, :size], middle[:, half], out=middle[:, half])
        shared = _sort_bitonic(xp, middle.reshape(-1, size, *shared.shape[2:]))
    return shared.reshape(TILE, *shared.shape[2:])


def _sorted_runs(xp: Any, values: Any) -> dict[int, Any]:
    """Return size -> the sorted runs (TILE / size, size, ...) of columns (TILE, ...)."""
    shape = values.shape[1:]
    size = 1
    runs = {size: values.reshape(TILE, 1, *shape)}
    while size < TILE:
        pairs = runs[size].reshape(-1, 2, size, *shape)
        halves = xp.empty_like(pairs)
        _exchange(xp, pairs[:, 0], xp.flip(pairs[:, 1], (1,)), halves)
        halves = halves.reshape(-1, size, *shape)
        size *= 2
        runs[size] = _sort_bitonic(xp, halves).reshape(-1, size, *shape)
    return runs


def _sort_bitonic(xp: Any, runs: Any) -> Any:
    """Sort runs (runs, size, ...) that first rise and then fall (Batcher 1968)."""
    half = runs.shape[1] // 2
    while half:
        pairs = runs.reshape(-1, 2, half, *runs.shape[2:])
        out = xp.empty_like(pairs)
        _exchange(xp, pairs[:, 0], pairs[:, 1], out)
        runs = out.reshape(runs.shape)
        half //= 2
    return runs


def _exchange(xp: Any, a: Any, b: Any, out: Any) -> None:
    xp.minimum(a, b, out=out[:, 0])
    xp.maximum(a, b, out=out[:, 1])


# --- The network as a list of steps ---------------------------------------------------------------


@dataclass(frozen=True)
class Program:
    """The steps of `_window_medians` for one tile after another, on the rows of a table.

    ``column`` sorts the runs of a column, whose TILE values are in the first of its ``kept`` rows;
    ``tile`` computes the medians of a tile from three columns. A new column replaces the oldest of
    three, so both lists have three versions, (3, steps, 4) int64: one for each position of the new
    column (``column``) or of the first column (``tile``).
    """

    column: NDArray[np.int64]
    tile: NDArray[np.int64]
    medians: NDArray[np.int64]  # rows of the medians, (TILE,)
    kept: int  # rows per column
    rows: int  # rows of the table


@lru_cache
def program() -> Program:
    """Record the steps of `_window_medians` and assign rows of a table to all values."""
    recorder = _Recorder([], 3 * TILE)
    # Value v is value v // 3 of column v % 3, as long as the columns are not mixed.
    inputs = np.arange(3 * TILE).reshape(TILE, 3, 1)
    medians = _window_medians(recorder, inputs).flatten().tolist()
    first_mixed = next(to for to, a, b, _ in recorder.steps if a % 3 != b % 3)
    n_column_steps = first_mixed - 3 * TILE
    column = [
        (to // 3, a // 3, b // 3, larger)
        for to, a, b, larger in recorder.steps[:n_column_steps:3]  # the columns take turns
    ]
    tile = recorder.steps[n_column_steps:]
    read_by_tile = {value // 3 for step in tile for value in step[1:3] if value < first_mixed}
    row = {value: i for i, value in enumerate(sorted(read_by_tile | set(range(TILE))))}
    kept = len(row)
    column_steps, _, column_end = _assign_rows(column, row, 3 * kept, set())
    row_of_all = {3 * value + c: kept * c + at for value, at in row.items() for c in range(3)}
    tile_steps, row_of_all, tile_end = _assign_rows(tile, row_of_all, 3 * kept, set(medians))
    return Program(
        np.array([_rotated(column_steps, by, kept) for by in range(3)]),
        np.array([_rotated(tile_steps, by, kept) for by in range(3)]),
        np.array([row_of_all[value] for value in medians]),
        kept,
        max(column_end, tile_end),
    )


@dataclass
class _Recorder:
    """Stands in for numpy in `_window_medians`: records steps on numbered values."""

    steps: list[Step]
    n_values: int
    flip = staticmethod(np.flip)
    empty_like = staticmethod(np.empty_like)

    def minimum(self, a: Any, b: Any, out: Any) -> None:
        self._record(a, b, out, 0)

    def maximum(self, a: Any, b: Any, out: Any) -> None:
        self._record(a, b, out, 1)

    def _record(self, a: Any, b: Any, out: Any, larger: int) -> None:
        new = self.n_values + np.arange(a.size).reshape(a.shape)
        self.n_values += a.size
        triples = zip(new.flat, a.flat, b.flat, strict=True)
        self.steps += [(int(to), int(first), int(second), larger) for to, first, second in triples]
        out[...] = new


def _assign_rows(
    steps: list[Step], row: dict[int, int], first_free: int, results: set[int]
) -> tuple[list[Step], dict[int, int], int]:
    """Assign a row from ``first_free`` on to each value without one; reuse it after its last use.

    The rows of ``results`` are not reused. Returns the steps in terms of rows, value -> row, and
    the number of rows that the table needs.
    """
    fixed, row = set(row), dict(row)
    last_use = {value: i for i, step in enumerate(steps) for value in step[1:3]}
    free: list[int] = []
    in_rows = []
    for i, (to, a, b, larger) in enumerate(steps):
        if to not in row:
            if not free:
                free.append(first_free)
                first_free += 1
            row[to] = free.pop()
        in_rows.append((row[to], row[a], row[b], larger))
        # Only now, so that no step writes to a row that it reads.
        free += [row[value] for value in {a, b} - fixed - results if last_use[value] == i]
    return in_rows, row, first_free


def _rotated(steps: list[Step], by: int, kept: int) -> list[list[int]]:
    """Return steps with the three columns of ``kept`` rows each moved ``by`` columns on."""

    def moved(row: int) -> int:
        return (kept * by + row) % (3 * kept) if row < 3 * kept else row

    return [[moved(to), moved(a), moved(b), larger] for to, a, b, larger in steps]
