"""The step from a trained run and images to maps and tables; `neuromusic encode` calls it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.errors import InputError, did_you_mean, need_package
from neuromusic.events import EventsFile, find_events
from neuromusic.fmri.bold import find_bold
from neuromusic.fmri.encoding import (
    CEILING_FLOOR,
    DELAYS_TR,
    HIGH_PASS_HZ,
    JOINT,
    PATTERN_FROM_TR,
    Encoding,
    encode,
    stage_by_area,
    stage_scores,
)
from neuromusic.fmri.maps import write_map
from neuromusic.fmri.roi import read_areas
from neuromusic.fmri.stimulus import clip_responses, run_trials
from neuromusic.fmri.subjects import Scans, clean_scans, open_scans, stage_features
from neuromusic.progress import Say
from neuromusic.provenance import check_target, hash_inputs, is_current, new_directory, record
from neuromusic.rundir import WEIGHTS, Run, load_run, random_twin

RANDOM = "random-"  # before the name of a stage: the same network with its first weights
EDGE_SHARE = 0.05  # of the voxels at the low edge of the penalties, above which we warn

Scores = dict[str, NDArray[np.float32]]  # stage -> (clips, volumes of a clip, components)


def make_encoding(
    directory: Path, bids: Path, images: Path, subjects: Sequence[str], roi: str,
    atlas: Path | None, labels: Path | None, out: Path, say: Say, space: str | None = None,
    components: int = 100, banded: bool = False, high_pass_hz: float = HIGH_PASS_HZ, seed: int = 0,
) -> Path:  # fmt: skip
    """Predict the images of subjects from a run's stages; write maps, tables and figures."""
    need_package("himalaya", "fmri")
    run = load_run(directory)
    events = _events_of(bids, subjects)
    check_target(out, "encode")
    files = [file.path for own in events.values() for file in own]
    for subject in events:
        files += [path for paths in find_bold(images, subject, space).values() for path in paths]
    files += [path for path in (atlas, labels, Path(roi)) if path is not None and path.is_file()]
    settings = {
        "roi": roi, "space": space, "components": components, "banded": banded,
        "high_pass_hz": high_pass_hz, "seed": seed, "subjects": list(events),
    }  # fmt: skip
    made = record("encode", settings, hash_inputs([directory / WEIGHTS, *files]))
    if is_current(out, made):
        say(f"{out} is there already and unchanged")
        return out
    trials = {file.path: run_trials(file) for own in events.values() for file in own}
    played = pd.concat(trials.values())["clip"].unique()
    training = {
        clip for own in events.values() for file in own if file.split == "train"
        for clip in trials[file.path]["clip"]
    }  # fmt: skip
    clips, heard, explained, missing = _hear(run, played, training, components)
    if missing:
        say(
            f"{run.prepared}: lacks {len(missing)} of {len(played)} clips that were played; their "
            f"volumes are left out: {', '.join(missing)}"
        )
    stages = [stage.name for stage in run.network.stages]
    with new_directory(out, made) as part:
        results = {}
        for number, (subject, own) in enumerate(events.items()):
            scans = open_scans(own, images, space)
            for line in scans.left_out:
                say(f"left out: {line}")
            areas = read_areas(roi, atlas, labels, scans.geometry.example, say)
            rng = np.random.default_rng([seed, number])
            results[subject] = _encode_subject(
                scans, areas.names, areas.label, clips, heard, stages if banded else [], part, rng,
                high_pass_hz, say,
            )  # fmt: skip
        _write_group(part, results, heard, clips, stages, explained, run, high_pass_hz, seed, say)
    say(f"wrote {out}: maps and voxels.tsv a subject, areas.tsv, similarity.tsv, figures/")
    return out


def _events_of(bids: Path, subjects: Sequence[str]) -> dict[str, list[EventsFile]]:
    found: dict[str, list[EventsFile]] = {}
    for file in find_events(bids):
        found.setdefault(file.subject, []).append(file)
    if list(subjects) == ["all"]:
        return found
    wanted = [subject.removeprefix("sub-") for subject in subjects]
    for subject in wanted:
        if subject not in found:
            raise InputError(
                f"{bids}: has no events of sub-{subject}; subjects are {', '.join(found)}"
                f"{did_you_mean(subject, found)}"
            )
    return {subject: found[subject] for subject in wanted}


