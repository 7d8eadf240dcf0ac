"""The first sheet of a spreadsheet (.xlsx), read by calamine after its size has been checked.

calamine allocates the whole rectangle of a sheet before it reads a cell, so a small file that names
a far cell would end the process. It therefore gets a copy of the parts that were checked here.
"""

import io
import re
import zipfile
from pathlib import Path

import pandas as pd

from neuromusic.core.errors import InputError
from neuromusic.core.files import readable

MOST_BYTES = 10_000_000  # of all parts together, unpacked; a laboratory's table has 80 kB
MOST_CELLS = 1_000_000  # rows x columns of a sheet
MOST_TEXT = 300_000_000  # cells x bytes of the strings that they share

REFERENCE = re.compile(r"""\br\s*=\s*["']([A-Za-z]*)(\d+)""")  # of a cell (B7) or a row (7)
CELL = re.compile(r"<(?:[^\s<>/:]+:)?c[\s/>]")
CELL_WITH_REFERENCE = re.compile(r'<(?:[^\s<>/:]+:)?c r="[A-Z]+\d+"')


def read_first_sheet(path: Path) -> pd.DataFrame:
    """Return the cells of the first sheet as text; an empty cell is an empty string.

    The index holds the row numbers of the sheet (from 1), the columns count from 0. Numbers are
    written without a fraction if they are whole; formulas give their last value.

    Raises InputError if the file is not a spreadsheet or is too large.
    """
    with readable(path, "spreadsheet (.xlsx)"):
        parts = _unpack(path)
        n_strings = sum(
            len(text) for name, text in parts.items() if "sharedstrings" in name.lower()
        )
        for name, text in parts.items():
            _check_extent(f"{path}: {name}", text, n_strings)
        table = pd.read_excel(
            _pack(parts), engine="calamine", header=None, dtype=object, na_filter=False
        )
    return table.map(_as_text).set_axis(table.index + 1)


def _unpack(path: Path) -> dict[str, str]:
    """Return name -> text of all XML parts of a workbook; pictures and the like are left out."""
    with zipfile.ZipFile(path) as file:
        entries = [e for e in file.infolist() if e.filename.lower().endswith((".xml", ".rels"))]
        if sum(entry.file_size for entry in entries) > MOST_BYTES:
            largest = max(entries, key=lambda entry: entry.file_size)
            raise InputError(
                f"{path}: unpacks to over {MOST_BYTES // 1_000_000} MB (its largest part is "
                f"{largest.filename}); expected a sheet of answers"
            )
        # As UTF-8, so that no other encoding can hide a declaration from the check below.
        parts = {entry.filename: file.read(entry).decode("utf-8-sig") for entry in entries}
    for name, text in parts.items():
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise InputError(f"{path}: {name} declares entities, which no spreadsheet needs")
    return parts


def _pack(parts: dict[str, str]) -> io.BytesIO:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, text in parts.items():
            file.writestr(name, text)
    archive.seek(0)
    return archive


def _check_extent(where: str, text: str, n_strings: int) -> None:
    """Raise InputError if a sheet spans too many cells, or repeats too much text."""
    n_cells = len(CELL.findall(text))
    references = [(_column(letters), int(row)) for letters, row in REFERENCE.findall(text)]
    n_rows = max((row for _, row in references), default=0)
    # Cells without a reference follow the one before them, so they may widen any row.
    n_columns = max((column for column, _ in references), default=0)
    n_columns += n_cells - len(CELL_WITH_REFERENCE.findall(text))
    if n_rows * n_columns > MOST_CELLS or n_cells > MOST_CELLS:
        raise InputError(
            f"{where} spans {n_rows} rows and {n_columns} columns; expected at most {MOST_CELLS} "
            "cells"
        )
    if n_cells * n_strings > MOST_TEXT:
        raise InputError(
            f"{where} has {n_cells} cells, too many for {n_strings / 1e6:.1f} MB of text"
        )


def _column(letters: str) -> int:
    """Return the number of a column, from 1: A is 1, AA is 27; no letters are 0."""
    number = 0
    for letter in letters.upper():
        number = 26 * number + ord(letter) - ord("A") + 1
    return number


def _as_text(value: object) -> str:
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    return str(value)
