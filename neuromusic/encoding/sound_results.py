"""The result of an encoding of single responses: computing it, its files, its summary."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, listed
from neuromusic.core.figures import FigureStyle, save
from neuromusic.core.files import write_json, write_text
from neuromusic.core.progress import track, working
from neuromusic.encoding import sound_plots
from neuromusic.encoding.ridge import ALPHAS
from neuromusic.encoding.sound_encoding import (
    BEST,
    FOLDS,
    FeatureSet,
    ScoredSet,
    baseline_sets,
    best_stage,
    score_sets,
    stage_sets,
)
from neuromusic.encoding.sound_features import baseline_features, set_gain, stage_features
from neuromusic.encoding.sound_responses import Halves, Protocol, Statistics, Usable
from neuromusic.encoding.sound_ridge import LOO_ALPHAS
from neuromusic.encoding.sound_tables import centre, published_rows, target_table, voxel_table
from neuromusic.stimuli import audio
from neuromusic.training.trained import TrainedNetwork, best_device, untrained_copy

log = logging.getLogger(__name__)

MOST_TARGETS_LOGGED = 8  # of more targets, the median is logged
RECONSTRUCTED = (
    "Reconstructed voxels are the targets multiplied by their weights, so they have no noise, and "
    "their rank is the number of targets. Their scores are not comparable with those of measured "
    "voxels."
)


# --- Computing ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SoundEncoding:
    """The scores of all sets of features, with what they were computed from."""

    scored: list[ScoredSet]
    selected: Usable
    halves: Halves
    gain: float  # factor on the sounds before the network's front end
    n_repeated: int  # sounds that are shorter than the network's window
    protocol: Protocol

    @property
    def n_targets(self) -> int:
        """Number of targets, which come before the reconstructed voxels in the scores."""
        return len(self.selected.responses.targets)

    @property
    def has_voxels(self) -> bool:
        """Whether the responses have weights, so that voxels can be reconstructed."""
        return self.selected.responses.weights is not None


def score_all(
    trained: TrainedNetwork, waves: Sequence[NDArray[np.float32]], selected: Usable, halves: Halves,
    statistics: Statistics, protocol: Protocol,
) -> SoundEncoding:  # fmt: skip
    """Score the baseline and all stages before and after training; the trained network first.

    The best stage of each network comes last.
    """
    gain = set_gain(trained, waves)
    responses = selected.responses
    y = np.concatenate([responses.values, responses.voxels], axis=1)
    with working("baseline: computing features"):
        baseline = baseline_features(waves)
    sets: list[FeatureSet] = baseline_sets(baseline)
    inputs = [trained.features_of(wave * np.float32(gain))[0] for wave in waves]
    for name, network in (("trained", trained.network), ("random", untrained_copy(trained))):
        network.to(best_device())
        label = f"{name} network: computing activations"
        shown = track(inputs, label, len(inputs))
        stages = stage_features(network, shown, trained.hop_frames, statistics)
        sets += stage_sets(name, stages, baseline, protocol)
    try:
        scored = score_sets(sets, y, halves, protocol)
    except InputError as error:
        raise InputError(f"{trained.directory}: {error}") from None
    names = [stage.name for stage in trained.network.stages]
    scored += [best_stage(scored, network, names) for network in ("trained", "random")]
    return SoundEncoding(scored, selected, halves, gain, _n_repeated(trained, waves), protocol)


def _n_repeated(trained: TrainedNetwork, waves: Sequence[NDArray[np.float32]]) -> int:
    spec = trained.network.spec
    least = (spec.n_frames - 1) * spec.frame_s * audio.RATE_HZ
    return sum(len(wave) < least for wave in waves)


# --- Writing --------------------------------------------------------------------------------------


def write(
    directory: Path, result: SoundEncoding, trained: TrainedNetwork, options: dict[str, Any],
    style: FigureStyle,
) -> None:  # fmt: skip
    """Write all files; ``options`` are the settings that go into encoding.json."""
    responses, (train, test) = result.selected.responses, result.halves[0]
    table = target_table(result.scored, responses.targets, len(train), len(test), result.protocol)
    if result.protocol == "tuckute2023":
        published = published_rows(responses.targets, len(responses.sounds))
        table = pd.concat([table, published], ignore_index=True) if len(published) else table
    _write_table(table, directory / "targets.tsv")
    voxels = None
    if result.has_voxels:
        voxels = voxel_table(result.scored, result.n_targets, result.protocol)
        _write_table(voxels, directory / "reconstructed_voxels.tsv")
    _write_scores(directory / "scores.npz", result)
    stages = [stage.name for stage in trained.network.stages]
    names = [*stages, "all", BEST] if result.protocol == "ours" else [*stages, BEST]
    figure = sound_plots.stages(table, voxels, names, len(result.halves), style)
    save(figure, directory / "stages", style)
    write_json(directory / "encoding.json", {**options, **_summary(result, trained, stages)})


def _write_table(table: pd.DataFrame, path: Path) -> None:
    write_text(path, table.to_csv(sep="\t", index=False, float_format="%.5g", na_rep="n/a"))


def _write_scores(path: Path, result: SoundEncoding) -> None:
    """Write the scores of each split: r2, R2 (sets, splits, targets), also of voxels; files.md."""
    n, responses = result.n_targets, result.selected.responses
    training = np.zeros((len(result.halves), len(responses.sounds)), dtype=np.bool_)
    for row, (train, _) in enumerate(result.halves):
        training[row, train] = True
    scores = [each.scores for each in result.scored]
    np.savez_compressed(
        path,
        network=np.array([each.features.network for each in result.scored]),
        features=np.array([each.features.name for each in result.scored]),
        targets=np.array(responses.targets),
        sounds=np.array(responses.sounds),
        training=training,
        r2=np.array([each.r2[:, :n] for each in scores]),
        R2=np.array([each.determination[:, :n] for each in scores]),
        reconstructed_voxel_r2=np.array([each.r2[:, n:] for each in scores], dtype=np.float32),
    )


def _summary(result: SoundEncoding, trained: TrainedNetwork, stages: list[str]) -> dict[str, Any]:
    responses = result.selected.responses
    return {
        "run": trained.directory.name,  # the place is in the record
        "model": trained.config.model.name,
        "stages": stages,
        "sounds": len(responses.sounds),
        "targets": responses.targets,
        "targets_left_out": result.selected.targets_left_out,
        "reconstructed_voxels": responses.voxels.shape[1],
        "reconstructed_voxels_left_out": result.selected.n_voxels_left_out,
        "reconstructed_voxels_note": RECONSTRUCTED if result.has_voxels else "",
        "gain_db": 20 * float(np.log10(result.gain)),
        "repeated_sounds": result.n_repeated,
        "penalties": (ALPHAS if result.protocol == "ours" else LOO_ALPHAS).tolist(),
        "folds": FOLDS if result.protocol == "ours" else "one per training sound",
        "over_baseline_p": "two-sided, corrected resampled t test (Nadeau and Bengio 2003)",
        "penalty_at_edge": {
            each.features.label: float(each.scores.at_edge.mean()) for each in result.scored
        },
    }


# --- Logging --------------------------------------------------------------------------------------


def log_left_out(result: SoundEncoding, trained: TrainedNetwork) -> None:
    """Warn of repeated sounds, and of targets and voxels that are left out."""
    spec = trained.network.spec
    if result.n_repeated:
        log.warning(
            "%d of %d sounds are shorter than the network's window of %.2f s and were repeated to "
            "fill it; a network that is trained with a smaller data.window_s takes them as they "
            "are",
            result.n_repeated, len(result.selected.responses.sounds), spec.n_frames * spec.frame_s,
        )  # fmt: skip
    names = result.selected.targets_left_out
    if names:
        log.warning(
            "left out: %d targets without values that vary, %s", len(names),
            listed(names),
        )  # fmt: skip
    if result.selected.n_voxels_left_out:
        log.warning("left out: %d constant reconstructed voxels", result.selected.n_voxels_left_out)


def log_scores(result: SoundEncoding) -> None:
    """Log r2 over the splits: one column per target, or their median if there are many."""
    n, responses = result.n_targets, result.selected.responses
    are_few = n <= MOST_TARGETS_LOGGED
    head = list(responses.targets) if are_few else [f"median of {n} targets"]
    if result.has_voxels:
        head.append(f"median of {responses.voxels.shape[1]} reconstructed voxels")
    middle = centre(result.protocol)
    log.info(
        "r2, protocol %s, %s over the splits: %s", result.protocol, middle.__name__, ", ".join(head)
    )
    for each in result.scored:
        r2 = middle(each.scores.r2, axis=0)
        values = list(r2[:n]) if are_few else [float(np.median(r2[:n]))]
        if result.has_voxels:
            values.append(float(np.median(r2[n:])))
        text = " ".join(f"{value:6.3f}" for value in values)
        log.info("  %-8s%-16s%s", each.features.network, each.features.name, text)
    log.info("  best stage: chosen for each split and target without its test sounds")
    if len(result.halves) < 2:
        log.warning("differences from the baseline cannot be tested: there is only one split")
