"""The step from a run, sounds and single responses to tables, a figure and what was left out."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, need_package
from neuromusic.core.files import sha256, write_text
from neuromusic.core.outputs import check_target, new_directory
from neuromusic.core.progress import Say, track
from neuromusic.core.records import hash_inputs, is_current, record
from neuromusic.encoding.ridge import ALPHAS
from neuromusic.encoding.sound_encoding import (
    FOLDS,
    Floats,
    Scored,
    Statistics,
    baseline_features,
    feature_sets,
    score,
    set_gain,
    stage_features,
    target_table,
    voxel_table,
)
from neuromusic.encoding.sound_responses import Responses, find_sounds, read_responses, usable
from neuromusic.models.network import Network
from neuromusic.stats.resampling import random_halves
from neuromusic.stimuli import audio
from neuromusic.training.trained import (
    WEIGHTS,
    TrainedNetwork,
    best_device,
    load_network,
    random_twin,
)

COMMAND = "encode --sounds"


def make_sound_encoding(
    directory: Path, sounds: Path, responses_file: Path, out: Path, splits: int, seed: int,
    statistics: Statistics, say: Say,
) -> Path:  # fmt: skip
    """Score every stage of a run, its random twin and the baseline on single responses.

    Writes targets.tsv, voxels.tsv (where the responses have weights), scores.npz, encoding.json and
    stages.png. Does nothing where all of that is there already and unchanged.
    """
    need_package("himalaya", "fmri")
    run = load_network(directory)
    run.check_hears_sound()
    check_target(out, COMMAND)
    responses = read_responses(responses_file)
    halves = random_halves(len(responses.sounds), splits, seed)
    responses, left_out, left_out_voxels = usable(responses, halves, responses_file)
    files = find_sounds(responses.sounds, sounds, responses_file)
    settings = {"splits": splits, "seed": seed, "statistics": statistics}
    inputs = {"run": sha256(directory / WEIGHTS), **hash_inputs([responses_file, *files])}
    made = record(COMMAND, settings, inputs, places={"run": directory})
    if is_current(out, made):
        say(f"{out} is there already and unchanged")
        return out
    waves = [audio.read(path) for path in files]
    gain = set_gain(run, waves)
    all_scores = _score_all(run, waves, gain, responses, halves, statistics)
    about = {
        **settings,
        "run": str(directory),
        "model": run.config.model.name,
        "stages": [stage.name for stage in run.network.stages],
        "sounds": len(responses.sounds),
        "targets": responses.targets,
        "targets_left_out": left_out,
        "voxels": responses.voxels.shape[1],
        "voxels_left_out": left_out_voxels,
        "gain_db": 20 * float(np.log10(gain)),
        "repeated_sounds": _n_repeated(run, waves),
        "penalties": ALPHAS.tolist(),
        "folds": FOLDS,
        "penalty_at_edge": {
            f"{each.network} {each.features}": float(each.scores.at_edge.mean())
            for each in all_scores
        },
    }
    with new_directory(out, made) as part:
        _write(part, all_scores, responses, halves, about)
    _say_what_was_left_out(about, run, len(files), say)
    _say_scores(all_scores, responses, say)
    say(f"wrote {out}")
    return out


def _score_all(
    run: TrainedNetwork, waves: Sequence[NDArray[np.float32]], gain: float, responses: Responses,
    halves: list[tuple[NDArray[np.int64], NDArray[np.int64]]], statistics: Statistics,
) -> list[Scored]:  # fmt: skip
    y = np.concatenate([responses.values, responses.voxels], axis=1)
    baseline = baseline_features(waves)
    sets: list[tuple[str, str, list[Floats]]] = [
        *(("none", name, [block]) for name, block in baseline.items()),
        ("none", "baseline", list(baseline.values())),
    ]
    heard = [run.hear(wave * np.float32(gain))[0] for wave in waves]
    networks: dict[str, Network] = {"trained": run.network, "random": random_twin(run)}
    for name, network in networks.items():
        network.to(best_device())
        stages = stage_features(network, heard, run.hop_frames, statistics)
        sets += [(name, *each) for each in feature_sets(stages, baseline)]
    scored = []
    for network_name, features, blocks in track(sets, "ridge", len(sets)):
        try:
            scores = score(blocks, y, halves)
        except InputError as error:
            raise InputError(f"{run.directory}: {features} ({network_name}): {error}") from None
        n_features = sum(block.shape[1] for block in blocks)
        scored.append(Scored(network_name, features, n_features, scores))
    return scored


def _n_repeated(run: TrainedNetwork, waves: Sequence[NDArray[np.float32]]) -> int:
    spec = run.network.spec
    least = (spec.n_frames - 1) * spec.frame_s * audio.RATE_HZ
    return sum(len(wave) < least for wave in waves)


def _write(
    part: Path, all_scores: Sequence[Scored], responses: Responses,
    halves: list[tuple[NDArray[np.int64], NDArray[np.int64]]], about: dict[str, object],
) -> None:  # fmt: skip
    from neuromusic.core import plotting
    from neuromusic.encoding import plots

    n = len(responses.targets)
    targets = target_table(all_scores, responses.targets)
    _write_table(targets, part / "targets.tsv")
    voxels = None
    if responses.weights is not None:
        voxels = voxel_table(all_scores, n)
        _write_table(voxels, part / "voxels.tsv")
    training = np.zeros((len(halves), len(responses.sounds)), dtype=np.bool_)
    for row, (train, _) in enumerate(halves):
        training[row, train] = True
    scores = [each.scores for each in all_scores]
    np.savez_compressed(
        part / "scores.npz",
        network=np.array([each.network for each in all_scores]),
        features=np.array([each.features for each in all_scores]),
        targets=np.array(responses.targets),
        sounds=np.array(responses.sounds),
        training=training,
        r2=np.array([each.r2[:, :n] for each in scores]),
        R2=np.array([each.determination[:, :n] for each in scores]),
        voxel_r2=np.array([each.r2[:, n:] for each in scores], dtype=np.float32),
    )
    stages = [*about["stages"], "all"]  # type: ignore[misc]  # a list of names
    plotting.save(plots.stages(targets, voxels, stages), part / "stages.png")
    write_text(part / "encoding.json", json.dumps(about, indent=2) + "\n")


def _write_table(table: pd.DataFrame, path: Path) -> None:
    write_text(path, table.to_csv(sep="\t", index=False, float_format="%.4f", na_rep="n/a"))


def _say_what_was_left_out(
    about: dict[str, object], run: TrainedNetwork, n_files: int, say: Say
) -> None:
    spec = run.network.spec
    if about["repeated_sounds"]:
        say(
            f"{about['repeated_sounds']} of {n_files} sounds are shorter than the network's window "
            f"of {spec.n_frames * spec.frame_s:.2f} s and were repeated to fill one; a network "
            "trained with a shorter data.window_s hears them as they are"
        )
    names = about["targets_left_out"]
    if isinstance(names, list) and names:
        say(f"left out: {len(names)} targets without values that differ, {', '.join(names[:5])}")
    if about["voxels_left_out"]:
        say(f"left out: {about['voxels_left_out']} voxels that are constant")


def _say_scores(all_scores: Sequence[Scored], responses: Responses, say: Say) -> None:
    n = len(responses.targets)
    few = n <= 8
    head = [*responses.targets] if few else [f"median of {n} targets"]
    if responses.weights is not None:
        head.append(f"median of {responses.weights.shape[1]} voxels")
    say(f"r2, mean over the halves: {', '.join(head)}")
    for each in all_scores:
        mean = each.scores.r2.mean(0)
        shown = list(mean[:n]) if few else [float(np.median(mean[:n]))]
        if responses.weights is not None:
            shown.append(float(np.median(mean[n:])))
        values = " ".join(f"{value:6.3f}" for value in shown)
        say(f"  {each.network:8s}{each.features:16s}{values}")
