"""Minimal .xlsx workbooks (ECMA-376) with the answers of listeners."""

import zipfile

from neuromusic.design.orders import GENRES

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
DOCUMENT = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"
PARTS = {
    "[Content_Types].xml": (
        f'<Types xmlns="{PACKAGE}/content-types">'
        '<Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{TYPE}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/b.xml" ContentType="{TYPE}.worksheet+xml"/></Types>'
    ),
    "_rels/.rels": (
        f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{DOCUMENT}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
    ),
    "xl/workbook.xml": (
        f'<workbook xmlns="{MAIN}" xmlns:r="{DOCUMENT}">'
        '<sheets><sheet name="A" sheetId="1" r:id="rId9"/></sheets></workbook>'
    ),
    "xl/_rels/workbook.xml.rels": (
        f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="rId9" '
        f'Type="{DOCUMENT}/worksheet" Target="worksheets/b.xml"/></Relationships>'
    ),
}


def cell(reference, value):
    if isinstance(value, str):
        return f'<c r="{reference}" t="inlineStr"><is><t>{value}</t></is></c>'
    return f'<c r="{reference}"><v>{value}</v></c>'


def write_sheet(path, rows, prolog="", more=""):
    """Write rows (lists) as a workbook with one sheet; ``more`` is XML after the last row.

    The sheet's file is not called sheet1.xml, because not every program uses that name.
    """
    lines = []
    for number, row in enumerate(rows, start=1):
        cells = (cell(f"{chr(65 + i)}{number}", v) for i, v in enumerate(row) if v is not None)
        lines.append(f'<row r="{number}">{"".join(cells)}</row>')
    sheet = f'<worksheet xmlns="{MAIN}"><sheetData>{"".join(lines)}{more}</sheetData></worksheet>'
    with zipfile.ZipFile(path, "w") as file:
        for name, content in {**PARTS, "xl/worksheets/b.xml": prolog + sheet}.items():
            file.writestr(name, content)
    return path


def judgements(truth, answers, headers=GENRES):
    """Return the rows of a laboratory's sheet: class numbers (from 0), and the sums below them."""
    rows = [[None, *headers, "Correct"]]
    for trial, (true, answer) in enumerate(zip(truth, answers, strict=True), start=1):
        marks = [int(i == answer) for i in range(len(headers))]
        rows.append([f"Run13_{trial}", *marks, int(true) + 1])
    return [*rows, ["Reference Index", *range(1, 11)]]
