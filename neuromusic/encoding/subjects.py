"""Encode subjects: clean the voxels of each, fit and score them in blocks, and join the blocks."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.parallel import Machine, Shared, run_calls
from neuromusic.core.progress import Bar, progress, track
from neuromusic.encoding.acoustics import Baseline
from neuromusic.encoding.blocks import BlockScores, joined
from neuromusic.encoding.designs import Designs
from neuromusic.encoding.fit_rows import UsedRows, used_rows
from neuromusic.encoding.fits import Fits, Outline
from neuromusic.encoding.folds import make_folds
from neuromusic.encoding.inputs import SubjectInputs
from neuromusic.encoding.options import DELAYS_TR, EncodingOptions
from neuromusic.encoding.rois import Areas
from neuromusic.encoding.stage_components import StageComponents
from neuromusic.encoding.voxelwise import Encoding, encode_block, encoding_of
from neuromusic.fmri.scan_series import CleanVoxels, blocks_of, clean_scans, stage_design
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


@dataclass(frozen=True)
class SubjectBlocks:
    """The work on one subject: blocks of voxels, each scored into a file.

    ``fits`` are the regressions, which workers of a cluster receive once. ``areas`` has the area of
    each usable voxel.
    """

    fits: Fits
    clean: CleanVoxels
    areas: Areas

    def score(self, block: int, bar: Bar | None = None) -> None:
        """Score a block, unless its file exists; can be called on another machine."""
        path = score_file(self.clean.directory, block)
        usable = self.clean.usable_in(block)
        if path.is_file() or not usable.any():
            return
        before = int(self.clean.usable[: self.clean.blocks[block].start].sum())
        label = self.areas.label[before : before + usable.sum()]
        series = self.clean.series(block)
        encode_block(series, self.fits, Areas(self.areas.names, label), bar).save(path)


def score_file(directory: Path, block: int) -> Path:
    """Return the file with the scores of a block of voxels."""
    return directory / f"scores-{block:04d}.npz"


@dataclass(frozen=True)
class _Subject:
    """A subject whose blocks are being scored: what is needed to join them, without the designs."""

    scans: Scans
    voxels: NDArray[np.int64]
    clean: CleanVoxels
    areas: Areas
    outline: Outline
    label: str

    def encoding(self) -> SubjectEncoding:
        """Return the result, once all blocks are scored; the files of the series are removed."""
        clean, subject = self.clean, self.scans.subject
        paths = (score_file(clean.directory, block) for block in range(len(clean.blocks)))
        scores = joined(BlockScores.load(path) for path in paths if path.is_file())
        result = encoding_of(scores, self.outline, self.areas, self.label)
        clean.remove()
        used = self.voxels[clean.usable]
        _warn_of_small_penalties(subject, result, len(used) * len(self.outline.used.folds))
        for line in result.left_out:
            log.warning("sub-%s: no unique variance of %s", subject, line)
        left_out = [*self.scans.left_out, *clean.left_out, *_empty_areas(subject, self.areas)]
        left_out += [f"unique variance of {line}" for line in result.left_out]
        n_left_out = len(self.voxels) - len(used)
        return SubjectEncoding(self.scans, used, self.areas, result, left_out, n_left_out)


def encode_subjects(
    opened: Mapping[str, SubjectInputs],
    features: tuple[StageComponents, Baseline],
    options: EncodingOptions,
    directory: Path,
    artist_clean: Collection[str] | None = None,
    machine: Machine = Machine(),  # noqa: B008  # immutable
) -> Iterator[tuple[str, SubjectEncoding]]:
    """Encode the voxels of all subjects; yield each subject with its result.

    Parameters
    ----------
    opened : mapping of SubjectInputs
        Subject -> its images and areas.
    features : StageComponents and Baseline
        Components of the stages, and acoustic features.
    options : EncodingOptions
        The settings.
    directory : Path
        For the cleaned series and the scores of blocks of voxels. What an earlier call has finished
        there is not done again.
    artist_clean : collection of str, optional
        Test clips on which areas are also scored separately.
    machine : Machine
        Where blocks are scored: in this process, or on a Dask cluster.

    Raises
    ------
    InputError
        If none of the voxels of a subject can be used.
    """
    directory = directory.absolute()  # workers may have another working directory
    directory.mkdir(exist_ok=True)
    subjects: dict[str, _Subject] = {}

    def calls() -> Iterator[tuple[Any, ...]]:
        for number, (subject, inputs) in enumerate(opened.items()):
            label = f"subject {number + 1} of {len(opened)}"
            blocks = _prepare(inputs, features, options, directory / subject, label, artist_clean)
            clean = blocks.clean
            subjects[subject] = _Subject(
                inputs.scans, inputs.voxels, clean, blocks.areas, blocks.fits.outline, label
            )
            missing = [
                block
                for block in range(len(clean.blocks))
                if not score_file(clean.directory, block).is_file()
            ]
            if machine.dask is not None:
                shared = Shared(blocks)
                yield from ((shared, block) for block in missing)
                continue
            text = f"{label}: fitting {clean.usable.sum():,} voxels"
            n_fits = blocks.fits.n_fits
            done = n_fits * (len(clean.blocks) - len(missing))
            with progress(text, n_fits * len(clean.blocks), done) as bar:
                yield from ((blocks, block, bar) for block in missing)
            clean.remove()  # all blocks are scored; the series of all subjects may be large
            del blocks  # before the designs of the next subject

    results = run_calls(SubjectBlocks.score, calls(), machine)
    if machine.dask is not None:
        n_blocks = sum(len(blocks_of(len(each.voxels))) for each in opened.values())
        results = track(results, "fitting blocks of voxels", n_blocks)
    for _ in results:
        pass
    for subject, each in subjects.items():
        yield subject, each.encoding()


def _prepare(
    inputs: SubjectInputs,
    features: tuple[StageComponents, Baseline],
    options: EncodingOptions,
    directory: Path,
    label: str,
    artist_clean: Collection[str] | None,
) -> SubjectBlocks:
    """Clean the voxels of a subject and lay the features on its rows."""
    scans, voxels = inputs.scans, inputs.voxels
    clean = clean_scans(scans, voxels, directory, options.high_pass_hz, label)
    if not clean.usable.any():
        raise InputError(
            f"sub-{scans.subject}: none of the {len(voxels)} voxels varies in all runs"
        )
    areas = inputs.areas.of_voxels(voxels[clean.usable])
    for line in (*clean.left_out, *_empty_areas(scans.subject, areas)):
        log.warning("left out: %s", line)

    def designs_of(only: Collection[str] | None = None) -> Designs:
        components, baseline = features
        stages, groups = (
            {
                name: stage_design(
                    scans, source.by_clip(name), source.rest[name], DELAYS_TR,
                    options.high_pass_hz, only,
                )
                for name in names
            }
            for source, names in ((components, components.stages), (baseline, baseline.groups))
        )  # fmt: skip
        return Designs(stages, groups)

    designs = designs_of()
    every = [*designs.stages.values(), *designs.groups.values()]
    folds = partial(make_folds, scans, delays_tr=DELAYS_TR, high_pass_hz=options.high_pass_hz)
    rows = used_rows(scans.rows, every, options.high_pass_hz, scans.tr_s, folds)
    if any(fold.clips is not None for fold in rows.folds):
        designs = replace(designs, alone=designs_alone(rows, designs_of))
    return SubjectBlocks(Fits.of(rows, designs, options.banded, artist_clean), clean, areas)


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
