"""Which features of short sounds predict single responses: one value per sound and target, no time.

Ridge regression on one random half of the sounds, r2 on the other half, as Norman-Haignere,
Kanwisher and McDermott (2015, Neuron 88, 1281) and Tuckute et al. (2023, PLoS Biology 21, e3002366)
do. The features are those of `sound_features`, the responses those of `sound_responses`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.progress import progress
from neuromusic.encoding.ridge import fit_ridge
from neuromusic.encoding.sound_responses import Floats, Halves

FOLDS = 10  # of the training half, in which the penalty is chosen
CONSTANT = 1e-6  # share of a block's largest deviation below which a feature counts as constant
BASELINE = "baseline"
NO_NETWORK = "none"


# --- Scores ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scores:
    """How well one set of features predicts the test sounds; all arrays are (halves, targets)."""

    r2: Floats  # squared Pearson correlation, with the sign of the correlation
    determination: Floats  # 1 - squared error / variance around the mean of the test half
    at_edge: NDArray[np.bool_]  # whether the penalty is the smallest or largest of the grid


def score(blocks: Sequence[Floats], y: Floats, halves: Halves) -> Scores:
    """Predict targets from blocks of features by ridge regression, once per split into halves.

    Parameters
    ----------
    blocks : sequence of arrays (sounds, features)
        Each block is standardised over the training sounds and divided by the square root of its
        number of features, so that all blocks have the same weight.
    y : array (sounds, targets)
        Responses. The penalty of each target is chosen by ten-fold cross-validation in the training
        half.
    halves : sequence of pairs of arrays
        Indices of the training and test sounds of each split.

    Returns
    -------
    Scores
        NaN for a prediction that does not vary.

    Raises InputError if no feature varies.
    """
    r2, determination, at_edge = [], [], []
    for train, test in halves:
        x = np.concatenate([_standardised(block, train) for block in blocks], axis=1)
        if x.shape[1] == 0:
            raise InputError("no feature differs between the sounds; the stage may be inactive")
        # The training sounds are in random order, so every tenth of them is a random fold.
        groups = np.arange(len(train)) % FOLDS
        fit = fit_ridge(x[train], y[train], groups)
        predicted = fit.predict(x[test]).astype(np.float64)
        r2.append(signed_r2(y[test], predicted))
        residual = np.square(y[test] - predicted).sum(0)
        total = np.square(y[test] - y[test].mean(0)).sum(0)
        determination.append(1 - residual / total)
        at_edge.append(fit.lowest | fit.highest)
    return Scores(np.array(r2), np.array(determination), np.array(at_edge))


def _standardised(block: Floats, train: NDArray[np.int64]) -> Floats:
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
    a, b = measured - measured.mean(0), predicted - predicted.mean(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (a * b).sum(0) / np.sqrt(np.square(a).sum(0) * np.square(b).sum(0))
    return r * np.abs(r)


# --- Sets of features -----------------------------------------------------------------------------


@dataclass(frozen=True)
class FeatureSet:
    """Blocks of features (sounds, features) that predict together.

    ``network`` is "none" (the baseline), "trained" or "random" (weights before training).
    """

    network: str
    name: str
    blocks: list[Floats]

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
    """A set of features with its scores, of the targets first, then of the voxels."""

    features: FeatureSet
    scores: Scores


def baseline_sets(baseline: Mapping[str, Floats]) -> list[FeatureSet]:
    """Return each block of the baseline as a set, and all of them together as "baseline"."""
    sets = [FeatureSet(NO_NETWORK, name, [block]) for name, block in baseline.items()]
    return [*sets, FeatureSet(NO_NETWORK, BASELINE, list(baseline.values()))]


def stage_sets(
    network: str, stages: Mapping[str, Floats], baseline: Mapping[str, Floats]
) -> list[FeatureSet]:
    """Return a set for each stage and for "all" of them, alone and then with the baseline."""
    blocks = {**{name: [block] for name, block in stages.items()}, "all": list(stages.values())}
    joint = list(baseline.values())
    alone = [FeatureSet(network, name, parts) for name, parts in blocks.items()]
    together = [
        FeatureSet(network, f"{name}+{BASELINE}", [*parts, *joint])
        for name, parts in blocks.items()
    ]
    return [*alone, *together]


def score_sets(sets: Sequence[FeatureSet], y: Floats, halves: Halves) -> list[ScoredSet]:
    """Score all sets; raise InputError, naming the set, if none of its features varies."""
    scored = []
    with progress("fitting", len(sets)) as bar:
        for features in sets:
            bar.label = f"fitting {features.label}"
            try:
                scored.append(ScoredSet(features, score(features.blocks, y, halves)))
            except InputError as error:
                raise InputError(f"{features.name} ({features.network}): {error}") from None
            bar.advance()
    return scored


# --- Tables ---------------------------------------------------------------------------------------


def target_table(scored: Sequence[ScoredSet], targets: Sequence[str]) -> pd.DataFrame:
    """Return one row per set of features and target.

    Columns: network, features, n_features, target; r2 and R2 (means over the splits), r2_sd, r2_min
    and r2_max (over the splits); over_baseline (mean difference from the baseline's r2 on the same
    splits) and halves_over_baseline (number of splits with a positive difference).
    """
    baseline = next(each for each in scored if each.features.name == BASELINE).scores.r2
    rows = []
    for each in scored:
        for index, target in enumerate(targets):
            r2 = each.scores.r2[:, index]
            over = r2 - baseline[:, index]
            rows.append(
                {
                    **_set_columns(each.features),
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


def voxel_table(scored: Sequence[ScoredSet], n_targets: int) -> pd.DataFrame:
    """Return one row per set of features: quantiles over voxels of their means over the splits.

    Columns: network, features, n_features, r2 (median), r2_quarter, r2_three_quarters, r2_min and
    r2_max (smallest and largest of the splits' medians), R2 (median).
    """
    rows = []
    for each in scored:
        r2 = each.scores.r2[:, n_targets:]
        low, median, high = np.quantile(r2.mean(0), [0.25, 0.5, 0.75])
        medians = np.median(r2, axis=1)
        rows.append(
            {
                **_set_columns(each.features),
                "r2": median,
                "r2_quarter": low,
                "r2_three_quarters": high,
                "r2_min": medians.min(),
                "r2_max": medians.max(),
                "R2": np.median(each.scores.determination[:, n_targets:].mean(0)),
            }
        )
    return pd.DataFrame(rows)


def _set_columns(features: FeatureSet) -> dict[str, str | int]:
    return {
        "network": features.network,
        "features": features.name,
        "n_features": features.n_features,
    }
