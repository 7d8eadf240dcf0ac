"""The result of an encoding of single responses: computing it, its files, its summary."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, listed
from neuromusic.core.figures import FigureStyle, save
from neuromusic.core.files import write_json, write_text
from neuromusic.core.progress import track
from neuromusic.encoding import sound_plots
from neuromusic.encoding.options import SoundOptions
from neuromusic.encoding.ridge import ALPHAS
from neuromusic.encoding.sound_baseline import scored_baseline
from neuromusic.encoding.sound_encoding import (
    ALL,
    ALL_AND_BASELINE,
    BEST,
    FOLDS,
    NO_NETWORK,
    FeatureSet,
    ScoredSet,
    baseline_sets,
    best_stage,
    score_sets,
    stage_sets,
)
from neuromusic.encoding.sound_features import (
    n_repeated,
    network_inputs,
    set_gain,
    stage_features,
)
from neuromusic.encoding.sound_responses import Floats, Halves, Protocol, Statistics, Usable
from neuromusic.encoding.sound_ridge import LOO_ALPHAS
from neuromusic.encoding.sound_tables import centre, published_rows, target_table, voxel_table
from neuromusic.models.applied import AppliedNetwork
from neuromusic.models.inference import best_device

log = logging.getLogger(__name__)

FEATURES = "features.npz"
SOUNDS = "sounds"  # in it
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
    protocol: Protocol
    features: dict[str, Floats]  # "network/stage" -> (sounds, features), also of the baseline
    gain: float = 1.0  # factor on the sounds before the network's front end
    n_repeated: int = 0  # sounds that are shorter than the network's window

    @property
    def n_targets(self) -> int:
        """Number of targets, which come before the reconstructed voxels in the scores."""
        return len(self.selected.responses.targets)

    @property
    def has_voxels(self) -> bool:
        """Whether the responses have weights, so that voxels can be reconstructed."""
        return self.selected.responses.weights is not None


def score_all(
    trained: AppliedNetwork, files: Sequence[Path], waves: Sequence[NDArray[np.float32]],
    selected: Usable, halves: Halves, options: SoundOptions, shared: Path | None = None,
) -> SoundEncoding:  # fmt: skip
    """Score the baseline and all stages before and after training; the trained network first.

    ``waves`` are the sounds in ``files`` at audio.RATE_HZ, ``shared`` is for `scored_baseline`. The
    best stage of each network comes last. ``options`` contain the statistics.
    """
    protocol, statistics = options.protocol, options.statistics
    assert statistics is not None
    gain = set_gain(trained, waves)
    responses = selected.responses
    y = np.concatenate([responses.values, responses.voxels], axis=1)
    baseline, scored = scored_baseline(waves, y, halves, protocol, shared)
    sets: list[FeatureSet] = []
    kept = {f"{NO_NETWORK}/{name}": block for name, block in baseline.items()}
    networks = [("trained", trained)]
    if "random" in trained.controls:
        networks.append(("random", trained.control("random")))
    for name, network in networks:
        network.network.to(best_device())
        label = f"{name} network: computing activations"
        shown = track(network_inputs(trained, files, waves, gain), label, len(waves))
        # The published protocol takes means of single stages; all of them together take deviations.
        summary: Statistics = "mean+deviation" if protocol == "tuckute2023" else statistics
        stages = stage_features(network, shown, summary)
        kept |= {f"{name}/{stage}": block for stage, block in stages.items()}
        sets += stage_sets(name, stages, baseline, protocol)
    try:
        scored = [*scored, *score_sets(sets, y, halves, protocol)]
    except InputError as error:
        raise InputError(f"{trained.directory}: {error}") from None
    names = [stage.name for stage in trained.network.stages]
    scored += [best_stage(scored, name, names) for name, _ in networks]
    repeated = n_repeated(trained, waves)
    return SoundEncoding(scored, selected, halves, protocol, kept, gain, repeated)


def score_joined(
    features: Mapping[str, Mapping[str, NDArray[Any]]], selected: Usable, halves: Halves,
    protocol: Protocol,
) -> SoundEncoding:  # fmt: skip
    """Score all stages of several networks together, alone and with the baseline.

    ``features`` are network -> what `write` stored in FEATURES. Random weights are scored if all of
    the networks have them.
    """

    def blocks_of(network: str, kind: str) -> dict[str, Floats]:
        return {
            key.removeprefix(f"{kind}/"): np.asarray(block, np.float64)
            for key, block in features[network].items()
            if key.startswith(f"{kind}/")
        }

    baseline = blocks_of(next(iter(features)), NO_NETWORK)
    sets = baseline_sets(baseline)
    for kind in ("trained", "random"):
        parts = [list(blocks_of(network, kind).values()) for network in features]
        if all(parts):
            stages = [block for each in parts for block in each]
            together = [*stages, *baseline.values()]
            sets.append(FeatureSet(kind, ALL, stages, joined=True))
            sets.append(FeatureSet(kind, ALL_AND_BASELINE, together, joined=True))
    scored = score_sets(sets, selected.responses.values, halves, protocol)
    return SoundEncoding(scored, selected, halves, protocol, {})


# --- Writing --------------------------------------------------------------------------------------


def write(
    directory: Path, result: SoundEncoding, trained: AppliedNetwork, options: dict[str, Any],
    style: FigureStyle,
) -> None:  # fmt: skip
    """Write all files; ``options`` are the settings that go into encoding.json."""
    table = write_scores(directory, result)
    stored: dict[str, Any] = {
        name: block.astype(np.float32) for name, block in result.features.items()
    }
    stored[SOUNDS] = np.array(result.selected.responses.sounds)
    np.savez_compressed(directory / FEATURES, **stored)
    voxels = None
    if result.has_voxels:
        voxels = voxel_table(result.scored, result.n_targets, result.protocol)
        _write_table(voxels, directory / "reconstructed_voxels.tsv")
    stages = [stage.name for stage in trained.network.stages]
    names = [*stages, ALL, BEST]
    figure = sound_plots.stages(table, voxels, names, len(result.halves), style)
    save(figure, directory / "stages", style)
    write_json(directory / "encoding.json", {**options, **_summary(result, trained, stages)})


def write_scores(directory: Path, result: SoundEncoding) -> pd.DataFrame:
    """Write targets.tsv and scores.npz; return the table of targets, with published values."""
    responses, (train, test) = result.selected.responses, result.halves[0]
    table = target_table(result.scored, responses.targets, len(train), len(test), result.protocol)
    if result.protocol == "tuckute2023":
        published = published_rows(responses.targets, len(responses.sounds))
        table = pd.concat([table, published], ignore_index=True) if len(published) else table
    _write_table(table, directory / "targets.tsv")
    _write_scores(directory / "scores.npz", result)
    return table


def _write_table(table: pd.DataFrame, path: Path) -> None:
    write_text(
        path,
        table.to_csv(sep="\t", index=False, float_format="%.5g", na_rep="n/a", lineterminator="\n"),
    )


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


def _summary(result: SoundEncoding, trained: AppliedNetwork, stages: list[str]) -> dict[str, Any]:
    responses = result.selected.responses
    return {
        "run": trained.directory.name,  # the place is in the record
        "model": trained.name,
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


def log_left_out(result: SoundEncoding, trained: AppliedNetwork) -> None:
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
