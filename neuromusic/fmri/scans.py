"""A subject's images aligned with what was played: which volumes belong to which clip.

`open_scans` matches images with events, `clean_scans` reads the voxels, `stage_design` lays a
stage's components on the same rows, and `repeat_rows` finds the repeats of each test clip.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.progress import track
from neuromusic.design import grid
from neuromusic.design.events import EventsFile, run_label
from neuromusic.features.writer import new_array
from neuromusic.fmri.activations import on_grid, run_trials
from neuromusic.fmri.bold import (
    RunFiles,
    RunKey,
    check_run,
    clean_run,
    filtered,
    find_bold,
    open_run,
    read_voxels,
)
from neuromusic.fmri.volumes import delayed
from neuromusic.fmri.voxel_space import VoxelSpace

LEAST_TRAINING_RUNS = 2
ROWS_AT_ONCE = 256  # rows that are moved at a time, because the file may exceed the memory


# --- Images and events ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Scans:
    """The runs of one subject that can be used.

    Parameters
    ----------
    subject : str
        The subject's label, without ``sub-``.
    space : VoxelSpace
        Voxels of all images.
    images : dict
        (split, run) -> the file of the run, or those of both hemispheres.
    trials : dict
        (split, run) -> its presentations, see `run_trials`.
    rows : pandas.DataFrame
        One row per volume except the dummies, run after run: split, run, volume, trial, repeat,
        clip and within (volume within the clip, from 0).
    left_out : list of str
        Which runs cannot be used, and why.
    """

    subject: str
    space: VoxelSpace
    images: RunFiles
    trials: dict[RunKey, pd.DataFrame]
    rows: pd.DataFrame
    left_out: list[str]

    def n_runs(self, split: str) -> int:
        """Return the number of runs of a split that can be used."""
        return sum(key[0] == split for key in self.trials)


def open_scans(events: Sequence[EventsFile], images: Path, space: str | None = None) -> Scans:
    """Match the images of one subject with its events.

    Runs without an image, or with a different length, TR or grid, are left out.

    Raises InputError for an image without events, or if fewer than two training runs or no test run
    remain.
    """
    subject = events[0].subject
    found = find_bold(images, subject, space)
    files = {(file.split, file.run): file for file in events}
    _check_events(found, files)
    left_out = [
        f"{run_label(subject, *key)}: has events but no image" for key in files if key not in found
    ]
    trials, unusable, voxel_space = _usable_runs(found, files)
    left_out += unusable
    n_train = sum(split == "train" for split, _ in trials)
    if voxel_space is None or n_train < LEAST_TRAINING_RUNS or n_train == len(trials):
        reasons = "; ".join(left_out) or "there are no other images"
        raise InputError(
            f"{images}: sub-{subject} has {n_train} training and {len(trials) - n_train} test runs "
            f"that can be used; {LEAST_TRAINING_RUNS} and 1 are needed ({reasons})"
        )
    used = {key: found[key] for key in trials}
    return Scans(subject, voxel_space, used, trials, volume_rows(trials), left_out)


def _check_events(found: RunFiles, files: Mapping[RunKey, EventsFile]) -> None:
    for key, paths in found.items():
        if key not in files:
            raise InputError(
                f"{paths[0]}: has no events.tsv in the BIDS dataset; add it, or move the image away"
            )


def _usable_runs(
    found: RunFiles, files: Mapping[RunKey, EventsFile]
) -> tuple[dict[RunKey, pd.DataFrame], list[str], VoxelSpace | None]:
    """Return the trials of the runs that can be used, one line for each that cannot, and the space.

    The voxel space is that of most of the readable images; None if there are none.
    """
    spaces = []
    reasons: dict[RunKey, str | None] = {}
    for key, paths in found.items():
        try:
            spaces.append(open_run(paths).space)
        except InputError as error:
            reasons[key] = str(error).replace(str(paths[0]), paths[0].name)
    space = _most_common(spaces)
    tables = {key: run_trials(files[key]) for key in found}
    for key, paths in found.items():
        if space is not None and key not in reasons:
            reasons[key] = check_run(paths, space, grid.n_volumes(len(tables[key]) - 1))
    left_out = [f"{files[key].label}: {reasons[key]}" for key in found if reasons[key]]
    return {key: tables[key] for key in found if not reasons[key]}, left_out, space


def _most_common(spaces: Sequence[VoxelSpace]) -> VoxelSpace | None:
    """Return the space that most others match, the first of several; None if there are none."""
    return max(spaces, key=lambda space: sum(map(space.matches, spaces)), default=None)


# --- Rows -----------------------------------------------------------------------------------------


def volume_rows(trials: Mapping[RunKey, pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of `Scans`: every volume of every run, except the dummies."""
    parts = []
    for (split, run), table in trials.items():
        played = table[table["trial"] > 0]
        rows = played.loc[played.index.repeat(grid.VOLUMES_PER_CLIP)]
        within = np.tile(np.arange(grid.VOLUMES_PER_CLIP), len(played))
        part = rows.assign(split=split, run=run, volume=rows["volume"] + within, within=within)
        parts.append(part[["split", "run", "volume", "trial", "repeat", "clip", "within"]])
    return pd.concat(parts, ignore_index=True)


