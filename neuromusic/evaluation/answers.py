"""Read the answers of a network, listeners and brain decoders as tables: subject, true, answer."""

import difflib
import re
from pathlib import Path

import pandas as pd

from neuromusic.core.errors import InputError
from neuromusic.core.files import read_table
from neuromusic.evaluation.spreadsheet import read_first_sheet
from neuromusic.training.trained import SCORES

ANSWER = ["subject", "true", "answer"]
TRIAL_NAME = r"Run\d+_\d+"  # Run13_1: the first trial of test run 1, counted after 12 training runs
CORRECT = "Correct"  # the laboratory's column with the number of the true genre, from 1


def read_network(directory: Path) -> pd.DataFrame:
    """Return the answers of a network, or of a cross-validation, with the subject "network".

    Raises InputError if it was not evaluated.
    """
    path = Path(directory) / SCORES[1]
    if not path.is_file():
        raise InputError(f"{path}: does not exist; type 'neuromusic evaluate {directory}'")
    table = _read_columns(path, ("genre", "predicted"))
    return pd.DataFrame(
        {"subject": "network", "true": table["genre"], "answer": table["predicted"]}
    )


def read_decoding(path: Path, classes: list[str]) -> pd.DataFrame:
    """Return the genres that were decoded from brain images.

    The file is a TSV with the columns subject, y_true and y_pred, one row per clip and subject.
    Raises InputError for any other content, and for a genre that is not a class (with its row).
    """
    table = _read_columns(path, ("subject", "y_true", "y_pred"))
    for column in ("y_true", "y_pred"):
        unknown = table.index[~table[column].isin(classes)]
        if len(unknown):
            raise InputError(
                f"{path}, row {unknown[0] + 2}: {column} is {table[column][unknown[0]]!r}; "
                f"expected one of {', '.join(classes)}"
            )
    return table.set_axis(ANSWER, axis=1)


def _read_columns(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    try:
        table = read_table(path, as_text=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected a TSV") from None
    missing = [name for name in columns if name not in table]
    if missing:
        raise InputError(f"{path}: has no column {', '.join(missing)}")
    if table.empty:
        raise InputError(f"{path}: has no rows")
    return table[list(columns)]


# --- Listeners ------------------------------------------------------------------------------------


def read_behaviour(directory: Path, classes: list[str]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the answers of listeners, and header -> class for headers that are spelt differently.

    There is one spreadsheet per subject, such as ``CategoryJudge_sub-001.xlsx``, in the
    laboratory's form. Row 1 has one header per genre and ``Correct``. Each row below that begins
    with a name like ``Run13_1`` is a presentation, with a 1 in the column of the listener's answer
    and, under ``Correct``, the number of the true genre (from 1, in the order of the columns). A
    header is taken for the class that it resembles most.

    Raises InputError, with the file and the row, for anything else.
    """
    tables = []
    respelt: dict[str, str] = {}
    for path in spreadsheets(directory):
        sheet = read_first_sheet(path)
        columns, differing = _genre_columns(path, sheet, classes)
        respelt |= differing
        tables.append(_listener_answers(path, sheet, columns))
    return pd.concat(tables, ignore_index=True), respelt


def spreadsheets(directory: Path) -> list[Path]:
    """Return the spreadsheets in a directory, sorted; raise InputError if there are none."""
    paths = sorted(Path(directory).glob("[!~.]*.xlsx"))  # ~$x.xlsx: x is open in Excel
    if not paths:
        raise InputError(f"{directory}: has no spreadsheets (.xlsx); expected one per subject")
    return paths


def _headers(sheet: pd.DataFrame) -> dict[int, str]:
    """Return column -> header for the columns that have one."""
    if sheet.empty or sheet.index[0] != 1:
        return {}
    return {int(column): text for column, text in sheet.iloc[0].items() if text}


def _genre_columns(
    path: Path, sheet: pd.DataFrame, classes: list[str]
) -> tuple[dict[int, str], dict[str, str]]:
    """Return column -> class in the order of the sheet, and header -> class if they differ."""
    columns, differing = {}, {}
    headers = _headers(sheet)
    for column, header in headers.items():
        name = header.strip().lower()
        near = difflib.get_close_matches(name, classes, n=1, cutoff=0.8)
        if near:
            columns[column] = near[0]
            if near[0] != name:
                differing[header] = near[0]
    if sorted(columns.values()) != sorted(classes):
        raise InputError(
            f"{path}, row 1: has the headers {', '.join(headers.values()) or 'none'}; expected one "
            f"column for each of {', '.join(classes)}"
        )
    return columns, differing


def _listener_answers(path: Path, sheet: pd.DataFrame, columns: dict[int, str]) -> pd.DataFrame:
    correct = next((c for c, header in _headers(sheet).items() if header == CORRECT), None)
    if correct is None:
        raise InputError(f"{path}, row 1: has no column {CORRECT}, the number of the true genre")
    subject, genres = path.stem.split("_")[-1], list(columns.values())
    is_trial = sheet[0].str.fullmatch(TRIAL_NAME)  # the laboratory's sums follow below the trials
    rows = []
    for number, cells in sheet[is_trial & (sheet.index > 1)].iterrows():
        where = f"{path}, row {number} ({cells[0]})"
        answers = [genre for column, genre in columns.items() if cells[column] not in ("", "0")]
        if len(answers) != 1:
            raise InputError(f"{where}: has {len(answers)} answers; expected one")
        rows.append((subject, genres[_true_index(where, cells[correct], len(genres))], answers[0]))
    if not rows:
        raise InputError(f"{path}: has no row such as Run13_1 in its first column")
    return pd.DataFrame(rows, columns=ANSWER)


def _true_index(where: str, text: str, n_genres: int) -> int:
    """Return the index (from 0) of the true genre, whose number (from 1) is in a cell."""
    if not re.fullmatch(r"[0-9]+", text) or not 1 <= int(text) <= n_genres:
        raise InputError(f"{where}: {CORRECT} is {text!r}; expected a number from 1 to {n_genres}")
    return int(text) - 1
