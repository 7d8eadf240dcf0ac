"""Encode one subject: match images and events, clean the voxels, fit and score them."""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.encoding.acoustics import Baseline
from neuromusic.encoding.designs import Designs
from neuromusic.encoding.fit_rows import UsedRows, used_rows
from neuromusic.encoding.folds import make_folds
from neuromusic.encoding.inputs import SubjectInputs
from neuromusic.encoding.options import DELAYS_TR, EncodingOptions
from neuromusic.encoding.rois import Areas
from neuromusic.encoding.stage_components import StageComponents
from neuromusic.encoding.voxelwise import Encoding, encode_voxels
from neuromusic.fmri.scan_series import clean_scans, stage_design
from neuromusic.fmri.scans import Scans

log = logging.getLogger(__name__)

EDGE_SHARE = 0.05  # of the voxels with the smallest penalty of the grid, above which we warn


@dataclass(frozen=True)
class SubjectEncoding:
    """The result for one subject, and what was left out.

    ``voxels`` (n,) are the indices of the scored voxels in the space of the images, ``areas`` the
    area of each. ``left_out`` is one line per run, or per group of voxels, that cannot be used;
    ``n_left_out`` is the number of voxels that cannot.
    """

    scans: Scans
    voxels: NDArray[np.int64]
    areas: Areas
    result: Encoding
    left_out: list[str]
    n_left_out: int


def encode_subject(
    inputs: SubjectInputs,
    components: StageComponents,
    baseline: Baseline,
    options: EncodingOptions,
    scratch: Path,
    label: str,
    artist_clean: Collection[str] | None = None,
) -> SubjectEncoding:
    """Encode the voxels of one subject.

    ``scratch`` is a file for the cleaned series, which is removed at the end; ``label`` begins the
    texts of progress bars. On the test clips in ``artist_clean`` areas are also scored separately.
    Raises InputError if none of the voxels can be used.
    """
    scans, voxels = inputs.scans, inputs.voxels
    clean = clean_scans(scans, voxels, scratch, options.high_pass_hz, label)
    if not clean.usable.any():
        raise InputError(
            f"sub-{scans.subject}: none of the {len(voxels)} voxels varies in all runs"
        )
    used = voxels[clean.usable]
    areas = inputs.areas.of_voxels(used)
    left_out = [*clean.left_out, *_empty_areas(scans.subject, areas)]
    for line in left_out:
        log.warning("left out: %s", line)

    def designs_of(only: Collection[str] | None = None) -> Designs:
        stages, groups = (
            {
                name: stage_design(
                    scans, features.by_clip(name), features.rest[name], DELAYS_TR,
                    options.high_pass_hz, only,
                )
                for name in names
            }
            for features, names in ((components, components.stages), (baseline, baseline.groups))
        )  # fmt: skip
        return Designs(stages, groups)

    designs = designs_of()
    every = [*designs.stages.values(), *designs.groups.values()]
    folds = partial(make_folds, scans, delays_tr=DELAYS_TR, high_pass_hz=options.high_pass_hz)
    rows = used_rows(scans.rows, every, options.high_pass_hz, scans.tr_s, folds)
    if any(fold.clips is not None for fold in rows.folds):
        designs = replace(designs, alone=designs_alone(rows, designs_of))
    result = encode_voxels(clean.series, rows, designs, areas, options, label, artist_clean)
    del clean  # closes the map of the file
    scratch.unlink()
    _warn_of_small_penalties(scans.subject, result, len(used) * len(rows.folds))
    for line in result.left_out:
        log.warning("sub-%s: no unique variance of %s", scans.subject, line)
    left_out += [f"unique variance of {line}" for line in result.left_out]
    n_left_out = len(voxels) - len(used)
    return SubjectEncoding(scans, used, areas, result, [*scans.left_out, *left_out], n_left_out)


def designs_alone(
    rows: UsedRows, designs_of: Callable[[Collection[str] | None], Designs]
) -> Designs:
    """Return `Designs.alone`; ``designs_of`` lays the given sounds only, or all."""
    alone: Designs | None = None
    for fold in rows.folds:
        designs = designs_of(fold.clips)
        if alone is None:
            alone = designs
            continue
        scored = rows.test.ravel()[fold.test]
        for kind in ("stages", "groups"):
            for name, design in getattr(designs, kind).items():
                getattr(alone, kind)[name][scored] = design[scored]
    assert alone is not None
    return alone


def _empty_areas(subject: str, areas: Areas) -> list[str]:
    return [
        f"sub-{subject}, {name}: none of its voxels varies in all runs"
        for name in areas.names
        if not len(areas.voxels(name))
    ]


def _warn_of_small_penalties(subject: str, result: Encoding, n_fits: int) -> None:
    for name, (n_smallest, _) in result.edges.items():
        if n_smallest > EDGE_SHARE * n_fits:
            log.warning(
                "sub-%s, %s: %d of %d voxels have the smallest penalty of the grid; a smaller one "
                "might fit them better",
                subject, name, n_smallest, n_fits,
            )  # fmt: skip
