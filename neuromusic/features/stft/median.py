"""A moving median along the first axis: 24 minima or maxima a value.

Windows that lie side by side share most of their values, and a sorted run of what they share is
made once for all of them (after Adams 2021, "Fast median filters using separable sorting networks",
ACM Trans. Graph. 40(4), in one dimension): the TILE windows of a tile share TILE values; each half
of them shares half as many more, which are merged in, and so on down to the single window. A value
that has too many others on one side of it to be a median is dropped at once.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LENGTH = 31
TILE = (LENGTH + 1) // 2
Step = tuple[int, int, int, int]  # see Program


def mirrored_rows(n: int) -> NDArray[np.intp]:
    """Return which rows of n lie in each tile, with one before and one behind: (tiles + 2, TILE).

    The borders are mirrored, as in scipy.ndimage.median_filter's mode "reflect".
    """
    place = np.arange(-TILE, (-(-n // TILE) + 1) * TILE) % (2 * n)
    return np.minimum(place, 2 * n - 1 - place).reshape(-1, TILE)


def moving_median(x: Tensor) -> Tensor:
    """Return the median of LENGTH values along the first axis of ``x`` (n, columns), without NaN.

    Equal to that of scipy.ndimage.median_filter with mode "reflect". For GPUs: `compiled` has it
    for arrays.
    """
    rows = torch.from_numpy(mirrored_rows(len(x)).T.copy()).to(x.device)
    return _medians(torch, x[rows]).swapaxes(0, 1).reshape(-1, x.shape[1])[: len(x)]


def _medians(xp: Any, values: Any) -> Any:
    """Return medians (TILE, tiles, width) from values (TILE, tiles + 2, width).

    Window ``j`` of tile ``t`` begins after the first ``j + 1`` values of column ``t``. So column
    ``t + 1`` is what its tile shares; what it has besides is the end of the column before and the
    beginning of the column after.
    """
    shape = values.shape[1:]
    size = 1
    runs = {size: values.reshape(TILE, 1, *shape)}  # length -> the sorted runs of that length
    while size < TILE:
        pairs = runs[size].reshape(-1, 2, size, *shape)
        smaller_and_larger = xp.empty_like(pairs)
        _exchange(xp, pairs[:, 0], xp.flip(pairs[:, 1], (1,)), smaller_and_larger)
        halves = smaller_and_larger.reshape(-1, size, *shape)
        size *= 2
        runs[size] = _sorted(xp, halves).reshape(-1, size, *shape)
    shared = runs[TILE][:, :, 1:-1]  # (windows' groups, size, tiles, width)
    while size > 1:
        size //= 2
        falling = xp.flip(runs[size], (1,))
        middle = xp.empty_like(shared).reshape(-1, 2, size, *shared.shape[2:])
        for half, new in ((0, falling[1::2, :, :-2]), (1, falling[0::2, :, 2:])):
            # Of both runs the smaller half, and of that the larger half.
            xp.minimum(shared[:, size:], new, out=middle[:, half])
            xp.maximum(shared[:, :size], middle[:, half], out=middle[:, half])
        shared = _sorted(xp, middle.reshape(-1, size, *shared.shape[2:]))
    return shared.reshape(TILE, *shared.shape[2:])


def _sorted(xp: Any, runs: Any) -> Any:
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


@dataclass(frozen=True)
class Program:
    """The steps of `_medians` for one tile after the other, on the rows of a table.

    ``column`` makes the sorted runs of a column of TILE values, in whose first rows these are;
    ``tile`` the medians of a tile from three columns, of ``kept`` rows each. A new column takes the
    place of the oldest, so both come three times, (3, steps, 4) int64: for each place of the new
    column, or of the first one. A step is the row that it writes, the two that it reads, and
    whether it takes the larger (1) or the smaller (0).
    """

    column: NDArray[np.int64]
    tile: NDArray[np.int64]
    medians: NDArray[np.int64]  # the rows where they lie, (TILE,)
    kept: int
    rows: int


@lru_cache
def program() -> Program:
    """Return what `_medians` does, step by step."""
    notes = _Notes([], 3 * TILE)
    medians = _medians(notes, np.arange(3 * TILE).reshape(TILE, 3, 1)).flatten().tolist()
    # What is done to the columns comes first, and is noted for the three in turn: value v is
    # number v // 3 of column v % 3.
    first_mixed = next(to for to, a, b, _ in notes.steps if a % 3 != b % 3)
    column = [(to // 3, a // 3, b // 3, k) for to, a, b, k in notes.steps[: first_mixed - 3 * TILE]]
    tile = notes.steps[first_mixed - 3 * TILE :]
    used = {value // 3 for step in tile for value in step[1:3] if value < first_mixed}
    row = {value: i for i, value in enumerate(sorted(used | set(range(TILE))))}
    kept = len(row)
    column_steps, _, end = _placed(column[::3], row, 3 * kept, set())
    place = {3 * value + c: kept * c + at for value, at in row.items() for c in range(3)}
    tile_steps, place, tile_end = _placed(tile, place, 3 * kept, set(medians))

    def moved(steps: list[Step], by: int) -> list[list[int]]:
        rows = [(kept * by + at) % (3 * kept) if at < 3 * kept else at for at in range(end)]
        return [[*(rows[at] for at in step[:3]), step[3]] for step in steps]

    end = max(end, tile_end)
    return Program(
        np.array([moved(column_steps, by) for by in range(3)]),
        np.array([moved(tile_steps, by) for by in range(3)]),
        np.array([place[value] for value in medians]),
        kept,
        end,
    )


@dataclass
class _Notes:
    """Stands in for numpy in `_medians`, on numbers of values: notes each step instead."""

    steps: list[Step]
    n_values: int
    flip = staticmethod(np.flip)
    empty_like = staticmethod(np.empty_like)

    def minimum(self, a: Any, b: Any, out: Any) -> None:
        self._note(a, b, out, 0)

    def maximum(self, a: Any, b: Any, out: Any) -> None:
        self._note(a, b, out, 1)

    def _note(self, a: Any, b: Any, out: Any, larger: int) -> None:
        made = self.n_values + np.arange(a.size).reshape(a.shape)
        self.n_values += a.size
        of = zip(made.flat, a.flat, b.flat, strict=True)
        self.steps += [(int(to), int(one), int(other), larger) for to, one, other in of]
        out[...] = made


def _placed(
    steps: list[Step], place: dict[int, int], free_from: int, wanted: set[int]
) -> tuple[list[Step], dict[int, int], int]:
    """Give each value that has no row one from ``free_from`` on; again when it was read last.

    Returns the steps on rows, where each value lies, and the first row that is not needed.
    """
    fixed, place = set(place), dict(place)
    last = {value: i for i, step in enumerate(steps) for value in step[1:3]}
    free: list[int] = []
    placed = []
    for i, (to, a, b, larger) in enumerate(steps):
        if to not in place:
            if not free:
                free.append(free_from)
                free_from += 1
            place[to] = free.pop()
        placed.append((place[to], place[a], place[b], larger))
        # Only now, so that no step writes what it reads.
        free += [place[value] for value in {a, b} - fixed - wanted if last[value] == i]
    return placed, place, free_from
