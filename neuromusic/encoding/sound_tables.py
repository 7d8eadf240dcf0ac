"""Tables of an encoding of single responses, with the published values of the natural sounds."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from neuromusic.encoding.sound_encoding import (
    BASELINE,
    BEST,
    FeatureSet,
    ScoredSet,
)
from neuromusic.encoding.sound_responses import Floats, Protocol
from neuromusic.stats.multiple import holm
from neuromusic.stats.resampled_t import corrected_resampled_t

PUBLISHED = "published"
N_PUBLISHED_SOUNDS = 165
PUBLISHED_TARGETS = ("lowfreq", "highfreq", "envsounds", "pitch", "speech", "music")
SPECTROTEMPORAL = "SpectroTemporal"
PERMUTED = "CochResNet50-MultiTask, permuted weights"
PUBLISHED_R2 = {
    SPECTROTEMPORAL: (0.71, 0.55, 0.45, 0.53, 0.66, 0.34),
    "CochResNet50-MultiTask": (0.88, 0.83, 0.61, 0.87, 0.87, 0.73),
    "CochCNN9-MultiTask": (0.87, 0.80, 0.55, 0.85, 0.85, 0.76),
    "AST": (0.82, 0.76, 0.61, 0.83, 0.83, 0.77),
    "VGGish": (0.84, 0.77, 0.51, 0.87, 0.86, 0.76),
    PERMUTED: (0.55, 0.50, 0.21, 0.21, 0.09, 0.07),
}
SOURCE = "Tuckute et al. (2023), PLoS Biology 21(12):e3002366"
SOURCE_BEST = f"{SOURCE}; best stage, chosen on five of the ten splits, scored on the other five"
CHOICE = {
    "ours": "chosen in each training half by ten-fold cross-validation",
    "tuckute2023": "chosen in each training half by leave-one-out",
}


def centre(protocol: Protocol) -> Callable[..., Floats]:
    """Return what summarises the splits: the mean (ours) or the median (tuckute2023)."""
    return np.mean if protocol == "ours" else np.median


def target_table(
    scored: Sequence[ScoredSet], targets: Sequence[str], n_train: int, n_test: int,
    protocol: Protocol,
) -> pd.DataFrame:  # fmt: skip
    """Return one row per set of features and target.

    Columns: protocol, network, features, n_features, target; r2 and R2 (mean over the splits, or
    median with "tuckute2023"), r2_sd, r2_min and r2_max (over the splits); over_baseline (mean
    difference from the baseline's r2 on the same splits), over_baseline_t and over_baseline_p
    (corrected resampled t test, two-sided, for ``n_train`` and ``n_test`` sounds in a split),
    over_baseline_p_holm (corrected over the rows of one target and network, alone or with the
    baseline); note (how a best stage was chosen).
    """
    baseline = next(each for each in scored if each.features.name == BASELINE).scores.r2
    middle = centre(protocol)
    rows = []
    for each in scored:
        for index, target in enumerate(targets):
            r2 = each.scores.r2[:, index]
            over = r2 - baseline[:, index]
            test = corrected_resampled_t(over, n_train, n_test)
            rows.append(
                {
                    **_set_columns(each.features, protocol),
                    "target": target,
                    "r2": middle(r2),
                    "r2_sd": r2.std(ddof=1) if len(r2) > 1 else np.nan,
                    "r2_min": r2.min(),
                    "r2_max": r2.max(),
                    "R2": middle(each.scores.determination[:, index]),
                    "over_baseline": over.mean(),
                    "over_baseline_t": float(test.t),
                    "over_baseline_p": float(test.p),
                    "note": _note(each, index, protocol),
                }
            )
    table = _with_counts(rows)
    corrected = table.groupby([*_family(table), table["target"]])["over_baseline_p"].transform(holm)
    table.insert(table.columns.get_loc("note"), "over_baseline_p_holm", corrected)
    return table


def _family(table: pd.DataFrame) -> list[pd.Series]:
    """Return the groups of rows that are corrected together, besides the target.

    A best stage is one test, because it was chosen without the test sounds.
    """
    kind = np.select(
        [table["features"] == BEST, table["features"].str.endswith(f"+{BASELINE}")],
        ["best", "with baseline"],
        "alone",
    )
    return [table["network"], pd.Series(kind, table.index)]


def _note(each: ScoredSet, target: int, protocol: Protocol) -> str | None:
    """Return how a best stage was chosen, and in how many splits it was which."""
    if each.chosen is None:
        return None
    counts = Counter(each.chosen[:, target].tolist()).most_common()
    return f"{CHOICE[protocol]}: " + ", ".join(f"{name} {n}" for name, n in counts)


def voxel_table(scored: Sequence[ScoredSet], n_targets: int, protocol: Protocol) -> pd.DataFrame:
    """Return one row per set of features: quantiles over reconstructed voxels.

    Columns: protocol, network, features, n_features, r2 (median over the voxels of their mean or
    median over the splits), r2_quarter, r2_three_quarters, r2_min and r2_max (smallest and largest
    of the splits' medians), R2 (median).
    """
    middle = centre(protocol)
    rows = []
    for each in scored:
        r2 = each.scores.r2[:, n_targets:]
        low, median, high = np.quantile(middle(r2, axis=0), [0.25, 0.5, 0.75])
        medians = np.median(r2, axis=1)
        rows.append(
            {
                **_set_columns(each.features, protocol),
                "r2": median,
                "r2_quarter": low,
                "r2_three_quarters": high,
                "r2_min": medians.min(),
                "r2_max": medians.max(),
                "R2": np.median(middle(each.scores.determination[:, n_targets:], axis=0)),
            }
        )
    return _with_counts(rows)


def _with_counts(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Return a table whose n_features are whole numbers, or missing."""
    return pd.DataFrame(rows).astype({"n_features": "Int64"})


def _set_columns(features: FeatureSet, protocol: Protocol) -> dict[str, str | int | None]:
    return {
        "protocol": protocol,
        "network": features.network,
        "features": features.name,
        "n_features": features.n_features or None,
    }


# --- Published values -----------------------------------------------------------------------------


def published_rows(targets: Sequence[str], n_sounds: int) -> pd.DataFrame:
    """Return the published r2 of the six components of Norman-Haignere et al. (2015), or no rows.

    Columns: protocol, network ("published"), features (the model), target, r2 and note (source).
    Names of targets are compared without case, spaces and punctuation, and may be longer
    ("low frequency"). There are no rows if the targets are others, or the sounds are not 165.
    """
    columns = {_plain(name): name for name in targets}
    if n_sounds != N_PUBLISHED_SOUNDS or set(columns) != set(PUBLISHED_TARGETS):
        return pd.DataFrame()
    return pd.DataFrame(
        {
            "protocol": "tuckute2023",
            "network": PUBLISHED,
            "features": model,
            "target": columns[name],
            "r2": value,
            "note": SOURCE if model == SPECTROTEMPORAL else SOURCE_BEST,
        }
        for model, values in PUBLISHED_R2.items()
        for name, value in zip(PUBLISHED_TARGETS, values, strict=True)
    )


def _plain(name: str) -> str:
    """Return the name of a component as in PUBLISHED_TARGETS, if it is one of them."""
    plain = "".join(filter(str.isalnum, name.lower()))
    return plain.replace("frequency", "freq").replace("environmental", "env")
