"""Which volumes are fitted and which are predicted: training and test runs, or folds.

Whatever is predicted, no volume of it, and no volume that still contains the response to it, is
fitted.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.linalg
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.fmri.scan_series import removed_terms, rows_with_response_to
from neuromusic.fmri.scans import Scans

MOST_FOLDS = 10  # of sounds or groups, unless the description says otherwise
BLOCK = 5  # clips of a block, if the runs play the same clips; least sounds of a fold


class Fold(NamedTuple):
    """A part of the data that is predicted from the rest.

    Attributes
    ----------
    train : bool array (rows,)
        Rows that are fitted.
    test : int64 array (n,)
        Rows that are predicted, as positions in ``test.ravel()`` of `repeat_rows`.
    clips : frozenset of str or None
        The sounds that are left out; None if whole runs are.
    removed : float32 array (rows, terms) or None
        If sounds are left out: what the filter removes (`removed_terms`), orthonormal over the
        rows of each run that are fitted. The filter of a whole run leaves a trace of the response
        to a sound in all its volumes; without these terms, no trace is left in those that are
        fitted.
    """

    train: NDArray[np.bool_]
    test: NDArray[np.int64]
    clips: frozenset[str] | None = None
    removed: NDArray[np.float32] | None = None


def training_and_test(
    rows: pd.DataFrame, usable: NDArray[np.bool_], test: NDArray[np.int64]
) -> list[Fold]:
    """Return one fold: the training runs are fitted to predict the test runs."""
    train = usable & (rows["split"] == "train").to_numpy()
    return [Fold(train, np.arange(test.size))]


def make_folds(
    scans: Scans,
    rows: pd.DataFrame,
    usable: NDArray[np.bool_],
    test: NDArray[np.int64],
    delays_tr: Sequence[int],
    high_pass_hz: float,
) -> list[Fold]:
    """Return the folds of an encoding; each scored row is predicted in one of them.

    Parameters
    ----------
    scans : Scans
        The runs of a subject, and how they are divided: "tasks": training runs predict test runs.
        "runs": each run is predicted from the others, which may have played the same sounds.
        "sounds" and "groups": sounds, or groups of sounds, are predicted from volumes without any
        response to them.
    rows : pandas.DataFrame
        Those of ``scans``.
    usable : bool array (rows,)
        Rows with a design.
    test : int64 array (repeats, units, volumes)
        The rows that are scored, see `repeat_rows`.
    delays_tr : sequence of int
        Delays of the design, in volumes.
    high_pass_hz : float
        Cutoff of the filter.

    Raises
    ------
    InputError
        If a fold leaves nothing to fit, or there are too few sounds for two folds.
    """
    encoding, scored, terms = scans.division, test.ravel(), None
    if encoding.split == "tasks":
        return training_and_test(rows, usable, test)
    if encoding.split == "runs":
        run = rows["run"].to_numpy()
        left_out: list[tuple[NDArray[np.bool_], NDArray[np.bool_], frozenset[str] | None]] = [
            (run == each, run[scored] == each, None) for each in np.unique(run[scored])
        ]
    else:
        terms = removed_terms(scans, high_pass_hz)
        column = "sound" if encoding.split == "sounds" else "group"
        left_out = []
        for names in _divided(rows, scored, column, encoding.folds):
            of_fold = rows[column].isin(names).to_numpy()
            clips = frozenset(rows["sound"][of_fold])
            reached = rows_with_response_to(scans, clips, delays_tr)
            left_out.append((reached | of_fold, of_fold[scored], clips))
    folds = []
    for without, predicted, clips_of_fold in left_out:
        train = usable & ~without
        if not train.any():
            raise InputError(
                f"sub-{scans.subject}: a fold leaves no volume to fit; choose another "
                "encoding.split, or more encoding.folds"
            )
        removed = None
        if terms is not None:
            removed = _orthonormal_in_runs(terms, train, rows["run"].to_numpy())
        folds.append(Fold(train, np.flatnonzero(predicted), clips_of_fold, removed))
    return folds


def _orthonormal_in_runs(
    terms: NDArray[np.float32], train: NDArray[np.bool_], run: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return terms (rows, terms) that are orthonormal over the fitted rows of each run."""
    out = np.zeros_like(terms)
    for each in np.unique(run[train]):
        inside = train & (run == each)
        basis = scipy.linalg.orth(terms[inside].astype(np.float64))
        out[inside, : basis.shape[1]] = basis
    return out


def _divided(
    rows: pd.DataFrame, scored: NDArray[np.int64], column: str, n_folds: int | None
) -> list[list[str]]:
    """Return the sounds or groups that each fold leaves out, with about as many of each class.

    Names are sorted, so neighbours, which often are of one class, are in different folds.
    """
    names = sorted(set(rows[column].iloc[scored]))
    n = min(n_folds or max(2, min(MOST_FOLDS, len(names) // BLOCK)), len(names))
    if n < 2:
        raise InputError(
            f"encoding.split: {len(names)} {column} cannot be divided into folds; choose another"
        )
    return [names[fold::n] for fold in range(n)]


def clip_blocks(rows: pd.DataFrame, test: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the block of each scored unit (units,): within blocks, units are exchangeable.

    Intervals leave out blocks, and tests of patterns shift units within them. If runs play
    different units, the block is the run (the first one of a unit): noise is correlated between
    neighbours, and detrending couples them. If runs play the same units, it is the sound of which
    units are segments, or else BLOCK sounds that are neighbours in no particular run.
    """
    first_run = rows["run"].to_numpy()[test[0, :, 0]]
    if len(np.unique(first_run)) > 1:
        return np.asarray(first_run, np.int64)
    sound = rows["sound"].to_numpy()[test[0, :, 0]].astype(str)
    names, of_unit = np.unique(sound, return_inverse=True)
    if len(names) < len(sound):
        return of_unit.astype(np.int64)
    n_blocks = max(2, len(names) // BLOCK)
    order = np.random.default_rng(0).permutation(len(names))
    return np.asarray(order[of_unit] % n_blocks, np.int64)
