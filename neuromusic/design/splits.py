"""TODO: docstring."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError


@dataclass(frozen=True)
class Held:
    """Which runs of the training order a training leaves out: to validate on, and to be scored."""

    valid: int | list[int] = 1  # runs, or how many at the end
    test: tuple[int, ...] = ()

    def runs(self, runs: list[int]) -> list[int]:
        """Return the validation runs; raise InputError where one is not there or none is left."""
        free = [run for run in runs if run not in self.test]
        valid = free[len(free) - self.valid :] if isinstance(self.valid, int) else self.valid
        for name, wanted, there in (("validation", valid, free), ("test", self.test, runs)):
            absent = [run for run in wanted if run not in there]
            if absent:
                raise InputError(f"{name} run {absent[0]}: is not one of the runs {there}")
        if len(valid) >= len(free):
            raise InputError(f"{len(valid)} validation runs of {len(free)} leave none to train on")
        return valid


def proportions(split: str) -> tuple[float, float, float]:
    """Return the three numbers of ``70:15:15``; raise InputError for anything else."""
    try:
        parts = [float(part) for part in split.split(":")]
    except ValueError:
        parts = []
    if len(parts) != 3 or min(parts) < 0 or not np.isfinite(parts).all() or sum(parts) <= 0:
        raise InputError(f"--split {split}: expected train:valid:test, such as 70:15:15")
    return parts[0], parts[1], parts[2]


def split_tracks(files: pd.DataFrame, split: tuple[float, float, float], seed: int) -> pd.DataFrame:
    """Split files (genre, track, ...) into train, valid and test by track, stratified by genre.

    All files of one track go to one side. Each genre is shared out in the proportions ``split``,
    any of which may be 0; what rounding leaves goes to the largest remainders. Returns the table
    with a column ``split``.
    """
    parts = np.array(split, dtype=float)
    side: dict[tuple[str, str], str] = {}
    for genre, rows in files.groupby("genre"):
        rng = np.random.default_rng([seed, *genre.encode()])
        tracks = rng.permutation(sorted(set(rows["track"])))
        ends = np.cumsum(_share(len(tracks), parts / parts.sum()))
        for index, track in enumerate(tracks):
            part = int(np.searchsorted(ends, index, side="right"))
            side[genre, str(track)] = ("train", "valid", "test")[part]
    pairs = zip(files["genre"], files["track"], strict=True)
    return files.assign(split=[side[pair] for pair in pairs])


def _share(n: int, parts: NDArray[np.float64]) -> NDArray[np.int64]:
    """Share out n things in proportion; the largest remainders get what is left over."""
    exact = n * parts
    whole = np.floor(exact + 1e-9).astype(np.int64)
    for index in np.argsort(-(exact - whole), kind="stable")[: n - whole.sum()]:
        whole[index] += 1
    return whole
