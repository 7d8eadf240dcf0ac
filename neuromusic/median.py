"""A moving median along the first axis, on arrays and tensors: 24 minima or maxima a value."""

from typing import Any

import numpy as np
import torch

LENGTH = 31
TILE = (LENGTH + 1) // 2
WIDTH = 256  # columns at a time on a CPU: what one tile needs of them stays in the cache


def moving_median(x: Any) -> Any:
    """Return the median of LENGTH values along the first axis of ``x`` (n, columns).

    ``x`` is an array or a tensor on any device; without NaN. The borders are mirrored, as in
    scipy.ndimage.median_filter's mode "reflect"; the values are equal to its.

    Windows that lie side by side share most of their values, and a sorted run of what they share
    is made once for all of them (after Adams 2021, "Fast median filters using separable sorting
    networks", ACM Trans. Graph. 40(4), in one dimension): the TILE windows of a tile share TILE
    values; each half of them shares half as many more, which are merged in, and so on down to the
    single window. A value that has too many others on one side of it to be a median is dropped at
    once.
    """
    n, columns = x.shape
    tiles = -(-n // TILE)
    mirrored = np.arange(-TILE, (tiles + 1) * TILE) % (2 * n)
    rows = np.minimum(mirrored, 2 * n - 1 - mirrored).reshape(tiles + 2, TILE).T
    if isinstance(x, torch.Tensor):
        rows = torch.from_numpy(rows.copy()).to(x.device)
        return _medians(torch, x[rows]).swapaxes(0, 1).reshape(-1, columns)[:n]
    # What is transposed stays so, piece by piece.
    out = np.empty_like(x, shape=(tiles * TILE, columns), order="A")
    for first in range(0, columns, WIDTH):
        part = slice(first, first + WIDTH)
        medians = _medians(np, np.ascontiguousarray(x[:, part])[rows])
        out[:, part] = medians.swapaxes(0, 1).reshape(tiles * TILE, -1)
    return out[:n]


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
