"""The tables of a comparison as plain text and as Markdown."""

from typing import Any

import pandas as pd

from neuromusic.evaluation.comparison import PAIRS

Columns = dict[str, tuple[str, str]]  # column -> (its heading, the format of its values)

COLUMNS: Columns = {
    "rank": ("", "{:d}"),
    "run": ("network", "{}"),
    "model": ("model", "{}"),
    "n_seeds": ("seeds", "{:d}"),
    "accuracy": ("accuracy", "{:.3f}"),
    "accuracy_low": ("from", "{:.3f}"),
    "accuracy_high": ("to", "{:.3f}"),
    "accuracy_sd": ("SD", "{:.3f}"),
    "accuracy_min": ("min", "{:.3f}"),
    "accuracy_max": ("max", "{:.3f}"),
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
    "seconds_an_epoch": ("s per epoch", "{:.1f}"),
    "published": ("published", "{:.4g}"),
    "published_what": ("source", "{}"),
}
SHORT = (
    "rank", "run", "n_seeds", "accuracy", "accuracy_low", "accuracy_high", "macro_f1", "n",
    "accuracy_clean", "random_weights", "parameters",
)  # fmt: skip
# What a message shows: all columns are too wide for a terminal.
SHORT_COLUMNS: Columns = {name: COLUMNS[name] for name in SHORT}
PAIR_FORMATS = (
    ("first", "{}"),
    ("second", "{}"),
    ("difference", "{:+.3f}"),
    ("from", "{:+.3f}"),
    ("to", "{:+.3f}"),
    ("only first", "{:.0f}"),
    ("only second", "{:.0f}"),
    ("two-sided p, McNemar", "{:.2g}"),
    ("Holm", "{:.2g}"),
    ("two-sided p, sign flips", "{:.2g}"),
    ("Holm ", "{:.2g}"),
    ("n", "{:d}"),
    ("groups", "{:d}"),
)
PAIR_COLUMNS: Columns = dict(zip(PAIRS, PAIR_FORMATS, strict=True))
LEFT_ALIGNED = {"network", "model", "source", "first", "second"}  # headings of columns of words
MOST_PAIRS = 15  # shown; of more, those of the best setting


def as_text(table: pd.DataFrame, columns: Columns = COLUMNS) -> str:
    """Return a table in aligned columns, words to the left and numbers to the right."""
    lines = _cells(table, columns)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            text.ljust(width) if heading in LEFT_ALIGNED else text.rjust(width)
            for text, width, heading in zip(line, widths, lines[0], strict=True)
        ).rstrip()
        for line in lines
    )


def as_markdown(table: pd.DataFrame, columns: Columns = COLUMNS) -> str:
    """Return a table in Markdown."""
    headings, *rows = _cells(table, columns)
    lines = [headings, ["---"] * len(headings), *rows]
    escaped = [[text.replace("|", "\\|") for text in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped) + "\n"


def pairs_text(pairs: pd.DataFrame, best: str, over: str, n_tested: int) -> str:
    """Return the pairs as text, with notes; of many pairs, only those of the setting ``best``.

    ``n_tested`` p values were corrected, including those of pairs that are not in the table.
    """
    shown = pairs if len(pairs) <= MOST_PAIRS else pairs[pairs["first"] == best]
    untested = int(pairs["p_mcnemar"].isna().sum())
    lines = [f"pairs on the same clips; 95 % intervals over {over}"]
    if untested < len(pairs):
        lines[0] += f"; Holm over all {n_tested} p values"
    lines.append(as_text(shown, PAIR_COLUMNS))
    if len(shown) < len(pairs):
        lines.append(f"only pairs of the best are shown; pairs.tsv in out has all {len(pairs)}")
    if untested < len(pairs) and over.startswith("artists"):
        lines.append(
            "McNemar's test assumes independent clips; the sign flips, over artists, do not"
        )
    if untested:
        lines.append(
            f"{untested} of {len(pairs)} pairs have no p value, because of several seeds: a test "
            f"over {over.split()[0]} would be about these seeds only; the interval covers others"
        )
    return "\n".join(lines)


def _cells(table: pd.DataFrame, columns: Columns) -> list[list[str]]:
    """Return headings and rows as text, without columns that have no values."""
    names = [name for name in columns if table[name].notna().any()]
    if "n_seeds" in names and (table["n_seeds"] == 1).all():
        names.remove("n_seeds")
    lines = [[columns[name][0] for name in names]]
    for row in table[names].to_dict("records"):
        lines.append([_cell(columns[str(name)][1], value) for name, value in row.items()])
    return lines


def _cell(form: str, value: Any) -> str:
    return "-" if pd.isna(value) else form.format(value)
