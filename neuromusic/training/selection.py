"""Which rows of a prepared set are used for training, validation and testing."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, listed
from neuromusic.design.splits import HeldOutRuns
from neuromusic.features.prepared import PreparedSet
from neuromusic.training.config import Data


@dataclass(frozen=True)
class Selection:
    """Row numbers of a prepared set; only ``train`` includes variants."""

    train: NDArray[np.int64]
    valid: NDArray[np.int64]
    test: NDArray[np.int64]


def select(data: PreparedSet, settings: Data) -> Selection:
    """Divide the rows of a prepared set as the settings specify.

    Validation: the runs of the training order that `HeldOutRuns` selects, and the split "valid" of
    a set without runs. Test: the test clips of the set, or the training clips in ``test_runs`` and
    ``test_tracks``, which are then used for neither training nor validation. A variant without
    sound (the harmonic part of a soft tick, for example) is not used for training.

    Raises InputError if a run or a track does not exist or nothing is left to train on.
    """
    rows = data.rows
    in_train = rows["split"] == "train"
    runs = sorted(int(run) for run in rows.loc[in_train, "run"].dropna().unique())
    held_out = HeldOutRuns(settings.validation_runs, tuple(settings.test_runs))
    valid_runs = held_out.runs(runs, "data.")
    original = rows["variant"] == 0
    held = in_train & rows["run"].isin(settings.test_runs).fillna(False)
    if settings.test_tracks:
        held |= in_train & rows["track"].isin(settings.test_tracks)
        unknown = sorted(set(settings.test_tracks) - set(rows.loc[in_train, "track"]))
        if unknown:
            raise InputError(
                f"data.test_tracks: no track {unknown[0]!r} in the training clips of "
                f"{data.directory}"
            )
    valid = in_train & rows["run"].isin(valid_runs).fillna(False) | (rows["split"] == "valid")
    valid &= ~held
    test = held if settings.holds_out else rows["split"] == "test"
    train = in_train & ~valid & ~held & rows["variant"].isin([0, *settings.variants])
    if 0 not in settings.variants:
        train &= ~original
    train_rows = _with_sound(data, np.flatnonzero(train))
    if len(train_rows) == 0:
        raise InputError(
            f"{data.directory}: the settings leave no training clips; check data.validation_runs, "
            "data.test_runs, data.test_tracks and data.variants"
        )
    return Selection(train_rows, np.flatnonzero(valid & original), np.flatnonzero(test & original))


def _with_sound(data: PreparedSet, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows that contain sound."""
    shortest = int(data.rows["frames"].min())
    uncertain = np.flatnonzero(data.may_contain_silence(rows, shortest))
    silent = [index for index in uncertain if not data.frames_with_sound(int(rows[index])).any()]
    return np.delete(rows, silent)


def labels(data: PreparedSet, classes: list[str]) -> NDArray[np.int64]:
    """Return the label of each row of a prepared set; raise InputError for an unknown class."""
    unknown = sorted(set(data.rows["genre"]) - set(classes))
    if unknown:
        raise InputError(
            f"{data.directory}: contains the class {unknown[0]!r}, which the network was not "
            f"trained on; its classes are {listed(classes)}"
        )
    return data.rows["genre"].map({name: i for i, name in enumerate(classes)}).to_numpy(np.int64)


def window_frames(data: PreparedSet, settings: Data) -> int:
    """Return the number of frames of a window; raise InputError if a clip is shorter."""
    window = round(settings.window_s / data.frame_s)
    if window < 1:
        raise InputError(
            f"data.window_s: {settings.window_s} s is less than one frame ({data.frame_s:.4f} s)"
        )
    shortest = data.rows["frames"].idxmin()
    if data.rows["frames"][shortest] < window:
        row = data.rows.loc[shortest]
        raise InputError(
            f"data.window_s: {settings.window_s:g} s is longer than {row['clip']} "
            f"({row['name']}: {row['frames'] * data.frame_s:.2f} s); choose a shorter window"
        )
    return window
