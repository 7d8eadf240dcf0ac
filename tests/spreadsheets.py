"""Spreadsheets of listeners' answers, written as other programs write them."""

import zipfile

from neuromusic.design.orders import GENRES

MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
REL = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def cell(place, value):
    if isinstance(value, str):
        return f'<c r="{place}" t="inlineStr"><is><t>{value}</t></is></c>'
    return f'<c r="{place}"><v>{value}</v></c>'


def write_sheet(path, rows, prolog=""):
    """Write rows (lists) as the second file of a workbook, as other programs may name it."""
    lines = []
    for number, row in enumerate(rows, start=1):
        cells = (cell(f"{chr(65 + i)}{number}", v) for i, v in enumerate(row) if v is not None)
        lines.append(f'<row r="{number}">{"".join(cells)}</row>')
    with zipfile.ZipFile(path, "w") as file:
        sheets = '<sheets><sheet name="A" sheetId="1" r:id="rId9"/></sheets>'
        file.writestr("xl/workbook.xml", f'<workbook {MAIN} xmlns:r="{REL}">{sheets}</workbook>')
        link = '<Relationship Id="rId9" Type="x" Target="worksheets/b.xml"/>'
        file.writestr("xl/_rels/workbook.xml.rels", f"<Relationships>{link}</Relationships>")
        body = f"{prolog}<worksheet {MAIN}><sheetData>{''.join(lines)}</sheetData></worksheet>"
        file.writestr("xl/worksheets/b.xml", body)
    return path


def judgements(truth, said, headers=GENRES):
    rows = [[None, *headers, "Correct"]]
    for trial, (true, answer) in enumerate(zip(truth, said, strict=True), start=1):
        marks = [int(i == answer) for i in range(len(headers))]
        rows.append([f"Run13_{trial}", *marks, int(true) + 1])
    return [*rows, ["Reference Index", *range(1, 11)]]
