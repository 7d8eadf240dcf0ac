"""Rank networks and cross-validations in one table, and test each pair on the same clips.

Networks that differ only in their seed are one setting: its row is their mean, never the best of
them. Definitions of all columns: docs/explanation/trust.md.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.progress import track
from neuromusic.design.artists import read_artists, with_artists
from neuromusic.evaluation.metrics import one_group
from neuromusic.evaluation.stored_scores import (
    StoredScores,
    group_by_setting,
    read_scores,
    setting_name,
)
from neuromusic.stats.intervals import accuracy_ci95, difference_ci95
from neuromusic.stats.multiple import holm
from neuromusic.stats.significance import mcnemar, sign_flip_test
from neuromusic.training.trained import SCORES

Setting = Sequence[StoredScores]  # the repeats of one setting

# Columns of pairs.tsv, in order.
PAIRS = (
    "first", "second", "difference", "difference_low", "difference_high", "only_first",
    "only_second", "p_mcnemar", "p_mcnemar_holm", "p_flips", "p_flips_holm", "n", "n_groups",
)  # fmt: skip
# Columns of a row that are averaged over the repeats of a setting.
MEANS = (
    "accuracy", "cross_entropy", "brier", "calibration_error", "macro_f1", "accuracy_clean",
    "random_weights", "seconds_an_epoch",
)  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """Settings ranked by accuracy, and tests of each pair of them.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per setting, the highest accuracy first: its rank, scores, intervals and cost.
    pairs : pandas.DataFrame
        One row per pair of settings that scored the same clips: the difference in accuracy, its
        interval and two-sided p values, which are corrected for all pairs that have one (Holm).
        A pair in which a setting has several seeds has no p value, see `_pair`.
    warnings : list of str
        Why ranks or repeats should be read with care.
    """

    table: pd.DataFrame
    pairs: pd.DataFrame
    warnings: list[str]


def compare_networks(directories: Sequence[Path], artists: Path | None = None) -> Comparison:
    """Compare evaluated networks and cross-validations.

    Equal accuracies are ordered by cross-entropy. Intervals (95 %) are over clips or, with an
    artist table, over artists, and over the seeds of a setting. Only settings that scored the same
    clips form a pair; p values are two-sided and corrected for all pairs that have one.

    Raises InputError if a directory has no scores, or if two disagree on the genre of a clip.
    """
    settings, warnings = group_by_setting([read_scores(Path(path)) for path in directories])
    same_clips: dict[frozenset[str], list[Setting]] = {}
    for setting in settings:
        same_clips.setdefault(frozenset(setting[0].clips.index), []).append(setting)
    rows, pairs = [], []
    for group in same_clips.values():
        group_rows, group_pairs = _compare_on_same_clips(group, artists)
        rows += group_rows
        pairs += group_pairs
        n_groups = len(np.unique(clip_groups(group[0][0].clips, artists)))
        if n_groups == 1:
            n, over = len(group[0][0].clips), "artists" if artists else "clips"
            warnings.append(f"{_name(group[0])}: {one_group(n, over)}")
    table = pd.DataFrame(rows).sort_values(
        ["accuracy", "cross_entropy"], ascending=[False, True], kind="stable", ignore_index=True
    )
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    pair_table = pd.DataFrame(pairs, columns=list(PAIRS))
    for name in ("p_mcnemar", "p_flips"):
        pair_table[f"{name}_holm"] = holm(pair_table[name])
    if len(same_clips) > 1:
        warnings.append(_different_clips_warning(same_clips))
    return Comparison(table, pair_table, warnings)


def _compare_on_same_clips(
    settings: Sequence[Setting], artists: Path | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of both tables for settings that scored the same clips."""
    _check_same_genres(settings)
    groups = clip_groups(settings[0][0].clips, artists)
    over = "artists" if artists else "clips"
    hits = [clip_hits(setting) for setting in settings]
    rows = [_row(s, accuracy_ci95(h, groups), over) for s, h in zip(settings, hits, strict=True)]
    order = sorted(range(len(rows)), key=lambda k: (-rows[k]["accuracy"], rows[k]["cross_entropy"]))
    index_pairs = list(itertools.combinations(order, 2))
    pairs = []
    for i, j in track(index_pairs, "compare pairs", len(index_pairs)):
        names = {"first": rows[i]["run"], "second": rows[j]["run"]}
        tests = _pair(hits[i], hits[j], groups, clustered=artists is not None)
        pairs.append(names | tests)
    return rows, pairs