def repeat_rows(
    rows: pd.DataFrame, usable: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], list[str]]:
    """Return the rows of each repeat of each test clip, and the names of the clips.

    The row numbers have the shape (repeats, clips, volumes). A clip with any row that is not
    ``usable`` (n_rows,) is left out.

    Raises InputError if the other clips were not all played equally often, or there are none.
    """
    test = rows[rows["split"] == "test"]
    test = test[~test["clip"].isin(set(test["clip"][~usable[test.index]]))]
    onsets = test[test["within"] == 0]
    counts = onsets["clip"].value_counts(sort=False)
    if counts.nunique() != 1:
        raise InputError(
            f"test runs: {len(counts)} clips can be used, played {sorted(set(counts))} times; "
            "expected clips that were all played equally often"
        )
    clips = list(counts.index)
    numbers = np.empty((counts.iat[0], len(clips), grid.VOLUMES_PER_CLIP), np.int64)
    column = {clip: index for index, clip in enumerate(clips)}
    repeat = onsets.groupby("clip").cumcount()
    for first, clip in onsets["clip"].items():
        numbers[repeat[first], column[clip]] = first + np.arange(grid.VOLUMES_PER_CLIP)
    return numbers, clips


def shift_blocks(rows: pd.DataFrame, test: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the volumes of each test run in the order in which they were played, for shift tests.

    Parameters
    ----------
    rows : pandas.DataFrame
        As in `Scans`.
    test : ndarray of int64, shape (repeats, clips, volumes)
        The output of `repeat_rows`.

    Returns
    -------
    list of ndarray of int64, each of shape (repeats, clips, volumes)
        One per run: indices into ``test.ravel()``. If the run repeats its clips in a fixed order,
        one line per repeat, so that the mean over the first axis can be shifted by whole clips.
        Otherwise there is one line with all presentations.
    """
    n_clips, n_volumes = test.shape[1:]
    onset = test[:, :, 0].ravel()  # row of the first volume of each presentation
    run = rows["run"].to_numpy()[onset]
    blocks = []
    for each in np.unique(run):
        played = np.flatnonzero(run == each)
        played = played[np.argsort(onset[played])]
        clips = played % n_clips
        n_different = len(np.unique(clips))
        in_cycles = (
            len(clips) % n_different == 0
            and (clips == np.tile(clips[:n_different], len(clips) // n_different)).all()
        )
        lines = played.reshape(-1, n_different if in_cycles else len(clips))
        blocks.append(lines[:, :, None] * n_volumes + np.arange(n_volumes))
    return blocks


# --- Voxels and designs on the rows ---------------------------------------------------------------


@dataclass(frozen=True)
class CleanVoxels:
    """The cleaned series of the voxels that can be used in every run.

    ``series`` (rows of `Scans`, usable voxels) float32, mapped into memory; ``usable`` (requested
    voxels,); ``left_out`` is one line for each run with voxels that cannot be used.
    """

    series: NDArray[np.float32]
    usable: NDArray[np.bool_]
    left_out: list[str]


def clean_scans(
    scans: Scans, voxels: NDArray[np.int64], scratch: Path, high_pass_hz: float, label: str
) -> CleanVoxels:
    """Read and clean all runs into the file ``scratch``, one run in memory at a time.

    ``voxels`` are indices into the voxel space; ``high_pass_hz`` is the cutoff of the filter;
    ``label`` begins the text of the progress bar.
    """
    series = new_array(scratch, np.float32, (len(scans.rows), len(voxels)))
    usable = np.ones(len(voxels), np.bool_)
    left_out = []
    for key, paths in track(scans.images.items(), f"{label}: reading images", len(scans.images)):
        in_run = (scans.rows["split"] == key[0]) & (scans.rows["run"] == key[1])
        numbers = np.flatnonzero(in_run)
        volumes = scans.rows["volume"].to_numpy()[numbers]
        cleaned, unusable = clean_run(read_voxels(paths, voxels)[volumes], high_pass_hz)
        series[numbers[0] : numbers[-1] + 1] = cleaned
        usable &= ~unusable
        if unusable.any():
            left_out.append(f"{paths[0].name}: {unusable.sum()} voxels contain NaN or do not vary")
    n_usable = usable.sum()
    if not usable.all():
        for first in range(0, len(series), ROWS_AT_ONCE):
            block = slice(first, first + ROWS_AT_ONCE)
            series[block, :n_usable] = series[block][:, usable]
    return CleanVoxels(series[:, :n_usable], usable, left_out)


def usable_rows(
    scans: Scans, clips: Collection[str], delays_tr: Sequence[int]
) -> NDArray[np.bool_]:
    """Return which rows of the scans (n_rows,) have a design if only ``clips`` have components."""
    components = {clip: np.zeros((grid.VOLUMES_PER_CLIP, 1)) for clip in clips}
    parts = []
    for table in scans.trials.values():
        laid = on_grid(table, components, grid.n_volumes(len(table) - 1), fill=0.0)
        design = delayed(laid, delays_tr)[table["volume"].iat[1] :]
        parts.append(np.isfinite(design).all(1))
    return np.concatenate(parts)


def stage_design(
    scans: Scans,
    components: Mapping[str, NDArray[np.floating]],
    delays_tr: Sequence[int],
    high_pass_hz: float,
) -> NDArray[np.float32]:
    """Return the design of one stage: its components, delayed, on the rows of the scans.

    ``components`` maps clips to (volumes of the clip, components). The result, (rows,
    len(delays_tr) * components) float32, is delayed within each run, with the response to the dummy
    included, and filtered like the images: what was removed from one must be removed from the
    other. It is NaN in volumes that depend on a missing clip.
    """
    parts = []
    for table in scans.trials.values():
        laid = on_grid(table, components, grid.n_volumes(len(table) - 1), fill=0.0)
        design = delayed(laid, delays_tr)[table["volume"].iat[1] :]
        parts.append(_filtered_with_gaps(design, high_pass_hz))
    return np.concatenate(parts)


def _filtered_with_gaps(design: NDArray[np.floating], high_pass_hz: float) -> NDArray[np.float32]:
    """Filter one run; volumes with NaN are replaced by the mean for that, and stay NaN."""
    missing = ~np.isfinite(design).all(1)
    if missing.all():
        return np.full_like(design, np.nan)
    filled = np.where(missing[:, None], design[~missing].mean(0), design)
    clean = filtered(filled, high_pass_hz, standardise=False)
    clean[missing] = np.nan
    return clean
