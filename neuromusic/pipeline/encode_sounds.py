"""Encode single responses: how well each stage predicts one value per short sound and target."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core import plotting
from neuromusic.core.errors import InputError, need_package
from neuromusic.core.files import sha256, write_json, write_text
from neuromusic.core.outputs import Step, check_target
from neuromusic.core.records import arguments, hash_inputs
from neuromusic.encoding import sound_plots
from neuromusic.encoding.ridge import ALPHAS
from neuromusic.encoding.sound_encoding import (
    FOLDS,
    FeatureSet,
    ScoredSet,
    baseline_sets,
    score_sets,
    stage_sets,
    target_table,
    voxel_table,
)
from neuromusic.encoding.sound_features import (
    Statistics,
    baseline_features,
    set_gain,
    stage_features,
)
from neuromusic.encoding.sound_responses import Halves, Usable, find_sounds, read_responses, usable
from neuromusic.stats.resampling import random_halves
from neuromusic.stimuli import audio
from neuromusic.training.trained import (
    WEIGHTS,
    TrainedNetwork,
    as_network,
    best_device,
    untrained_copy,
)

log = logging.getLogger(__name__)

COMMAND = "encode --sounds"
MOST_TARGETS_LOGGED = 8  # of more targets, the median is logged
MOST_NAMES_LOGGED = 5


def encode_sounds(
    network: TrainedNetwork | Path | str,
    *,
    sounds: str | Path,
    responses: str | Path,
    out: str | Path,
    splits: int = 10,
    statistics: Statistics = "mean+deviation",
    seed: int = 0,
) -> Path:
    """Predict single responses to short sounds from the stages of a network, by ridge regression.

    There is one value per sound and target (a voxel, an area, a component), without a time axis.
    Each stage, summarised over time, is fitted on a random half of the sounds and scored on the
    other half, several times, alone and together with a spectro-temporal baseline. The same is done
    with the network's weights before training. docs/files.md describes the files.

    Parameters
    ----------
    network : TrainedNetwork, str or Path
        A network that was trained on sound, or its directory.
    sounds : str or Path
        Folder of sound files, searched at any depth.
    responses : str or Path
        .mat (``R``, ``stim_names``, optionally ``component_names`` and ``W``), .npz (``responses``,
        ``sounds``, optionally ``targets`` and ``weights``) or .tsv (a column of names of sounds,
        and one column per target). Names of sounds are those of files, with or without a suffix.
    out : str or Path
        Output directory: targets.tsv, voxels.tsv (if the responses have weights), scores.npz,
        encoding.json and stages.png.
    splits : int
        Number of random splits into halves.
    statistics : {"mean", "mean+deviation"}
        Summary of each unit over time.
    seed : int
        Seed of the splits.

    Returns
    -------
    Path
        The directory.

    Raises
    ------
    InputError
        If the network was trained on precomputed features; if the responses are not readable, are
        incomplete or do not vary; if a sound has no file, or several; or if ``out`` contains
        something else.

    Examples
    --------
    >>> import pandas as pd
    >>> import neuromusic as nm
    >>> out = nm.encode_sounds(
    ...     "sound_network", sounds="sounds", responses="responses.tsv", out="sound_encoding",
    ...     splits=2,
    ... )
    >>> table = pd.read_csv(out / "targets.tsv", sep="\\t", keep_default_na=False)
    >>> table["network"].unique().tolist()
    ['none', 'trained', 'random']

    References
    ----------
    Norman-Haignere, S., Kanwisher, N. G. and McDermott, J. H. (2015). Distinct cortical pathways
    for music and speech revealed by hypothesis-free voxel decomposition. Neuron 88, 1281-1296.
    Tuckute, G. et al. (2023). Many but not all deep neural network audio models capture brain
    responses and exhibit correspondence between model stages and brain regions. PLoS Biology 21,
    e3002366.
    """
    need_package("himalaya", "fmri")
    trained, sounds, out = as_network(network), Path(sounds), Path(out)
    responses = Path(responses)
    trained.check_takes_sound()
    check_target(out, COMMAND)
    measured = read_responses(responses)
    halves = random_halves(len(measured.sounds), splits, seed)
    selected = usable(measured, halves, responses)
    files = find_sounds(measured.sounds, sounds, responses)
    settings, places = arguments(
        network=trained.directory, sounds=sounds, responses=responses, splits=splits,
        statistics=statistics, seed=seed,
    )  # fmt: skip
    weights = sha256(trained.directory / WEIGHTS)
    inputs = {"network": weights, **hash_inputs([responses, *files])}
    step = Step(COMMAND, out, settings, inputs, places, function="encode_sounds")
    if step.is_done():
        return out
    result = _score_all(trained, [audio.read(path) for path in files], selected, halves, statistics)
    with step.directory() as directory:
        options = {"splits": splits, "seed": seed, "statistics": statistics}
        _write(directory, result, trained, options)
    _log_left_out(result, trained)
    _log_scores(result)
    log.info("wrote %s", out)
    return out


# --- Computing ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Result:
    """The scores of all sets of features, with what they were computed from."""

    scored: list[ScoredSet]
    selected: Usable
    halves: Halves
    gain: float  # factor on the sounds before the network's front end
    n_repeated: int  # sounds that are shorter than the network's window

    @property
    def n_targets(self) -> int:
        """Number of targets, which come before the voxels in the scores."""
        return len(self.selected.responses.targets)

    @property
    def has_voxels(self) -> bool:
        """Whether the responses have weights, so that there are voxels."""
        return self.selected.responses.weights is not None


def _score_all(
    trained: TrainedNetwork, waves: Sequence[NDArray[np.float32]], selected: Usable, halves: Halves,
    statistics: Statistics,
) -> _Result:  # fmt: skip
    """Score the baseline and all stages before and after training; the trained network first."""
    gain = set_gain(trained, waves)
    responses = selected.responses
    y = np.concatenate([responses.values, responses.voxels], axis=1)
    baseline = baseline_features(waves)
    sets: list[FeatureSet] = baseline_sets(baseline)
    inputs = [trained.features_of(wave * np.float32(gain))[0] for wave in waves]
    for name, network in (("trained", trained.network), ("random", untrained_copy(trained))):
        network.to(best_device())
        stages = stage_features(network, inputs, trained.hop_frames, statistics)
        sets += stage_sets(name, stages, baseline)
    try:
        scored = score_sets(sets, y, halves)
    except InputError as error:
        raise InputError(f"{trained.directory}: {error}") from None
    return _Result(scored, selected, halves, gain, _n_repeated(trained, waves))


def _n_repeated(trained: TrainedNetwork, waves: Sequence[NDArray[np.float32]]) -> int:
    spec = trained.network.spec
    least = (spec.n_frames - 1) * spec.frame_s * audio.RATE_HZ
    return sum(len(wave) < least for wave in waves)


# --- Writing --------------------------------------------------------------------------------------


def _write(
    directory: Path, result: _Result, trained: TrainedNetwork, options: dict[str, Any]
) -> None:
    """Write all files; ``options`` are the settings that go into encoding.json."""
    targets = target_table(result.scored, result.selected.responses.targets)
    _write_table(targets, directory / "targets.tsv")
    voxels = None
    if result.has_voxels:
        voxels = voxel_table(result.scored, result.n_targets)
        _write_table(voxels, directory / "voxels.tsv")
    _write_scores(directory / "scores.npz", result)
    stages = [stage.name for stage in trained.network.stages]
    plotting.save(sound_plots.stages(targets, voxels, [*stages, "all"]), directory / "stages.png")
    write_json(directory / "encoding.json", {**options, **_summary(result, trained, stages)})


def _write_table(table: pd.DataFrame, path: Path) -> None:
    write_text(path, table.to_csv(sep="\t", index=False, float_format="%.4f", na_rep="n/a"))


def _write_scores(path: Path, result: _Result) -> None:
    """Write the scores of each split: r2, R2 (sets, splits, targets) and voxel_r2; see files.md."""
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
        voxel_r2=np.array([each.r2[:, n:] for each in scores], dtype=np.float32),
    )


def _summary(result: _Result, trained: TrainedNetwork, stages: list[str]) -> dict[str, Any]:
    responses = result.selected.responses
    return {
        "run": trained.directory.name,  # the place is in the record
        "model": trained.config.model.name,
        "stages": stages,
        "sounds": len(responses.sounds),
        "targets": responses.targets,
        "targets_left_out": result.selected.targets_left_out,
        "voxels": responses.voxels.shape[1],
        "voxels_left_out": result.selected.n_voxels_left_out,
        "gain_db": 20 * float(np.log10(result.gain)),
        "repeated_sounds": result.n_repeated,
        "penalties": ALPHAS.tolist(),
        "folds": FOLDS,
        "penalty_at_edge": {
            each.features.label: float(each.scores.at_edge.mean()) for each in result.scored
        },
    }


# --- Logging --------------------------------------------------------------------------------------


def _log_left_out(result: _Result, trained: TrainedNetwork) -> None:
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
            ", ".join(names[:MOST_NAMES_LOGGED]),
        )  # fmt: skip
    if result.selected.n_voxels_left_out:
        log.warning("left out: %d constant voxels", result.selected.n_voxels_left_out)


def _log_scores(result: _Result) -> None:
    """Log the mean r2 over the splits: one column per target, or their median if there are many."""
    n, responses = result.n_targets, result.selected.responses
    are_few = n <= MOST_TARGETS_LOGGED
    head = list(responses.targets) if are_few else [f"median of {n} targets"]
    if result.has_voxels:
        head.append(f"median of {responses.voxels.shape[1]} voxels")
    log.info("r2, mean over the splits: %s", ", ".join(head))
    for each in result.scored:
        mean = each.scores.r2.mean(0)
        values = list(mean[:n]) if are_few else [float(np.median(mean[:n]))]
        if result.has_voxels:
            values.append(float(np.median(mean[n:])))
        text = " ".join(f"{value:6.3f}" for value in values)
        log.info("  %-8s%-16s%s", each.features.network, each.features.name, text)