def _check_same_genres(settings: Sequence[Setting]) -> None:
    """Raise InputError if the scores disagree on the true genre of a clip."""
    first = settings[0][0]
    for scores in itertools.chain.from_iterable(settings):
        differs = scores.clips["genre"].ne(first.clips["genre"])
        if differs.any():
            clip = differs.idxmax()
            raise InputError(
                f"{scores.directory / SCORES[1]}: {clip} is {scores.clips.loc[clip, 'genre']}, but "
                f"{first.clips.loc[clip, 'genre']} in {first.directory}"
            )


def clip_hits(setting: Setting) -> NDArray[np.float64]:
    """Return 1 for each clip that a repeat got right, otherwise 0: (seeds, clips)."""
    return np.stack([scores.clips["hit"].to_numpy(np.float64) for scores in setting])


def clip_groups(clips: pd.DataFrame, artists: Path | None) -> NDArray[np.int64]:
    """Return a number per clip that is equal for clips of one artist; without artists, per clip."""
    if artists is None:
        return np.arange(len(clips))
    table = read_artists(artists)
    named = with_artists(clips.reset_index()[["clip", "track"]], table, artists)
    return pd.factorize(named["artist"])[0].astype(np.int64)


def _row(setting: Setting, ci95: tuple[float, float], over: str) -> dict[str, Any]:
    """Return a setting's row of the table, with its interval over clips or artists, and seeds."""
    row = setting[0].row | {"interval_over": over}
    row["accuracy_low"], row["accuracy_high"] = ci95
    if len(setting) > 1:
        row["run"] = _name(setting)
        repeats = pd.DataFrame([scores.row for scores in setting])
        row |= {name: repeats[name].mean() for name in MEANS}
        row["n_seeds"] = len(setting)
        row["accuracy_sd"] = repeats["accuracy"].std(ddof=1)
        row["accuracy_min"], row["accuracy_max"] = repeats["accuracy"].agg(["min", "max"])
    return row


def _pair(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    groups: NDArray[np.int64],
    *,
    clustered: bool,
) -> dict[str, Any]:
    """Return the difference of a pair, its interval and its tests.

    ``first`` and ``second`` are hits (seeds, clips). McNemar's test needs independent clips; so if
    clips are ``clustered`` in ``groups``, a sign-flip test over whole groups is added. Both compare
    two networks as they are. With several seeds they would be tests of these seeds: two equivalent
    settings reach p < .05 in up to a quarter of cases. So there is only the interval, which covers
    other seeds too.
    """
    difference = first.mean(0) - second.mean(0)
    low, high = difference_ci95(first, second, groups)
    row = {
        "difference": float(difference.mean()), "difference_low": low, "difference_high": high,
        "only_first": np.nan, "only_second": np.nan, "p_mcnemar": np.nan, "p_flips": np.nan,
        "n": len(groups), "n_groups": len(np.unique(groups)),
    }  # fmt: skip
    if len(first) > 1 or len(second) > 1:
        return row
    test = mcnemar(first[0] > 0, second[0] > 0)
    row |= {"only_first": test.only_first, "only_second": test.only_second, "p_mcnemar": test.p}
    if clustered:
        row["p_flips"] = sign_flip_test(difference, groups)
    return row


def _name(setting: Setting) -> str:
    return setting_name([scores.directory for scores in setting])


def _different_clips_warning(same_clips: dict[frozenset[str], list[Setting]]) -> str:
    n_settings = sum(map(len, same_clips.values()))
    sizes = "; ".join(
        f"{len(clips)} clips: {', '.join(map(_name, group))}" for clips, group in same_clips.items()
    )
    return (
        f"these {n_settings} were not scored on the same clips, so their ranks mean little, and "
        f"pairs are compared only if they share their clips ({sizes})"
    )
