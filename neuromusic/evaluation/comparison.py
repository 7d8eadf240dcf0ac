"""Runs and cross-validations in one ranked table, and each pair of them on the same clips.

Runs that differ in nothing but their seed are one setting: its row is their mean, never the best of
them. What the numbers of both tables are: docs/trust.md.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.progress import track
from neuromusic.design.artists import read_artists, with_artists
from neuromusic.evaluation.results import Scored, by_setting, read_scores, setting_name
from neuromusic.stats.intervals import percentiles95
from neuromusic.stats.multiple import holm
from neuromusic.stats.resampling import bootstrap
from neuromusic.stats.significance import flip_test, mcnemar
from neuromusic.training.trained import SCORES

# Column -> (its head in text and Markdown, how a value is written there).
COLUMNS = {
    "rank": ("", "{:d}"),
    "run": ("run", "{}"),
    "model": ("model", "{}"),
    "n_seeds": ("seeds", "{:d}"),
    "accuracy": ("accuracy", "{:.3f}"),
    "accuracy_low": ("from", "{:.3f}"),
    "accuracy_high": ("to", "{:.3f}"),
    "accuracy_sd": ("SD", "{:.3f}"),
    "accuracy_min": ("least", "{:.3f}"),
    "accuracy_max": ("most", "{:.3f}"),
    "cross_entropy": ("cross-entropy", "{:.3f}"),
    "brier": ("Brier", "{:.3f}"),
    "calibration_error": ("calibration error", "{:.3f}"),
    "macro_f1": ("macro F1", "{:.3f}"),
    "n": ("n", "{:d}"),
    "accuracy_clean": ("clean", "{:.3f}"),
    "n_clean": ("n clean", "{:.0f}"),
    "random_weights": ("random weights", "{:.3f}"),
    "parameters": ("parameters", "{:,}"),
    "multiply_adds": ("multiply-adds", "{:,}"),
    "seconds_an_epoch": ("s an epoch", "{:.1f}"),
    "published": ("published", "{:.4g}"),
    "published_what": ("of", "{}"),
}
PAIRS = {
    "first": ("first", "{}"),
    "second": ("second", "{}"),
    "difference": ("difference", "{:+.3f}"),
    "difference_low": ("from", "{:+.3f}"),
    "difference_high": ("to", "{:+.3f}"),
    "only_first": ("only first", "{:.0f}"),
    "only_second": ("only second", "{:.0f}"),
    "p_mcnemar": ("p McNemar", "{:.2g}"),
    "p_mcnemar_holm": ("Holm", "{:.2g}"),
    "p_flips": ("p sign flips", "{:.2g}"),
    "p_flips_holm": ("Holm ", "{:.2g}"),
    "n": ("n", "{:d}"),
    "n_groups": ("groups", "{:d}"),
}
WORDS = {"run", "model", "of", "first", "second"}  # heads of columns that are set to the left
SHOWN = 15  # pairs that are said; beyond that those of the best alone
MEANS = ("accuracy", "cross_entropy", "brier", "calibration_error", "macro_f1", "accuracy_clean")


def hits_of(setting: Sequence[Scored]) -> NDArray[np.float64]:
    """Return which clips the runs of a setting got right, (seeds, clips) of 0 and 1."""
    return np.stack([one.clips["hit"].to_numpy(np.float64) for one in setting])


def groups_of(clips: pd.DataFrame, artists: Path | None) -> NDArray[np.int64]:
    """Return the number of each clip's artist, or of the clip where artists are not known."""
    if artists is None:
        return np.arange(len(clips))
    known = read_artists(artists)
    named = with_artists(clips.reset_index()[["clip", "track"]], known, artists)
    return pd.factorize(named["artist"])[0].astype(np.int64)


def _name(setting: Sequence[Scored]) -> str:
    return setting_name([one.directory for one in setting])


def _row(setting: Sequence[Scored], means: NDArray[np.float64], over: str) -> dict[str, Any]:
    row = dict(setting[0].row)
    if len(setting) > 1 or row["interval_over"] != over:  # else as it was evaluated, to the digit
        row["accuracy_low"], row["accuracy_high"] = percentiles95(means)
    if len(setting) > 1:
        row["run"] = _name(setting)
        every = pd.DataFrame([one.row for one in setting])
        row |= {name: every[name].mean() for name in (*MEANS, "random_weights", "seconds_an_epoch")}
        row["n_seeds"] = len(setting)
        row["accuracy_sd"] = every["accuracy"].std(ddof=1)
        row["accuracy_min"], row["accuracy_max"] = every["accuracy"].agg(["min", "max"])
    return row


