"""Read text tables as people have them: from a program, a spreadsheet or an editor."""

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuromusic.core.errors import InputError, closest_word
from neuromusic.core.files import check_size, readable

if TYPE_CHECKING:  # numpy and pandas are imported where they are used: `--help` must start fast
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

MOST_TABLE_BYTES = 2_000_000_000
NO_VALUE = ("", "n/a", "N/A", "NA", "NaN", "nan", "NAN")
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
UTF16 = (b"\xff\xfe", b"\xfe\xff")
DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")


def read_table(
    path: Path,
    *,
    columns: Collection[str] = (),
    remedy: str = "",
    most_bytes: int = MOST_TABLE_BYTES,
    most_rows: int | None = None,
    as_text: bool = False,
    **options: Any,
) -> "pd.DataFrame":
    """Read a text table with a header.

    Columns are separated by tabs; in a file called .csv by commas, semicolons or tabs, whichever
    its header has. A byte-order mark, any kind of line end, quoted cells, spaces around the names
    of columns, empty cells after the last column and empty rows are accepted.

    Parameters
    ----------
    path : Path
        The table, in UTF-8.
    columns : collection of str
        Columns that it must have.
    remedy : str
        What to do if it is not such a table, for the message.
    most_bytes, most_rows : int
        Limits for its size.
    as_text : bool
        Return every cell as text without spaces around it: "NA" is not a missing value, and cells
        missing from a short row are empty. Otherwise pandas recognises numbers and missing values.
    **options
        For `pandas.read_csv`, without ``as_text``.

    Returns
    -------
    DataFrame
        One row per row of the table, numbered from 0.

    Raises
    ------
    InputError
        If the file is too large, is not a table in UTF-8, lacks a column or has one twice, or has a
        row with more cells than the header. FileNotFoundError if it does not exist.
    """
    import pandas as pd

    if as_text:
        header, cells = read_cells(
            path, columns=columns, remedy=remedy, most_bytes=most_bytes, most_rows=most_rows
        )
        return pd.DataFrame(cells, columns=header, dtype=str)
    with _opened(path, columns, remedy, most_bytes, most_rows) as (header, body):
        buffer = io.StringIO()
        writer = csv.writer(buffer, delimiter="\t", lineterminator="\n")
        writer.writerow(header)
        writer.writerows(body)
        buffer.seek(0)
        return pd.read_csv(buffer, sep="\t", index_col=False, **options)


def read_cells(
    path: Path,
    *,
    columns: Collection[str] = (),
    remedy: str = "",
    most_bytes: int = MOST_TABLE_BYTES,
    most_rows: int | None = None,
) -> tuple[list[str], list[list[str]]]:
    """Return the header and the cells of each row of a table, as `read_table` with ``as_text``.

    It does not need pandas, which takes longer than reading a short table.
    """
    with _opened(path, columns, remedy, most_bytes, most_rows) as (header, body):
        return header, [[cell.strip() for cell in row] for row in body]


@contextmanager
def _opened(
    path: Path, columns: Collection[str], remedy: str, most_bytes: int, most_rows: int | None
) -> Iterator[tuple[list[str], Iterator[list[str]]]]:
    """Yield the header and the rows of a table; errors within are those of reading it."""
    check_size(path, most_bytes, "such a table")
    with readable(path, "table", remedy):
        text = _decoded(path, path.read_bytes())
        rows = _rows(text, is_csv=path.suffix.lower() == ".csv")
        header = next(rows)
        _check_header(path, header, text, columns, remedy)
        yield header, _limited(path, rows, most_rows)


def numbers(table: "pd.DataFrame", column: str, path: Path) -> "NDArray[np.float64]":
    """Return a column of a table that was read as text as numbers; "n/a" and the like are NaN.

    Raises InputError, with the row (the header is row 1), for anything else.
    """
    import numpy as np
    import pandas as pd

    cells = table[column]
    is_missing = cells.isin(NO_VALUE)
    values = pd.to_numeric(cells.mask(is_missing), errors="coerce").to_numpy(np.float64)
    wrong = np.flatnonzero(np.isnan(values) & ~is_missing.to_numpy())
    if len(wrong):
        cell = cells.iloc[wrong[0]]
        raise InputError(
            f"{path}, row {wrong[0] + 2}: column {column!r} contains text, {cell!r}; expected "
            f"{expected_number(cell)}"
        )
    return values


