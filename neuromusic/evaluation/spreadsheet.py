"""The sheets of a spreadsheet (.xlsx, .ods), read by calamine after their size has been checked.

calamine allocates the whole rectangle of a sheet before it reads a cell, so a small file that names
a far cell, or repeats one, would end the process. It therefore gets a copy of the parts that were
checked here.
"""

import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from neuromusic.core.errors import InputError
from neuromusic.core.files import readable

MOST_BYTES = 10_000_000  # of all parts together, unpacked; a laboratory's table has 80 kB
MOST_CELLS = 1_000_000  # rows x columns of all sheets
MOST_TEXT = 300_000_000  # cells x bytes of the strings that they share or repeat
MOST_REPEATS = 1000  # of a cell or row in .ods; programs fill the rest of a sheet with empty ones

REFERENCE = re.compile(r"""\br\s*=\s*["']([A-Za-z]*)(\d+)""")  # of a cell (B7) or a row (7)
CELL = re.compile(r"<(?:[^\s<>/:]+:)?c[\s/>]")
CELL_WITH_REFERENCE = re.compile(r'<(?:[^\s<>/:]+:)?c r="[A-Z]+\d+"')
# In .ods: a row or a cell with its attributes, how often it is repeated, and repeated spaces.
ODS_PART = re.compile(r"<(?:[^\s<>/:]+:)?(table-row|(?:covered-)?table-cell)\b([^>]*)>")
ODS_REPEATS = re.compile(r"""(number-(?:rows|columns)-repeated\s*=\s*["'])(\d+)""")
ODS_SPACES = re.compile(r"""\bc\s*=\s*["']\d{4,}["']""")
ODS_KIND = "application/vnd.oasis.opendocument.spreadsheet"
# ISO/IEC 29500 Strict differs from the files that every program writes in these names only.
STRICT = {
    "http://purl.oclc.org/ooxml/spreadsheetml/main": (
        "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    ),
    "http://purl.oclc.org/ooxml/officeDocument/relationships": (
        "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    ),
}
OLE_MAGIC = bytes.fromhex("d0cf11e0a1b11ae1")  # of .xls files, and of .xlsx with a password


def read_sheets(path: Path) -> dict[str, pd.DataFrame]:
    """Return name -> cells of each sheet as text; an empty cell is an empty string.

    The index holds the row numbers of the sheet (from 1), the columns count from 0. Numbers are
    written without a fraction if they are whole; formulas give their last value.

    Raises InputError if the file is not a spreadsheet or is too large.
    """
    from python_calamine import CalamineWorkbook, SheetTypeEnum

    with readable(path, "spreadsheet (.xlsx or .ods)"):
        with open(path, "rb") as file:
            if file.read(len(OLE_MAGIC)) == OLE_MAGIC:
                raise InputError(
                    f"{path}: is an old .xls file or has a password; save it as .xlsx without one"
                )
        parts = _unpack(path)
        n_cells = _check_ods(path, parts) if "mimetype" in parts else _check_xlsx(path, parts)
        workbook = CalamineWorkbook.from_filelike(_pack(parts))
        names = [
            sheet.name for sheet in workbook.sheets_metadata if sheet.typ == SheetTypeEnum.WorkSheet
        ]
        if len(names) > 1 and len(names) * n_cells > MOST_CELLS:
            raise InputError(f"{path}: has {len(names)} sheets of up to {n_cells} cells")
        return {
            name: _as_table(workbook.get_sheet_by_name(name).to_python(False)) for name in names
        }


def _as_table(rows: Sequence[Sequence[object]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, dtype=object).map(_as_text)
    return table.set_axis(table.index + 1)


def _unpack(path: Path) -> dict[str, str]:
    """Return name -> text of all XML parts of a workbook; pictures and the like are left out."""
    with zipfile.ZipFile(path) as file:
        entries = [
            entry
            for entry in file.infolist()
            if entry.filename.lower().endswith((".xml", ".rels")) or entry.filename == "mimetype"
        ]
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


# --- .xlsx ----------------------------------------------------------------------------------------


def _check_xlsx(path: Path, parts: dict[str, str]) -> int:
    """Return the number of cells of the largest sheet; write Strict names as the others."""
    n_strings = sum(len(text) for name, text in parts.items() if "sharedstrings" in name.lower())
    n_cells = max(_check_extent(f"{path}: {name}", parts[name], n_strings) for name in parts)
    for name in parts:
        for strict, usual in STRICT.items():
            parts[name] = parts[name].replace(strict, usual)
    return n_cells


def _check_extent(where: str, text: str, n_strings: int) -> int:
    """Return how many cells a sheet spans.

    Raises InputError if they are too many, or repeat too much text.
    """
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
    return max(n_rows * n_columns, n_cells)


def _column(letters: str) -> int:
    """Return the number of a column, from 1: A is 1, AA is 27; no letters are 0."""
    number = 0
    for letter in letters.upper():
        number = 26 * number + ord(letter) - ord("A") + 1
    return number


# --- .ods -----------------------------------------------------------------------------------------


def _check_ods(path: Path, parts: dict[str, str]) -> int:
    """Return how many cells all sheets span; repeat nothing more than MOST_REPEATS times.

    Raises InputError if it is another kind of document, spans too many cells or repeats too much.
    """
    if parts["mimetype"].strip() != ODS_KIND:
        raise InputError(f"{path}: is {parts['mimetype'][:80]!r}; expected a spreadsheet")
    text = parts["content.xml"]
    if ODS_SPACES.search(text):
        raise InputError(f"{path}: repeats spaces; expected a sheet of answers")
    text = parts["content.xml"] = ODS_REPEATS.sub(
        lambda match: match[1] + ("1" if _is_filling(match[2]) else match[2]), text
    )
    n_rows = n_columns = row_cells = n_text = 0
    row_repeats = 1
    found = list(ODS_PART.finditer(text))
    ends = [*(match.start() for match in found[1:]), len(text)]
    for match, end in zip(found, ends, strict=True):
        repeats = ODS_REPEATS.search(match[2])
        n = int(repeats[2]) if repeats else 1
        if match[1] == "table-row":
            row_repeats, row_cells = n, 0
            n_rows += n
        else:
            row_cells += n
            n_columns = max(n_columns, row_cells)
            n_text += n * row_repeats * (end - match.end())
    if n_rows * n_columns > MOST_CELLS or n_text > MOST_TEXT:
        raise InputError(
            f"{path}: content.xml spans {n_rows} rows and {n_columns} columns; expected at most "
            f"{MOST_CELLS} cells"
        )
    return n_rows * n_columns


def _is_filling(repeats: str) -> bool:
    return len(repeats) > 9 or int(repeats) > MOST_REPEATS


def _as_text(value: object) -> str:
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    return str(value)
