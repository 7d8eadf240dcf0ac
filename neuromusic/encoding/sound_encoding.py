"""Which features of short sounds predict single responses: one value per sound and target, no time.

Ridge regression on one random half of the sounds, r2 on the other half, as Norman-Haignere,
Kanwisher and McDermott (2015, Neuron 88, 1281) and Tuckute et al. (2023, PLoS Biology 21, e3002366)
do. The features are those of `sound_features`, the responses those of `sound_responses`; there are
two protocols, see `Protocol`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.progress import progress
from neuromusic.encoding.ridge import fit_ridge
from neuromusic.encoding.sound_responses import Floats, Halves, Protocol
from neuromusic.encoding.sound_ridge import LOO_ALPHAS, predict_loo

FOLDS = 10  # of the training half, in which the penalty is chosen
CONSTANT = 1e-6  # share of a block's largest deviation below which a feature counts as constant
BASELINE = "baseline"
NO_NETWORK = "none"
BEST = "best stage"
ALL = "all"
ALL_AND_BASELINE = f"{ALL}+{BASELINE}"
INACTIVE = "no feature differs between the sounds; the stage may be inactive"


# --- Scores ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scores:
    """How well one set of features predicts the test sounds; all arrays are (halves, targets)."""

    r2: Floats  # squared Pearson correlation, with the sign of r or 0 for a negative r
    determination: Floats  # 1 - squared error / variance around the mean of the test half
    loss: Floats  # mean squared error of training sounds that were left out
    at_edge: NDArray[np.bool_]  # whether the penalty is the smallest or largest of the grid


def score(
    blocks: Sequence[Floats],
    y: Floats,
    halves: Halves,
    protocol: Protocol = "ours",
    joined: bool = False,
) -> Scores:
    """Predict targets from blocks of features by ridge regression, once per split into halves.

    Parameters
    ----------
    blocks : sequence of arrays (sounds, features)
        With the protocol "ours", each block is standardised over the training sounds and divided by
        the square root of its number of features, so that all blocks have the same weight.
    y : array (sounds, targets)
        Responses. The penalty of each target is chosen in the training half: by ten-fold
        cross-validation ("ours") or by leaving out one sound at a time ("tuckute2023").
    halves : sequence of pairs of arrays
        Indices of the training and test sounds of each split.
    protocol : {"ours", "tuckute2023"}
        How features are scaled, penalties chosen and correlations squared.
    joined : bool
        With "tuckute2023", give all blocks the same weight, as "ours" always does. Published models
        are single stages on their own scale; joined ones would otherwise have arbitrary weights.

    Returns
    -------
    Scores
        For a prediction that does not vary, r2 is NaN ("ours") or 0 ("tuckute2023").

    Raises InputError if no feature varies.
    """
    if protocol == "ours":
        predict, squared = _predict, signed_r2
    else:
        predict, squared = _predict_joined if joined else _predict_tuckute, clipped_r2
    r2, determination, losses, at_edge = [], [], [], []
    for train, test in halves:
        predicted, loss, edge = predict(blocks, y, train, test)
        r2.append(squared(y[test], predicted))
        residual = np.square(y[test] - predicted).sum(0)
        total = np.square(y[test] - y[test].mean(0)).sum(0)
        determination.append(1 - residual / total)
        losses.append(loss)
        at_edge.append(edge)
    return Scores(np.array(r2), np.array(determination), np.array(losses), np.array(at_edge))


Indices = NDArray[np.int64]
Prediction = tuple[Floats, Floats, NDArray[np.bool_]]  # (test sounds, targets), loss, at_edge


def _predict(blocks: Sequence[Floats], y: Floats, train: Indices, test: Indices) -> Prediction:
    """Predict the test sounds by our protocol."""
    x = np.concatenate([_standardised(block, train) for block in blocks], axis=1)
    if x.shape[1] == 0:
        raise InputError(INACTIVE)
    # The training sounds are in random order, so every tenth of them is a random fold.
    fit = fit_ridge(x[train], y[train], np.arange(len(train)) % FOLDS)
    return fit.predict(x[test]).astype(np.float64), fit.loss, fit.lowest | fit.highest


def _predict_tuckute(
    blocks: Sequence[Floats], y: Floats, train: Indices, test: Indices
) -> Prediction:
    """Predict the test sounds as Tuckute et al. (2023) do."""
    return _predict_loo(np.concatenate(blocks, axis=1), y, train, test)


def _predict_joined(
    blocks: Sequence[Floats], y: Floats, train: Indices, test: Indices
) -> Prediction:
    """Predict the test sounds as they do, from blocks of equal weight."""
    x = np.concatenate([_standardised(block, train) for block in blocks], axis=1)
    return _predict_loo(x, y, train, test)


def _predict_loo(x: Floats, y: Floats, train: Indices, test: Indices) -> Prediction:
    predicted, loss, alpha = predict_loo(x[train], y[train], x[test])
    return predicted, loss, (alpha == LOO_ALPHAS[0]) | (alpha == LOO_ALPHAS[-1])


def _standardised(block: Floats, train: Indices) -> Floats:
    """Return the features that vary in training (sounds, kept), with mean square 1 / kept there.

    A unit that is almost inactive in training could be hundreds of deviations from its mean for one
    test sound, which would dominate the score. So values are limited to the largest that a training
    sound can have, the square root of the number of training sounds minus one.
    """
    deviation = block[train].std(0)
    kept = deviation > CONSTANT * deviation.max(initial=0.0)
    z = (block[:, kept] - block[train][:, kept].mean(0)) / deviation[kept]
    limit = np.sqrt(len(train) - 1)
    return z.clip(-limit, limit) / np.sqrt(max(1, kept.sum()))


def signed_r2(measured: Floats, predicted: Floats) -> Floats:
    """Return r x |r| of each column of two arrays (n, targets); NaN if one of them is constant.

    With its sign, the score of a target that cannot be predicted is 0 on average, not 1 / (n - 1).
    """
    r = _correlation(measured, predicted)
    return r * np.abs(r)


def clipped_r2(measured: Floats, predicted: Floats) -> Floats:
    """Return max(r, 0) squared of each column of two arrays (n, targets); 0 if one is constant.

    As in Tuckute et al. (2023). The score of a target that cannot be predicted is above 0 on
    average.
    """
    r = _correlation(measured, predicted)
    return np.square(np.nan_to_num(r).clip(0))


def _correlation(measured: Floats, predicted: Floats) -> Floats:
    a, b = measured - measured.mean(0), predicted - predicted.mean(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((a * b).sum(0) / np.sqrt(np.square(a).sum(0) * np.square(b).sum(0)))


# --- Sets of features -----------------------------------------------------------------------------


@dataclass(frozen=True)
class FeatureSet:
    """Blocks of features (sounds, features) that predict together.

    ``network`` is "none" (the baseline), "trained" or "random" (weights before training). The
    best stage has no blocks of its own. ``joined`` blocks have the same weight in any protocol.
    """

    network: str
    name: str
    blocks: list[Floats]
    joined: bool = False

    @property
    def n_features(self) -> int:
        """Number of features in all blocks."""
        return sum(block.shape[1] for block in self.blocks)

    @property
    def label(self) -> str:
        """Network and name."""
        return f"{self.network} {self.name}"


@dataclass(frozen=True)
class ScoredSet:
    """A set of features with its scores, of the targets first, then of the reconstructed voxels.

    ``chosen`` (halves, targets) are the names of the stages that a best stage consists of.
    """

    features: FeatureSet
    scores: Scores
    chosen: NDArray[np.str_] | None = None


def baseline_sets(baseline: Mapping[str, Floats]) -> list[FeatureSet]:
    """Return each block of the baseline as a set, and all of them together as "baseline".

    They are joined with equal weight in any protocol: what is compared with the baseline, alone or
    together with it, must not gain from its scale.
    """
    sets = [FeatureSet(NO_NETWORK, name, [block]) for name, block in baseline.items()]
    return [*sets, FeatureSet(NO_NETWORK, BASELINE, list(baseline.values()), joined=True)]


def stage_sets(
    network: str, stages: Mapping[str, Floats], baseline: Mapping[str, Floats], protocol: Protocol
) -> list[FeatureSet]:
    """Return a set for each stage and for "all" of them, alone and then with the baseline.

    ``stages`` are means and deviations of units (sounds, 2 x units). With the protocol
    "tuckute2023", single stages are their means alone, and only "all" are joined with the baseline.
    """
    parts = list(stages.values())
    joint = list(baseline.values())
    together = FeatureSet(network, ALL_AND_BASELINE, [*parts, *joint], joined=True)
    everything = FeatureSet(network, ALL, parts, joined=True)
    if protocol == "tuckute2023":
        means = {name: block[:, : block.shape[1] // 2] for name, block in stages.items()}
        alone = [FeatureSet(network, name, [block]) for name, block in means.items()]
        return [*alone, everything, together]
    alone = [FeatureSet(network, name, [block]) for name, block in stages.items()]
    pairs = [
        FeatureSet(network, f"{name}+{BASELINE}", [block, *joint], joined=True)
        for name, block in stages.items()
    ]
    return [*alone, everything, *pairs, together]


def score_sets(
    sets: Sequence[FeatureSet], y: Floats, halves: Halves, protocol: Protocol
) -> list[ScoredSet]:
    """Score all sets; raise InputError, naming the set, if none of its features varies."""
    scored = []
    with progress("fitting", len(sets)) as bar:
        for features in sets:
            bar.label = f"fitting {features.label}"
            try:
                scores = score(features.blocks, y, halves, protocol, features.joined)
                scored.append(ScoredSet(features, scores))
            except InputError as error:
                raise InputError(f"{features.name} ({features.network}): {error}") from None
            bar.advance()
    return scored


def best_stage(scored: Sequence[ScoredSet], network: str, stages: Sequence[str]) -> ScoredSet:
    """Return the scores of the stage that is chosen anew in each training half, for each target.

    It is the stage with the least squared error in training sounds that were left out; the test
    half, on which it is scored, has no part in the choice. So its score is not biased upwards, as
    that of the best of several stages would be. ``stages`` are the candidates.
    """
    candidates = [
        each
        for name in stages
        for each in scored
        if (each.features.network, each.features.name) == (network, name)
    ]
    index = np.argmin([each.scores.loss for each in candidates], axis=0)[None]

    def pick(name: str) -> NDArray[Any]:
        values = np.array([getattr(each.scores, name) for each in candidates])
        return np.asarray(np.take_along_axis(values, index, axis=0)[0])

    scores = Scores(pick("r2"), pick("determination"), pick("loss"), pick("at_edge"))
    return ScoredSet(FeatureSet(network, BEST, []), scores, np.array(stages)[index[0]])
