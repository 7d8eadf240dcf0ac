"""What fMRIPrep writes beside its images: confounds, volumes to leave out, and masks of the brain.

`nilearn.interfaces.fmriprep.load_confounds` chooses the columns.
"""

import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, did_you_mean
from neuromusic.core.files import readable
from neuromusic.core.folders import check_present
from neuromusic.design.bids import BidsName, parse_bids_name
from neuromusic.fmri.voxel_space import VoxelSpace, open_space, read_volumes

# Strategy -> arguments of nilearn's load_confounds. "simple", "scrubbing", "compcor" and
# "ica_aroma" are those of its load_confounds_strategy, without the cosines of fMRIPrep, because the
# drift is removed anyway. CompCor needs these, because its components are of filtered images.
STRATEGIES: dict[str, dict[str, Any]] = {
    "motion": {"strategy": ("motion",)},
    "wm_csf": {"strategy": ("wm_csf",)},
    "global_signal": {"strategy": ("global_signal",)},
    "scrub": {"strategy": ("scrub",)},
    "simple": {"strategy": ("motion", "wm_csf")},
    "scrubbing": {"strategy": ("motion", "wm_csf", "scrub"), "wm_csf": "full"},
    "compcor": {"strategy": ("high_pass", "motion", "compcor")},
    "ica_aroma": {"strategy": ("wm_csf", "ica_aroma")},
}
# A volume is scrubbed if the head moved by more mm from the one before, or if it differs more in
# intensity (standardised DVARS); and so are stretches of fewer than `scrub` volumes between such
# ones, or before the first or after the last.
# These are fMRIPrep's thresholds and nilearn's defaults since 0.13; those of 0.12 are .2 and 3.
SCRUBBING = {"fd_threshold": 0.5, "std_dvars_threshold": 1.5, "scrub": 5}
# Names that earlier versions of fMRIPrep (before 20.2) give to the tables come last.
SUFFIXES = ("timeseries", "regressors")
AROMA = "smoothAROMAnonaggr"  # desc- of images from which fMRIPrep has removed noise components
COSINE = re.compile(r"cosine\d+")
OF_ECHOES = ("echo", "part")  # entities of images that a mask does not have
OUTLIER = "non_steady_state_outlier"


@dataclass(frozen=True)
class Confounds:
    """The confounds of one run.

    Parameters
    ----------
    values : array (n_volumes, n_columns) of float64
        The columns that the strategies choose, and, for each volume that is not kept, a column that
        is 1 there and 0 elsewhere: it removes the volume from all estimates.
    names : list of str
        Names of the columns.
    kept : array (n_volumes,) of bool
        False for volumes that are not in a steady state, or scrubbed. They are to be neither fitted
        nor scored.
    notes : list of str
        What the user should know of the run.
    """

    values: NDArray[np.float64]
    names: list[str]
    kept: NDArray[np.bool_]
    notes: list[str] = field(default_factory=list)


# --- Confounds ------------------------------------------------------------------------------------


def check_strategies(strategies: Sequence[str]) -> None:
    """Raise InputError for a strategy that does not exist."""
    for name in strategies:
        if name not in STRATEGIES:
            raise InputError(
                f"{name}: is not a strategy for confounds; expected one or several of "
                f"{', '.join(STRATEGIES)}{did_you_mean(name, STRATEGIES)}"
            )


