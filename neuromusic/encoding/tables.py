"""TODO: docstring."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.progress import Say
from neuromusic.encoding.maps import write_map
from neuromusic.encoding.voxelwise import (
    CEILING_FLOOR,
    DELAYS_TR,
    JOINT,
    PATTERN_FROM_TR,
    Encoding,
    stage_by_area,
)
from neuromusic.fmri.scans import Scans
from neuromusic.training.trained import TrainedNetwork

RANDOM = "random-"  # before the name of a stage: the same network with its first weights


Scores = dict[str, NDArray[np.float32]]  # stage -> (clips, volumes of a clip, components)


def _write_voxels(
    directory: Path, scans: Scans, voxels: NDArray[np.int64], areas: NDArray[np.str_],
    table: pd.DataFrame, stages: list[str],
) -> None:  # fmt: skip
    """Write the table of a subject's voxels, and maps of it."""
    place: dict[str, NDArray[Any]] = {"voxel": voxels, "area": areas}
    if scans.geometry.kind == "volume":
        place |= zip("ijk", np.unravel_index(voxels, scans.geometry.shape), strict=True)
    pd.DataFrame(place).join(table).to_csv(
        directory / f"sub-{scans.subject}_voxels.tsv", sep="\t", index=False, na_rep="n/a",
        float_format="%.6g",
    )  # fmt: skip
    for column in table.columns:
        kinds = ("r",) if RANDOM in column else ("explainable", "ceiling", "r", "rc", "q")
        if column.split("_")[0] in kinds:
            stem = directory / f"sub-{scans.subject}_stat-{column.replace('_', '-')}_map"
            write_map(stem, scans.geometry, voxels, table[column].to_numpy())
    _write_best(directory, scans, voxels, table, [n for n in stages if RANDOM not in n])


def _write_best(
    directory: Path, scans: Scans, voxels: NDArray[np.int64], table: pd.DataFrame, stages: list[str]
) -> None:
    """Write the map of the best stage's r where it is significant, and draw it."""
    from neuromusic.core import plotting
    from neuromusic.encoding import plots

    r = table[[f"r_{stage}" for stage in stages]].to_numpy()
    best = np.nanargmax(np.nan_to_num(r, nan=-2), axis=1)
    q = table[[f"q_{stage}" for stage in stages]].to_numpy()[np.arange(len(r)), best]
    value = np.where(q < 0.05, r[np.arange(len(r)), best], np.nan)
    stem = directory / f"sub-{scans.subject}_stat-best_map"
    paths = write_map(stem, scans.geometry, voxels, value)
    if scans.geometry.kind == "volume" and np.isfinite(value).any():
        title = f"sub-{scans.subject}: r of the best stage (q < .05)"
        figure = plots.glass_brain(paths[0], title)
        plotting.save(figure, directory / f"sub-{scans.subject}_glass-brain.png")


def _write_group(
    part: Path, results: Mapping[str, Encoding], heard: Scores, clips: list[str],
    stages: list[str], explained: Mapping[str, float], run: TrainedNetwork, high_pass_hz: float,
    seed: int,
    say: Say,
) -> None:  # fmt: skip
    """Write the tables over subjects and their figure, and say what they hold."""
    from neuromusic.core import plotting
    from neuromusic.encoding import plots

    areas = pd.concat([result.areas.assign(subject=subject) for subject, result in results.items()])
    areas = _with_network(areas)
    shared = next(iter(results.values())).clips
    alike = [result.patterns for result in results.values() if result.clips == shared]
    index = [clips.index(clip) for clip in shared]
    units = {name: scores[index].mean(1) for name, scores in heard.items()}
    similarity = _with_network(stage_by_area(units, alike, np.random.default_rng([seed, 1, 0])))
    for name, table in (("areas", areas), ("similarity", similarity)):
        table.to_csv(part / f"{name}.tsv", sep="\t", index=False, na_rep="n/a", float_format="%.4f")
    (part / "figures").mkdir()
    value, text = ("rc", "r over its ceiling") if areas["rc"].notna().any() else ("r", "r")
    counts = areas.drop_duplicates(["area", "subject"]).groupby("area", sort=False)
    rows = {
        area: f"{area}\n{own['reliable'].sum()} of {own['voxels'].sum()} reliable"
        for area, own in counts
    }
    figure = plots.stage_by_area(areas, value, rows, [*stages, JOINT], text)
    plotting.save(figure, part / "figures/stage_by_area.png")
    if len(similarity):
        once = similarity.drop_duplicates("area")
        rows = {row.area: f"{row.area}\nceiling {row.ceiling_low:.2f}" for row in once.itertuples()}
        label = "Spearman's rho of dissimilarities"
        figure = plots.stage_by_area(similarity, "rho", rows, stages, label)
        plotting.save(figure, part / "figures/similarity.png")
    settings: dict[str, Any] = {
        "Model": run.config.model.name,
        "Stages": stages,
        "DelaysInVolumes": list(DELAYS_TR),
        "HighPassHz": high_pass_hz,
        "ExplainedByComponents": explained,
        "CeilingFloor": CEILING_FLOOR,
        "PatternFromVolume": PATTERN_FROM_TR,
        "Columns": "docs/encoding.md",
    }
    _write_json(part / "encoding.json", settings)
    mean = areas[areas["network"] == "trained"].pivot_table(
        index="area", columns="stage", values=value, sort=False, dropna=False
    )
    say(f"{text} by area and stage, mean over {len(results)} subjects:")
    say(mean.round(3).to_string())


def _with_network(table: pd.DataFrame) -> pd.DataFrame:
    """Split the twin's stages off: columns stage and network (trained or random)."""
    if table.empty:
        return table.assign(network=[])
    network = np.where(table["stage"].str.startswith(RANDOM), "random", "trained")
    return table.assign(stage=table["stage"].str.removeprefix(RANDOM), network=network)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