def tables(
    directories: Sequence[Path], artists: Path | None = None
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Return (a row a setting, the best accuracy first; a row a pair of settings; warnings).

    Equal accuracies are ordered by their cross-entropy. Intervals are drawn over clips, or with an
    artist table over artists, and over the seeds of a setting. Only settings that scored the same
    clips make a pair; p values are corrected for all pairs.
    """
    settings, warnings = by_setting([read_scores(Path(path)) for path in directories])
    same: dict[frozenset[str], list[list[Scored]]] = {}
    for setting in settings:
        same.setdefault(frozenset(setting[0].clips.index), []).append(setting)
    rows, pairs = [], []
    for group in same.values():
        first = group[0][0]
        for one in itertools.chain.from_iterable(group):
            other = one.clips["genre"].ne(first.clips["genre"])
            if other.any():
                clip = other.idxmax()
                raise InputError(
                    f"{one.directory / SCORES[1]}: {clip} is {one.clips.loc[clip, 'genre']}, and "
                    f"{first.clips.loc[clip, 'genre']} in {first.directory}"
                )
        groups = groups_of(first.clips, artists)
        hits = [hits_of(setting) for setting in group]
        means = bootstrap(hits, groups)
        over = "artists" if artists else "clips"
        own = [_row(setting, drawn, over) for setting, drawn in zip(group, means, strict=True)]
        rows += own
        order = sorted(
            range(len(own)), key=lambda k: (-own[k]["accuracy"], own[k]["cross_entropy"])
        )
        couples = list(itertools.combinations(order, 2))
        for i, j in track(couples, "compare pairs", len(couples)):
            names = {"first": own[i]["run"], "second": own[j]["run"]}
            drawn = means[i] - means[j]
            pairs.append(names | _pair(hits[i], hits[j], drawn, groups, artists is not None))
    table = pd.DataFrame(rows).sort_values(
        ["accuracy", "cross_entropy"], ascending=[False, True], kind="stable", ignore_index=True
    )
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    paired = pd.DataFrame(pairs, columns=list(PAIRS))
    for name in ("p_mcnemar", "p_flips"):
        paired[f"{name}_holm"] = holm(paired[name])
    if len(same) > 1:
        sizes = "; ".join(
            f"{len(clips)} clips: {', '.join(map(_name, group))}" for clips, group in same.items()
        )
        warnings.append(
            f"these {len(table)} were not scored on the same clips, so their ranks say little, and "
            f"only those of the same clips are compared in pairs ({sizes})"
        )
    return table, paired, warnings


def _pair(
    first: NDArray[np.float64], second: NDArray[np.float64], drawn: NDArray[np.float64],
    groups: NDArray[np.int64], of_artists: bool,
) -> dict[str, Any]:  # fmt: skip
    """Return a row of the pairs for hits (seeds, clips) and bootstrapped differences."""
    difference = first.mean(0) - second.mean(0)
    low, high = percentiles95(drawn)
    row = {
        "difference": float(difference.mean()), "difference_low": low, "difference_high": high,
        "only_first": np.nan, "only_second": np.nan, "p_mcnemar": np.nan, "p_flips": np.nan,
        "n": len(groups), "n_groups": len(np.unique(groups)),
    }  # fmt: skip
    single = len(first) == len(second) == 1
    if single:
        counts = mcnemar(first[0] > 0, second[0] > 0)
        row |= dict(zip(("only_first", "only_second", "p_mcnemar"), counts, strict=True))
    if of_artists or not single:
        row["p_flips"] = flip_test(difference, groups)
    return row


# --- Text ---------------------------------------------------------------------------------------

Columns = dict[str, tuple[str, str]]


def texts(table: pd.DataFrame, columns: Columns = COLUMNS) -> list[list[str]]:
    """Return head and rows as text, without the columns in which nothing is known."""
    known = [name for name in columns if table[name].notna().any()]
    if "n_seeds" in known and (table["n_seeds"] == 1).all():
        known.remove("n_seeds")
    lines = [[columns[name][0] for name in known]]
    for row in table[known].to_dict("records"):
        lines.append([_cell(columns[str(name)][1], value) for name, value in row.items()])
    return lines


def _cell(form: str, value: Any) -> str:
    return "-" if pd.isna(value) else form.format(value)


def as_text(table: pd.DataFrame, columns: Columns = COLUMNS) -> str:
    """Return the table with columns in line, words to the left and numbers to the right."""
    lines = texts(table, columns)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            text.ljust(width) if head in WORDS else text.rjust(width)
            for text, width, head in zip(line, widths, lines[0], strict=True)
        ).rstrip()
        for line in lines
    )


def as_markdown(table: pd.DataFrame, columns: Columns = COLUMNS) -> str:
    """Return the table in Markdown."""
    head, *rows = texts(table, columns)
    lines = [head, ["---"] * len(head), *rows]
    safe = [[text.replace("|", "\\|") for text in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in safe) + "\n"


def pairs_text(pairs: pd.DataFrame, best: str, over: str) -> str:
    """Return what is said of the pairs: all of them where they are few, else those of the best."""
    shown = pairs if len(pairs) <= SHOWN else pairs[pairs["first"] == best]
    lines = [f"pairs on the same clips; intervals over {over}; Holm over all {len(pairs)} pairs"]
    lines.append(as_text(shown, PAIRS))
    if len(shown) < len(pairs):
        lines.append(f"those of the best are shown; with --out pairs.tsv has all {len(pairs)}")
    if pairs["p_mcnemar"].notna().any() and over != "clips":
        lines.append(
            "McNemar's test takes clips for independent; the sign flips, of artists, do not"
        )
    return "\n".join(lines)
