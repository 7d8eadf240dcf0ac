"""The step from a trained run and images to maps and tables; `neuromusic encode` calls it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, did_you_mean, need_package
from neuromusic.core.outputs import check_target, new_directory
from neuromusic.core.progress import Say
from neuromusic.core.records import hash_inputs, is_current, record
from neuromusic.design.events import EventsFile, find_events
from neuromusic.encoding.areas import read_areas
from neuromusic.encoding.tables import RANDOM, Scores, _write_group, _write_json, _write_voxels
from neuromusic.encoding.voxelwise import DELAYS_TR, HIGH_PASS_HZ, Encoding, encode, stage_scores
from neuromusic.fmri.activations import clip_responses, run_trials
from neuromusic.fmri.bold import find_bold
from neuromusic.fmri.scans import Scans, clean_scans, open_scans, stage_features
from neuromusic.training.trained import WEIGHTS, TrainedNetwork, load_network, random_twin

EDGE_SHARE = 0.05  # of the voxels at the low edge of the penalties, above which we warn


def make_encoding(
    directory: Path, bids: Path, images: Path, subjects: Sequence[str], roi: str,
    atlas: Path | None, labels: Path | None, out: Path, say: Say, space: str | None = None,
    components: int = 100, banded: bool = False, high_pass_hz: float = HIGH_PASS_HZ, seed: int = 0,
) -> Path:  # fmt: skip
    """Predict the images of subjects from a run's stages; write maps, tables and figures."""
    need_package("himalaya", "fmri")
    run = load_network(directory)
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
    run: TrainedNetwork, played: Sequence[str], training: set[str], components: int
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