def _hear(
    run: Run, played: Sequence[str], training: set[str], components: int
) -> tuple[list[str], Scores, dict[str, float], list[str]]:
    """Return the clips that are there, the scores of every stage, what they explain, and who lacks.

    Stages of the random twin follow under their names after RANDOM.
    """
    heard: Scores = {}
    explained = {}
    for before, network in (("", None), (RANDOM, random_twin(run))):
        responses, missing = clip_responses(run, played, network)
        mine = np.array([clip in training for clip in responses.clips])
        for name, block in responses.stages.items():
            heard[before + name], explained[before + name] = stage_scores(block, mine, components)
    return responses.clips, heard, explained, missing


def _encode_subject(
    scans: Scans, names: list[str], label: NDArray[np.int64], clips: list[str], heard: Scores,
    joined: list[str], part: Path, rng: np.random.Generator, high_pass_hz: float, say: Say,
) -> Encoding:  # fmt: skip
    """Encode one subject and write its voxels and maps."""
    voxels = np.flatnonzero(label)
    scratch = part / "scratch.npy"
    y, good, notes = clean_scans(scans, voxels, scratch, high_pass_hz)
    if not good.any():
        raise InputError(
            f"sub-{scans.subject}: none of the {len(voxels)} voxels varies in all runs"
        )
    own = label[voxels][good]
    for value, name in enumerate(names, start=1):
        if not (own == value).any():
            notes.append(f"sub-{scans.subject}, {name}: none of its voxels varies in all runs")
    for line in notes:
        say(f"left out: {line}")
    features = {
        name: stage_features(scans, clips, scores, DELAYS_TR, high_pass_hz)
        for name, scores in heard.items()
    }
    result = encode(y, scans.rows, features, own, names, rng, joined)
    del y
    scratch.unlink()
    n_low = {name: int(low) for name, (low, _) in result.edges.items()}
    for name, low in n_low.items():
        if low > EDGE_SHARE * len(own):
            say(
                f"warning: sub-{scans.subject}, {name}: {low} of {len(own)} voxels have the "
                "smallest penalty of the grid; they may want a smaller one"
            )
    directory = part / f"sub-{scans.subject}"
    directory.mkdir()
    areas = np.array(names)[own - 1]
    _write_voxels(directory, scans, voxels[good], areas, result.voxels, list(heard))
    record_of = {
        "Subject": scans.subject,
        "LeftOut": [*scans.left_out, *notes],
        "Voxels": len(own),
        "VoxelsLeftOut": int((~good).sum()),
        "TrainingRuns": sum(split == "train" for split, _ in scans.trials),
        "TestRuns": sum(split == "test" for split, _ in scans.trials),
        "TestClips": result.clips,
        "SmallestPenalty": n_low,
        "LargestPenalty": {name: int(high) for name, (_, high) in result.edges.items()},
    }
    _write_json(directory / f"sub-{scans.subject}_encoding.json", record_of)
    return result


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
    from neuromusic.report import brain_figures, figures

    r = table[[f"r_{stage}" for stage in stages]].to_numpy()
    best = np.nanargmax(np.nan_to_num(r, nan=-2), axis=1)
    q = table[[f"q_{stage}" for stage in stages]].to_numpy()[np.arange(len(r)), best]
    value = np.where(q < 0.05, r[np.arange(len(r)), best], np.nan)
    stem = directory / f"sub-{scans.subject}_stat-best_map"
    paths = write_map(stem, scans.geometry, voxels, value)
    if scans.geometry.kind == "volume" and np.isfinite(value).any():
        title = f"sub-{scans.subject}: r of the best stage (q < .05)"
        figure = brain_figures.glass_brain(paths[0], title)
        figures.save(figure, directory / f"sub-{scans.subject}_glass-brain.png")


def _write_group(
    part: Path, results: Mapping[str, Encoding], heard: Scores, clips: list[str],
    stages: list[str], explained: Mapping[str, float], run: Run, high_pass_hz: float, seed: int,
    say: Say,
) -> None:  # fmt: skip
    """Write the tables over subjects and their figure, and say what they hold."""
    from neuromusic.report import brain_figures, figures

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
    figure = brain_figures.stage_by_area(areas, value, rows, [*stages, JOINT], text)
    figures.save(figure, part / "figures/stage_by_area.png")
    if len(similarity):
        once = similarity.drop_duplicates("area")
        rows = {row.area: f"{row.area}\nceiling {row.ceiling_low:.2f}" for row in once.itertuples()}
        label = "Spearman's rho of dissimilarities"
        figure = brain_figures.stage_by_area(similarity, "rho", rows, stages, label)
        figures.save(figure, part / "figures/similarity.png")
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