def load_confounds(files: Sequence[Path], strategies: Sequence[str], n_volumes: int) -> Confounds:
    """Load the confounds of a run from the table that fMRIPrep writes beside its image.

    Parameters
    ----------
    files : sequence of Path
        The image of the run.
    strategies : sequence of str
        Names in STRATEGIES; their columns are combined. None: only volumes are left out.
    n_volumes : int
        Number of volumes of the image.

    Raises
    ------
    InputError
        If there is no such strategy or table, a column is missing, or the table does not have one
        row per volume, or too many columns for them.

    References
    ----------
    Wang et al. (2024). Continuous evaluation of denoising strategies in resting-state fMRI
    connectivity using fMRIPrep and Nilearn. PLoS Computational Biology 20, e1011942.
    """
    check_strategies(strategies)
    table = confounds_table(files)
    if table is None:
        raise InputError(
            f"{files[0]}: fMRIPrep's confounds are missing; expected a file ..._desc-confounds_"
            "timeseries.tsv of the same run in its folder"
        )
    is_aroma = f"_desc-{AROMA}_" in files[0].name
    chosen, kept = _chosen_columns(table, strategies, is_aroma)
    if len(kept) != n_volumes:
        raise InputError(f"{table}: has {len(kept)} rows; its image has {n_volumes} volumes")
    left_out = np.flatnonzero(~kept)
    names = [*map(str, chosen.columns), *(f"volume_{volume}" for volume in left_out)]
    values = np.hstack([chosen.to_numpy(np.float64), np.eye(n_volumes)[:, left_out]])
    if not np.isfinite(values).all():
        column = names[int(np.flatnonzero(~np.isfinite(values).all(0))[0])]
        raise InputError(f"{table}: column {column} is n/a after the first volume; choose others")
    if len(names) + 2 >= n_volumes:  # 2: mean and trend
        raise InputError(
            f"{table}: {', '.join(strategies)} give {len(names)} confounds for {n_volumes} "
            "volumes, which removes everything; choose a strategy with fewer"
        )
    return Confounds(values, names, kept, _notes(names, kept, non_steady_state(files)))


