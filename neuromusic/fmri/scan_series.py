"""The series of a subject's voxels, and the designs of stages, on the rows of its scans."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.files import retried
from neuromusic.core.progress import track
from neuromusic.design.bids import RunId
from neuromusic.design.timing import lead_in_volumes, placements
from neuromusic.features.writer import RowFile
from neuromusic.fmri.bold import clean_run, filter_terms, filtered, voxel_slabs
from neuromusic.fmri.layout import PlacedClip, lay_on_volumes
from neuromusic.fmri.scans import Scans
from neuromusic.fmri.volumes import delayed

VOXELS_AT_ONCE = 5000  # in a block
CLEANED = "unusable.npy"  # written last


@dataclass(frozen=True)
class CleanVoxels:
    """The cleaned series of a subject's voxels, one file per block of them.

    ``directory`` holds the files; ``blocks`` are the voxels of each; ``usable`` (requested voxels,)
    marks the voxels that can be used in every run; ``left_out`` is one line for each run with
    voxels that cannot be used.
    """

    directory: Path
    blocks: list[slice]
    usable: NDArray[np.bool_]
    left_out: list[str]

    def usable_in(self, block: int) -> NDArray[np.bool_]:
        """Return which voxels of a block can be used."""
        return self.usable[self.blocks[block]]

    def series(self, block: int) -> NDArray[np.float32]:
        """Return a block (rows of `Scans`, its usable voxels)."""
        path = _series_file(self.directory, block)
        series = retried(lambda: np.load(path, allow_pickle=False))  # blocks are read in threads
        usable = self.usable_in(block)
        return np.asarray(series if usable.all() else series[:, usable], np.float32)

    def remove(self) -> None:
        """Remove the series; the rest can still be opened by `clean_scans`."""
        for block in range(len(self.blocks)):
            _series_file(self.directory, block).unlink(missing_ok=True)


def clean_scans(
    scans: Scans, voxels: NDArray[np.int64], directory: Path, high_pass_hz: float, label: str
) -> CleanVoxels:
    """Read and clean all runs into files, a few volumes or a block of voxels in memory at a time.

    ``voxels`` are indices into the voxel space; ``high_pass_hz`` is the cutoff of the filter;
    ``label`` begins the text of the progress bar. If an earlier call has finished ``directory``,
    nothing is read.
    """
    if not (directory / CLEANED).is_file():
        directory.mkdir(exist_ok=True)
        _read_scans(scans, voxels, directory, label)
        unusable = _clean_blocks(scans, len(voxels), directory, high_pass_hz, label)
        part = directory / f"{CLEANED}.part"
        with open(part, "wb") as file:
            np.save(file, unusable)
        part.rename(directory / CLEANED)
    unusable = np.load(directory / CLEANED, allow_pickle=False)
    left_out = [
        f"{scans.images[run][0].name}: {of_run.sum()} voxels contain NaN or do not vary"
        for run, of_run in zip(scans.images, unusable, strict=True)
        if of_run.any()
    ]
    return CleanVoxels(directory, blocks_of(len(voxels)), ~unusable.any(0), left_out)


def blocks_of(n_voxels: int) -> list[slice]:
    """Return the voxels of each block."""
    ends = [*range(VOXELS_AT_ONCE, n_voxels, VOXELS_AT_ONCE), n_voxels]
    return [slice(first, last) for first, last in zip([0, *ends[:-1]], ends, strict=True)]


def _series_file(directory: Path, block: int) -> Path:
    return directory / f"series-{block:04d}.npy"


def _read_scans(scans: Scans, voxels: NDArray[np.int64], directory: Path, label: str) -> None:
    """Write the series of all runs, as they are in the images, into one file per block."""
    blocks = blocks_of(len(voxels))
    files = []
    for block, part in enumerate(blocks):
        shape = (len(scans.rows), part.stop - part.start)
        files.append(RowFile.open(_series_file(directory, block), np.float32, shape, keep=False))
    text = f"{label}: reading images"
    for number, run in enumerate(track(scans.images, text, len(scans.images))):
        rows, volumes = _rows_of_run(scans, number)
        for first, slab in voxel_slabs(scans.images[run], voxels):
            inside = (volumes >= first) & (volumes < first + len(slab))
            if not inside.any():
                continue
            used, row = slab[volumes[inside] - first], int(rows[inside][0])
            for part, file in zip(blocks, files, strict=True):
                file.write(row, used[:, part])


def _clean_blocks(
    scans: Scans, n_voxels: int, directory: Path, high_pass_hz: float, label: str
) -> NDArray[np.bool_]:
    """Clean the files of all blocks; return which voxels cannot be used, (runs, voxels)."""
    unusable = np.empty((len(scans.images), n_voxels), np.bool_)
    blocks = blocks_of(n_voxels)
    for block, part in enumerate(track(blocks, f"{label}: cleaning voxels", len(blocks))):
        path = _series_file(directory, block)
        series = np.load(path, allow_pickle=False)
        for number, run in enumerate(scans.images):
            rows, volumes = _rows_of_run(scans, number)
            confounds = _confounds_on(scans, run, volumes)
            series[rows], unusable[number, part] = clean_run(
                series[rows], scans.tr_s, high_pass_hz, confounds
            )
        np.save(path, series)
    return unusable


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
