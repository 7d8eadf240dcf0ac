"""Which rows of a prepared set are trained on, validated on and scored."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.features.prepared import PreparedSet
from neuromusic.training.config import Data


@dataclass(frozen=True)
class Selection:
    """Row numbers of a prepared set; ``train`` with the variants, the others originals only."""

    train: NDArray[np.int64]
    valid: NDArray[np.int64]
    test: NDArray[np.int64]


def select(data: PreparedSet, settings: Data) -> Selection:
    """Split the rows of a prepared set by the settings.

    Validation: the named runs of the training order, or so many at its end; in a set without runs,
    its "valid" split. Test: the set's test clips, or the training runs named in ``test_runs``,
    which are then neither trained nor validated on. A variant in which nothing sounds (the harmonic
    part of a soft tick) is not trained on.

    Raises InputError where a run does not exist or nothing is left to train on.
    """
    rows = data.rows
    in_train = rows["split"] == "train"
    runs = sorted(int(run) for run in rows.loc[in_train, "run"].dropna().unique())
    for run in settings.test_runs:
        if run not in runs:
            raise InputError(f"data.test_runs: no run {run} in {data.directory}; it has {runs}")
    held = settings.validation_runs
    if isinstance(held, int):
        free = [run for run in runs if run not in settings.test_runs]
        if runs and held >= len(free):
            raise InputError(
                f"data.validation_runs: {held} of {len(free)} runs leave none to train on"
            )
        held = free[len(free) - held :]
    for run in held:
        if runs and (run not in runs or run in settings.test_runs):
            raise InputError(
                f"data.validation_runs: run {run} is not one of the training runs {runs}"
                + (" or is a test run" if run in settings.test_runs else "")
            )
    original = rows["variant"] == 0
    valid = in_train & rows["run"].isin(held).fillna(False) | (rows["split"] == "valid")
    scored = in_train & rows["run"].isin(settings.test_runs).fillna(False)
    test = scored if settings.test_runs else rows["split"] == "test"
    train = in_train & ~valid & ~scored & rows["variant"].isin([0, *settings.variants])
    if 0 not in settings.variants:
        train &= ~original
    train_rows = np.flatnonzero(train)
    shortest = int(data.rows["frames"].min())
    doubtful = np.flatnonzero(data.may_be_silent(train_rows, shortest))
    silent = [index for index in doubtful if not data.sounds(int(train_rows[index])).any()]
    train_rows = np.delete(train_rows, silent)
    if len(train_rows) == 0:
        raise InputError(f"{data.directory}: no training clips are left by the settings")
    return Selection(train_rows, np.flatnonzero(valid & original), np.flatnonzero(test & original))


def labels(data: PreparedSet, classes: list[str]) -> NDArray[np.int64]:
    """Return the label of every row of a prepared set; raise InputError for an unknown class."""
    unknown = sorted(set(data.rows["genre"]) - set(classes))
    if unknown:
        raise InputError(
            f"{data.directory}: has the class {unknown[0]!r}, which the network was not trained on "
            f"({', '.join(classes)})"
        )
    return data.rows["genre"].map({name: i for i, name in enumerate(classes)}).to_numpy(np.int64)


def window_frames(data: PreparedSet, settings: Data) -> int:
    """Return the frames of a window; raise InputError where a clip is shorter."""
    window = round(settings.window_s / data.frame_s)
    if window < 1:
        raise InputError(
            f"data.window_s: {settings.window_s} s is under one frame ({data.frame_s:.4f} s)"
        )
    shortest = data.rows["frames"].idxmin()
    if data.rows["frames"][shortest] < window:
        row = data.rows.loc[shortest]
        raise InputError(
            f"data.window_s: {settings.window_s:g} s is longer than {row['clip']} "
            f"({row['name']}: {row['frames'] * data.frame_s:.2f} s); choose a shorter window"
        )
    return window
