"""Which runs or files are for training, for validation and for testing."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError


@dataclass(frozen=True)
class HeldOutRuns:
    """Which runs of the training order are not trained on.

    Parameters
    ----------
    valid : int or list of int
        Runs that are used for validation, or how many at the end of the training order; test runs
        are skipped when counting.
    test : tuple of int
        Runs that are used for testing, instead of the test clips.

    Raises
    ------
    InputError
        By `runs`, and by the functions that take it, if a run does not exist, is both for
        validation and for testing, or if no run is left to train on.

    Examples
    --------
    >>> from neuromusic import HeldOutRuns
    >>> HeldOutRuns(valid=2, test=(12,)).runs([9, 10, 11, 12])
    [10, 11]
    """

    valid: int | list[int] = 1
    test: tuple[int, ...] = ()

    def runs(self, runs: list[int], prefix: str = "") -> list[int]:
        """Return which of the runs of the training order are for validation.

        Parameters
        ----------
        runs : list of int
            The runs of the training order. May be empty (files not presented in a scanner run);
            then no run is for validation.
        prefix : str
            Where the numbers come from, for error messages: "data." gives "data.test_runs: ...".

        Raises
        ------
        InputError
            If a run does not exist, is both for validation and for testing, or no run is left to
            train on.
        """
        for run in self.test:
            if run not in runs:
                raise InputError(f"{prefix}test_runs: no run {run}; the training runs are {runs}")
        if not runs:
            return []
        free = [run for run in runs if run not in self.test]
        n_valid = self.valid if isinstance(self.valid, int) else len(self.valid)
        for run in [] if isinstance(self.valid, int) else self.valid:
            if run not in free:
                why = "is a test run" if run in runs else f"is not one of the training runs {runs}"
                raise InputError(f"{prefix}validation_runs: run {run} {why}")
        if not 0 <= n_valid < len(free):
            raise InputError(
                f"{prefix}validation_runs: {n_valid} of {len(free)} runs leave none to train on"
            )
        return free[len(free) - n_valid :] if isinstance(self.valid, int) else self.valid


def proportions(split: str) -> tuple[float, float, float]:
    """Return the three numbers of a text such as ``70:15:15``; raise InputError otherwise."""
    try:
        parts = [float(part) for part in split.split(":")]
    except ValueError:
        parts = []
    if len(parts) != 3 or min(parts) < 0 or not np.isfinite(parts).all() or sum(parts) <= 0:
        raise InputError(f"split={split!r}: expected train:valid:test, such as 70:15:15")
    return parts[0], parts[1], parts[2]


def split_tracks(files: pd.DataFrame, split: tuple[float, float, float], seed: int) -> pd.DataFrame:
    """Split files into train, valid and test by track, stratified by genre.

    All files of a track stay together. Each genre is split in the proportions ``split``, any of
    which may be 0; tracks left over by rounding go to the parts with the largest remainders.

    Parameters
    ----------
    files : DataFrame
        One row per file, with the columns genre and track.
    split : tuple of float
        Proportions of train, valid and test.
    seed : int
        Seed of the permutation of each genre's tracks.

    Returns
    -------
    DataFrame
        ``files`` with a column ``split``.
    """
    proportion = np.array(split, dtype=float)
    split_of: dict[tuple[str, str], str] = {}
    for genre, rows in files.groupby("genre"):
        rng = np.random.default_rng([seed, *genre.encode()])
        tracks = rng.permutation(sorted(set(rows["track"])))
        ends = np.cumsum(_apportion(len(tracks), proportion / proportion.sum()))
        for index, track in enumerate(tracks):
            part = int(np.searchsorted(ends, index, side="right"))
            split_of[genre, str(track)] = ("train", "valid", "test")[part]
    keys = zip(files["genre"], files["track"], strict=True)
    return files.assign(split=[split_of[key] for key in keys])


def _apportion(n: int, proportions: NDArray[np.float64]) -> NDArray[np.int64]:
    """Divide n items in the given proportions (sum 1) by the largest-remainder method."""
    exact = n * proportions
    whole = np.floor(exact + 1e-9).astype(np.int64)
    for index in np.argsort(-(exact - whole), kind="stable")[: n - whole.sum()]:
        whole[index] += 1
    return whole
