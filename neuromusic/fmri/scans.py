"""A subject's images beside what was played: which volumes belong to which clip."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.progress import track
from neuromusic.design import grid
from neuromusic.design.events import EventsFile
from neuromusic.design.orders import TASK
from neuromusic.features.prepared import new_array
from neuromusic.fmri.activations import on_volumes, run_trials
from neuromusic.fmri.bold import (
    Geometry,
    RunKey,
    check_run,
    clean_run,
    filtered,
    find_bold,
    read_geometry,
    read_voxels,
)
from neuromusic.fmri.volumes import delayed

LEAST_TRAINING_RUNS = 2
ROWS = 256  # that are moved at a time


@dataclass(frozen=True)
class Scans:
    """The runs of a subject that can be used.

    ``trials``: (split, run) -> its presentations. ``rows``: a row a volume, the dummies left out,
    in the order of the runs: split, run, volume, trial, repeat, clip, within (volume of the clip,
    from 0). ``left_out``: what cannot be used, and why.
    """

    subject: str
    geometry: Geometry
    images: dict[RunKey, tuple[Path, ...]]
    trials: dict[RunKey, pd.DataFrame]
    rows: pd.DataFrame
    left_out: list[str]


def open_scans(events: Sequence[EventsFile], images: Path, space: str | None = None) -> Scans:
    """Match the images of one subject with its events.

    A run without an image, of another length, TR or grid is left out and told of. Raises InputError
    for an image without events, and where fewer than two training runs or no test run are left.
    """
    subject = events[0].subject
    found = find_bold(images, subject, space)
    files = {(file.split, file.run): file for file in events}
    unknown = [paths[0] for key, paths in found.items() if key not in files]
    if unknown:
        raise InputError(f"{unknown[0]}: has no events.tsv in the BIDS dataset; what was played?")
    left_out = [
        f"{_label(subject, key)}: has events and no image" for key in files if key not in found
    ]
    geometry: Geometry | None = None
    trials: dict[RunKey, pd.DataFrame] = {}
    for key, paths in found.items():
        table = run_trials(files[key])
        if geometry is None:
            geometry = _geometry(paths)
        n_vol = grid.n_volumes(len(table) - 1)
        reason = "" if geometry is None else check_run(paths, geometry, n_vol)
        if geometry is None or reason:
            left_out.append(f"{_label(subject, key)}: {reason or 'no readable image'}")
            continue
        trials[key] = table
    n_train = sum(split == "train" for split, _ in trials)
    if geometry is None or n_train < LEAST_TRAINING_RUNS or n_train == len(trials):
        reasons = "; ".join(left_out) or "no other image was found"
        raise InputError(
            f"{images}: sub-{subject} has {n_train} training and {len(trials) - n_train} test runs "
            f"that can be used; needed are {LEAST_TRAINING_RUNS} and 1 ({reasons})"
        )
    kept = {key: found[key] for key in trials}
    return Scans(subject, geometry, kept, trials, volume_rows(trials), left_out)


def _geometry(paths: tuple[Path, ...]) -> Geometry | None:
    try:
        return read_geometry(paths)[0]
    except InputError:
        return None


def _label(subject: str, key: RunKey) -> str:
    return f"sub-{subject} task-{TASK[key[0]]} run-{key[1]:02d}"


def volume_rows(trials: dict[RunKey, pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of `Scans`: every volume of every run, the dummies left out."""
    parts = []
    for (split, run), table in trials.items():
        played = table[table["trial"] > 0]
        rows = played.loc[played.index.repeat(grid.VOLUMES_PER_CLIP)]
        within = np.tile(np.arange(grid.VOLUMES_PER_CLIP), len(played))
        part = rows.assign(split=split, run=run, volume=rows["volume"] + within, within=within)
        parts.append(part[["split", "run", "volume", "trial", "repeat", "clip", "within"]])
    return pd.concat(parts, ignore_index=True)


def clean_scans(
    scans: Scans, voxels: NDArray[np.int64], scratch: Path, high_pass_hz: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_], list[str]]:
    """Read and clean all runs into a file, one run in memory at a time.

    Returns (rows of ``scans.rows``, good voxels) float32, memory-mapped; which of the voxels are
    good in every run; a line a run for those that are not.
    """
    shape = (len(scans.rows), len(voxels))
    out = new_array(scratch, np.float32, shape)
    good = np.ones(len(voxels), np.bool_)
    notes = []
    for key, paths in track(scans.images.items(), f"read sub-{scans.subject}", len(scans.images)):
        where = np.flatnonzero((scans.rows["split"] == key[0]) & (scans.rows["run"] == key[1]))
        volumes = scans.rows["volume"].to_numpy()[where]
        cleaned, bad = clean_run(read_voxels(paths, voxels)[volumes], high_pass_hz)
        out[where[0] : where[-1] + 1] = cleaned
        good &= ~bad
        if bad.any():
            notes.append(f"{paths[0]}: {bad.sum()} voxels hold NaN or do not vary; left out")
    if not good.all():
        for first in range(0, len(out), ROWS):  # in place: the file may be larger than the memory
            out[first : first + ROWS, : good.sum()] = out[first : first + ROWS][:, good]
    return out[:, : good.sum()], good, notes


def stage_features(
    scans: Scans,
    clips: Sequence[str],
    scores: NDArray[np.floating],
    delays_tr: Sequence[int],
    high_pass_hz: float,
) -> NDArray[np.float32]:
    """Lay a stage's scores (n_clips, volumes of a clip, components) on the rows of the scans.

    Returns (rows, len(delays_tr) * components) float32, delayed within each run, the dummies'
    sound included, and filtered as the images are: what was taken out of one must be taken out of
    the other. NaN where a clip is missing or still echoes.
    """
    parts = []
    for table in scans.trials.values():
        n_vol = grid.n_volumes(len(table) - 1)
        x = delayed(on_volumes(table, clips, scores, n_vol), delays_tr)
        x = x[table["volume"].iat[1] :]
        lost = ~np.isfinite(x).all(1)
        if lost.all():
            parts.append(np.full_like(x, np.nan))
            continue
        # The mean stands in for what is missing while the filter runs.
        whole = filtered(np.where(lost[:, None], x[~lost].mean(0), x), high_pass_hz, False)
        whole[lost] = np.nan
        parts.append(whole)
    return np.concatenate(parts)


def repeat_rows(
    rows: pd.DataFrame, usable: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], list[str]]:
    """Return where each repeat of each test clip lies: (repeats, clips, volumes) row numbers.

    And the names of the clips. A clip with a volume that cannot be used is left out. Raises
    InputError where the clips that are left were not all played as often, or none is left.
    """
    test = rows[rows["split"] == "test"]
    test = test[~test["clip"].isin(set(test["clip"][~usable[test.index]]))]
    shown = test[test["within"] == 0]
    counts = shown["clip"].value_counts(sort=False)
    if counts.nunique() != 1:
        raise InputError(
            f"test runs: {len(counts)} clips can be used, played {sorted(set(counts))} times; "
            "expected clips that were all played as often"
        )
    clips = list(counts.index)
    cube = np.empty((counts.iat[0], len(clips), grid.VOLUMES_PER_CLIP), np.int64)
    index = {clip: number for number, clip in enumerate(clips)}
    nth = shown.groupby("clip").cumcount()
    for first, clip in shown["clip"].items():
        cube[nth[first], index[clip]] = first + np.arange(grid.VOLUMES_PER_CLIP)
    return cube, clips
