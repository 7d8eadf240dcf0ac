"""Which features of sounds predict single responses: one value a sound and target, no time.

After Norman-Haignere, Kanwisher and McDermott (2015, Neuron 88, 1281) and the way in which Tuckute
et al. (2023, PLoS Biology 21, e3002366) compare networks with their data: statistics over time of a
stage's activations, ridge on one half of the sounds, r2 on the other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.encoding.ridge import fit_ridge
from neuromusic.encoding.sound_responses import Floats, Halves
from neuromusic.features.frontends.mel import MelSpec, log_mel
from neuromusic.features.frontends.modulation import ModulationSpec
from neuromusic.features.windows import cut_windows
from neuromusic.models.inference import BATCH
from neuromusic.models.network import Network
from neuromusic.training.trained import TrainedNetwork

Statistics = Literal["mean", "mean+deviation"]
FOLDS = 10  # of the training half, in which the penalty is chosen
CONSTANT = 1e-6  # deviation, as a share of the block's largest, below which a feature is constant


# --- Features -----------------------------------------------------------------------------------


def baseline_features(waves: Sequence[NDArray[np.float32]]) -> dict[str, Floats]:
    """Return what a spectrogram says of sounds at audio.RATE_HZ, averaged over time.

    ``bands`` (n, 2 x mels): mean and deviation of the log-mel. ``modulation`` (n, channels x
    bands): the logarithm of the mean spectro-temporal modulation amplitude of that log-mel
    (`auditory.ModulationSpec`), so that it is the ratio of amplitudes that counts.
    """
    spec, mel_spec = ModulationSpec(), MelSpec()
    bands, modulation = [], []
    for wave in waves:
        mel = log_mel(wave, mel_spec)
        bands.append(np.concatenate([mel.mean(1), mel.std(1)]))
        # A thousandth of a dB: far below what any sound has, so that silence has a logarithm.
        modulation.append(np.log(spec.rows_of_mel(mel).mean(1) + 1e-3))
    return {"bands": np.array(bands, np.float64), "modulation": np.array(modulation, np.float64)}


def set_gain(run: TrainedNetwork, waves: Sequence[NDArray[np.float32]]) -> float:
    """Return the factor that brings a set of sounds to the level that a network was trained at.

    One factor for all, so that a softer sound stays softer: digital level says nothing about sound
    pressure, but a network that hears all sounds 20 dB too soft hears what it was not trained on.
    It is 1 where the network does not hear level (modulation; clips normalised by themselves).
    """
    run.check_hears_sound()
    if run.per_clip:
        return 1.0
    if run.kind == "wave":  # the deviation of the samples is their RMS
        power = np.mean([np.mean(np.square(wave, dtype=np.float64)) for wave in waves])
        return float(run.network.band_std.mean()) / float(np.sqrt(power))

    def level(gain_db: float) -> float:
        gain = np.float32(10 ** (gain_db / 20))
        return float(np.mean([run.hear(wave * gain)[0].mean() for wave in waves]))

    start = level(0.0)
    if level(6.0) - start < 3.0:  # dB of input for 6 dB of sound
        return 1.0
    gain_db = float(run.network.band_mean.mean()) - start
    for _ in range(3):  # bands at the floor do not rise with the rest
        gain_db += float(run.network.band_mean.mean()) - level(gain_db)
    return float(10 ** (gain_db / 20))


@torch.inference_mode()
def stage_features(
    network: Network, heard: Sequence[NDArray[np.float32]], hop: int, statistics: Statistics
) -> dict[str, Floats]:
    """Return stage -> (n, units) or (n, 2 x units): mean, and deviation, over time.

    ``heard`` is what `rundir.Run.hear` makes of every sound, (rows, frames). Over all windows of a
    sound, ``hop`` frames apart, none of them padded; a sound shorter than the network's window is
    repeated to fill one (`inference.windows_of`).
    """
    device = network.band_mean.device
    features: dict[str, list[Floats]] = {stage.name: [] for stage in network.stages}
    for x in heard:
        windows, _ = cut_windows(x, network.spec.n_frames, hop)
        frames: dict[str, list[NDArray[np.float32]]] = {name: [] for name in features}
        for first in range(0, len(windows), BATCH):
            active = network.activations(
                torch.from_numpy(windows[first : first + BATCH]).to(device)
            )
            for name in features:  # (windows, units, time) -> (units, windows x time)
                units = active[name].flatten(1, -2).transpose(0, 1).flatten(1)
                frames[name].append(units.cpu().numpy())
        for name, parts in frames.items():
            units_in_time = np.concatenate(parts, axis=1).astype(np.float64)
            of = [units_in_time.mean(1)]
            if statistics == "mean+deviation":
                of.append(units_in_time.std(1))
            features[name].append(np.concatenate(of))
    return {name: np.array(rows) for name, rows in features.items()}


# --- Scores -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scores:
    """How well one set of features predicts unheard sounds; each (splits, targets)."""

    r2: Floats  # squared Pearson correlation, with the sign of the correlation
    determination: Floats  # 1 - squared error / variance about the test half's mean
    at_edge: NDArray[np.bool_]  # the penalty was the smallest or largest that was tried


def score(
    blocks: Sequence[Floats],
    y: Floats,
    halves: Halves,
) -> Scores:
    """Predict y (sounds, targets) from blocks of features (sounds, features) by ridge.

    Every block is standardised on the training sounds and divided by the root of its number of
    features, so that blocks that are joined weigh the same. The penalty of every target is chosen
    by ten-fold cross-validation inside the training half. A prediction that does not vary has the
    score NaN.

    Raises InputError where no feature varies.
    """
    r2, determination, at_edge = [], [], []
    for train, test in halves:
        x = np.concatenate([_standardised(block, train) for block in blocks], axis=1)
        if x.shape[1] == 0:
            raise InputError("no feature differs between the sounds; is the stage silent?")
        # The training sounds are in random order, so every tenth one is a random fold.
        groups = np.arange(len(train)) % FOLDS
        fit = fit_ridge(x[train], y[train], groups)
        guess = fit.predict(x[test]).astype(np.float64)
        r2.append(signed_r2(y[test], guess))
        residual = np.square(y[test] - guess).sum(0)
        total = np.square(y[test] - y[test].mean(0)).sum(0)
        determination.append(1 - residual / total)
        at_edge.append(fit.lowest | fit.highest)
    return Scores(np.array(r2), np.array(determination), np.array(at_edge))


def _standardised(block: Floats, train: NDArray[np.int64]) -> Floats:
    """Return the features that vary in training (sounds, kept), of mean square 1 / kept there.

    A unit that hardly wakes in training would give a test sound a value of hundreds of deviations,
    and that sound would be all of the score. So no value is further out than a training sound's can
    be, the root of their number less one.
    """
    deviation = block[train].std(0)
    kept = deviation > CONSTANT * deviation.max(initial=0.0)
    z = (block[:, kept] - block[train][:, kept].mean(0)) / deviation[kept]
    limit = np.sqrt(len(train) - 1)
    return z.clip(-limit, limit) / np.sqrt(max(1, kept.sum()))


def signed_r2(truth: Floats, guess: Floats) -> Floats:
    """Return r x |r| for every column of (n, targets); NaN where one of the two is constant.

    With its sign, so that what cannot be predicted scores 0 on average and not 1 / (n - 1).
    """
    a, b = truth - truth.mean(0), guess - guess.mean(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (a * b).sum(0) / np.sqrt(np.square(a).sum(0) * np.square(b).sum(0))
    return r * np.abs(r)


def feature_sets(
    stages: dict[str, Floats], baseline: dict[str, Floats]
) -> Iterator[tuple[str, list[Floats]]]:
    """Yield (name, blocks) of every stage and of all of them, alone and with the baseline."""
    joint = list(baseline.values())
    for name, block in stages.items():
        yield name, [block]
    yield "all", list(stages.values())
    for name, block in stages.items():
        yield f"{name}+baseline", [block, *joint]
    yield "all+baseline", [*stages.values(), *joint]


pass


@dataclass(frozen=True)
class Scored:
    """The scores of one set of features of one network: none (the baseline), trained or random."""

    network: str
    features: str
    n_features: int
    scores: Scores  # of the targets, then the voxels


def target_table(all_scores: Sequence[Scored], targets: Sequence[str]) -> pd.DataFrame:
    """Return a row a set of features and target.

    r2 and R2 are means over the halves, with r2's deviation, least and largest; over_baseline is
    the mean difference from the baseline's r2 on the same halves, halves_over_baseline how many of
    them were better.
    """
    baseline = next(each for each in all_scores if each.features == "baseline").scores.r2
    rows = []
    for each in all_scores:
        for index, target in enumerate(targets):
            r2 = each.scores.r2[:, index]
            over = r2 - baseline[:, index]
            rows.append(
                {
                    "network": each.network,
                    "features": each.features,
                    "n_features": each.n_features,
                    "target": target,
                    "r2": r2.mean(),
                    "r2_sd": r2.std(ddof=1) if len(r2) > 1 else np.nan,
                    "r2_min": r2.min(),
                    "r2_max": r2.max(),
                    "R2": each.scores.determination[:, index].mean(),
                    "over_baseline": over.mean(),
                    "halves_over_baseline": int((over > 0).sum()),
                }
            )
    return pd.DataFrame(rows)


def voxel_table(all_scores: Sequence[Scored], n_targets: int) -> pd.DataFrame:
    """Return a row a set of features: quantiles over the voxels of their mean over the halves.

    r2_min and r2_max are the least and largest of the halves' medians.
    """
    rows = []
    for each in all_scores:
        voxels = each.scores.r2[:, n_targets:]
        low, median, high = np.quantile(voxels.mean(0), [0.25, 0.5, 0.75])
        medians = np.median(voxels, axis=1)
        rows.append(
            {
                "network": each.network,
                "features": each.features,
                "n_features": each.n_features,
                "r2": median,
                "r2_quarter": low,
                "r2_three_quarters": high,
                "r2_min": medians.min(),
                "r2_max": medians.max(),
                "R2": np.median(each.scores.determination[:, n_targets:].mean(0)),
            }
        )
    return pd.DataFrame(rows)