def expected_number(cell: str) -> str:
    """Return what to write instead of a cell that is not a number, for a message."""
    if DECIMAL_COMMA.fullmatch(cell.strip()):
        return f"a number with a decimal point, {cell.strip().replace(',', '.')}"
    return "a number"


# --- Text, rows and header ------------------------------------------------------------------------


def _decoded(path: Path, content: bytes) -> str:
    """Return the text of a file in UTF-8; raise InputError for other files."""
    if content.startswith(UTF16) or b"\0" in content[:4]:
        raise InputError(
            f"{path}: is UTF-16 (saved as Unicode text by Excel?); save it as CSV UTF-8"
        )
    if content.startswith(b"PK\x03\x04"):
        raise InputError(f"{path}: is a spreadsheet or an archive; save it as CSV UTF-8")
    try:
        return content.rstrip(b"\0\x1a").decode("utf-8-sig")  # a program of DOS may have ended it
    except UnicodeDecodeError as error:
        line = len(content[: error.start].splitlines() or [b""])
        raise InputError(
            f"{path}, line {line}: has the byte 0x{content[error.start]:02x}, which is not UTF-8 "
            "(saved as Latin-1 or by Excel as CSV?); save it as CSV UTF-8"
        ) from None


def _rows(text: str, is_csv: bool) -> Iterator[list[str]]:
    """Yield the header, then each row that is not empty, all with as many cells as the header.

    Raises ValueError, with the line, for a row with more cells and for quotes that do not end.
    """
    lines = io.StringIO(text, newline="")
    given = re.match(r'"?sep=([,;\t])"?\r?\n', text)  # Excel's own first line
    if given:
        lines.readline()
    start = lines.tell()
    separator = given[1] if given else _separator(lines.readline(), is_csv)
    lines.seek(start)
    reader = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=separator != "\t")
    width = 0
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not width:
                cells = _without_empty_end([cell.strip() for cell in cells], 0)
                width = len(cells)
            cells = _without_empty_end(cells, width)
            if len(cells) > width:
                raise ValueError(
                    f"line {reader.line_num + bool(given)} has {len(cells)} cells; a row has more "
                    f"cells than the header, which has {width}"
                )
            yield cells + [""] * (width - len(cells))
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num + bool(given)}: {error}") from None
    if not width:
        raise ValueError("it is empty")


def _without_empty_end(cells: list[str], width: int) -> list[str]:
    """Return cells without the empty ones at the end, as long as there are more than ``width``."""
    n = len(cells)
    while n > width and not cells[n - 1].strip():
        n -= 1
    return cells[:n]


def _separator(header: str, is_csv: bool) -> str:
    if not is_csv:
        return "\t"
    outside_quotes = re.sub('"[^"]*"', "", header)
    present = [separator for separator in SEPARATORS if separator in outside_quotes]
    if len(present) > 1:
        listed = " and ".join(SEPARATORS[separator] for separator in present)
        raise ValueError(f"its header has {listed}; expected one of them between columns")
    return present[0] if present else ","


def _check_header(
    path: Path, header: Sequence[str], text: str, columns: Collection[str], remedy: str
) -> None:
    """Raise InputError if one of ``columns`` is missing, or a name is there twice or is empty.

    Only the first column may have no name, as that of row names often has none.
    """
    for place, name in enumerate(header):
        if place and not name:
            raise InputError(f"{path}: column {place + 1} has no name in the header; give it one")
        if name and name in header[:place]:
            raise InputError(
                f"{path}: has the column {name!r} twice (as number {header.index(name) + 1} and "
                f"{place + 1}); expected each name once"
            )
    missing = [name for name in columns if name not in header]
    if not missing:
        return
    closest = closest_word(missing[0], [name for name in header if name and name not in columns])
    but = "" if closest is None else f", but {closest!r}"
    hint = ""
    first_line = text.partition("\n")[0]
    if len(header) == 1 and any(s in first_line for s in (",", ";", " ")):
        but, hint = "", "; its columns are not separated by tabs"
    what_to_do = f"; {remedy}" if remedy else ""
    raise InputError(
        f"{path}: has no column {', '.join(missing)}{but}; expected {' '.join(columns)}{hint}"
        f"{what_to_do}"
    )


def _limited(path: Path, rows: Iterator[list[str]], most_rows: int | None) -> Iterator[list[str]]:
    for number, row in enumerate(rows, start=1):
        if most_rows is not None and number > most_rows:
            raise InputError(f"{path}: has over {most_rows} rows")
        yield row
