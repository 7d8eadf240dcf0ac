"""Minimal .xlsx (ECMA-376) and .ods workbooks with the answers of listeners."""

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


STRICT = {  # the names that ISO/IEC 29500 Strict has in their place
    MAIN: "http://purl.oclc.org/ooxml/spreadsheetml/main",
    DOCUMENT: "http://purl.oclc.org/ooxml/officeDocument/relationships",
}
ODS = "application/vnd.oasis.opendocument."


def cell(reference, value):
    if isinstance(value, str):
        text = f'<t xml:space="preserve">{value}</t>'
        return f'<c r="{reference}" t="inlineStr"><is>{text}</is></c>'
    if isinstance(value, bool):
        return f'<c r="{reference}" t="b"><v>{int(value)}</v></c>'
    return f'<c r="{reference}"><v>{value}</v></c>'


def sheet_xml(rows, more=""):
    lines = []
    for number, row in enumerate(rows, start=1):
        cells = (cell(f"{chr(65 + i)}{number}", v) for i, v in enumerate(row) if v is not None)
        lines.append(f'<row r="{number}">{"".join(cells)}</row>')
    return f'<worksheet xmlns="{MAIN}"><sheetData>{"".join(lines)}{more}</sheetData></worksheet>'


def write_sheet(path, rows, prolog="", more=""):
    """Write rows (lists) as a workbook with one sheet; ``more`` is XML after the last row.

    The sheet's file is not called sheet1.xml, because not every program uses that name.
    """
    with zipfile.ZipFile(path, "w") as file:
        for name, text in {**PARTS, "xl/worksheets/b.xml": prolog + sheet_xml(rows, more)}.items():
            file.writestr(name, text)
    return path


def write_sheets(path, sheets, names=()):
    """Write a workbook with several sheets (name -> rows); ``names`` are replaced in all parts."""
    parts = dict(PARTS)
    entries = {"xl/workbook.xml": "", "xl/_rels/workbook.xml.rels": "", "[Content_Types].xml": ""}
    for number, (name, rows) in enumerate(sheets.items(), start=10):
        parts[f"xl/worksheets/b{number}.xml"] = sheet_xml(rows)
        entries["xl/workbook.xml"] += (
            f'<sheet name="{name}" sheetId="{number}" r:id="rId{number}"/>'
        )
        entries["xl/_rels/workbook.xml.rels"] += (
            f'<Relationship Id="rId{number}" Type="{DOCUMENT}/worksheet" '
            f'Target="worksheets/b{number}.xml"/>'
        )
        entries["[Content_Types].xml"] += (
            f'<Override PartName="/xl/worksheets/b{number}.xml" '
            f'ContentType="{TYPE}.worksheet+xml"/>'
        )
    old = {
        "xl/workbook.xml": '<sheet name="A" sheetId="1" r:id="rId9"/>',
        "xl/_rels/workbook.xml.rels": (
            f'<Relationship Id="rId9" Type="{DOCUMENT}/worksheet" Target="worksheets/b.xml"/>'
        ),
        "[Content_Types].xml": (
            f'<Override PartName="/xl/worksheets/b.xml" ContentType="{TYPE}.worksheet+xml"/>'
        ),
    }
    for name, text in entries.items():
        assert old[name] in parts[name]
        parts[name] = parts[name].replace(old[name], text)
    with zipfile.ZipFile(path, "w") as file:
        for name, text in parts.items():
            for usual, other in dict(names).items():
                text = text.replace(usual, other)
            file.writestr(name, text)
    return path


def write_ods(path, sheets, more="", kind="spreadsheet"):
    """Write an OpenDocument workbook (name -> rows); ``more`` is XML after the last row."""
    spaces = "".join(
        f' xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for name in ("office", "table", "text")
    )

    def ods_cell(value):
        if value is None:
            return "<table:table-cell/>"
        kind = "string" if isinstance(value, str) else "float"
        number = "" if isinstance(value, str) else f' office:value="{value}"'
        text = f"<text:p>{value}</text:p>"
        return f'<table:table-cell office:value-type="{kind}"{number}>{text}</table:table-cell>'

    tables = "".join(
        f'<table:table table:name="{name}">'
        + "".join(
            f"<table:table-row>{''.join(map(ods_cell, row))}</table:table-row>" for row in rows
        )
        + f"{more}</table:table>"
        for name, rows in sheets.items()
    )
    body = f"<office:body><office:spreadsheet>{tables}</office:spreadsheet></office:body>"
    manifest = "urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("mimetype", ODS + kind)
        file.writestr(
            "content.xml", f"<office:document-content{spaces}>{body}</office:document-content>"
        )
        file.writestr("META-INF/manifest.xml", f'<manifest:manifest xmlns:manifest="{manifest}"/>')
    return path


def judgements(truth, answers, headers=GENRES):
    """Return the rows of a laboratory's sheet: class numbers (from 0), and the sums below them."""
    rows = [[None, *headers, "Correct"]]
    for trial, (true, answer) in enumerate(zip(truth, answers, strict=True), start=1):
        marks = [int(i == answer) for i in range(len(headers))]
        rows.append([f"Run13_{trial}", *marks, int(true) + 1])
    return [*rows, ["Reference Index", *range(1, 11)]]