def _chosen_columns(
    table: Path, strategies: Sequence[str], is_aroma: bool
) -> tuple[Any, NDArray[np.bool_]]:
    """Return the columns of the strategies as a DataFrame, and which volumes are kept."""
    import pandas as pd
    from nilearn.interfaces import fmriprep

    wanted: dict[str, Any] = {
        "ica_aroma": "full" if is_aroma else "basic", "demean": False, **SCRUBBING
    }  # fmt: skip
    for name in strategies:
        wanted |= {key: value for key, value in STRATEGIES[name].items() if key != "strategy"}
    parts = [part for name in strategies for part in STRATEGIES[name]["strategy"]]
    # nilearn finds a table by the name of its image and accepts only names of fMRIPrep, so it gets
    # one of these. The image need not exist.
    stem = re.sub(r"_desc-confounds_[a-z]+\.tsv$", "", str(table))
    image = f"{stem}_desc-{AROMA if is_aroma else 'preproc'}_bold.nii.gz"
    with readable(table, "table of confounds"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        n_volumes = len(_read_table(table))
        try:
            chosen, sample = fmriprep.load_confounds(image, tuple(dict.fromkeys(parts)), **wanted)
        except (ValueError, KeyError) as error:
            reason = re.sub(r"\s+", " ", str(error.args[0] if error.args else error)).strip()
            raise InputError(
                f"{table}: lacks confounds for {', '.join(strategies)} ({reason})"
            ) from None
    kept = np.ones(n_volumes, np.bool_)
    if sample is not None:
        kept[:] = False
        kept[sample] = True
    if chosen is None or not len(chosen):  # no strategies, or no column of them
        chosen = pd.DataFrame(index=range(n_volumes))
    return chosen, kept


def _read_table(table: Path) -> Any:
    import pandas as pd

    return pd.read_csv(table, sep="\t", na_values=["n/a"], encoding="utf-8")


def _notes(names: list[str], kept: NDArray[np.bool_], n_start: int) -> list[str]:
    """Return what the user should know of the confounds of a run."""
    notes = []
    if len(names) > len(kept) // 2:
        notes.append(f"{len(names)} confounds are removed from {len(kept)} volumes")
    if n_start:
        notes.append(
            f"the first {n_start} volumes are not in a steady state, and are neither fitted nor "
            "scored"
        )
    if (n_scrubbed := int((~kept).sum()) - n_start) > 0:
        notes.append(
            f"{n_scrubbed} of {len(kept)} volumes are scrubbed, and are neither fitted nor scored"
        )
    if n_cosines := sum(bool(COSINE.fullmatch(name)) for name in names):
        notes.append(
            f"the confounds include {n_cosines} cosines of fMRIPrep, which may be faster than the "
            "cutoff of the drift"
        )
    return notes


def confounds_table(files: Sequence[Path]) -> Path | None:
    """Return the table of confounds beside a run's image, None without one.

    Its name has no entity that the image's name does not have, besides ``desc``.

    Raises InputError if it is a link to nothing.
    """
    image = parse_bids_name(files[0])
    candidates = []
    for path, name in _beside(files[0], ".tsv"):
        own = {key: value for key, value in name.entities.items() if key != "desc"}
        is_table = name.entities.get("desc") == "confounds" and name.suffix in SUFFIXES
        if is_table and image is not None and own.items() <= image.entities.items():
            candidates.append((-len(own), SUFFIXES.index(name.suffix), path))
    if not candidates:
        return None
    table = min(candidates)[2]
    check_present([table])
    return table


def non_steady_state(files: Sequence[Path]) -> int:
    """Return the number of volumes at the start of a run that fMRIPrep finds not in a steady state.

    0 if there is no table of confounds. They are part of the image: onsets still count from its
    first volume. Volumes that the scanner or the user has discarded
    (``NumberOfVolumesDiscardedByScanner`` and ``...ByUser`` in the JSON) are not, and onsets do not
    include them (BIDS 1.10, "Task events"), so that they need no attention.
    """
    table = confounds_table(files)
    if table is None:
        return 0
    with readable(table, "table of confounds"):
        content = _read_table(table)
        columns = [name for name in content.columns if name.startswith(OUTLIER)]
        flagged = np.flatnonzero(content[columns].to_numpy(np.float64).any(axis=1))
    return int(flagged[-1]) + 1 if len(flagged) else 0


# --- Masks of the brain ---------------------------------------------------------------------------


def brain_mask_of(files: Sequence[Path]) -> Path | None:
    """Return fMRIPrep's mask of the brain for an image: that with the same name but desc-brain.

    None without one, as for surfaces and grayordinates. Raises InputError if it is a link to
    nothing.
    """
    image = parse_bids_name(files[0])
    if image is None or image.entities.get("desc") == "brain":
        return None
    of_image = {key: value for key, value in image.entities.items() if key not in OF_ECHOES}
    wanted = {**of_image, "desc": "brain"}
    for path, name in _beside(files[0], ".nii", ".nii.gz"):
        if name.suffix == "mask" and name.entities == wanted:
            check_present([path])
            return path
    return None


def common_brain_mask(
    runs: Iterable[Sequence[Path]], space: VoxelSpace
) -> tuple[NDArray[np.bool_], list[Path]] | None:
    """Return the voxels (n_voxels,) that are in the brain masks of all runs, and these files.

    Runs without a mask do not count; None if none has one.

    Raises InputError if a mask cannot be read or is on another grid.
    """
    paths = [path for files in runs if (path := brain_mask_of(files)) is not None]
    if not paths:
        return None
    inside = np.ones(space.n_voxels, np.bool_)
    for path in paths:
        if not open_space([path]).matches(space):
            raise InputError(f"{path}: is on another grid than {space.files[0]}")
        inside &= read_volumes(path)[0] > 0
    if not inside.any():
        raise InputError(f"{paths[0]}: has no voxel in common with the masks of the other runs")
    return inside, paths


def _beside(image: Path, *extensions: str) -> list[tuple[Path, BidsName]]:
    """Return the subject's files in the folder of an image with some extensions, sorted."""
    named = [(path, parse_bids_name(path)) for path in sorted(image.parent.iterdir())]
    return [(path, name) for path, name in named if name and name.extension in extensions]
