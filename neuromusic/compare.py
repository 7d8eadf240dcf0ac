"""Runs and cross-validations in one ranked table, as text, TSV, Markdown and a figure."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuromusic.errors import InputError
from neuromusic.models.table import multiply_adds
from neuromusic.progress import Say
from neuromusic.provenance import new_directory, record, sha256
from neuromusic.report import figures
from neuromusic.rundir import SCORES, SECONDS, load_run

# Column -> (its head in text and Markdown, how a value is written there).
COLUMNS = {
    "rank": ("", "{:d}"),
    "run": ("run", "{}"),
    "model": ("model", "{}"),
    "accuracy": ("accuracy", "{:.3f}"),
    "accuracy_low": ("from", "{:.3f}"),
    "accuracy_high": ("to", "{:.3f}"),
    "cross_entropy": ("cross-entropy", "{:.3f}"),
    "macro_f1": ("macro F1", "{:.3f}"),
    "n": ("n", "{:d}"),
    "random_weights": ("random weights", "{:.3f}"),
    "parameters": ("parameters", "{:,}"),
    "multiply_adds": ("multiply-adds", "{:,}"),
    "seconds_an_epoch": ("s an epoch", "{:.1f}"),
    "published": ("published", "{:.4g}"),
    "published_what": ("of", "{}"),
}


def read_scores(directory: Path) -> tuple[dict[str, Any], frozenset[str]]:
    """Return a row of the table and the clips that were scored, of a run or a cross-validation.

    Multiply-adds are those of one window; seconds an epoch the median over the epochs of all folds
    (NaN for what was trained before they were told). Raises InputError where there are no scores.
    """
    files = [directory / name for name in SCORES]
    absent = [path for path in files if not path.is_file()]
    if absent:
        raise InputError(f"{absent[0]}: is not there; type 'neuromusic evaluate {directory}'")
    try:
        scores = json.loads(files[0].read_text("utf-8"))
        clips = pd.read_csv(files[1], sep="\t", usecols=["clip"])["clip"]
        clip = scores["clip"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{directory}: has damaged scores ({error}); evaluate it again") from None
    runs = sorted(directory.glob("fold-*")) or [directory]
    run = load_run(runs[0])
    timed = [pd.read_csv(path / SECONDS) for path in runs if (path / SECONDS).is_file()]
    published = run.config.published
    row = {
        "run": str(directory),
        "model": scores["model"],
        "accuracy": clip["accuracy"],
        "accuracy_low": clip["accuracy_ci95"][0],
        "accuracy_high": clip["accuracy_ci95"][1],
        "cross_entropy": clip["cross_entropy"],
        "macro_f1": clip["macro_f1"],
        "n": clip["n"],
        "random_weights": scores["random_weights"]["accuracy"],
        "parameters": scores["parameters"],
        "multiply_adds": multiply_adds(run.network),
        "seconds_an_epoch": float(pd.concat(timed)["seconds"].median()) if timed else np.nan,
        "published": np.nan if published.accuracy is None else published.accuracy,
        "published_what": published.what or np.nan,
        "chance": scores["chance"],
    }
    return row, frozenset(clips)


def ranked(directories: list[Path], top: int | None = None) -> tuple[pd.DataFrame, str | None]:
    """Return (the table, best accuracy first, a warning where not all scored the same clips).

    Equal accuracies are ordered by their cross-entropy.
    """
    rows, clips = zip(*(read_scores(Path(path)) for path in directories), strict=True)
    table = pd.DataFrame(list(rows)).sort_values(
        ["accuracy", "cross_entropy"], ascending=[False, True], kind="stable"
    )
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    warning = None
    if len(set(clips)) > 1:
        warning = (
            f"these {len(rows)} were not scored on the same clips (n from {table['n'].min()} to "
            f"{table['n'].max()}); their ranks say little"
        )
    return table.head(top).reset_index(drop=True), warning


def texts(table: pd.DataFrame) -> list[list[str]]:
    """Return head and rows as text, without the columns in which nothing is known."""
    known = [name for name in COLUMNS if table[name].notna().any()]
    lines = [[COLUMNS[name][0] for name in known]]
    for row in table[known].to_dict("records"):
        lines.append([_cell(name, row[str(name)]) for name in known])
    return lines


def _cell(name: str, value: Any) -> str:
    return "-" if pd.isna(value) else COLUMNS[name][1].format(value)


def as_text(table: pd.DataFrame) -> str:
    """Return the table with columns in line, words to the left and numbers to the right."""
    lines = texts(table)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    left = {COLUMNS[name][0] for name in ("run", "model", "published_what")}
    return "\n".join(
        "  ".join(
            text.ljust(width) if head in left else text.rjust(width)
            for text, width, head in zip(line, widths, lines[0], strict=True)
        ).rstrip()
        for line in lines
    )


def as_markdown(table: pd.DataFrame) -> str:
    """Return the table in Markdown."""
    head, *rows = texts(table)
    lines = [head, ["---"] * len(head), *rows]
    safe = [[text.replace("|", "\\|") for text in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in safe) + "\n"


def compare(directories: list[Path], top: int | None, out: Path | None, say: Say) -> str | None:
    """Say the ranked table and, with ``out``, write it there; return the warning of `ranked`."""
    table, warning = ranked(directories, top)
    say(as_text(table))
    if out is None:
        return warning
    inputs = {str(path): sha256(Path(path) / SCORES[0]) for path in directories}
    with new_directory(out, record("compare", {"top": top}, inputs)) as part:
        tsv = table[list(COLUMNS)].to_csv(sep="\t", index=False, na_rep="n/a", float_format="%.6g")
        (part / "table.tsv").write_text(tsv, "utf-8")
        (part / "table.md").write_text(as_markdown(table), "utf-8")
        figures.save(figures.comparison(table), part / "table.png")
    say(f"wrote {out}: table.tsv, table.md and table.png")
    return warning
