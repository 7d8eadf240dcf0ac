"""The series of a subject's voxels, and the designs of stages, on the rows of its scans."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.progress import track
from neuromusic.design.bids import RunId
from neuromusic.design.timing import lead_in_volumes, placements
from neuromusic.features.writer import new_array
from neuromusic.fmri.bold import clean_run, filter_terms, filtered, read_voxels
from neuromusic.fmri.layout import PlacedClip, lay_on_volumes
from neuromusic.fmri.scans import Scans
from neuromusic.fmri.volumes import delayed

ROWS_AT_ONCE = 256  # rows that are moved at a time, because the file may exceed the memory


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
    for number, run in enumerate(
        track(scans.images, f"{label}: reading images", len(scans.images))
    ):
        paths = scans.images[run]
        rows, volumes = _rows_of_run(scans, number)
        cleaned, unusable = clean_run(
            read_voxels(paths, voxels)[volumes], scans.tr_s, high_pass_hz,
            _confounds_on(scans, run, volumes),
        )  # fmt: skip
        series[rows[0] : rows[-1] + 1] = cleaned
        usable &= ~unusable
        if unusable.any():
            left_out.append(f"{paths[0].name}: {unusable.sum()} voxels contain NaN or do not vary")
    n_usable = usable.sum()
    if not usable.all():
        for first in range(0, len(series), ROWS_AT_ONCE):
            block = slice(first, first + ROWS_AT_ONCE)
            series[block, :n_usable] = series[block][:, usable]
    return CleanVoxels(series[:, :n_usable], usable, left_out)


def _rows_of_run(scans: Scans, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of a run, and the volume of each."""
    rows = np.flatnonzero(scans.rows["run"] == number)
    return rows, scans.rows["volume"].to_numpy()[rows]


def _confounds_on(
    scans: Scans, run: RunId, volumes: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    return scans.confounds[run].values[volumes] if run in scans.confounds else None


def usable_rows(
    scans: Scans, available: Collection[str], delays_tr: Sequence[int]
) -> NDArray[np.bool_]:
    """Return which rows of the scans (n_rows,) have a design if only these clips have components.

    ``available`` are names of clips.
    """
    laid = _delayed_values(scans, dict.fromkeys(available, 0.0), delays_tr)
    return np.asarray(np.isfinite(laid).all(1) & scans.rows["kept"].to_numpy())


def rows_with_response_to(
    scans: Scans, clips: Collection[str], delays_tr: Sequence[int]
) -> NDArray[np.bool_]:
    """Return which rows (n_rows,) a response to one of ``clips`` may reach, after any delay."""
    played = {clip for run in scans.runs.values() for clip in run.trials["clip"]}
    values = {clip: float(clip in clips) for clip in played}
    every = range(min(0, *delays_tr), max(delays_tr) + 1)
    return np.asarray((_delayed_values(scans, values, every) > 0).any(1))


def _delayed_values(
    scans: Scans, values: Mapping[str, float], delays_tr: Sequence[int]
) -> NDArray[np.floating]:
    """Return one value per clip, laid and delayed: (rows, delays); NaN where a clip has none."""
    laid = {
        (clip, placement): np.full((placement.n_volumes, 1), values[clip], np.float32)
        for run in scans.runs.values()
        for clip, (_, placement) in zip(
            run.trials["clip"], placements(run.trials, run.known_tr_s), strict=True
        )
        if clip in values
    }
    return np.concatenate([each for _, each in _delayed_runs(scans, laid, np.zeros(1), delays_tr)])


def removed_terms(scans: Scans, high_pass_hz: float) -> NDArray[np.float32]:
    """Return what the filter removes from each run, on the rows of the scans: (rows, terms).

    A constant, a line, cosines slower than ``high_pass_hz`` and confounds, orthonormal in each run;
    runs with fewer terms than others have columns of zeros.
    """
    parts = []
    for number, run in enumerate(scans.runs):
        _, volumes = _rows_of_run(scans, number)
        confounds = _confounds_on(scans, run, volumes)
        parts.append(filter_terms(len(volumes), scans.tr_s, high_pass_hz, confounds))
    most = max(part.shape[1] for part in parts)
    padded = [np.pad(part, ((0, 0), (0, most - part.shape[1]))) for part in parts]
    return np.concatenate(padded).astype(np.float32)


def stage_design(
    scans: Scans,
    components: Mapping[PlacedClip, NDArray[np.floating]],
    rest: NDArray[np.floating],
    delays_tr: Sequence[int],
    high_pass_hz: float,
    only: Collection[str] | None = None,
) -> NDArray[np.float32]:
    """Return the design of one stage: its components, delayed, on the rows of the scans.

    Parameters
    ----------
    scans : Scans
        The runs.
    components : mapping of arrays (volumes, components)
        (clip, placement) -> the components of the response to a sound.
    rest : array (components,)
        Those of the response to no sound.
    delays_tr : sequence of int
        Delays in volumes.
    high_pass_hz : float
        Cutoff of the filter.
    only : collection of str, optional
        Clips that are laid; in place of the others there is rest.

    Returns
    -------
    array (rows, len(delays_tr) * components) float32
        Delayed within each run, with the response to the lead-in included, and filtered like the
        images: what was removed from one must be removed from the other. NaN in volumes that depend
        on a missing clip.
    """
    parts = []
    delayed_runs = _delayed_runs(scans, components, rest, delays_tr, only)
    for number, (run, design) in enumerate(delayed_runs):
        _, volumes = _rows_of_run(scans, number)
        confounds = _confounds_on(scans, run, volumes)
        parts.append(_filtered_with_gaps(design, scans.tr_s, high_pass_hz, confounds))
    return np.concatenate(parts)


def _delayed_runs(
    scans: Scans,
    components: Mapping[PlacedClip, NDArray[np.floating]],
    rest: NDArray[np.floating],
    delays_tr: Sequence[int],
    only: Collection[str] | None = None,
) -> list[tuple[RunId, NDArray[np.floating]]]:
    """Return each run and its design (rows of the run, delays x components), not filtered.

    Before the first volume there is rest.
    """
    out = []
    for run, each in scans.runs.items():
        trials, tr_s = each.trials, each.known_tr_s
        played = trials if only is None else trials[trials["clip"].isin(only)]
        laid = lay_on_volumes(played, components, tr_s, each.known_volumes, rest)
        first = lead_in_volumes(trials, tr_s)
        out.append((run, delayed(laid, delays_tr)[first:]))
    return out


def _filtered_with_gaps(
    design: NDArray[np.floating],
    tr_s: float,
    high_pass_hz: float,
    confounds: NDArray[np.float64] | None,
) -> NDArray[np.float32]:
    """Filter one run; volumes with NaN are replaced by the mean for that, and stay NaN."""
    missing = ~np.isfinite(design).all(1)
    if missing.all():
        return np.full_like(design, np.nan)
    filled = np.where(missing[:, None], design[~missing].mean(0), design)
    clean = filtered(filled, tr_s, high_pass_hz, False, confounds)
    clean[missing] = np.nan
    return clean
