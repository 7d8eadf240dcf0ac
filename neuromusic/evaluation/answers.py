"""Read the answers of a network, listeners and brain decoders as tables: subject, true, answer."""

import difflib
from pathlib import Path

import pandas as pd

from neuromusic.core.errors import InputError, listed
from neuromusic.core.folders import nfc
from neuromusic.core.tables import read_table
from neuromusic.evaluation.spreadsheet import read_sheets
from neuromusic.training.trained import SCORES

ANSWER = ["subject", "true", "answer"]
# Run13_1: the first trial of test run 1, counted after 12 training runs
TRIAL_NAME = r"(?i:run)\d+_\d+"
CORRECT = "correct"  # the laboratory's column with the number of the true genre, from 1
SUFFIXES = (".xlsx", ".ods")


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
                f"expected one of {listed(classes)}"
            )
    return table.set_axis(ANSWER, axis=1)


def _read_columns(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    try:
        table = read_table(path, columns=columns, as_text=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected a TSV") from None
    if table.empty:
        raise InputError(f"{path}: has no rows")
    return table[list(columns)].map(nfc)


# --- Listeners ------------------------------------------------------------------------------------


def read_behaviour(directory: Path, classes: list[str]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the answers of listeners, and header -> class for headers that are spelt differently.

    There is one spreadsheet (.xlsx or .ods) per subject, such as ``CategoryJudge_sub-001.xlsx``, in
    the laboratory's form, on its only sheet with these headers. The first row has one header per
    genre and ``Correct``. Each row below with a name like ``Run13_1`` is a presentation, with a 1
    in the column of the listener's answer and, under ``Correct``, the number of the true genre
    (from 1, in the order of the columns). A header is taken for the class that it resembles most.

    Raises InputError, with the file and the row, for anything else.
    """
    tables = []
    respelt: dict[str, str] = {}
    for path in spreadsheets(directory):
        sheet = _answer_sheet(path, classes)
        columns, differing = _genre_columns(path, sheet, classes)
        respelt |= differing
        tables.append(_listener_answers(path, sheet, columns))
    return pd.concat(tables, ignore_index=True), respelt


def spreadsheets(directory: Path) -> list[Path]:
    """Return the spreadsheets in a directory, sorted.

    Raises InputError if there are none, or two of one subject.
    """
    paths = sorted(
        path
        for path in Path(directory).glob("[!~.]*")  # ~$x.xlsx: x is open in Excel
        if path.suffix.lower() in SUFFIXES and path.is_file()
    )
    if not paths:
        raise InputError(
            f"{directory}: has no spreadsheets ({', '.join(SUFFIXES)}); expected one per subject"
        )
    by_subject: dict[str, Path] = {}
    for path in paths:
        first = by_subject.setdefault(_subject(path), path)
        if first is not path:
            raise InputError(
                f"{path}: is of {_subject(path)}, as {first.name} is; expected one per subject"
            )
    return paths


def _subject(path: Path) -> str:
    return path.stem.split("_")[-1]


def _answer_sheet(path: Path, classes: list[str]) -> pd.DataFrame:
    """Return the only sheet with headers of genres, or the first if there is none."""
    sheets = read_sheets(path)
    with_headers = [
        name
        for name, sheet in sheets.items()
        if _is_complete(_match_headers(_headers(sheet), classes)[0], classes)
    ]
    if len(with_headers) > 1:
        raise InputError(
            f"{path}: has several sheets of answers ({', '.join(with_headers)}); keep one of them"
        )
    return sheets[with_headers[0] if with_headers else next(iter(sheets))]


def _header_row(sheet: pd.DataFrame) -> int:
    """Return the number of the first row that is not empty."""
    filled = sheet.index[(sheet != "").any(axis=1)]
    return int(filled[0]) if len(filled) else 1


def _headers(sheet: pd.DataFrame) -> dict[int, str]:
    """Return column -> header for the columns that have one."""
    if sheet.empty:
        return {}
    row = sheet.loc[_header_row(sheet)]
    return {int(column): text for column, text in row.items() if text.strip()}


def _match_headers(
    headers: dict[int, str], classes: list[str]
) -> tuple[dict[int, str], dict[str, str]]:
    """Return column -> class in the order of the sheet, and header -> class if they differ."""
    columns, differing = {}, {}
    for column, header in headers.items():
        name = header.strip().lower()
        near = difflib.get_close_matches(name, classes, n=1, cutoff=0.8)
        if near:
            columns[column] = near[0]
            if near[0] != name:
                differing[header] = near[0]
    return columns, differing


def _is_complete(columns: dict[int, str], classes: list[str]) -> bool:
    return sorted(columns.values()) == sorted(classes)


def _genre_columns(
    path: Path, sheet: pd.DataFrame, classes: list[str]
) -> tuple[dict[int, str], dict[str, str]]:
    """Return what `_match_headers` returns; raise InputError if a class has no column."""
    headers = _headers(sheet)
    columns, differing = _match_headers(headers, classes)
    if not _is_complete(columns, classes):
        raise InputError(
            f"{path}, row {_header_row(sheet)}: has the headers "
            f"{', '.join(headers.values()) or 'none'}; expected one column for each of "
            f"{', '.join(classes)}"
        )
    return columns, differing


def _listener_answers(path: Path, sheet: pd.DataFrame, columns: dict[int, str]) -> pd.DataFrame:
    first = _header_row(sheet)
    headers = _headers(sheet)
    correct = next((c for c, header in headers.items() if header.strip().lower() == CORRECT), None)
    if correct is None:
        raise InputError(
            f"{path}, row {first}: has no column Correct, the number of the true genre"
        )
    genres = list(columns.values())
    is_name = sheet.apply(lambda column: column.str.strip().str.fullmatch(TRIAL_NAME))
    names = sheet[is_name.any().idxmax()].str.strip()
    rows: list[tuple[str, str, str]] = []
    places: dict[str, int] = {}
    # The laboratory's sums follow below the trials.
    for number, cells in sheet[is_name.any(axis=1) & (sheet.index > first)].iterrows():
        name = names[number]
        where = f"{path}, row {number} ({name})"
        if places.setdefault(name, number) != number:
            raise InputError(f"{where}: is already in row {places[name]}")
        answers = [genre for column, genre in columns.items() if _is_marked(cells[column])]
        if len(answers) != 1:
            raise InputError(f"{where}: has {len(answers)} answers; expected one")
        true = genres[_true_index(where, cells[correct], len(genres))]
        rows.append((_subject(path), true, answers[0]))
    if not rows:
        raise InputError(f"{path}: has no row such as Run13_1 in its first column")
    return pd.DataFrame(rows, columns=ANSWER)


def _is_marked(cell: str) -> bool:
    """Return whether a cell is marked: by a number other than 0, or by any text."""
    return bool(cell.strip()) and _number(cell) != 0


def _number(cell: str) -> float | None:
    """Return the number in a cell, which may be text such as 1.0 or 1,0; None for other text."""
    try:
        return float(cell.strip().replace(",", "."))
    except ValueError:
        return None


def _true_index(where: str, text: str, n_genres: int) -> int:
    """Return the index (from 0) of the true genre, whose number (from 1) is in a cell."""
    number = _number(text)
    if number is None or number not in range(1, n_genres + 1):
        raise InputError(f"{where}: Correct is {text!r}; expected a number from 1 to {n_genres}")
    return int(number) - 1
