"""A subject's images aligned with what was played: which volumes belong to which sound.

`open_scans` matches images with the design, and `repeat_rows` finds the repeats of each scored
unit. `fmri.scan_series` reads the voxels and lays the components of stages on the same rows.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.notes import summarised
from neuromusic.design.bids import BidsIndex, RunId
from neuromusic.design.experiment import Encoding
from neuromusic.design.presentations import Design, RunDesign
from neuromusic.design.timing import lead_in_volumes, whole_run_volumes
from neuromusic.fmri.bold import RunCheck, check_run, open_run
from neuromusic.fmri.bold_files import find_bold
from neuromusic.fmri.confounds import Confounds, load_confounds, non_steady_state
from neuromusic.fmri.units import unit_rows
from neuromusic.fmri.voxel_space import VoxelSpace

log = logging.getLogger(__name__)

LEAST_TRAINING_RUNS = 2

RunFiles = Mapping[RunId, tuple[Path, ...]]


# --- Images and design ----------------------------------------------------------------------------


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
        Run -> its file, or those of both hemispheres.
    runs : dict of RunDesign
        Run -> what was played; its TR and number of volumes are known.
    confounds : dict of Confounds
        Run -> its confounds; empty if none are removed.
    rows : pandas.DataFrame
        One row per volume except those of the lead-in, run after run: split, run (its place in
        ``runs``, from 0), volume, kept (False: neither fitted nor scored), and the columns of
        `units.unit_rows`.
    left_out : list of str
        Which runs cannot be used, and why.
    division : Encoding
        Which part of the data is fitted, and which is scored.
    """

    subject: str
    space: VoxelSpace
    images: RunFiles
    runs: dict[RunId, RunDesign]
    confounds: dict[RunId, Confounds]
    rows: pd.DataFrame
    left_out: list[str]
    division: Encoding

    def n_runs(self, split: str | None) -> int:
        """Return the number of runs of a split that can be used."""
        return sum(each.split == split for each in self.runs.values())

    @property
    def tr_s(self) -> float:
        """Repetition time of all runs in s."""
        return next(iter(self.runs.values())).known_tr_s


@dataclass(frozen=True)
class ImageChoice:
    """Which images of a folder are read, and what is removed from them.

    Parameters
    ----------
    entities : mapping of str
        Entity -> value that the names must have, such as ``{"space": "MNI152NLin2009cAsym"}``.
    confounds : tuple of str
        fMRIPrep's confounds to remove, see `neuromusic.fmri.confounds.STRATEGIES`.
    """

    entities: Mapping[str, str]
    confounds: tuple[str, ...] = ()


def open_scans(design: Design, index: BidsIndex, choice: ImageChoice) -> Scans:
    """Match the images of one subject with its design.

    Parameters
    ----------
    design : Design
        The runs of the subject, with durations.
    index : BidsIndex
        The folder with the images.
    choice : ImageChoice
        Which of them are read.

    Runs without an image, or whose image is too short or has another TR or grid, are left out;
    volumes that the design does not need are dropped.

    Raises
    ------
    InputError
        For an image without events, if runs differ in TR, or if too few runs remain.
    """
    [subject] = design.subjects
    found = find_bold(index, subject, design.experiment.files.tasks, choice.entities)
    _check_events(found, design)
    left_out = [f"{run.label}: has events but no image" for run in design.runs if run not in found]
    runs, unusable, space = _usable_runs(found, design, index)
    left_out += unusable
    _check_enough(runs, space, f"{index.directory}: sub-{subject}", left_out)
    assert space is not None
    _check_tr(runs)
    images = {run: found[run] for run in runs}
    confounds = _confounds_of(images, runs, choice.confounds)
    rows = volume_rows(runs, design, confounds)
    return Scans(
        subject, space, images, runs, confounds, rows, left_out, design.experiment.encoding
    )


def _confounds_of(
    images: RunFiles, runs: Mapping[RunId, RunDesign], strategies: tuple[str, ...]
) -> dict[RunId, Confounds]:
    """Return the confounds of each run, and say what should be known of them.

    Without strategies, only runs have some that are not in a steady state after their lead-in.
    """
    confounds, notes = {}, []
    for run, files in images.items():
        lead_in = lead_in_volumes(runs[run].trials, runs[run].known_tr_s)
        if not strategies and non_steady_state(files) <= lead_in:
            continue
        confounds[run] = load_confounds(files, strategies, open_run(files).n_volumes)
        notes += [f"{run.label}: {note}" for note in confounds[run].notes]
    for note in summarised(notes):
        log.warning("%s", note)
    return confounds


def _check_events(found: RunFiles, design: Design) -> None:
    for run, paths in found.items():
        if run not in design.runs:
            raise InputError(
                f"{paths[0]}: has no events.tsv in the BIDS dataset; add it, or move the image away"
            )


def _usable_runs(
    found: RunFiles, design: Design, index: BidsIndex
) -> tuple[dict[RunId, RunDesign], list[str], VoxelSpace | None]:
    """Return the runs that can be used, one line for each that cannot, and the space.

    The voxel space is that of most of the readable images; None if there are none.
    """
    spaces = []
    for paths in found.values():
        try:
            spaces.append(open_run(paths).space)
        except InputError:
            continue  # `check_run` gives the reason
    space = _most_common(spaces)
    usable, left_out = {}, []
    for run, each in design.runs.items():
        if run not in found:
            continue
        checked = _checked(found[run], space, each, index)
        if checked.reason:
            left_out.append(f"{run.label}: {checked.reason}")
            continue
        if checked.n_surplus:
            log.warning(
                "%s: has %d volumes after those of its design; they are dropped", run.label,
                checked.n_surplus,
            )  # fmt: skip
        usable[run] = replace(each, tr_s=checked.tr_s, n_volumes=checked.n_volumes)
    return usable, left_out, space


