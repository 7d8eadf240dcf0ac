"""What a network, listeners and decoders of brain images confuse with what, side by side."""

import difflib
import re
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.files import text_table
from neuromusic.evaluation.xlsx import read_first_sheet
from neuromusic.training.trained import SCORES

ANSWER = ["subject", "true", "answer"]
TRIAL_NAME = r"Run\d+_\d+"  # Run13_1: the first trial of test run 1, counted after 12 training runs
CORRECT = "Correct"  # the laboratory's column with the number of the true genre, from 1


# --- Reading ------------------------------------------------------------------------------------


def read_network(directory: Path) -> pd.DataFrame:
    """Return what a run, or a cross-validation, answered: subject ("network"), true, answer.

    Raises InputError where it was not evaluated.
    """
    path = Path(directory) / SCORES[1]
    if not path.is_file():
        raise InputError(f"{path}: is not there; type 'neuromusic evaluate {directory}'")
    table = _read_table(path, ("genre", "predicted"))
    return pd.DataFrame(
        {"subject": "network", "true": table["genre"], "answer": table["predicted"]}
    )


def read_decoding(path: Path, classes: list[str]) -> pd.DataFrame:
    """Return what was decoded from the brain images: subject, true, answer.

    A TSV with the columns subject, y_true, y_pred, a row a clip and subject. Raises InputError for
    another form, and for a genre that is not among the classes (with its row).
    """
    table = _read_table(path, ("subject", "y_true", "y_pred"))
    for column in ("y_true", "y_pred"):
        unknown = table.index[~table[column].isin(classes)]
        if len(unknown):
            raise InputError(
                f"{path}, row {unknown[0] + 2}: {column} is {table[column][unknown[0]]!r}; "
                f"expected one of {', '.join(classes)}"
            )
    return table.set_axis(ANSWER, axis=1)


def _read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    try:
        table = text_table(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected a TSV") from None
    except ValueError as error:
        raise InputError(f"{path}: is no readable table ({error})") from None
    lacking = [name for name in columns if name not in table]
    if lacking:
        raise InputError(f"{path}: has no column {', '.join(lacking)}")
    if table.empty:
        raise InputError(f"{path}: has no rows")
    return table[list(columns)]


def read_behaviour(directory: Path, classes: list[str]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return what the listeners said: subject, true, answer; and header -> class where they differ.

    One spreadsheet a subject, ``CategoryJudge_sub-001.xlsx`` and the like, as the laboratory keeps
    them: row 1 has a genre a column and ``Correct``, each ``Run13_1`` below is a presentation, with
    a 1 in the column of the genre that was said and, under ``Correct``, the number of the true one
    (from 1, in the order of the columns). A header is read as the class that it is most like.

    Raises InputError, with the file and the row, for anything else.
    """
    tables = []
    renamed: dict[str, str] = {}
    for path in _spreadsheets(directory):
        rows = read_first_sheet(path)
        columns, odd = _genre_columns(path, rows.get(1, {}), classes)
        renamed |= odd
        tables.append(_answers(path, rows, columns))
    return pd.concat(tables, ignore_index=True), renamed


def _spreadsheets(directory: Path) -> list[Path]:
    paths = sorted(Path(directory).glob("[!~.]*.xlsx"))  # ~$x.xlsx: x is open in Excel
    if not paths:
        raise InputError(f"{directory}: has no spreadsheets (.xlsx); expected one a subject")
    return paths


def _genre_columns(
    path: Path, head: dict[str, str], classes: list[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return column -> class in the order of the sheet, and header -> class where they differ."""
    columns, odd = {}, {}
    for column, header in head.items():
        near = difflib.get_close_matches(header.strip().lower(), classes, n=1, cutoff=0.8)
        if near:
            columns[column] = near[0]
            if near[0] != header.strip().lower():
                odd[header] = near[0]
    if sorted(columns.values()) != sorted(classes):
        raise InputError(
            f"{path}, row 1: has the headers {', '.join(head.values()) or 'none'}; expected one "
            f"column for each of {', '.join(classes)}"
        )
    return columns, odd


def _answers(path: Path, rows: dict[int, dict[str, str]], columns: dict[str, str]) -> pd.DataFrame:
    correct = next((c for c, header in rows[1].items() if header == CORRECT), None)
    if correct is None:
        raise InputError(f"{path}, row 1: has no column {CORRECT}, the number of the true genre")
    genres = list(columns.values())
    found = []
    for number, row in rows.items():
        if number == 1 or not re.fullmatch(TRIAL_NAME, row.get("A", "")):
            continue  # the laboratory's sums below the table
        said = [genre for column, genre in columns.items() if row.get(column, "0") != "0"]
        if len(said) != 1:
            raise InputError(
                f"{path}, row {number} ({row['A']}): has {len(said)} answers; expected one"
            )
        truth = row.get(correct, "")
        if not truth.isdecimal() or not 1 <= int(truth) <= len(genres):
            raise InputError(
                f"{path}, row {number} ({row['A']}): {CORRECT} is {truth!r}; expected a number "
                f"from 1 to {len(genres)}"
            )
        found.append((path.stem.split("_")[-1], genres[int(truth) - 1], said[0]))
    if not found:
        raise InputError(f"{path}: has no row such as Run13_1 in its first column")
    return pd.DataFrame(found, columns=ANSWER)


# --- Comparing ----------------------------------------------------------------------------------


def count(answers: pd.DataFrame, classes: list[str]) -> NDArray[np.int64]:
    """Return counts (n, n) of answers: row the true class, column the answer."""
    table = pd.crosstab(answers["true"], answers["answer"])
    return table.reindex(index=classes, columns=classes, fill_value=0).to_numpy(np.int64)


def shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return counts (n, n) with rows that add up to 1."""
    return np.asarray(counts / counts.sum(1, keepdims=True), dtype=np.float64)
