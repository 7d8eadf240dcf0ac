"""Spreadsheets: cells as text, and files that would grow when they are read."""

import zipfile

import numpy as np
import pytest
from spreadsheets import judgements, write_sheet

from neuromusic.core.errors import InputError
from neuromusic.evaluation.spreadsheet import read_sheets


def first_sheet(path):
    return next(iter(read_sheets(path).values()))


def test_cells_are_text(tmp_path):
    path = write_sheet(tmp_path / "a.xlsx", [[None, "Blues"], ["NA", 1, 2.5], [], ["x", None, 3.0]])
    sheet = first_sheet(path)
    expected = [["", "Blues", ""], ["NA", "1", "2.5"], ["", "", ""], ["x", "", "3"]]
    assert sheet.to_numpy().tolist() == expected
    assert sheet.index.tolist() == [1, 2, 3, 4]


def test_empty_rows_at_the_top_are_counted(tmp_path):
    sheet = first_sheet(write_sheet(tmp_path / "a.xlsx", [[], [], ["x"]]))
    assert sheet.loc[3].tolist() == ["x"]


def test_a_large_part_is_not_unpacked(tmp_path):
    path = write_sheet(tmp_path / "a.xlsx", judgements([0], [0]))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("xl/sharedStrings.xml", b" " * 11_000_000)
    with pytest.raises(InputError, match="unpacks to over 10 MB"):
        first_sheet(path)


@pytest.mark.parametrize(
    "row",
    [
        '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>',
        '<row r="1048576"><c\tr="XFD1048576"><v>1</v></c></row>',
        "<row r='1048576'><c r='xfd1048576'><v>1</v></c></row>",
        f'<row r="1048576">{"<c/>" * 16_000}<c><v>1</v></c></row>',
        f'<x:row r="1048576">{"<x:c/>" * 16_000}<x:c><v>1</v></x:c></x:row>',
    ],
    ids=["far cell", "other space", "other quotes", "cells without references", "prefix"],
)
def test_a_sheet_that_spans_billions_of_cells_is_refused(tmp_path, row):
    path = write_sheet(tmp_path / "a.xlsx", [[1]], more=row)
    with pytest.raises(InputError, match="spans 1048576 rows"):
        first_sheet(path)


def test_one_long_string_in_many_cells_is_refused(tmp_path):
    cells = "".join(f'<row r="{n}"><c r="A{n}" t="s"><v>0</v></c></row>' for n in range(2, 9_000))
    path = write_sheet(tmp_path / "a.xlsx", [[1]], more=cells)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("xl/sharedStrings.xml", f"<sst><si><t>{'a' * 1_000_000}</t></si></sst>")
    with pytest.raises(InputError, match=r"too many for 1\.0 MB of text"):
        first_sheet(path)


def test_the_real_sheets_have_the_expected_shape(shared):
    for path in sorted((shared / "data/behaviour").glob("*.xlsx")):
        sheet = first_sheet(path)
        assert sheet.loc[1, 1:10].tolist()[:2] == ["Blues", "Cassical"]
        marks = sheet.loc[2:61, 1:10].astype(int).to_numpy()
        np.testing.assert_array_equal(marks.sum(1), 1)
