"""Tables and maps of an encoding: the files of one subject, and those over all subjects."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.files import write_json
from neuromusic.encoding import plots
from neuromusic.encoding.rsa import similarity_table
from neuromusic.encoding.stage_components import RANDOM, StageComponents
from neuromusic.encoding.subjects import SubjectEncoding
from neuromusic.encoding.voxelwise import Encoding

MAPPED = ("explainable", "ceiling", "r", "rc", "q")  # first words of the columns that become maps
MAPPED_OF_RANDOM = ("r",)  # the same for stages of the random network


# --- One subject ----------------------------------------------------------------------------------


def write_subject(directory: Path, encoded: SubjectEncoding, stages: Sequence[str]) -> None:
    """Write the table of a subject's voxels, its maps, and what was left out.

    ``directory`` exists; ``stages`` are those of the trained network, among which the best is
    chosen for each voxel.
    """
    stem = f"sub-{encoded.scans.subject}"
    table = encoded.result.voxels
    _voxel_table(encoded).to_csv(
        directory / f"{stem}_voxels.tsv", sep="\t", index=False, na_rep="n/a", float_format="%.6g"
    )
    for column in table.columns:
        if column.split("_")[0] in (MAPPED_OF_RANDOM if RANDOM in column else MAPPED):
            _write_map(directory, encoded, column.replace("_", "-"), table[column].to_numpy())
    best = best_stage_r(table, stages)
    paths = _write_map(directory, encoded, "best", best)
    if encoded.scans.space.kind == "volume" and np.isfinite(best).any():
        plots.save_glass_brain(
            paths[0],
            f"{stem}: r of the best stage (q < .05)",
            directory / f"{stem}_glass-brain.png",
        )
    write_json(directory / f"{stem}_encoding.json", _subject_summary(encoded))


def _voxel_table(encoded: SubjectEncoding) -> pd.DataFrame:
    """Return the columns of `Encoding.voxels` after the place and area of each voxel."""
    voxels, space = encoded.voxels, encoded.scans.space
    place: dict[str, NDArray[Any]] = {"voxel": voxels, "area": encoded.areas.name_of_each()}
    if space.kind == "volume":
        place |= zip("ijk", np.unravel_index(voxels, space.shape), strict=True)
    return pd.DataFrame(place).join(encoded.result.voxels)


def _write_map(
    directory: Path, encoded: SubjectEncoding, name: str, values: NDArray[np.floating]
) -> list[Path]:
    stem = directory / f"sub-{encoded.scans.subject}_stat-{name}_map"
    return encoded.scans.space.write_map(stem, encoded.voxels, values)


def best_stage_r(voxels: pd.DataFrame, stages: Sequence[str]) -> NDArray[np.float64]:
    """Return the largest r of each voxel among ``stages``; NaN unless its q is below 0.05."""
    r = voxels[[f"r_{stage}" for stage in stages]].to_numpy()
    q = voxels[[f"q_{stage}" for stage in stages]].to_numpy()
    every = np.arange(len(voxels))
    best = np.nanargmax(np.nan_to_num(r, nan=-2), axis=1)
    return np.where(q[every, best] < 0.05, r[every, best], np.nan)


def _subject_summary(encoded: SubjectEncoding) -> dict[str, Any]:
    scans, edges = encoded.scans, encoded.result.edges
    return {
        "Subject": scans.subject,
        "LeftOut": encoded.left_out,
        "Voxels": len(encoded.voxels),
        "VoxelsLeftOut": encoded.n_left_out,
        "TrainingRuns": scans.n_runs("train"),
        "TestRuns": scans.n_runs("test"),
        "TestClips": encoded.result.clips,
        "SmallestPenalty": {name: int(smallest) for name, (smallest, _) in edges.items()},
        "LargestPenalty": {name: int(largest) for name, (_, largest) in edges.items()},
    }


# --- All subjects ---------------------------------------------------------------------------------


def area_scores(results: Mapping[str, Encoding]) -> pd.DataFrame:
    """Return the area tables of all subjects (subject -> result), with subject and network."""
    tables = [result.areas.assign(subject=subject) for subject, result in results.items()]
    return _with_network(pd.concat(tables))


def area_similarity(
    results: Mapping[str, Encoding], components: StageComponents, seed: int
) -> pd.DataFrame:
    """Return the `similarity_table` of all subjects whose test clips are those of the first."""
    clips = next(iter(results.values())).clips
    patterns = [result.patterns for result in results.values() if result.clips == clips]
    rng = np.random.default_rng([seed, 1, 0])
    return _with_network(similarity_table(components.clip_means(clips), patterns, rng))


def _with_network(table: pd.DataFrame) -> pd.DataFrame:
    """Move the prefix of the random network's stages into a column network: trained or random."""
    if table.empty:
        return table.assign(network=[])
    network = np.where(table["stage"].str.startswith(RANDOM), "random", "trained")
    return table.assign(stage=table["stage"].str.removeprefix(RANDOM), network=network)


def write_tables(directory: Path, areas: pd.DataFrame, similarity: pd.DataFrame) -> None:
    """Write areas.tsv and similarity.tsv."""
    for name, table in (("areas", areas), ("similarity", similarity)):
        table.to_csv(
            directory / f"{name}.tsv", sep="\t", index=False, na_rep="n/a", float_format="%.4f"
        )
