"""Tables and maps of an encoding: the files of one subject, and those over all subjects."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import listed
from neuromusic.core.figures import FigureStyle
from neuromusic.core.files import write_json
from neuromusic.encoding.area_results import AreaResults
from neuromusic.encoding.brain_plots import BrainMaps, save_brain, why_not_drawn
from neuromusic.encoding.contrast_tables import Results
from neuromusic.encoding.maps import MapNames, write_maps
from neuromusic.encoding.model_names import split_name, without_copies
from neuromusic.encoding.rsa import similarity_table, stage_rdms
from neuromusic.encoding.score_tables import q_families
from neuromusic.encoding.stage_components import StageComponents
from neuromusic.encoding.subjects import SubjectEncoding
from neuromusic.encoding.unique_fits import unique_families
from neuromusic.fmri.scans import Scans

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]


# --- One subject ----------------------------------------------------------------------------------


def write_subject(
    directory: Path, encoded: SubjectEncoding, stages: Sequence[str], style: FigureStyle
) -> None:
    """Write the table of a subject's voxels, its maps, and what was left out.

    ``directory`` exists; ``stages`` are those of the trained network; ``style`` is that of the
    figure.
    """
    stem = f"sub-{encoded.scans.subject}"
    table = encoded.result.voxels
    _voxel_table(encoded).to_csv(
        directory / f"{stem}_voxels.tsv",
        sep="\t",
        index=False,
        na_rep="n/a",
        float_format="%.6g",
        lineterminator="\n",
    )
    best = table["best_r"].where(table["best_q"] < 0.05)
    names = MapNames(encoded.scans.subject, encoded.scans.space)
    write_maps(directory / "func", names, encoded.voxels, table.assign(best_r=best))
    _draw_brain(directory / f"{stem}_brain", encoded, best.to_numpy(), stages, style)
    write_json(directory / f"{stem}_encoding.json", _subject_summary(encoded))


def _voxel_table(encoded: SubjectEncoding) -> pd.DataFrame:
    """Return the columns of `Encoding.voxels` after the place and area of each voxel.

    Of control networks with several copies, only the first one has columns.
    """
    voxels, space = encoded.voxels, encoded.scans.space
    place: dict[str, NDArray[Any]] = {"voxel": voxels, "area": encoded.areas.name_of_each()}
    if space.kind == "volume":
        place |= zip("ijk", np.unravel_index(voxels, space.shape), strict=True)
    kept = set(without_copies(encoded.result.edges))
    dropped = [
        column for column in encoded.result.voxels
        if (name := column.partition("_")[2]) in encoded.result.edges and name not in kept
    ]  # fmt: skip
    return pd.DataFrame(place).join(encoded.result.voxels.drop(columns=dropped))


def _draw_brain(
    stem: Path, encoded: SubjectEncoding, best: NDArray[np.float64], stages: Sequence[str],
    style: FigureStyle,
) -> None:  # fmt: skip
    """Draw r of each stage and of the best one where q < .05, or log why that is impossible."""
    table, subject = encoded.result.voxels, encoded.scans.subject
    values = {
        stage: table[f"r_{stage}"].where(table[f"q_{stage}"] < 0.05).to_numpy() for stage in stages
    }
    maps = BrainMaps(encoded.scans.space, encoded.voxels, values | {"best stage": best})
    reason = why_not_drawn(maps)
    if reason:
        log.info("sub-%s: no figure of the brain, because %s", subject, reason)
        return
    title = f"sub-{subject}: how well each stage predicts {len(encoded.voxels)} voxels"
    save_brain(maps, title, "correlation r with the test clips' responses (q < .05)", stem, style)


def _subject_summary(encoded: SubjectEncoding) -> dict[str, Any]:
    scans, edges = encoded.scans, encoded.result.edges
    families = q_families(list(edges)) | unique_families(encoded.result.voxels.columns)
    return {
        "Subject": scans.subject,
        "LeftOut": encoded.left_out,
        "Voxels": len(encoded.voxels),
        "VoxelsLeftOut": encoded.n_left_out,
        **_runs_of(scans),
        "TestClips": encoded.result.clips,
        "SmallestPenalty": {name: int(smallest) for name, (smallest, _) in edges.items()},
        "FalseDiscoveryRate": {
            key: f"Benjamini and Hochberg over {len(encoded.voxels)} voxels x {listed(members)}"
            for key, members in families.items()
        },
        "LargestPenalty": {name: int(largest) for name, (_, largest) in edges.items()},
    }


def _runs_of(scans: Scans) -> dict[str, Any]:
    if scans.division.split == "tasks":
        return {"TrainingRuns": scans.n_runs("train"), "TestRuns": scans.n_runs("test")}
    return {"Runs": len(scans.runs), "LeftOutInEachFold": scans.division.split}


# --- All subjects ---------------------------------------------------------------------------------


def area_scores(results: Results) -> pd.DataFrame:
    """Return the area tables of all subjects (subject -> result), with subject and network."""
    tables = [result.areas.assign(subject=subject) for subject, result in results.items()]
    return _with_network(pd.concat(tables))


def area_unique_variance(results: Results) -> pd.DataFrame:
    """Return the `unique_table` of all subjects, with subject as the first column."""
    table = pd.concat(result.unique.assign(subject=name) for name, result in results.items())
    return table[["subject", *table.columns.drop("subject")]]


def stage_rdms_of(result: AreaResults, components: StageComponents) -> dict[str, Floats]:
    """Return the dissimilarities of a subject's test clips in the stages of all networks."""
    return stage_rdms(components.unit_means(result.clips, result.n_volumes), result.clip_runs)


def area_similarity(results: Results, rdms: Mapping[str, Floats], seed: int) -> pd.DataFrame:
    """Return the `similarity_table` of all subjects with the clips and runs of the first.

    ``rdms`` are the `stage_rdms_of` the first.
    """
    first = next(iter(results.values()))
    clips, runs = first.clips, first.clip_runs
    used = {
        subject: result.rdms
        for subject, result in results.items()
        if result.clips == clips and np.array_equal(result.clip_runs, runs)
    }
    if len(used) < len(results):
        log.warning(
            "similarity: without sub-%s, whose test clips or their order differ from those of "
            "sub-%s", listed(sorted(set(results) - set(used))), next(iter(results)),
        )  # fmt: skip
    rng = np.random.default_rng([seed, 1, 0])
    return _with_network(similarity_table(rdms, list(used.values()), runs, rng))


def _with_network(table: pd.DataFrame) -> pd.DataFrame:
    """Split the names of models, in the column stage, into network, seed and stage."""
    names = [split_name(name) for name in table["stage"]] if len(table) else []
    seeds = pd.array([name.seed or None for name in names], dtype="Int64")
    parts = {"network": [name.network for name in names], "seed": seeds}
    table = table.assign(stage=[name.stage for name in names], **parts)
    first = [key for key in ("subject", "area", "network", "seed", "stage") if key in table]
    return table[[*first, *(key for key in table if key not in first)]]