def _checked(
    paths: tuple[Path, ...], space: VoxelSpace | None, run: RunDesign, index: BidsIndex
) -> RunCheck:
    """Compare an image with its run, whose number of volumes may follow from its sounds."""
    if space is None:
        try:
            open_run(paths)
        except InputError as error:
            return RunCheck(str(error).replace(str(paths[0]), paths[0].name))
    assert space is not None
    checked = check_run(paths, space, run.tr_s, run.n_volumes or _volumes_of_sounds(run), index)
    if checked.reason or run.tr_s is None:
        return checked
    least = whole_run_volumes(run.trials, run.tr_s)
    if checked.n_volumes < least:
        return RunCheck(
            f"{paths[0].name}: has {checked.n_volumes} volumes; its events need {least}"
        )
    return checked


def _volumes_of_sounds(run: RunDesign) -> int | None:
    """Return the number of volumes of a run without silence; None if there is silence.

    After the last sound of a run with silences, the response to it is still measured.
    """
    if run.tr_s is None:
        return None
    onset_s, duration_s = (run.trials[name].to_numpy(float) for name in ("onset_s", "duration_s"))
    silence_s = onset_s[1:] - (onset_s + duration_s)[:-1]
    if (silence_s > run.tr_s / 2).any() or len(onset_s) == 1:
        return None
    return whole_run_volumes(run.trials, run.tr_s)


def _most_common(spaces: Sequence[VoxelSpace]) -> VoxelSpace | None:
    """Return the space that most others match, the first of several; None if there are none."""
    return max(spaces, key=lambda space: sum(map(space.matches, spaces)), default=None)


def _check_enough(
    runs: Mapping[RunId, RunDesign], space: VoxelSpace | None, where: str, left_out: Sequence[str]
) -> None:
    """Raise InputError if there are too few runs to fit and to score."""
    reasons = "; ".join(left_out) or "there are no other images"
    n_test = sum(each.split == "test" for each in runs.values())
    n_train = len(runs) - n_test
    has_folds = any(each.split is None for each in runs.values())
    if space is None or n_train < LEAST_TRAINING_RUNS or not (has_folds or n_test):
        needed = (
            f"{LEAST_TRAINING_RUNS} are needed"
            if has_folds
            else (f"{LEAST_TRAINING_RUNS} and 1 are needed")
        )
        kinds = f"{n_train}" if has_folds else f"{n_train} training and {n_test} test"
        raise InputError(f"{where} has {kinds} runs that can be used; {needed} ({reasons})")


def _check_tr(runs: Mapping[RunId, RunDesign]) -> None:
    """Raise InputError if the TR of a run is unknown or differs from the first."""
    first, *others = runs
    for run in (first, *others):
        tr_s = runs[run].tr_s
        if tr_s is None:
            raise InputError(
                f"{run.label}: the TR is not known; give RepetitionTime in the JSON of the image, "
                "or time.tr_s in the description"
            )
        if tr_s != runs[first].tr_s:
            raise InputError(
                f"{run.label}: has a TR of {tr_s:g} s, {first.label} one of "
                f"{runs[first].tr_s:g} s; encode runs with the same TR, chosen in files.tasks or "
                "files.sessions of the description"
            )


# --- Rows -----------------------------------------------------------------------------------------


def volume_rows(
    runs: Mapping[RunId, RunDesign], design: Design, confounds: Mapping[RunId, Confounds]
) -> pd.DataFrame:
    """Return the rows of `Scans`: every volume of every run, except those of the lead-in."""
    units = unit_rows(list(runs.values()), design.experiment.encoding.segment_s)
    parts = []
    for number, (run, part) in enumerate(zip(runs, units, strict=True)):
        kept = np.ones(len(part), bool)
        if run in confounds:
            kept = confounds[run].kept[part["volume"]]
        parts.append(part.assign(split=runs[run].split, run=number, kept=kept))
    return pd.concat(parts, ignore_index=True)


def repeat_rows(
    rows: pd.DataFrame, usable: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], list[str]]:
    """Return the rows of each repeat of each scored unit, and the names of the units.

    The row numbers have the shape (repeats, units, volumes). Units of training runs are not scored.
    A unit with any row that is not ``usable`` (n_rows,) is left out.

    Raises InputError if the other units were not all played equally often, or there are none.
    """
    scored = rows[(rows["split"] != "train") & (rows["within"] >= 0)]
    scored = scored[~scored["clip"].isin(set(scored["clip"][~usable[scored.index]]))]
    onsets = scored[scored["within"] == 0]
    counts = onsets["clip"].value_counts(sort=False)
    if counts.nunique() != 1:
        raise InputError(
            f"test runs: {len(counts)} clips can be used, played {sorted(set(counts))} times; "
            "expected clips that were all played equally often. If the first sounds of a run are "
            "dummies, give time.lead_in_s in the description of the experiment"
        )
    clips = list(counts.index)
    if scored["split"].isna().any():  # in an order that does not depend on the runs of a subject
        clips.sort()
    length = int(scored["within"].max()) + 1
    numbers = np.empty((counts.iat[0], len(clips), length), np.int64)
    column = {clip: index for index, clip in enumerate(clips)}
    repeat = onsets.groupby("clip").cumcount()
    for first, clip in onsets["clip"].items():
        numbers[repeat[first], column[clip]] = first + np.arange(length)
    return numbers, clips


def shift_blocks(rows: pd.DataFrame, test: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the volumes of each scored run in the order in which they were played, for shifts.

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
